"""Answers that a caller may have already (RFC 9110, conditional requests)."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

from starlette.requests import Request


def tag_of(body: bytes) -> str:
    """A strong tag: it is the same exactly when every byte is."""
    return f'"{sha256(body).hexdigest()[:32]}"'


def is_known(request: Request, tag: str) -> bool:
    """Whether `If-None-Match` names the tag; weak ones are compared as strong ones are."""
    sent = ",".join(request.headers.getlist("if-none-match"))
    tags = [each.strip().removeprefix("W/") for each in sent.split(",")]
    return "*" in tags or tag.removeprefix("W/") in tags


def condition_of(request: Request) -> Callable[[str | None], bool]:
    """Whether `If-Match` and `If-None-Match` allow to change what has this tag now; None: there is nothing."""
    wanted, unwanted = _tags(request, "if-match"), _tags(request, "if-none-match")

    def allows(tag: str | None) -> bool:
        is_wanted = wanted is None or (tag is not None and ("*" in wanted or tag in wanted))
        is_unwanted = unwanted is not None and tag is not None and ("*" in unwanted or tag in unwanted)
        return is_wanted and not is_unwanted

    return allows


def _tags(request: Request, header: str) -> list[str] | None:
    """Strong ones as they are; a weak one is the same as none here."""
    sent = request.headers.getlist(header)
    return [each.strip() for each in ",".join(sent).split(",")] if sent else None
