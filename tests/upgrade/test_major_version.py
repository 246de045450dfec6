"""Data of another version of PostgreSQL is never opened and never lost and, when asked, carried over."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from safelight.db.embedded import EmbeddedServer, data_version, other_version
from safelight.db.migrate import migrate
from safelight.db.placement import MAJOR, EmbeddedServerError, place, place_older
from safelight.db.pool import close_pool, open_pool
from safelight.db.upgrade import upgrade
from safelight.domain.ids import JobId
from safelight.engine.orders.submit import submit
from tests.crash.processes import Ended, free_port, ran, started
from tests.orders import event_types, image, order
from tests.upgrade.older_server import SOURCES, remove, require, running


@pytest.fixture
def home(open_folder: Path) -> Iterator[Path]:
    home = open_folder / "home"
    home.mkdir(mode=0o755)
    yield home
    remove(home)


async def safelight(home: Path, *words: str) -> Ended:
    address = f"127.0.0.1:{free_port()}"
    return await ran(*words, home=home, bind=address, url=f"http://{address}", database_url=None)


async def fill(dsn: str) -> JobId:
    """Our schema, and a job; returns its id."""
    await migrate(dsn)
    pool = await open_pool(dsn, min_size=1, max_size=1, application_name="tests")
    try:
        return (await submit(pool, order(image("one"), image("two")), run_limit_seconds=3600)).job_id
    finally:
        await close_pool(pool)


async def answer(dsn: str, question: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("major", "remedy"),
    [
        ("9.6", "run `safelight upgrade-database`: it keeps the old data"),
        ("16", "run `safelight upgrade-database`: it keeps the old data"),
        ("99", "Install the newer Safelight that made it"),
    ],
)
def test_data_of_another_version_is_known_by_its_own_mark(tmp_path: Path, major: str, remedy: str) -> None:
    assert other_version(tmp_path) is None
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "PG_VERSION").write_text(f"{MAJOR}\n")
    assert other_version(tmp_path) is None

    (tmp_path / "data" / "PG_VERSION").write_text(f"{major}\n")

    complaint = other_version(tmp_path)
    assert complaint is not None
    assert f"made by PostgreSQL {int(float(major))}, and this Safelight carries PostgreSQL {MAJOR}" in complaint
    assert "Nothing was changed" in complaint
    assert remedy in complaint


@pytest.mark.parametrize("mark", [b"", b"\xff\xfe\n", b"eighteen\n"], ids=["empty", "no text", "no number"])
def test_data_whose_mark_is_damaged_is_told_of_in_words(tmp_path: Path, mark: bytes) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "PG_VERSION").write_bytes(mark)

    complaint = other_version(tmp_path)

    assert complaint is not None
    assert "PG_VERSION` names no version of PostgreSQL: the data is damaged" in complaint
    with pytest.raises(EmbeddedServerError, match="Restore a backup"):
        data_version(tmp_path)


@pytest.mark.parametrize(("major", "bin_path"), SOURCES)
async def test_older_data_is_refused_untouched_and_carried_over_when_asked(
    home: Path, major: int, bin_path: Path | None
) -> None:
    require(major, bin_path)
    with running(home, major, bin_path) as dsn:
        job_id = await fill(dsn)
        numbered = await answer(dsn, "SELECT feed_epoch FROM safelight.installation")
        beside = await safelight(home, "upgrade-database")
        assert (beside.code, beside.out) == (1, "")
        assert "stop every process of Safelight first" in beside.err
    before = (home / "pg" / "data" / "global" / "pg_control").read_bytes()

    for words in (("serve", "--placeholder"), ("db", "migrate"), ("keys", "list")):
        refused = await safelight(home, *words)
        assert refused.code == 1
        assert f"made by PostgreSQL {major}" in refused.err
        assert "safelight upgrade-database" in refused.err
    doctor = await safelight(home, "doctor", "--json")
    [check] = [each for each in json.loads(doctor.out)["checks"] if each["area"] == "database"]
    assert (doctor.code, check["verdict"]) == (1, "problem")
    assert "safelight upgrade-database" in check["remedy"]
    assert (home / "pg" / "data" / "global" / "pg_control").read_bytes() == before

    done = await safelight(home, "upgrade-database")

    assert (done.code, done.err) == (0, "")
    assert f"PostgreSQL {MAJOR} now" in done.out
    kept = (home / "pg" / f"data-{major}").resolve()
    assert str(kept) in done.out
    assert data_version((home / "pg").resolve()) == MAJOR
    assert (kept / "PG_VERSION").read_text() == f"{major}\n"
    assert not (home / "pg" / "upgrade").exists()
    again = await safelight(home, "upgrade-database")
    assert (again.code, again.out[:13]) == (0, "nothing to do")
    server = EmbeddedServer(home)
    dsn = server.start()
    await migrate(dsn)
    pool = await open_pool(dsn, min_size=1, max_size=1, application_name="tests")
    assert await pool.fetchval("SELECT count(*) FROM images WHERE job_id = $1 AND status = 'queued'", job_id) == 2
    assert await event_types(pool, job_id) == ["job.created"]
    assert (await pool.fetchval("SHOW server_version")).startswith(f"{MAJOR}.")
    assert await pool.fetchval("SELECT feed_epoch FROM installation") >= numbered
    await close_pool(pool)


async def test_an_upgrade_that_broke_off_between_two_steps_goes_on_and_nothing_is_begun_anew(home: Path) -> None:
    require(16, None)
    with running(home, 16, None) as dsn:
        job_id = await fill(dsn)
    assert await asyncio.to_thread(upgrade, home) is not None
    area = (home / "pg").resolve()
    (area / "upgrade").mkdir()
    (area / "data").rename(area / "upgrade" / "data")
    (area / "upgrade" / "complete").touch()

    with pytest.raises(EmbeddedServerError, match=r"broke off between two steps; `data-16` is whole"):
        EmbeddedServer(home).start()
    done = await asyncio.to_thread(upgrade, home)

    assert done is not None
    assert done.major == 16
    assert await answer(EmbeddedServer(home).start(), "SELECT id FROM safelight.jobs") == job_id


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGKILL,
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, marks=pytest.mark.slow),
    ],
)
async def test_an_upgrade_that_was_killed_leaves_no_server_in_the_way_of_the_next_one(
    home: Path, number: signal.Signals
) -> None:
    require(16, None)
    with running(home, 16, None) as dsn:
        job_id = await fill(dsn)
    dump = home / "pg" / "upgrade" / "database.dump"
    async with started("upgrade-database", log=home / "upgrade.log", home=home, database_url=None) as killed:
        async with asyncio.timeout(60):
            while not dump.exists():  # noqa: ASYNC110 - another process makes it
                await asyncio.sleep(0.01)
        killed.send_signal(number)
        assert await killed.wait() == -number

    done = await asyncio.to_thread(upgrade, home)

    assert done is not None
    assert done.major == 16
    assert await answer(EmbeddedServer(home).start(), "SELECT id FROM safelight.jobs") == job_id


async def test_the_folder_of_older_programs_may_be_named_from_where_one_is(home: Path) -> None:
    require(16, None)
    with running(home, 16, None) as dsn:
        await fill(dsn)
    programs = place_older(place(home), major=16, bin_path=None).bin_path

    done = await safelight(home, "upgrade-database", "--old-bindir", os.path.relpath(programs))

    assert (done.code, done.err) == (0, "")


async def test_programs_of_another_version_than_the_data_are_refused(home: Path) -> None:
    require(16, None)
    with running(home, 16, None) as dsn:
        await fill(dsn)

    other = await safelight(home, "upgrade-database", "--old-bindir", str(EmbeddedServer(home).bin_path))

    assert (other.code, other.out) == (1, "")
    assert f"(PostgreSQL) {MAJOR}" in other.err
    assert "the data is of PostgreSQL 16" in other.err
    assert data_version((home / "pg").resolve()) == 16


@pytest.mark.parametrize(("major", "bin_path"), SOURCES)
async def test_a_backup_of_the_embedded_server_can_move_to_an_older_one_of_ones_own(
    database: str, home: Path, tmp_path: Path, major: int, bin_path: Path | None
) -> None:
    require(major, bin_path)
    job_id = await fill(database)
    saved = await ran("backup", str(tmp_path / "saved"), home=tmp_path, database_url=database)
    assert (saved.code, saved.err) == (0, "")

    with running(home, major, bin_path) as dsn:
        restored = await ran("restore", str(tmp_path / "saved"), home=tmp_path, database_url=dsn)

        assert restored.code == 0, restored.err
        pool = await open_pool(dsn, min_size=1, max_size=1, application_name="tests")
        assert await pool.fetchval("SELECT count(*) FROM images WHERE job_id = $1 AND status = 'queued'", job_id) == 2
        assert await event_types(pool, job_id) == ["job.created"]
        assert await pool.fetchval("SELECT paused_at IS NOT NULL FROM installation")
        await close_pool(pool)
