"""One real PostgreSQL per test run, started by the first test that wants it; a fresh database for each test.

Every process of a run, pytest-xdist's workers included, shares one home: the first to ask starts the server
there, the others attach. A watcher outside of pytest destroys it when the run is over, even by a kill.
"""

from __future__ import annotations

import gc
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Generator, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import asyncpg
import httpcore2
import pytest
import structlog

from safelight.db.embedded import EmbeddedServer
from safelight.db.pool import close_pool, open_pool
from tests.databases import fresh_database
from tests.s3 import CREDENTIALS, running_s3

_ROOM_BYTES = 2_000_000_000
_HOME = pytest.StashKey[Path]()
_WATCHER = pytest.StashKey[subprocess.Popen[bytes]]()

_WATCH = """
import sys
sys.stdin.read()  # ends when the run does, however it does
import shutil
from pathlib import Path
from safelight.db.embedded import EmbeddedServer
home = Path(sys.argv[1])
EmbeddedServer(home).destroy()
shutil.rmtree(home)
"""


# Every client reads the public authorities anew, which takes longer than most tests.
httpcore2.default_ssl_context = cache(httpcore2.default_ssl_context)
_new_context = ssl.create_default_context
_kept_context = cache(ssl.create_default_context)


def _context(*args: Any, **named: Any) -> ssl.SSLContext:
    as_gemini_asks = named.keys() == {"cafile", "capath"}
    return (_kept_context if as_gemini_asks else _new_context)(*args, **named)


ssl.create_default_context = _context

# Left to itself structlog colors each traceback and shows what every variable held: a second of work, for nobody.
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S"),
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)


def pytest_configure(config: pytest.Config) -> None:
    # Started in the background of a script, a process ignores SIGINT, and so would the processes that are tested.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    workerinput = getattr(config, "workerinput", None)
    if workerinput is not None:
        config.stash[_HOME] = Path(workerinput["postgres_home"])
        return
    config.stash[_HOME] = home = _make_open_folder()
    config.stash[_WATCHER] = subprocess.Popen(
        [sys.executable, "-c", _WATCH, str(home)], stdin=subprocess.PIPE, start_new_session=True
    )


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is collected stays to the end: the collector of garbage need not look through it again and again, which took
    an eighth of the processor time of tests that do little else."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()
        gc.set_threshold(10_000, 10, 10)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["postgres_home"] = str(node.config.stash[_HOME])


def pytest_unconfigure(config: pytest.Config) -> None:
    if watcher := config.stash.get(_WATCHER, None):
        watcher.communicate()


@pytest.fixture(scope="session")
def postgres(pytestconfig: pytest.Config) -> str:
    """The DSN of the run's server, for tests that need a second database or none of our tables."""
    return EmbeddedServer(pytestconfig.stash[_HOME], durable=False).start()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """For a server of the test's own: its OS user may enter, unlike `tmp_path` when root runs the tests."""
    folder = _make_open_folder()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
async def database(postgres: str) -> AsyncIterator[str]:
    """The DSN of a database of this test's own, with every migration applied."""
    async with fresh_database(postgres) as dsn:
        yield dsn


@pytest.fixture
async def pool(database: str) -> AsyncIterator[asyncpg.Pool]:
    pool = await open_pool(database, min_size=1, max_size=10, application_name="tests")
    try:
        yield pool
    finally:
        await close_pool(pool)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of an S3 server, started by the first test that wants it."""
    with running_s3() as url:
        yield url


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The same, with credentials for it in the environment."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    return s3_server


def _make_open_folder() -> Path:
    """Short, open to every OS user, and in memory where there is room.

    ext4 looks for inodes that were not freed lately: copying a database takes 300 ms soon after another was
    dropped, and 30 ms in memory.
    """
    memory = Path("/dev/shm")
    has_room = memory.is_dir() and shutil.disk_usage(memory).free > _ROOM_BYTES
    folder = Path(tempfile.mkdtemp(prefix="safelight-tests-", dir=memory if has_room else "/tmp"))
    folder.chmod(0o755)
    return folder
