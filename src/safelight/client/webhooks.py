"""For those who receive webhooks: whether a message comes from the service, as Standard Webhooks has it.

event = verify(request.headers, await request.body(), ["whsec_…"])
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import math
import time
from collections.abc import Iterable, Mapping
from typing import Any

from safelight.domain.errors import SafelightError

_PREFIX, _VERSION = "whsec_", "v1"


class NotVerified(SafelightError):
    """The message is not to be believed; answer 400. The classes below say why."""

    slug = "not-verified"


class MissingHeader(NotVerified):
    """It has not the three headers, or not what belongs into them."""

    slug = "missing-header"


class WrongTime(NotVerified):
    """It was signed too long ago, or by a clock that is ahead: perhaps somebody sends again what he overheard."""

    slug = "wrong-time"


class WrongSignature(NotVerified):
    """No signature of it was made with one of the secrets."""

    slug = "wrong-signature"


def verify(
    headers: Mapping[str, str],
    body: bytes | str,
    secrets: str | Iterable[str],
    *,
    tolerance_seconds: float = 300.0,
    now: float | None = None,
) -> dict[str, Any]:
    """The event in a message that one of the secrets has signed, at most `tolerance_seconds` from `now`.

    `body` is what was received, byte for byte; `now` is in Unix seconds, None for this machine's clock. The same
    message may come twice: its `webhook-id` is the same then. Raises NotVerified, and ValueError for a secret that is
    none, or where there is none.
    """
    keys = [_key(each) for each in ([secrets] if isinstance(secrets, str) else secrets)]
    if not keys:
        raise ValueError("no secret to verify with")
    content = body.encode() if isinstance(body, str) else body
    message_id, timestamp, signatures = _heads(headers)
    _require_time(timestamp, now=time.time() if now is None else now, tolerance_seconds=tolerance_seconds)
    signed = f"{message_id}.{timestamp}.".encode() + content
    expected = [hmac.digest(key, signed, hashlib.sha256) for key in keys]
    # Every pair is compared, so that the time taken tells nothing of which one it was.
    fits = [hmac.compare_digest(each, sent) for sent in _v1(signatures) for each in expected]
    if not any(fits):
        raise WrongSignature("no signature was made with one of the secrets")
    try:
        event = json.loads(content)
    except ValueError as error:
        raise NotVerified("the message is signed, and no JSON") from error
    if not isinstance(event, dict):
        raise NotVerified("the message is signed, and no event")
    return event


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX) + "==")
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise ValueError(f"a secret is `{_PREFIX}` and base64")
    return key


def _heads(headers: Mapping[str, str]) -> tuple[str, str, str]:
    found = {name.lower(): value for name, value in headers.items()}
    names = ("webhook-id", "webhook-timestamp", "webhook-signature")
    missing = [name for name in names if not found.get(name)]
    if missing:
        raise MissingHeader(f"the message has no {' and no '.join(missing)}")
    message_id, timestamp, signatures = (found[name] for name in names)
    return message_id, timestamp, signatures


def _require_time(timestamp: str, *, now: float, tolerance_seconds: float) -> None:
    # What is signed is the header's own text, so it has to be a whole number in its plain form.
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 15):
        raise MissingHeader("webhook-timestamp is no time in Unix seconds")
    ahead_seconds = int(timestamp) - now
    if not math.isfinite(ahead_seconds) or abs(ahead_seconds) > tolerance_seconds:
        away = "ahead of" if ahead_seconds > 0 else "behind"
        raise WrongTime(f"the message was signed {abs(ahead_seconds):.0f} s {away} this clock")


def _v1(signatures: str) -> list[bytes]:
    """Those of the version that this reads; others may stand beside them."""
    found = []
    for each in signatures.split():
        version, _, signature = each.partition(",")
        if version == _VERSION:
            try:
                found.append(base64.b64decode(signature, validate=True))
            except (binascii.Error, ValueError):
                continue
    return found
