"""Which steps of a migration the release before it can live with while both run on one database.

A step *expands*: it adds what the older code neither reads nor has to write. Everything else takes something away from
it, or asks something new of it, and is a *contraction*: it waits until no release that is upgraded from needs it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_LITERAL = re.compile(r"--[^\n]*|'(?:[^']|'')*'|\$(\w*)\$.*?\$\1\$", re.DOTALL)
_NAME = r"(?:safelight\.)?\"?(\w+)\"?"

_CREATES_TABLE = re.compile(rf"CREATE (?:UNLOGGED )?TABLE (?:IF NOT EXISTS )?{_NAME}", re.IGNORECASE)
_CREATES_COLUMN = re.compile(rf"ADD (?:COLUMN )?(?:IF NOT EXISTS )?(?!CONSTRAINT){_NAME}", re.IGNORECASE)
_CONSTANT = re.compile(r"DEFAULT ('(?:[^']|'')*'(?:::[\w\[\]]+)?|-?[\d.]+|true|false|NULL)(?=[\s,)]|$)", re.IGNORECASE)

_HARMLESS = re.compile(
    r"(COMMENT ON|SET LOCAL|CREATE (SEQUENCE|TYPE|DOMAIN|VIEW|FUNCTION|STATISTICS) |ANALYZE)", re.IGNORECASE
)
_OF_TABLE = (
    (re.compile(rf"CREATE INDEX .*?\bON {_NAME}", re.IGNORECASE), None),
    (re.compile(rf"CREATE UNIQUE INDEX .*?\bON {_NAME}", re.IGNORECASE), "forbids what older code may write"),
    (re.compile(rf"CREATE (?:CONSTRAINT )?TRIGGER .*?\bON {_NAME}", re.IGNORECASE), "runs for what older code writes"),
    (re.compile(rf"INSERT INTO {_NAME}", re.IGNORECASE), "writes rows that older code reads"),
)
_HARMLESS_ACTION = re.compile(
    r"(VALIDATE CONSTRAINT|SET \(|RESET \(|ALTER (?:COLUMN )?\w+ SET (?:STATISTICS|STORAGE|\())", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Contraction:
    """A step that older code may not survive, and why."""

    step: str
    why: str


def contractions(sql: str) -> list[Contraction]:
    """In the order of the file."""
    statements = list(_statements(sql))
    new = {match[1].lower() for each in statements if (match := _CREATES_TABLE.match(each))}
    return [
        Contraction(step, why)
        for each in statements
        for step in _steps(each, new)
        if (why := _objection(step, new)) is not None
    ]


def _statements(sql: str) -> Iterator[str]:
    """Each on one line, without comments, with bodies of functions left out."""
    kept: list[str] = []

    def hide(found: re.Match[str]) -> str:
        if found[0].startswith("--"):
            return ""
        kept.append(found[0] if found[0].startswith("'") else "$$ $$")
        return f"\0{len(kept) - 1}\0"

    for statement in _LITERAL.sub(hide, sql).split(";"):
        if words := " ".join(statement.split()):
            yield re.sub(r"\0(\d+)\0", lambda found: kept[int(found[1])], words)


def _steps(statement: str, new: set[str]) -> Iterator[str]:
    """An ALTER TABLE of a table that was there is as many steps as it has actions."""
    match = re.match(rf"(ALTER TABLE (?:IF EXISTS )?(?:ONLY )?{_NAME}) (.*)", statement, re.IGNORECASE)
    if match is None:
        yield statement
    elif match[2].lower() not in new:
        yield from (f"{match[1]} {action}" for action in _at_commas(match[3]))


def _at_commas(actions: str) -> Iterator[str]:
    depth, action, quoted = 0, "", False
    for sign in actions:
        quoted ^= sign == "'"
        depth += 0 if quoted else (sign == "(") - (sign == ")")
        if sign == "," and depth == 0 and not quoted:
            yield action.strip()
            action = ""
        else:
            action += sign
    yield action.strip()


def _objection(step: str, new: set[str]) -> str | None:
    if _CREATES_TABLE.match(step) or _HARMLESS.match(step):
        return None
    for pattern, why in _OF_TABLE:
        if match := pattern.match(step):
            return None if match[1].lower() in new else why
    altered = re.match(rf"ALTER TABLE (?:IF EXISTS )?(?:ONLY )?{_NAME} (.*)", step, re.IGNORECASE)
    return _objection_to_action(altered[2]) if altered else "takes away or changes what older code uses"


def _objection_to_action(action: str) -> str | None:
    if _HARMLESS_ACTION.match(action):
        return None
    if re.match(r"ADD CONSTRAINT", action, re.IGNORECASE):
        return (
            None if re.search(r"NOT VALID$", action, re.IGNORECASE) else "looks at every row while it locks the table"
        )
    if not _CREATES_COLUMN.match(action):
        return "takes away or changes what older code uses"
    if re.search(r"\b(UNIQUE|PRIMARY KEY|REFERENCES|GENERATED)\b", action, re.IGNORECASE):
        return "is built for every row while it locks the table"
    if re.search(r"\bDEFAULT\b", action, re.IGNORECASE) and not _CONSTANT.search(action):
        return "has a default that is worked out for every row"
    if re.search(r"\bNOT NULL\b", action, re.IGNORECASE) and not _CONSTANT.search(action):
        return "has to be written, which older code does not do"
    return None
