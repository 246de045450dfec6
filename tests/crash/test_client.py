"""The API is killed under the client's iteration over events: it ends with every event, once and in order."""

from __future__ import annotations

import asyncio

from safelight.client import SafelightClient
from safelight.engine.orders.submit import submit
from tests.crash.test_streams import Api, api
from tests.orders import image, order

__all__ = ["api"]  # the fixture


async def test_the_client_goes_on_where_the_dead_api_stopped(api: Api):
    fleet = api.fleet
    fleet.lease_seconds = 10.0
    ordered = order(*(image(f"img-{n}", timeout_seconds=60) for n in range(6)), outputs=())
    job_id = (await submit(fleet.pool, ordered, run_limit_seconds=3600)).job_id
    await api.start()
    seqs: list[int] = []
    has_died = False
    async with asyncio.timeout(100), SafelightClient(f"http://127.0.0.1:{api.port}", patience_seconds=60) as client:
        async for event in client.events(job_id, after=0):
            if event.seq is None:
                continue
            seqs.append(event.seq)
            if event.seq == 1:
                await fleet.start()
            if event.type == "image.completed" and not has_died:
                has_died = True
                await api.kill()
                await api.start()
        assert seqs == list(range(1, 22))
        assert [image.id for image in (await client.wait(job_id)).completed] == [f"img-{n}" for n in range(6)]
    await api.stop()
    assert has_died
