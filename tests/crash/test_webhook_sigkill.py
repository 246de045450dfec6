"""A worker is killed while it posts a webhook: what happened is told after a restart, in order, and twice at most."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from safelight.delivery.webhooks.endpoints import Endpoints, Terms
from safelight.delivery.webhooks.vault import vault_at
from safelight.delivery.webhooks.visit import CourierPoint
from safelight.domain.lifecycle import JobStatus
from safelight.engine.orders.submit import submit
from tests.crash.conftest import Fleet
from tests.delivery.receiver import Receiver, receiving
from tests.delivery.stage import nothing_waits
from tests.engine.by_hand import pass_time
from tests.orders import ended, event_types, image, order

LEASE_SECONDS = 20.0


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


async def told_after_a_kill(fleet: Fleet, receiver: Receiver, failpoint: str, *events: str) -> list[tuple[int, str]]:
    """The seq and id of each message in the order of its arrival; each is signed and an event of the log, and of those
    that are wanted none is missing."""
    endpoints = Endpoints(fleet.pool, vault_at(fleet.home, None))
    _, secret = await endpoints.create(Terms(url=receiver.url(), events=list(events)), account="default")
    doomed = await fleet.start(failpoint)
    accepted = await submit(fleet.pool, order(image("one")), run_limit_seconds=3600)
    await fleet.killed(doomed)
    await pass_time(fleet.pool, LEASE_SECONDS + 1)
    await fleet.start()

    assert await ended(fleet.pool, accepted.job_id) is JobStatus.COMPLETED
    await nothing_waits(fleet.pool)
    await fleet.at_rest(accepted.job_id)
    log = await event_types(fleet.pool, accepted.job_id)
    for message in receiver.messages:
        told = message.verified(secret)
        assert log[told["data"]["seq"] - 1] == told["type"]
    assert {message.seq for message in receiver.messages} == {n for n, each in enumerate(log, 1) if each in events}
    assert await fleet.pool.fetchval("SELECT count(*) FROM deliveries WHERE status <> 'delivered'") == 0
    return [(message.seq, message.id) for message in receiver.messages]


async def test_an_event_that_was_committed_and_not_posted_is_posted_after_the_restart(
    fleet: Fleet, receiver: Receiver
) -> None:
    told = await told_after_a_kill(fleet, receiver, f"{CourierPoint.WEBHOOK_CLAIMED}:kill@1", "job.completed")

    assert len(told) == 1


async def test_a_2xx_that_nobody_took_note_of_costs_one_message_twice_under_its_own_id_and_in_order(
    fleet: Fleet, receiver: Receiver
) -> None:
    told = await told_after_a_kill(
        fleet,
        receiver,
        f"{CourierPoint.WEBHOOK_ANSWERED}:kill@2",
        *("job.created", "job.started", "image.started", "image.completed", "job.completed"),
    )

    seqs = [seq for seq, _ in told]
    assert seqs == sorted(seqs)
    assert len(told) == len(set(told)) + 1 == len(set(seqs)) + 1, "one came twice"
    assert told[1] == told[2]
