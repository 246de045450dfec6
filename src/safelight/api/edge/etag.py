"""Answers that a caller may have already (RFC 9110, conditional requests)."""

from __future__ import annotations

from hashlib import sha256

from starlette.requests import Request


def tag_of(body: bytes) -> str:
    """A strong tag: it is the same exactly when every byte is."""
    return f'"{sha256(body).hexdigest()[:32]}"'


def is_known(request: Request, tag: str) -> bool:
    """Whether `If-None-Match` names the tag."""
    sent = ",".join(request.headers.getlist("if-none-match"))
    tags = [each.strip().removeprefix("W/") for each in sent.split(",")]
    return "*" in tags or tag in tags
