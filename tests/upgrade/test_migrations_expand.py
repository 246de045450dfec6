"""Migrations since the last release only add: until an upgrade is over, its code runs on them too."""

from __future__ import annotations

import json

import pytest

from safelight.db.migrate import migrations
from tests.upgrade.release import MADE, VERSION
from tests.upgrade.steps import contractions

RELEASED = json.loads((MADE / "release.json").read_text(encoding="utf-8"))["migration"]

AGREED: dict[tuple[int, str], str] = {}
"""Contractions that are right all the same: by migration and the step's first words, why. One that takes something away
names the release that stopped using it."""


def test_every_migration_since_the_last_release_is_one_that_its_code_can_live_with() -> None:
    left = [
        f"{migration.version:04}_{migration.name}: {found.step}: {found.why}"
        for migration in migrations()
        for found in contractions(migration.sql)
        if migration.version > RELEASED
        and not any(version == migration.version and found.step.startswith(words) for version, words in AGREED)
    ]

    assert left == [], f"release {VERSION} runs beside this one while it is rolled out; see docs/adr/0031-upgrades.md"


def test_what_was_agreed_is_there() -> None:
    found = {(m.version, each.step) for m in migrations() for each in contractions(m.sql) if m.version > RELEASED}

    for version, words in AGREED:
        assert any(version == each and step.startswith(words) for each, step in found), words


@pytest.mark.parametrize(
    "step",
    [
        "CREATE TABLE fresh (id int); CREATE UNIQUE INDEX fresh_id ON fresh (id); INSERT INTO fresh VALUES (1)",
        "CREATE TABLE fresh (id int); ALTER TABLE fresh ADD CONSTRAINT positive CHECK (id > 0)",
        "ALTER TABLE jobs ADD COLUMN note text",
        "ALTER TABLE jobs ADD COLUMN note text NOT NULL DEFAULT ''",
        "ALTER TABLE jobs ADD COLUMN parts integer[] NOT NULL DEFAULT '{}'::int[], ADD is_odd boolean DEFAULT false",
        "ALTER TABLE jobs ADD CONSTRAINT short CHECK (length(note) < 9) NOT VALID",
        "ALTER TABLE jobs VALIDATE CONSTRAINT short",
        "ALTER TABLE jobs SET (fillfactor = 80)",
        "CREATE INDEX jobs_note ON jobs (note) -- DROP TABLE jobs;\n",
        "CREATE FUNCTION fresh() RETURNS void LANGUAGE plpgsql AS $$ BEGIN DELETE FROM jobs; END $$",
        "COMMENT ON COLUMN jobs.note IS 'DROP TABLE jobs; it''s a -- trap'; CREATE TABLE fresh (id int)",
    ],
)
def test_what_only_adds_is_let_through(step: str) -> None:
    assert contractions(step) == []


@pytest.mark.parametrize(
    "step",
    [
        "DROP TABLE jobs",
        "DROP INDEX jobs_note",
        "DROP TRIGGER attempts_count ON attempts",
        "ALTER TABLE jobs DROP COLUMN note",
        "ALTER TABLE jobs RENAME COLUMN note TO remark",
        "ALTER TABLE jobs RENAME TO orders",
        "ALTER TABLE jobs ALTER COLUMN note TYPE varchar(9)",
        "ALTER TABLE jobs ALTER COLUMN note SET NOT NULL",
        "ALTER TABLE jobs ALTER note SET DEFAULT 'x'",
        "ALTER TABLE jobs ADD COLUMN note text NOT NULL",
        "ALTER TABLE jobs ADD COLUMN note text, ADD COLUMN other text NOT NULL",
        "ALTER TABLE jobs ADD COLUMN at timestamptz NOT NULL DEFAULT now()",
        "ALTER TABLE jobs ADD COLUMN note text UNIQUE",
        "ALTER TABLE jobs ADD COLUMN twice bigint GENERATED ALWAYS AS (seq * 2) STORED",
        "ALTER TABLE jobs ADD CONSTRAINT short CHECK (length(note) < 9)",
        "ALTER TABLE jobs ADD COLUMN note text, DROP CONSTRAINT jobs_status_check",
        "CREATE UNIQUE INDEX jobs_note ON jobs (note)",
        "CREATE TRIGGER more AFTER INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION fresh()",
        "CREATE OR REPLACE FUNCTION count_call() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$",
        "UPDATE jobs SET note = ''",
        "DELETE FROM jobs",
        "INSERT INTO jobs VALUES (1)",
        "TRUNCATE jobs",
        "DO $$ BEGIN DROP TABLE jobs; END $$",
        "LOCK TABLE jobs",
    ],
)
def test_what_takes_something_away_is_found(step: str) -> None:
    assert len(contractions(step)) == 1


def test_the_rule_finds_what_earlier_migrations_did() -> None:
    by_version = {each.version: contractions(each.sql) for each in migrations()}

    assert by_version[4][0].step.startswith("ALTER TABLE attempts DROP CONSTRAINT")
    assert by_version[24][0].step == "DROP TRIGGER attempts_count ON attempts"
    assert by_version[26] == []
