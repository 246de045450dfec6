"""JSON Pointers (RFC 6901) into a request body."""

from __future__ import annotations

_MAX_STEP_CHARS = 100


def pointer(*steps: str | int) -> str:
    """A caller's own keys are cut after 100 characters, and made printable where they are not text."""
    return "".join("/" + _escaped(str(step)) for step in steps)


def _escaped(step: str) -> str:
    text = step[:_MAX_STEP_CHARS].encode("utf-8", "backslashreplace").decode("utf-8")
    return text.replace("~", "~0").replace("/", "~1")
