"""The children: they die alone, answer only whom they were asked by, and do not outlive their parent."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import select
import signal
import subprocess
import sys

import pytest
import pyvips
from children import rendering_children
from pictures import encoded, noise
from PIL import Image

from safelight.imaging.pool import RenderPool
from safelight.imaging.rendition import ChildDied, NoChild, NotAnImage, Rendition

BIGGER_THAN_A_PIPE = encoded(noise(1024, 1024), "PNG")
SMALL = encoded(noise(64, 48), "PNG")
LARGE = Image.linear_gradient("L").resize((2_000, 1_500)).convert("RGB")
CARD = Rendition(name="card", width_px=512, height_px=512)


async def test_no_child_starts_before_the_first_call_and_one_is_kept_between_calls(
    render_pool: RenderPool,
) -> None:
    assert rendering_children() == []

    await render_pool.verify(SMALL)
    first = rendering_children()
    await render_pool.verify(SMALL)

    assert len(first) == 1
    assert rendering_children() == first


async def test_a_child_is_replaced_after_its_share_of_jobs() -> None:
    pool = RenderPool(jobs_per_child=2)
    pids: list[int] = []
    for _ in range(4):
        await pool.verify(SMALL)
        pids += [child.pid for child in rendering_children()]
    await pool.aclose()

    assert len(set(pids)) == 2


async def test_a_child_killed_in_the_middle_of_a_job_fails_that_job_alone(render_pool: RenderPool) -> None:
    await render_pool.verify(SMALL)
    [child] = rendering_children()
    child.suspend()
    call = asyncio.create_task(render_pool.render(BIGGER_THAN_A_PIPE, [CARD]))
    await asyncio.sleep(0)  # the call has begun to write

    child.kill()

    with pytest.raises(ChildDied, match="SIGKILL"):
        await call
    assert (await render_pool.verify(SMALL)).width_px == 64


async def test_neighbours_of_a_child_that_dies_are_not_disturbed() -> None:
    pool = RenderPool(processes=2)
    await asyncio.gather(pool.verify(SMALL), pool.verify(SMALL))
    doomed, _ = rendering_children()
    doomed.suspend()
    calls = [asyncio.create_task(pool.verify(BIGGER_THAN_A_PIPE)) for _ in range(6)]
    await asyncio.sleep(0)

    await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    doomed.kill()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    await pool.aclose()

    assert sum(isinstance(outcome, ChildDied) for outcome in outcomes) == 1
    assert sum(not isinstance(outcome, BaseException) for outcome in outcomes) == 5


async def test_a_call_that_takes_too_long_ends_its_child() -> None:
    pool = RenderPool(timeout_seconds=2)
    await pool.verify(SMALL)
    [child] = rendering_children()
    child.suspend()

    with pytest.raises(ChildDied, match="longer than 2 s"):
        await pool.verify(BIGGER_THAN_A_PIPE)

    assert (await pool.verify(SMALL)).width_px == 64
    assert child not in rendering_children()
    await pool.aclose()


async def test_a_child_that_does_not_start_in_time_says_nothing_of_the_picture() -> None:
    pool = RenderPool(timeout_seconds=0)

    with pytest.raises(NoChild):
        await pool.verify(SMALL)

    await pool.aclose()
    assert rendering_children() == []


@pytest.mark.parametrize("data", [SMALL, BIGGER_THAN_A_PIPE], ids=["all-sent", "half-sent"])
async def test_a_cancelled_call_leaves_no_answer_behind_for_the_next(render_pool: RenderPool, data: bytes) -> None:
    await render_pool.verify(SMALL)
    [child] = rendering_children()
    child.suspend()
    call = asyncio.create_task(render_pool.verify(data))
    await asyncio.sleep(0)

    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    assert (await render_pool.verify(encoded(noise(99, 33), "JPEG"))).width_px == 99
    assert child not in rendering_children()


async def test_more_callers_than_children_all_get_their_own_answer() -> None:
    pool = RenderPool(processes=2)
    widths_px = list(range(40, 60))

    answers = await asyncio.gather(*(pool.verify(encoded(noise(width_px, 20), "PNG")) for width_px in widths_px))
    children = rendering_children()
    await pool.aclose()

    assert [answer.width_px for answer in answers] == widths_px
    assert len(children) == 2


async def test_closing_waits_for_the_job_under_way_and_leaves_no_process() -> None:
    pool = RenderPool()
    running = asyncio.create_task(pool.render(BIGGER_THAN_A_PIPE, [CARD]))
    await asyncio.sleep(0)
    waiting = asyncio.create_task(pool.verify(SMALL))
    await asyncio.sleep(0)

    await pool.aclose()

    verified, _ = await running
    assert verified.width_px == 1024
    with pytest.raises(RuntimeError):
        await waiting
    with pytest.raises(RuntimeError):
        await pool.verify(SMALL)
    assert rendering_children() == []


async def test_what_was_no_picture_is_let_go_with_the_error(render_pool: RenderPool) -> None:
    data = bytes(1000)
    gc.disable()
    try:
        before = sys.getrefcount(data)
        with contextlib.suppress(NotAnImage):
            await render_pool.verify(data)

        assert sys.getrefcount(data) == before, "nothing is left to a collection, which may be far away"
    finally:
        gc.enable()


async def test_signals_meant_for_the_parent_do_not_end_a_child(render_pool: RenderPool) -> None:
    await render_pool.verify(SMALL)
    [child] = rendering_children()

    child.send_signal(signal.SIGINT)
    child.send_signal(signal.SIGTERM)

    assert (await render_pool.verify(SMALL)).width_px == 64
    assert rendering_children() == [child]


async def test_a_child_knows_nothing_of_our_environment(
    render_pool: RenderPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "canary-7f3a")
    await render_pool.verify(SMALL)
    [child] = rendering_children()

    assert "canary-7f3a" not in str(child.environ())


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell another process's limits")
async def test_a_child_can_open_nothing_and_has_bounded_memory_and_time(render_pool: RenderPool) -> None:
    await render_pool.verify(SMALL)
    [child] = rendering_children()

    assert child.rlimit(resource.RLIMIT_NOFILE)[0] <= child.num_fds()
    assert child.rlimit(resource.RLIMIT_FSIZE) == (0, 0)
    assert child.rlimit(resource.RLIMIT_CORE) == (0, 0)
    assert child.rlimit(resource.RLIMIT_AS) == (2 << 30, 2 << 30)
    assert child.rlimit(resource.RLIMIT_CPU)[0] < 100


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="waits on a process that is not ours")
def test_a_child_ends_with_its_parent_even_if_that_is_killed() -> None:
    script = """
