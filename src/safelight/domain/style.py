"""Styles: named words that go around every prompt that asks for them.

    prefix               A film noir still.
    the prompt           A brass key on a desk.
    suffix               One hard light, deep shadows, fine grain.
    what to keep out     Avoid: bright colours, daylight

Each stands on a line of its own. The last one is there only when some model that may be asked takes no negative prompt;
else it goes into that. A style is resolved when a job is submitted: what is kept and bought is the whole text.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from safelight.domain.fingerprint import fingerprint

if TYPE_CHECKING:
    from safelight.domain.recipe import Recipe  # and with it a template engine, which a worker does without

MAX_PART_CODE_POINTS = 4_000
"""Of a prefix, a suffix or a negative prompt."""
MAX_DESCRIPTION_CODE_POINTS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """At least one of `prefix`, `suffix` and `negative_prompt` is there.

    `version` counts from 1 what an account has made of it; a style that comes with Safelight has none, and no times.
    """

    name: str
    description: str | None = None
    prefix: str | None = None
    suffix: str | None = None
    negative_prompt: str | None = None
    version: int | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None

    @property
    def is_built_in(self) -> bool:
        return self.version is None

    @property
    def words(self) -> tuple[str | None, ...]:
        """What an account decides about it."""
        return self.description, self.prefix, self.suffix, self.negative_prompt

    @property
    def revision(self) -> str:
        """Another one after every change, also when a style was removed and made anew."""
        made_at = self.created_at.isoformat() if self.created_at is not None else None
        return fingerprint([self.name, *self.words, self.version, made_at])[:32]

    def applied(self, *, takes_negative: bool) -> AppliedStyle:
        """`takes_negative`: every model that may be asked has a negative prompt of its own."""
        avoided = None if takes_negative or not self.negative_prompt else f"Avoid: {self.negative_prompt.strip()}"
        return AppliedStyle(
            name=self.name,
            before=f"{self.prefix.strip()}\n" if self.prefix else "",
            after="".join(f"\n{line.strip()}" for line in (self.suffix, avoided) if line),
        )

    def joined_negative(self, own: str | None) -> str | None:
        """The request's own words first."""
        return ", ".join(text.strip() for text in (own, self.negative_prompt) if text) or None


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedStyle:
    """What one image's prompts are wrapped in. With an image only the lengths are kept: the words are in its prompt."""

    name: str
    before: str
    after: str

    @property
    def chars(self) -> int:
        return len(self.before) + len(self.after)

    def around(self, prompt: str) -> str:
        return f"{self.before}{prompt}{self.after}"

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "before_chars": len(self.before), "after_chars": len(self.after)}

    @staticmethod
    def found_in(prompt: str, kept: Mapping[str, Any]) -> AppliedStyle:
        """From a prompt with the style around it, and from what `as_json` said of it."""
        return AppliedStyle(
            name=kept["name"],
            before=prompt[: kept["before_chars"]],
            after=prompt[len(prompt) - kept["after_chars"] :],
        )


@cache
def built_in_styles() -> Mapping[str, Style]:
    """Those that come with Safelight, by name."""
    folder = files("safelight") / "styles"
    found = [
        Style(**tomllib.loads(entry.read_text(encoding="utf-8")))
        for entry in folder.iterdir()
        if entry.name.endswith(".toml")
    ]
    return {style.name: style for style in sorted(found, key=lambda style: style.name)}


def mentions_style(document: Mapping[str, Any], recipes: Mapping[str, Recipe]) -> bool:
    """Whether a job's body, which may be wrong in any way, leads to a style by itself or by its recipe."""
    if document.get("style") is not None:
        return True
    images = document.get("images")
    if isinstance(images, list) and any(isinstance(each, dict) and each.get("style") is not None for each in images):
        return True
    name = document.get("recipe")
    recipe = recipes.get(name) if isinstance(name, str) else None
    return recipe is not None and any("style" in group.options for group in recipe.groups)
