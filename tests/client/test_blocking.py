"""The client for programs without an event loop: it runs beside the test's own, in a thread."""

from __future__ import annotations

import asyncio
import gc
import inspect
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from safelight.client import ApiProblem, SafelightClient, SyncSafelightClient
from safelight.domain.lifecycle import JobStatus
from tests.cli.front_desk import JOB_ID, FrontDesk, jpeg
from tests.client.line import Line, opened

BODY = {"images": [{"id": "ev-1", "prompt": "A brass key"}]}
T = TypeVar("T")


async def beside(work: Callable[[], T]) -> T:
    async with asyncio.timeout(30):
        return await asyncio.to_thread(work)


def threads() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name == "safelight client"]


def test_whatever_the_one_client_can_the_other_can() -> None:
    def public(client: type) -> set[str]:
        return {name for name, _ in inspect.getmembers(client, inspect.isfunction) if not name.startswith("_")}

    assert public(SyncSafelightClient) == public(SafelightClient) - {"aclose"} | {"close"}
    assert SyncSafelightClient.submit.__doc__ == SafelightClient.submit.__doc__


async def test_a_job_is_submitted_watched_and_downloaded(desk: FrontDesk, tmp_path: Path) -> None:
    def work() -> list[str]:
        with SyncSafelightClient(desk.base_url) as client:
            job = client.submit(BODY).job
            seen = [each.current_step for each in client.watch(job.id, interval_seconds=0)]
            assert client.wait(job.id).status is JobStatus.COMPLETED
            assert len(client.download(job.id, tmp_path)) == 3
            with pytest.raises(ApiProblem, match="no such job"):
                client.job("job_unknown")
            return seen

    assert len(await beside(work)) == 3
    assert (tmp_path / "evidence/ev-1.jpg").read_bytes() == jpeg("ev-1")
    assert threads() == []


async def test_events_may_be_left_before_their_end() -> None:
    line = Line(log=["job.created", "job.started"])

    def work() -> list[str]:
        with SyncSafelightClient(line.url) as client:
            for event in client.events(JOB_ID, after=0):
                if event.type == "job.started":
                    return [event.type]
        raise AssertionError("it is not over")

    async with opened(line):
        assert await beside(work) == ["job.started"]
    assert threads() == []


async def test_closing_ends_what_waits_in_other_threads() -> None:
    line = Line(log=["job.created"])
    async with opened(line):
        client = SyncSafelightClient(line.url)
        events = client.events(JOB_ID, after=0)
        assert (await beside(lambda: next(events))).type == "job.created"
        assert (await beside(lambda: next(events))).type == "job.progress"
        waiting = asyncio.create_task(beside(lambda: next(events)))
        await asyncio.sleep(0)
        await beside(client.close)
        with pytest.raises(RuntimeError, match="closed"):
            await waiting
        client.close()
        with pytest.raises(RuntimeError, match="closed"):
            client.job(JOB_ID)


async def test_an_iterator_that_is_forgotten_and_collected_by_the_clients_own_thread_holds_nothing_up() -> None:
    line = Line(log=["job.created", "job.started"])

    def work() -> bool:
        with SyncSafelightClient(line.url) as client:
            events = client.events(JOB_ID, after=0)
            next(events)
            own = weakref.ref(events)
            circle: list[object] = [events]
            circle.append(circle)
            gc.disable()
            try:
                del events, circle
                client._loop.call_soon_threadsafe(gc.collect)
                return next(client.events(JOB_ID, after=0)).type == "job.created" and own() is None
            finally:
                gc.enable()

    async with opened(line):
        assert await beside(work)
    assert threads() == []
