"""API processes are killed under open streams: a client that comes back ends with every event, once and in order."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx2
import pytest

from safelight.domain.ids import JobId
from safelight.engine.orders.submit import submit
from safelight.settings import child_environment
from tests.crash.conftest import Fleet
from tests.fork_server import DEVNULL, Process, start
from tests.orders import image, order
from tests.sse import stream


@dataclass(kw_only=True)
class Api:
    """API processes of one installation, one after the other, under one address."""

    fleet: Fleet
    port: int
    process: Process | None = None

    async def start(self) -> None:
        """Returns when it answers, asked again and again as an operator's probe does."""
        settings = {"database_url": self.fleet.database, "home": self.fleet.home, "bind": f"127.0.0.1:{self.port}"}
        with (self.fleet.home / "api.log").open("ab") as log:
            self.process = await start(
                "api",
                env=child_environment(settings),
                stdin=DEVNULL,
                stdout=log.fileno(),
                stderr=log.fileno(),
            )
        async with asyncio.timeout(60), self.client() as client:
            while True:
                try:
                    if (await client.get("/readyz")).status_code == 200:
                        return
                except httpx2.TransportError:
                    pass
                await asyncio.sleep(0.02)

    async def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    async def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        async with asyncio.timeout(20):
            assert await self.process.wait() == 0

    def client(self) -> httpx2.AsyncClient:
        limits = httpx2.Limits(max_connections=None)
        return httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{self.port}", limits=limits, timeout=30, trust_env=False, verify=False
        )


@dataclass(kw_only=True)
class Listener:
    """A client that comes back until it is told that there is nothing more."""

    job_id: JobId
    ids: list[int] = field(default_factory=list)
    connects: int = 0

    async def listen(self, client: httpx2.AsyncClient) -> None:
        while True:
            if await self._has_heard_all(client):
                return
            await asyncio.sleep(0.02)

    async def _has_heard_all(self, client: httpx2.AsyncClient) -> bool:
        place = {"last_event_id": self.ids[-1]} if self.ids else {"after": 0}
        try:
            async with stream(client, self.job_id, **place) as told:
                if told.response.status_code == 204:
                    return True
                self.connects += told.response.status_code == 200
                while told.response.status_code == 200 and (each := await told.next()) is not None:
                    assert each.id is not None, each
                    self.ids.append(each.id)
        except httpx2.TransportError:
            pass
        return False


@pytest.fixture
async def api(fleet: Fleet) -> AsyncIterator[Api]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    api = Api(fleet=fleet, port=port)
    yield api
    if api.process is not None and api.process.returncode is None:
        api.process.kill()
        await api.process.wait()


async def everybody_hears_everything(api: Api, *, jobs: int, images: int, streams_per_job: int, kills: int) -> None:
    fleet = api.fleet
    job_ids = [
        (
            await submit(
                fleet.pool,
                order(*(image(f"img-{n}", timeout_seconds=60) for n in range(images)), outputs=()),
                run_limit_seconds=3600,
            )
        ).job_id
        for _ in range(jobs)
    ]
    listeners = [Listener(job_id=job_id) for job_id in job_ids for _ in range(streams_per_job)]
    events = 3 + 3 * images
    await api.start()
    async with asyncio.timeout(100 + jobs), api.client() as client, asyncio.TaskGroup() as group:
        for listener in listeners:
            group.create_task(listener.listen(client))

        async def have_heard(share: float) -> None:
            while True:
                if sum(len(listener.ids) for listener in listeners) >= share * events * len(listeners):
                    return
                await asyncio.sleep(0.005)

        await have_heard(1 / events)
        await fleet.start()
        for kill in range(kills):
            await have_heard((kill + 0.5) / (kills + 1))
            await api.kill()
            await api.start()
    await api.stop()

    ends = await fleet.pool.fetch("SELECT id, seq FROM jobs WHERE status = 'completed'")
    assert {row["id"]: row["seq"] for row in ends} == dict.fromkeys(job_ids, events)
    for listener in listeners:
        assert listener.ids == list(range(1, events + 1))
    assert sum(listener.connects for listener in listeners) > len(listeners), "some were cut off in the middle"


async def test_twenty_streams_survive_the_death_of_their_api(api: Api):
    api.fleet.lease_seconds = 10.0
    await everybody_hears_everything(api, jobs=10, images=5, streams_per_job=2, kills=1)


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_two_hundred_streams_survive_it_while_fifty_images_a_second_complete(api: Api):
    api.fleet.lease_seconds = 10.0
    api.fleet.slots = 16
    await everybody_hears_everything(api, jobs=200, images=10, streams_per_job=1, kills=4)
