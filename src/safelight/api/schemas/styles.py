"""Styles: words that go around prompts."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from safelight.api.schemas.base import Answer, Prompt, Request, tell_of_texts
from safelight.domain.style import MAX_DESCRIPTION_CODE_POINTS, MAX_PART_CODE_POINTS

Part = Annotated[Prompt, Field(max_length=MAX_PART_CODE_POINTS, json_schema_extra={"minLength": 1})]


def _tell_of_parts(schema: dict[str, Any]) -> None:
    parts = ("prefix", "suffix", "negative_prompt")
    schema["anyOf"] = [{"required": [part], "properties": {part: {"type": "string"}}} for part in parts]
    tell_of_texts(schema)


class NewStyle(Request):
    """At least one of `prefix`, `suffix` and `negative_prompt` says something."""

    model_config = ConfigDict(json_schema_extra=_tell_of_parts)

    description: Annotated[Prompt, Field(max_length=MAX_DESCRIPTION_CODE_POINTS)] | None = None
    """For people; no model reads it."""
    prefix: Part | None = Field(default=None, examples=["A film noir still."])
    """Before the prompt, on a line of its own."""
    suffix: Part | None = None
    """After the prompt, on a line of its own."""
    negative_prompt: Part | None = None
    """What is to be kept out: part of the negative prompt, or a last line `Avoid: …` of the prompt."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.prefix is self.suffix is self.negative_prompt is None:
            raise PydanticCustomError("empty_style", "A style has a prefix, a suffix or a negative prompt.")
        return self


class Style(Answer):
    name: str
    description: str | None
    prefix: str | None
    suffix: str | None
    negative_prompt: str | None
    built_in: bool
    """It comes with Safelight. One of the account's own under the same name goes before it."""
    version: int | None
    """Raised by every change. Null: built in."""
    created_at: datetime | None
    updated_at: datetime | None


class Styles(Answer):
    styles: list[Style]
    """By name."""
