"""The key that makes it safe to send a request again."""

from __future__ import annotations

import re
from typing import Any

from starlette.requests import Request

from safelight.domain.errors import SafelightError

REPLAYED = "Idempotency-Replayed"

KEY_PARAMETER: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Makes sending the request again safe. Kept as long as what it made.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
}

_KEY = re.compile(r"[!-~]{1,255}")


def idempotency_key(request: Request, *, is_required: bool = False) -> str | None:
    """Raises SafelightError for a key that is none, for two, and for none at all where one is required."""
    sent = request.headers.getlist("idempotency-key")
    if not sent and is_required:
        raise SafelightError("Send an `Idempotency-Key` with each job.", slug="idempotency-key-required")
    if not sent:
        return None
    if len(sent) > 1 or not _KEY.fullmatch(sent[0]):
        raise SafelightError(
            "Send one Idempotency-Key of 1 to 255 visible ASCII characters.", slug="invalid-idempotency-key"
        )
    return sent[0]
