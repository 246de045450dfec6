"""When a job is looked at: at news from its stream, and without one at intervals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest

from safelight.client import ApiProblem, Event, JobView, NoStream
from safelight.client.watch import watch_job
from safelight.domain.lifecycle import JobStatus

NEVER = 3600.0


def job(step: int, *, last: int) -> JobView:
    return JobView(
        id="job_1",
        status=JobStatus.COMPLETED if step == last else JobStatus.GENERATING,
        run=1,
        current_step=f"{step}",
        images=(),
        actual_usd=None,
        uncertain_usd=None,
        document={"seq": 10 + step},
    )


@dataclass(kw_only=True)
class Service:
    """A job in steps up to `last`. It takes one with each look when it `moves_when_looked_at`."""

    last: int = 3
    moves_when_looked_at: bool = True
    step: int = -1
    looks: int = 0
    listened: list[int | None] = field(default_factory=list)

    async def look(self) -> JobView:
        self.looks += 1
        if self.moves_when_looked_at or self.step < 0:
            self.step = min(self.step + 1, self.last)
        return job(self.step, last=self.last)

    async def watched(self, listen: Callable[[], AsyncIterator[Event]], *, interval_seconds: float) -> list[str]:
        def listening(after: int | None) -> AsyncIterator[Event]:
            self.listened.append(after)
            return listen()

        async with asyncio.timeout(20):
            return [
                each.current_step async for each in watch_job(self.look, listening, interval_seconds=interval_seconds)
            ]


async def test_each_thing_that_happens_is_looked_at() -> None:
    service = Service(moves_when_looked_at=False)

    async def listen() -> AsyncIterator[Event]:
        while service.step < service.last:
            service.step += 1
            yield Event(type="image.completed", data={})
        await asyncio.Event().wait()

    assert (await service.watched(listen, interval_seconds=NEVER))[-1] == "3"
    assert service.looks <= 5
    assert service.listened == [10], "from where the first look was"


async def test_a_stream_that_ends_is_no_reason_to_stop_looking() -> None:
    service = Service(last=2)

    async def listen() -> AsyncIterator[Event]:
        yield Event(type="image.completed", data={})

    assert await service.watched(listen, interval_seconds=0.01) == ["0", "1", "2"]


@pytest.mark.parametrize(
    "refusal",
    [
        NoStream("a proxy's page"),
        ApiProblem(status=404, slug="http-404", detail="nothing there"),
        ApiProblem(status=429, slug="too-many-streams", detail="full", is_retryable=True),
    ],
)
async def test_without_a_stream_it_is_looked_at_at_intervals(refusal: Exception) -> None:
    service = Service()

    async def listen() -> AsyncIterator[Event]:
        raise refusal
        yield  # what makes it an iterator

    assert await service.watched(listen, interval_seconds=0) == ["0", "1", "2", "3"]
    assert service.listened == [10], "it is not asked again at once"


async def test_a_proxy_that_holds_the_stream_back_holds_nothing_up() -> None:
    async def listen() -> AsyncIterator[Event]:
        await asyncio.Event().wait()
        yield Event(type="never", data={})

    assert await Service().watched(listen, interval_seconds=0) == ["0", "1", "2", "3"]


async def test_what_nobody_expects_is_not_hidden() -> None:
    async def listen() -> AsyncIterator[Event]:
        raise ZeroDivisionError
        yield  # what makes it an iterator

    with pytest.raises(ZeroDivisionError):
        await Service(last=99).watched(listen, interval_seconds=0)


async def test_whoever_stops_watching_stops_listening() -> None:
    has_stopped = asyncio.Event()

    async def listen() -> AsyncIterator[Event]:
        try:
            yield Event(type="image.started", data={})
            await asyncio.Event().wait()
        finally:
            has_stopped.set()

    watching = watch_job(Service(last=99).look, lambda _: listen(), interval_seconds=0)
    assert [(await anext(watching)).current_step for _ in range(2)] == ["0", "1"]
    await watching.aclose()  # pyright: ignore[reportAttributeAccessIssue] - a generator, seen as an iterator
    async with asyncio.timeout(20):
        await has_stopped.wait()
