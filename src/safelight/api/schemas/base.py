"""The words that requests and answers are made of, and how strictly they are read."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from safelight.domain.access import ACCOUNT_PATTERN
from safelight.domain.ids import IMAGE_ID_PATTERN, UPLOAD_ID_PATTERN
from safelight.domain.order import PriorityWord as PriorityWord
from safelight.domain.recipe import MAX_PROMPT_CODE_POINTS
from safelight.imaging.rendition import MAX_SIDE_PX

MAX_IMAGES = 500
MAX_SEED = 2**63 - 1
MAX_METADATA_ENTRIES = 16
MAX_METADATA_CHARS = 512

TEXT_PATTERN = r"^[^\x00-\x08\x0b-\x1f]*$"
"""Of every text in a body: line feeds and tabs are fine."""

_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0") | {chr(c) for c in range(0xFE00, 0xFE10)}
"""Characters that show nothing though Unicode files them under letters, marks and symbols."""

MAX_REFERENCES = 16
MAX_DAYS_AHEAD = 366

_FIRST_MOMENT, _LAST_MOMENT = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)


_WRITTEN_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d", re.ASCII)


def _prompt(text: str) -> str:
    if len(text) > MAX_PROMPT_CODE_POINTS:
        raise PydanticCustomError(
            "prompt-too-long", "A prompt has at most {most} characters.", {"most": MAX_PROMPT_CODE_POINTS}
        )
    if all(c.isspace() or c in _INVISIBLE or unicodedata.category(c) in ("Cf", "Cc") for c in text):
        raise PydanticCustomError("blank_prompt", "A prompt says something.")
    return text


def moment(value: datetime) -> datetime:
    if not _FIRST_MOMENT <= value <= _LAST_MOMENT:
        raise PydanticCustomError("moment_range", "Must be a time from 1970 to 9998.")
    return value


def written(value: object) -> object:
    if not isinstance(value, str) or not _WRITTEN_MOMENT.match(value):
        raise PydanticCustomError("moment_form", "Must be a time with its offset from UTC: `2026-11-20T06:00:00Z`.")
    return value


def _soon(value: datetime) -> datetime:
    """By this process's own clock: it only keeps a slip of the pen out."""
    if value > datetime.now(UTC) + timedelta(days=MAX_DAYS_AHEAD):
        raise PydanticCustomError("moment_range", "Must be at most {most} days ahead.", {"most": MAX_DAYS_AHEAD})
    return value


def _metadata_key(key: str) -> str:
    if key == "__proto__":
        raise PydanticCustomError("forbidden_key", "This key is not allowed.")
    return key


Prompt = Annotated[
    str,
    AfterValidator(_prompt),
    Field(json_schema_extra={"minLength": 1, "maxLength": MAX_PROMPT_CODE_POINTS}),
]
ImageId = Annotated[str, Field(pattern=rf"^(?:{IMAGE_ID_PATTERN})$", examples=["evidence-3"])]
Group = Annotated[str, Field(pattern=rf"^(?:{IMAGE_ID_PATTERN})?$", examples=["evidence"])]
StartTime = Annotated[
    AwareDatetime,
    Field(strict=False, examples=["2026-11-20T06:00:00Z"]),
    BeforeValidator(written),
    AfterValidator(moment),
    AfterValidator(_soon),
]
AccountId = Annotated[str, Field(pattern=rf"^(?:{ACCOUNT_PATTERN})$", examples=["user_42"])]
UploadId = Annotated[str, Field(pattern=rf"^(?:{UPLOAD_ID_PATTERN})$", examples=["upl_01KAJ0W5Q8ZB3M7N2V4R6T9XYC"])]
Label = Annotated[str, Field(min_length=1, max_length=200)]
SidePx = Annotated[int, Field(ge=1, le=MAX_SIDE_PX)]
MetadataKey = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_metadata_key)]
Usd = Annotated[str, Field(pattern=r"^-?[0-9]+\.[0-9]{3,6}$", examples=["0.039"])]
"""An exact decimal number of US dollars."""
UsdAmount = Annotated[str, Field(pattern=r"^[0-9]{1,9}(\.[0-9]{1,6})?$", examples=["0.60"])]
"""The same as a caller writes it: not negative, whole micro-dollars."""

JobState = Literal["pending", "generating", "canceling", "completed", "partial", "failed", "canceled"]
ImageState = Literal[
    "queued",
    "processing",
    "generating",
    "uploading",
    "completed",
    "failed",
    "refused",
    "canceled",
    "uncertain",
]
RetryableState = Literal["failed", "refused", "uncertain", "canceled"]


def exactly(kind: type) -> BeforeValidator:
    """Of a literal's own kind: to Python false is 0, and 1 is true."""

    def check(value: object) -> object:
        if value is not None and type(value) is not kind:
            raise PydanticCustomError("literal_kind", "Is of another kind than what may be said here.")
        return value

    return BeforeValidator(check)


def tell_of_texts(schema: Any) -> None:
    """Says of each text, and of each key, what is true of all that a caller sends: that it has no control
    characters."""
    if isinstance(schema, list):
        for each in schema:
            tell_of_texts(each)
    if not isinstance(schema, dict):
        return
    if schema.get("type") == "string" and schema.keys().isdisjoint({"pattern", "enum", "const", "format"}):
        schema["pattern"] = TEXT_PATTERN
    for keyword in ("items", "anyOf", "additionalProperties"):
        tell_of_texts(schema.get(keyword))
    if isinstance(keys := schema.get("propertyNames"), dict):
        keys.setdefault("pattern", TEXT_PATTERN)
    for each in schema.get("properties", {}).values():
        tell_of_texts(each)


class Request(BaseModel):
    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, use_attribute_docstrings=True, json_schema_extra=tell_of_texts
    )


class Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
