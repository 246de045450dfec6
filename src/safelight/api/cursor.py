"""Opaque positions in a list that is read page by page.

A cursor is bound to its account and its filter, and carries a digest: one that was cut, edited or taken from
another list is refused rather than answered with a wrong page. It is no secret: whoever forges one sees only
what is theirs.
"""

from __future__ import annotations

import base64
import binascii
import hashlib

from safelight.domain.errors import SafelightError
from safelight.domain.ids import JobId, is_job_id

_DIGEST_BYTES = 9


def cursor_after(job_id: JobId, *, account: str, status: str | None) -> str:
    position = job_id.encode()
    return base64.urlsafe_b64encode(_digest(position, account, status) + position).decode().rstrip("=")


def job_before(cursor: str, *, account: str, status: str | None) -> JobId:
    """The last job of the page before. Raises SafelightError (`invalid-cursor`)."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    digest, position = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
    job_id = position.decode("ascii", "replace")
    if digest != _digest(position, account, status) or not is_job_id(job_id):
        raise SafelightError("The cursor does not belong to this list.", slug="invalid-cursor")
    return JobId(job_id)


def _digest(position: bytes, account: str, status: str | None) -> bytes:
    bound_to = f"jobs\0{account}\0{status or ''}\0".encode()
    return hashlib.sha256(bound_to + position).digest()[:_DIGEST_BYTES]
