"""A job that somebody pasted or typed, as the body of `POST /v1/jobs`."""

from __future__ import annotations

import asyncio
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from safelight.api.edge.strict_json import MAX_DEPTH, parse_object
from safelight.domain.errors import SafelightError

SIZES: Mapping[str, Mapping[str, Any]] = {
    "512": {"name": "card", "width": 512, "height": 512, "fit": "cover", "format": "jpeg"},
    "1024": {"name": "card", "width": 1024, "height": 1024, "fit": "inside", "format": "jpeg"},
    "2048": {"name": "card", "width": 2048, "height": 2048, "fit": "inside", "format": "jpeg"},
    "original": {"name": "original", "format": "original"},
}
"""By what the form calls them. Beside a large one a thumbnail is kept, for the sheet."""

_THUMBNAIL = {"name": "thumbnail", "width": 400, "height": 400, "fit": "inside", "format": "jpeg"}
_IMAGE = re.compile(r"/images/(\d+)(?:/|$)")
_LONGEST_SHOWN = 120
_READ_IN_PLACE_CHARACTERS = 100_000
_NO_KEYS = re.compile(
    r"""
      \#[^\n]*
    | "{3}(?:\\.|[^\\])*?(?:"{3,5}|\Z)
    | '{3}.*?(?:'{3,5}|\Z)
    | "(?:\\.|[^"\\\n])*"?
    | '[^'\n]*'?
    """,
    re.DOTALL | re.VERBOSE,
)
"""Comments and texts of TOML, also those that have no end; one of several lines may end with quotes of its own."""
_KEY = re.compile(r"[\w-]++(?:[ \t]*+\.[ \t]*+[\w-]++)*+", re.ASCII)


class NotRead(Exception):
    """What was pasted is neither JSON nor TOML that can be sent; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """One line, one picture. An empty choice is left to the service."""

    lines: tuple[tuple[int, str], ...]
    """Their numbers in the text, from 1, and what they say."""
    choices: Mapping[str, str]

    def body(self) -> dict[str, Any]:
        provider, _, model = self.choices.get("model", "").partition(" ")
        defaults = {"provider": provider, "model": model, "aspect_ratio": self.choices.get("aspect_ratio", "")}
        digits = len(str(len(self.lines)))
        body: dict[str, Any] = {
            "images": [{"id": f"image-{n:0{digits}}", "prompt": text} for n, (_, text) in enumerate(self.lines, 1)]
        }
        if given := {name: value for name, value in defaults.items() if value}:
            body["defaults"] = given
        for name in ("style", "account"):
            if value := self.choices.get(name, ""):
                body[name] = value
        size = SIZES.get(self.choices.get("size", ""))
        if size is not None:
            body["outputs"] = [size] if size["name"] == "card" and size["width"] <= 512 else [size, _THUMBNAIL]
        return body


def prompts_in(text: str, choices: Mapping[str, str]) -> Prompts:
    lines = enumerate(text.replace("\r\n", "\n").split("\n"), 1)
    return Prompts(lines=tuple((n, line.strip()) for n, line in lines if line.strip()), choices=choices)


async def read_case(text: str) -> dict[str, Any]:
    """A large one is read in a thread, so that others go on. Raises NotRead."""
    return case_in(text) if len(text) <= _READ_IN_PLACE_CHARACTERS else await asyncio.to_thread(case_in, text)


def case_in(text: str) -> dict[str, Any]:
    """Raises NotRead."""
    if not text.strip():
        raise NotRead("There is nothing here yet.")
    try:
        if text.lstrip().startswith(("{", "[")) and not _is_toml_table(text):
            return parse_object(text.encode())
        _require_short_keys(text)
        return parse_object(json.dumps(tomllib.loads(text.replace("\r\n", "\n")), allow_nan=False).encode())
    except tomllib.TOMLDecodeError as error:
        raise NotRead(f"It is neither JSON nor TOML: {error}.") from None
    except (TypeError, ValueError, RecursionError) as error:
        raise NotRead(f"It holds what JSON has no word for: {error}. Put dates and times into quotes.") from None
    except SafelightError as error:
        raise NotRead(error.detail) from None


def _require_short_keys(text: str) -> None:
    """What `tomllib` takes for a key grows with the square of its parts: gigabytes for one of 50 kB. Raises NotRead."""
    if any(key[0].count(".") >= MAX_DEPTH for key in _KEY.finditer(_NO_KEYS.sub("_", text))):
        raise NotRead(f"It is neither JSON nor TOML: a key has more than {MAX_DEPTH} parts.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a fault is: in words, and what stands there; None where nothing does."""

    name: str
    value: str | None


def place_of(pointer: str, body: Mapping[str, Any], prompts: Prompts | None = None) -> Place:
    """For people: `line 3` of prompts, else the path in the body."""
    found = _IMAGE.match(pointer)
    if prompts is not None and found is not None and int(found[1]) < len(prompts.lines):
        line, text = prompts.lines[int(found[1])]
        return Place(name=f"Line {line}", value=_short(text))
    steps = [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]
    return Place(name=" › ".join(_named(steps, body)) or "The whole", value=_value_at(steps, body))


def _is_toml_table(text: str) -> bool:
    """A table of TOML begins like an array of JSON."""
    return re.match(r"\s*\[{1,2}[A-Za-z0-9_.\"' -]+\]{1,2}\s*(#.*)?(\n|$)", text) is not None


def _named(steps: list[str], body: Mapping[str, Any]) -> Iterator[str]:
    """An element of a list by its own `id`, where it has one."""
    at: Any = body
    for step in steps:
        at = _inside(at, step)
        own = at.get("id") if isinstance(at, dict) else None
        yield f"{int(step) + 1} ({own})" if step.isdecimal() and isinstance(own, str) else step


def _value_at(steps: list[str], body: Mapping[str, Any]) -> str | None:
    at: Any = body
    for step in steps:
        at = _inside(at, step)
    return _short(json.dumps(at, ensure_ascii=False)) if steps and isinstance(at, str | int | float | bool) else None


def _inside(at: Any, step: str) -> Any:
    if isinstance(at, dict):
        return at.get(step)
    if isinstance(at, list) and step.isdecimal() and int(step) < len(at):
        return at[int(step)]
    return None


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 1]}…"
