from __future__ import annotations

from importlib import resources

import pytest

from safelight.db.statements import StatementError, load, parse

TWO = """-- About this file.

-- name: beat
-- This worker lives.
UPDATE workers SET heartbeat_at = now() WHERE id = $1;

-- name: remove_worker
DELETE FROM workers WHERE id = $1; -- for good
"""


def test_statements_are_found_by_key_and_by_attribute():
    statements = parse(TWO, source="workers.sql")

    assert list(statements) == ["beat", "remove_worker"]
    assert statements.beat == statements["beat"]
    assert statements.beat.startswith("-- name: beat\n")
    assert statements.beat.endswith("WHERE id = $1")


def test_an_unknown_name_is_an_error_that_lists_the_known_ones():
    statements = parse(TWO, source="workers.sql")

    with pytest.raises(StatementError, match=r"`workers.sql` has no statement `bead`; it has `beat`, `remove_"):
        _ = statements.bead


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("SELECT 1;", "needs a `-- name: …` line"),
        ("-- only a comment\n", "needs a `-- name: …` line"),
        ("SELECT 0;\n-- name: one\nSELECT 1;", "needs a `-- name: …` line"),
        ("-- name: one\nSELECT 1;\n-- name: one\nSELECT 2;", "`one` is there twice"),
        ("-- name: one\n-- but nothing below\n", "`one` must be one statement"),
        ("-- name: one\nSELECT 1;\nSELECT 2;", "`one` must be one statement"),
        ("-- name: One-And\nSELECT 1;", "`One-And` cannot be the name"),
        ("-- name: items\nSELECT 1;", "`items` cannot be the name"),
        ("-- name:\nSELECT 1;", "`` cannot be the name"),
    ],
)
def test_a_malformed_file_is_refused(text: str, complaint: str):
    with pytest.raises(StatementError, match=complaint):
        parse(text, source="workers.sql")


def test_a_missing_file_is_an_error_that_names_it():
    with pytest.raises(StatementError, match=r"no file `db/sql/absent\.sql`"):
        load("absent")


def test_every_file_that_is_shipped_loads():
    names = [each.name for each in resources.files("safelight.db").joinpath("sql").iterdir()]

    assert names
    assert all(len(load(name)) >= 1 for name in names)