import asyncio, sys, psutil
from safelight.imaging.pool import RenderPool
async def main():
    await RenderPool().verify(sys.stdin.buffer.read())
    print(psutil.Process().children()[0].pid, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert parent.stdin is not None
    assert parent.stdout is not None
    parent.stdin.write(SMALL)
    parent.stdin.close()
    child = os.pidfd_open(int(parent.stdout.readline()))
    try:
        poll = select.poll()
        poll.register(child, select.POLLIN)
        assert not poll.poll(0)

        parent.kill()

        assert poll.poll(10_000)
    finally:
        os.close(child)
        parent.kill()
        parent.wait()
        parent.stdout.close()


@pytest.mark.parametrize(
    "data",
    [
        encoded(LARGE, "WEBP", method=0),
        encoded(LARGE, "AVIF", speed=10),
        encoded(LARGE, "JPEG", progressive=True),
    ],
    ids=["webp", "avif", "jpeg"],
)
async def test_a_whole_picture_that_there_is_no_memory_for_is_not_called_damaged(
    render_pool: RenderPool, data: bytes
) -> None:
    await render_pool.verify(SMALL)
    [child] = rendering_children()
    bound_bytes = child.memory_info().vms + (8 << 20)
    resource.prlimit(child.pid, resource.RLIMIT_AS, (bound_bytes, bound_bytes))

    with pytest.raises(ChildDied):
        await render_pool.verify(data)

    assert (await render_pool.verify(data)).width_px == 2_000
    half = data[: len(data) // 2]
    with pytest.raises(NotAnImage, match="truncated"):
        await render_pool.verify(half)


async def test_a_large_picture_of_many_bits_that_is_damaged_is_not_taken_for_one_without_memory(
    render_pool: RenderPool,
) -> None:
    """It would be tried again and again, and an upload of it answered as a failure of ours."""
    deep = pyvips.Image.black(7300, 5400, bands=4).cast("ushort").copy(interpretation="rgb16")
    data = bytearray(deep.write_to_buffer(".avif", bitdepth=12, effort=0))
    middle = slice(len(data) // 2, len(data) // 2 + 400)
    data[middle] = bytes(byte ^ 0xA5 for byte in data[middle])

    with pytest.raises(NotAnImage, match="damaged"):
        await render_pool.verify(bytes(data))
