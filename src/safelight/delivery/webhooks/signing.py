"""Signatures as Standard Webhooks has them: https://www.standardwebhooks.com."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence

SECRET_PREFIX = "whsec_"  # noqa: S105 - how a secret begins, for scanners to find it
_SECRET_BYTES = 32


def new_secret() -> str:
    """`whsec_` and 32 random bytes in base64."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def signed_headers(message_id: str, body: bytes, *, at_unix: int, secrets: Sequence[str]) -> dict[str, str]:
    """The three headers, with a signature for each secret, so that a receiver which knows one of them is content."""
    signatures = " ".join(_signature(secret, f"{message_id}.{at_unix}.".encode() + body) for secret in secrets)
    return {"webhook-id": message_id, "webhook-timestamp": str(at_unix), "webhook-signature": signatures}


def _signature(secret: str, content: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    return "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
