"""Opaque positions in a list that is read page by page.

A cursor is bound to its account and its filters, and carries a digest: one that was cut, edited or taken from
another list is refused rather than answered with a wrong page. It is no secret: whoever forges one sees only
what is theirs.
"""

from __future__ import annotations

import base64
import binascii
import hashlib

from safelight.api.history import History
from safelight.domain.errors import SafelightError
from safelight.domain.ids import JobId, is_job_id

_DIGEST_BYTES = 9


def cursor_after(job_id: JobId, history: History) -> str:
    position = job_id.encode()
    return base64.urlsafe_b64encode(_digest(position, history) + position).decode().rstrip("=")


def job_before(cursor: str, history: History) -> JobId:
    """The last job of the page before. Raises SafelightError (`invalid-cursor`)."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    digest, position = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
    job_id = position.decode("ascii", "replace")
    if digest != _digest(position, history) or not is_job_id(job_id):
        raise SafelightError("The cursor does not belong to this list.", slug="invalid-cursor")
    return JobId(job_id)


def _digest(position: bytes, history: History) -> bytes:
    return hashlib.sha256(b"jobs\0" + history.identity() + b"\0" + position).digest()[:_DIGEST_BYTES]
