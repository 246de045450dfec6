"""A job's body that is sent again and again, with the time of each run in some of its texts.

`{date}` and `{datetime}` stand for the time that a run was scheduled for, on the clock of its zone. They are looked for
in the values of `metadata` and in `storage_prefix`, and nowhere else: a prompt may have braces of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

PLACEHOLDERS: Mapping[str, str] = {"date": "%Y-%m-%d", "datetime": "%Y-%m-%dT%H-%M-%S"}
"""Without a colon, so that they fit into a storage prefix."""

_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")

Path = tuple[str, ...]


def filled(template: Mapping[str, Any], local_time: datetime) -> dict[str, Any]:
    """The body for this run. What is no text, or no known placeholder, stays as it is."""
    values = {name: local_time.strftime(form) for name, form in PLACEHOLDERS.items()}

    def said(text: str) -> str:
        return _PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), text)

    body = dict(template)
    prefix, metadata = template.get("storage_prefix"), template.get("metadata")
    if isinstance(prefix, str):
        body["storage_prefix"] = said(prefix)
    if isinstance(metadata, Mapping):
        body["metadata"] = {name: said(each) if isinstance(each, str) else each for name, each in metadata.items()}
    return body


def unknown_placeholders(template: Mapping[str, Any]) -> list[tuple[Path, str]]:
    """Where the template has placeholders that nobody fills, and which."""
    return [
        (path, match[1])
        for path, text in _texts(template)
        for match in _PLACEHOLDER.finditer(text)
        if match[1] not in PLACEHOLDERS
    ]


def _texts(template: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    prefix, metadata = template.get("storage_prefix"), template.get("metadata")
    if isinstance(prefix, str):
        yield ("storage_prefix",), prefix
    if isinstance(metadata, Mapping):
        yield from ((("metadata", name), text) for name, text in metadata.items() if isinstance(text, str))
