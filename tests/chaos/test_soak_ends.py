"""What a soak says when an order was never answered, or a message was given up; and what is left when it is stopped."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg

from safelight.chaos.plan import Plan
from safelight.chaos.soak import _storm
from safelight.chaos.watch import Watch
from safelight.db.embedded import EmbeddedServer, running_dsn
from safelight.storage.local_staging import LocalStaging

_STOPPED = """
import asyncio, sys
from pathlib import Path
import safelight.cli.chaos as command
from safelight.chaos.plan import Plan
from safelight.db.embedded import EmbeddedServer

async def soak(plan, *, home, say):
    server = EmbeddedServer(home)
    await asyncio.to_thread(server.start)
    print(home, flush=True)
    await asyncio.sleep(600)

command.soak = soak
command.chaos(Plan(), as_json=False, keep=Path(sys.argv[1]), page=None)
"""


def test_a_soak_that_is_terminated_leaves_no_server_and_no_home(tmp_path: Path) -> None:
    words = [sys.executable, "-c", _STOPPED, str(tmp_path / "kept")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as running:
        assert running.stdout is not None
        home = Path(running.stdout.readline().strip())
        running.send_signal(signal.SIGTERM)
        running.wait(60)

    try:
        assert not home.exists()
        assert running_dsn(home) is None
    finally:
        if home.exists():
            EmbeddedServer(home).destroy()
            shutil.rmtree(home)


async def test_orders_that_nobody_answers_are_told() -> None:
    @asynccontextmanager
    async def at_work() -> AsyncIterator[None]:
        yield

    async def forever(_: float) -> None:
        await asyncio.Event().wait()

    async def nothing() -> None:
        pass

    client: Any = SimpleNamespace(run=forever, did=Counter())
    installation: Any = SimpleNamespace(end_vendor_faults=nothing)
    monkey: Any = SimpleNamespace(at_work=at_work, did=Counter())
    plan = Plan(minutes=0.001, patience_seconds=0.05)

    assert await _storm(plan, client, monkey, installation, lambda _: None) is False


async def test_a_message_that_was_given_up_is_counted(database: str, pool: asyncpg.Pool, tmp_path: Path) -> None:
    await pool.execute(
        """INSERT INTO deliveries (account, endpoint_id, lane, type, status, created_at, wanted_at, due_at, ended_at)
           VALUES ('default', 'wh_1', 'job_1', 'job.created', 'dead', now(), now(), now(), now())"""
    )
    watch = Watch(dsn=database, staging=LocalStaging(tmp_path))
    try:
        assert await watch.unfinished() == {}
        assert await watch.given_up() == {"messages given up": 1}
    finally:
        await watch.close()
