"""Group commit: who goes together, who gets which answer, and whose failure is whose."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from safelight.together import Together


class Desk:
    """Writes what it is given, one group at a time, and only when it is let."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.begun: asyncio.Queue[None] = asyncio.Queue()
        self.let = asyncio.Semaphore(0)

    async def write(self, key: str, items: Sequence[int]) -> list[str]:
        self.groups.append(list(items))
        self.begun.put_nowait(None)
        await self.let.acquire()
        if 13 in items:
            raise ValueError("13")
        if 99 in items:
            raise ConnectionError("nobody knows")
        return [f"{key}{item}" for item in items]

    async def groups_begun(self, count: int) -> None:
        for _ in range(count):
            async with asyncio.timeout(20):
                await self.begun.get()


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def together(desk: Desk) -> Together[str, int, str]:
    return Together(desk.write, most=3, shared=(ConnectionError,))


async def test_what_comes_while_a_write_is_under_way_goes_together_in_the_next(
    desk: Desk, together: Together[str, int, str]
):
    first = asyncio.create_task(together("a", 0))
    await desk.groups_begun(1)
    later = [asyncio.create_task(together("a", item)) for item in range(1, 6)]
    await asyncio.sleep(0)
    for _ in range(3):
        desk.let.release()

    assert await asyncio.gather(first, *later) == ["a0", "a1", "a2", "a3", "a4", "a5"]
    assert desk.groups == [[0], [1, 2, 3], [4, 5]], "in order, and at most three"


async def test_what_begins_at_the_same_moment_goes_together_and_a_single_one_at_once(
    desk: Desk, together: Together[str, int, str]
):
    desk.let.release()
    assert await asyncio.gather(together("a", 1), together("a", 2)) == ["a1", "a2"]
    desk.let.release()
    assert await together("a", 3) == "a3"
    assert desk.groups == [[1, 2], [3]]


async def test_one_key_does_not_wait_for_another(desk: Desk, together: Together[str, int, str]):
    waiting = [asyncio.create_task(together(key, 1)) for key in "ab"]
    await desk.groups_begun(2)
    for _ in range(2):
        desk.let.release()
    assert await asyncio.gather(*waiting) == ["a1", "b1"]


async def test_a_write_that_breaks_for_one_is_done_again_for_each_by_itself(
    desk: Desk, together: Together[str, int, str]
):
    for _ in range(4):
        desk.let.release()
    outcomes = await asyncio.gather(*(together("a", item) for item in (1, 13, 2)), return_exceptions=True)
    assert [str(each) for each in outcomes] == ["a1", "13", "a2"]
    assert isinstance(outcomes[1], ValueError)
    assert desk.groups == [[1, 13, 2], [1], [13], [2]]


async def test_an_answer_that_was_lost_is_lost_for_all_and_nothing_is_written_twice(
    desk: Desk, together: Together[str, int, str]
):
    desk.let.release()
    outcomes = await asyncio.gather(*(together("a", item) for item in (1, 99, 2)), return_exceptions=True)
    assert {type(each) for each in outcomes} == {ConnectionError}
    assert desk.groups == [[1, 99, 2]]

    desk.let.release()
    assert await together("a", 3) == "a3", "the next write begins anew"


async def test_who_does_not_wait_any_more_spoils_nothing_for_the_others(desk: Desk, together: Together[str, int, str]):
    leaving, staying = (asyncio.create_task(together("a", item)) for item in (1, 2))
    await desk.groups_begun(1)
    leaving.cancel()
    desk.let.release()
    assert await staying == "a2"
    with pytest.raises(asyncio.CancelledError):
        await leaving


async def test_a_stream_waits_for_company_and_a_few_at_once_do_not(desk: Desk):
    together = Together(desk.write, most=9, shared=(), linger_seconds=0.5, busy_per_second=0.1)
    for _ in range(10):
        desk.let.release()
    few = [await together("a", item) for item in range(8)]
    assert few == [f"a{item}" for item in range(8)]
    next_one = asyncio.create_task(together("a", 8))
    for _ in range(3):  # it is waiting by then
        await asyncio.sleep(0)
    assert await asyncio.gather(next_one, together("a", 9)) == ["a8", "a9"]
    assert desk.groups == [*([item] for item in range(8)), [8, 9]]


async def test_a_write_that_is_broken_off_leaves_nobody_waiting(desk: Desk):
    async def broken_off(key: str, items: Sequence[int]) -> list[str]:
        await desk.write(key, items)
        raise asyncio.CancelledError

    breaking = Together(broken_off, most=1, shared=())
    both = [asyncio.create_task(breaking("a", item)) for item in (1, 2)]
    await desk.groups_begun(1)
    desk.let.release()
    async with asyncio.timeout(20):
        outcomes = await asyncio.gather(*both, return_exceptions=True)
        desk.let.release()
        again = await asyncio.gather(breaking("a", 3), return_exceptions=True)
    assert {type(each) for each in (*outcomes, *again)} == {asyncio.CancelledError}
