"""Named SQL: each file of `db/sql` is a sequence of `-- name: claim_image` headers, one statement below each.

The text that is sent keeps its header and comments: the server's log and `pg_stat_activity` name it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib import resources

_HEADER = re.compile(r"^-- name: *(.*?) *$", re.MULTILINE)
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_COMMENT = re.compile(r"^\s*--.*$", re.MULTILINE)


class StatementError(ValueError):
    """A file of named SQL is malformed, or a statement was asked for that it does not have."""


class Statements(Mapping[str, str]):
    """The statements of one file by name, as keys and as attributes: `SQL["beat"]`, `SQL.beat`."""

    __slots__ = ("_source", "_texts")

    def __init__(self, source: str, texts: Mapping[str, str]) -> None:
        self._source = source
        self._texts = texts

    def __getitem__(self, name: str) -> str:
        try:
            return self._texts[name]
        except KeyError:
            known = ", ".join(f"`{each}`" for each in self._texts)
            raise StatementError(f"`{self._source}` has no statement `{name}`; it has {known}.") from None

    def __getattr__(self, name: str) -> str:
        # Names of the machinery (`__deepcopy__`, `_repr_html_`) are asked for and expected to be missing.
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)


def load(filename: str) -> Statements:
    """The statements of `db/sql/{filename}`, with or without `.sql`. For a constant, read at import."""
    source = filename if filename.endswith(".sql") else f"{filename}.sql"
    try:
        text = resources.files("safelight.db").joinpath("sql", source).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise StatementError(f"There is no file `db/sql/{source}`.") from None
    return parse(text, source=source)


def parse(text: str, *, source: str) -> Statements:
    """Raises StatementError on SQL without a name, a bad or doubled name, two statements under one."""
    headers = list(_HEADER.finditer(text))
    preamble = text[: headers[0].start()] if headers else text
    if not headers or _COMMENT.sub("", preamble).strip():
        raise StatementError(f"`{source}`: every statement needs a `-- name: …` line above it.")
    texts: dict[str, str] = {}
    for header, end in zip(headers, [*(each.start() for each in headers[1:]), len(text)], strict=True):
        name = header[1]
        if not _NAME.fullmatch(name) or hasattr(Statements, name):
            raise StatementError(f"`{source}`: `{name}` cannot be the name of a statement.")
        if name in texts:
            raise StatementError(f"`{source}`: `{name}` is there twice.")
        statement = text[header.start() : end].strip().removesuffix(";")
        code = _COMMENT.sub("", statement)
        if not code.strip() or re.search(r";\s*$", code, re.MULTILINE):
            raise StatementError(f"`{source}`: `{name}` must be one statement.")
        texts[name] = statement
    return Statements(source, texts)
