"""The lifecycle tables, the database's constraints and the SQL that changes a state say the same.

Every statement that sets the status of an image or a job declares its moves, `-- moves: a, b -> c, d` for
images and `-- moves job: …` for jobs: each of the sources to each of the targets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Set
from importlib import resources
from itertools import product
from typing import Literal

import asyncpg
import pytest

from safelight.db.statements import load
from safelight.domain.lifecycle import (
    IMAGE_TRANSITIONS,
    JOB_TRANSITIONS,
    LIVE_IMAGE_STATUSES,
    TERMINAL_JOB_STATUSES,
    ImageStatus,
    JobStatus,
    Transition,
)

Table = Literal["images", "jobs"]
Pairs = Set[tuple[str, str]]

_MOVES = {
    "images": re.compile(r"^-- moves: *(.+?) *-> *(.+?) *$", re.MULTILINE),
    "jobs": re.compile(r"^-- moves job: *(.+?) *-> *(.+?) *$", re.MULTILINE),
}
_COMMENT = re.compile(r"--.*$", re.MULTILINE)
_LITERAL = re.compile(r"'([a-z_]+)'")
_FROM = re.compile(r"\(|\)|(?<![\w.])(?:[ij]\.)?status\s*(?:=\s*'\w+'|IN\s*\([^)]*\))")
"""A condition on the state of the row that is updated, or a parenthesis around one of something else."""


def statements() -> Iterator[tuple[str, str]]:
    folder = resources.files("safelight.db").joinpath("sql")
    for file in sorted(each.name for each in folder.iterdir()):
        for name, text in load(file).items():
            yield f"{file}: {name}", text


def code_of(statement: str) -> str:
    return _COMMENT.sub("", statement)


def status_set_in(code: str, table: Table) -> str | None:
    """What an UPDATE of the table sets `status` to, a literal or a parameter; None when it does not."""
    for update in re.finditer(rf"\bUPDATE\s+{table}\b", code):
        clauses = re.split(r"\b(?:SET|FROM|WHERE|RETURNING)\b", outermost(code[update.start() :]))
        if assigned := re.search(r"(?<![\w.])status\s*=\s*('\w+'|\$\d+)", clauses[1]):
            return assigned[1]
    return None


def sources_in(code: str, table: Table) -> set[str]:
    """The states that its UPDATEs of the table start from, as far as they name them."""
    found: set[str] = set()
    for update in re.finditer(rf"\bUPDATE\s+{table}\b.*?\bWHERE\b", code, re.DOTALL):
        depth = 0
        for part in _FROM.finditer(code, update.end()):
            depth += (part[0] == "(") - (part[0] == ")")
            if depth < 0:
                break
            if depth == 0:
                found |= set(_LITERAL.findall(part[0]))
    return found


def outermost(code: str) -> str:
    """The text without what stands in parentheses, up to the one that closes around it."""
    depth, kept = 0, []
    for character in code:
        depth += (character == "(") - (character == ")")
        if depth < 0:
            break
        if depth == 0 and character != ")":
            kept.append(character)
    return "".join(kept)


def moves_of(statement: str, table: Table) -> Pairs:
    return {
        pair
        for sources, targets in _MOVES[table].findall(statement)
        for pair in product(re.split(r", *", sources), re.split(r", *", targets))
    }


def edges(transitions: Iterable[Transition]) -> Pairs:
    return {(t.source.value, t.target.value) for t in transitions}


MOVING = {
    table: {name: text for name, text in statements() if status_set_in(code_of(text), table)}
    for table in ("images", "jobs")
}
EVERY_MOVING = [(table, name) for table, found in MOVING.items() for name in found]
LIFECYCLES = {"images": edges(IMAGE_TRANSITIONS), "jobs": edges(JOB_TRANSITIONS)}


def test_the_search_finds_the_statements_that_set_a_status():
    assert {name.partition(": ")[2] for name in MOVING["images"]} >= {
        "claim",
        "complete_image",
        "retry_image",
    }
    assert {name.partition(": ")[2] for name in MOVING["jobs"]} >= {"start_job", "end_job", "reopen_job"}
    assert status_set_in("WITH a AS (UPDATE jobs SET seq = (1), status = $2 WHERE id = 1) SELECT", "jobs") == "$2"
    assert status_set_in("UPDATE jobs SET seq = 1 WHERE status = 'pending'", "jobs") is None


@pytest.mark.parametrize("table", MOVING)
def test_every_statement_that_sets_a_status_declares_its_moves_and_no_other_does(table: Table):
    declaring = {name for name, text in statements() if moves_of(text, table)}
    assert declaring == MOVING[table].keys()


@pytest.mark.parametrize(("table", "name"), EVERY_MOVING)
def test_declared_moves_are_in_the_lifecycle_and_in_the_statement(table: Table, name: str):
    statement = MOVING[table][name]
    pairs, code = moves_of(statement, table), code_of(statement)

    assert pairs - LIFECYCLES[table] == set()
    assert {source for source, _ in pairs} - set(_LITERAL.findall(code)) == set()
    if literal := _LITERAL.fullmatch(status_set_in(code, table) or ""):
        assert {target for _, target in pairs} == {literal[1]}


@pytest.mark.parametrize(("table", "name"), EVERY_MOVING)
def test_a_statement_starts_from_no_other_states_than_it_declares(table: Table, name: str):
    statement = MOVING[table][name]
    assert sources_in(code_of(statement), table) - {source for source, _ in moves_of(statement, table)} == set()


def test_the_search_finds_the_states_that_a_statement_starts_from():
    ended = code_of(MOVING["jobs"]["jobs.sql: end_job"])
    assert sources_in(ended, "jobs") == {"pending", "generating", "canceling"}
    assert sources_in(ended.replace("'canceling'", "'canceling', 'completed'"), "jobs") >= {"completed"}
    of_others = "UPDATE images AS i SET status = 'queued' FROM a WHERE a.status = 'x' AND i.status = 'failed'"
    assert sources_in(of_others, "images") == {"failed"}


@pytest.mark.parametrize("name", sorted(MOVING["images"].keys() - {"claim.sql: claim"}))
def test_a_statement_that_moves_a_live_image_names_its_claim_token(name: str):
    statement = MOVING["images"][name]
    if {source for source, _ in moves_of(statement, "images")} & LIVE_IMAGE_STATUSES:
        fence = r"\bstatus = (\$\d+|'\w+'|a\.status) AND (i\.)?claim_token = (\$\d+|a\.token)"
        assert re.search(fence, code_of(statement))


@pytest.mark.parametrize("table", MOVING)
def test_together_the_statements_make_every_move_of_the_lifecycle(table: Table):
    made = {pair for statement in MOVING[table].values() for pair in moves_of(statement, table)}
    assert sorted(LIFECYCLES[table] - made) == []


async def test_constraints_on_a_status_name_the_lifecycles_states(pool: asyncpg.Pool):
    every_image, every_job = {status.value for status in ImageStatus}, {status.value for status in JobStatus}
    live = {status.value for status in LIVE_IMAGE_STATUSES}

    assert await constrained(pool, "images") == sorted([sorted(every_image), sorted(live), ["queued"], ["queued"]])
    ended = sorted(TERMINAL_JOB_STATUSES)
    assert await constrained(pool, "jobs") == sorted([sorted(every_job), ended]), "one that was removed has ended"


async def test_an_image_begins_queued_and_a_job_pending(pool: asyncpg.Pool):
    defaults = await pool.fetch(
        "SELECT table_name, column_default FROM information_schema.columns"
        " WHERE table_name IN ('images', 'jobs') AND column_name = 'status'"
    )
    found = {row["table_name"]: _LITERAL.findall(row["column_default"]) for row in defaults}
    assert found == {"images": [ImageStatus.QUEUED], "jobs": [JobStatus.PENDING]}
    created = [text for _, text in statements() if re.search(r"INSERT INTO (images|jobs)\b", text)]
    assert len(created) == 2
    assert not any(re.search(r"INSERT INTO \w+ \([^)]*\bstatus\b", text) for text in created)


async def constrained(pool: asyncpg.Pool, table: Table) -> list[list[str]]:
    """The states that each CHECK on the table's status names."""
    rows = await pool.fetch(
        "SELECT pg_get_constraintdef(c.oid) AS definition FROM pg_constraint AS c"
        " JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey)"
        " WHERE c.conrelid = $1::text::regclass AND c.contype = 'c' AND a.attname = 'status'",
        table,
    )
    return sorted(sorted(_LITERAL.findall(row["definition"])) for row in rows)
