"""One request that is wrong by itself, and how it is refused."""

from __future__ import annotations

from dataclasses import dataclass

from tests.api.wire import Header

JSON: tuple[Header, ...] = (("Content-Type", "application/json"),)
CARD = {"name": "card", "width": 64, "height": 64}
NOBODY = "job_01JD0000000000000000000000"
PICKY = {"provider": "picky", "model": "picky-1"}
INVALID, UNKNOWN_FIELD, SIZE, MODEL = "validation-error", "unknown-field", "unsupported-size", "unknown-model"
TOO_LONG, OPTION, FORMAT, BAD_TEXT = "prompt-too-long", "unsupported-option", "unsupported-format", "invalid-text"


@dataclass(frozen=True, slots=True, kw_only=True)
class BadRequest:
    """`at`: the pointers or parameters of its faults, where the table cares."""

    name: str
    status: int
    slug: str
    method: str = "POST"
    target: str = "/v1/jobs"
    headers: tuple[Header, ...] = JSON
    body: bytes = b""
    at: tuple[str, ...] | None = None
