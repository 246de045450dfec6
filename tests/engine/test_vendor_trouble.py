"""What an image becomes, what is booked and how many requests leave, for each thing that a vendor can do to us."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
from pydantic import SecretStr

from safelight.domain.attempts import OnUncertain
from safelight.domain.ids import JobId
from safelight.engine.orders.submit import submit
from safelight.engine.queue.worker import Worker
from safelight.sandbox.faults import OF_ACCOUNT, Fault
from safelight.sandbox.gemini import FAULTS
from safelight.sandbox.server import RunningSandbox
from safelight.settings import Settings
from tests.engine.conftest import running
from tests.orders import attempts_of, ended, event_types, images_of, order, until, vendor_image

Start = Callable[[], AbstractAsyncContextManager[Worker]]


@dataclass(frozen=True, slots=True)
class Trouble:
    """`script` is what the sandbox does, `what` says it in words; the rest is what must come of it.

    Every attempt is one request. `charged` of them are on the vendor's bill with an amount.
    """

    what: str
    script: str
    attempts: tuple[str, ...]
    end: str
    kind: str | None
    charged: int
    timeout_seconds: float = 30.0

    def in_documentation(self) -> str:
        tries = ", ".join(f"`{status}`" for status in self.attempts)
        end = f"`{self.end}`" + (f" ({self.kind})" if self.kind else "")
        return f"| {self.what} | `{self.script}` | {tries} | {end} | {self.charged} of {len(self.attempts)} |"


PAID_TWICE = ("unknown", "settled"), "completed", None, 2
PAID_IN_VAIN_ONCE = ("no_image", "settled"), "completed", None, 2
FREE_ONCE = ("unbilled", "settled"), "completed", None, 1
GOOD = ("settled",), "completed", None, 1
REFUSED_FREE = ("refused",), "refused", "SAFETY", 0
REFUSED_PAID = ("refused",), "refused", "SAFETY", 1
NEVER_A_PICTURE = ("no_image",) * 3, "failed", "INVALID_OUTPUT", 3
NOT_TAKEN = ("no_image",), "failed", "INVALID_OUTPUT", 1

TROUBLE = [
    Trouble("says what it will do", "ok", *GOOD),
    Trouble("takes its time", "slow 0.3", *GOOD),
    Trouble("sends drafts, marked as thoughts, before the picture", "thought", *GOOD),
    Trouble("limits the rate", "429 1 x1", *FREE_ONCE),
    Trouble("limits the rate, and says `soon`", "429-garbled x1", *FREE_ONCE),
    Trouble("fails twice", "500 x2", ("unbilled", "unbilled", "settled"), "completed", None, 1),
    Trouble("is behind a gateway that fails", "502 x1", *FREE_ONCE),
    Trouble("is overloaded", "503 x1", *FREE_ONCE),
    Trouble("fails in words of its own", "error-text x1", *FREE_ONCE),
    Trouble("runs out of its own time", "504 x1", ("unknown", "settled"), "completed", None, 1),
    Trouble("never answers", "hang 60 x1", ("unknown", "settled"), "completed", None, 1, 2.0),
    Trouble("ends the connection without a byte", "cut x1", *PAID_TWICE),
    Trouble("does so every time", "cut", ("unknown", "unknown"), "uncertain", "UNKNOWN", 2),
    Trouble("resets the connection", "reset x1", *PAID_TWICE),
    Trouble("sends its headers a byte at a time", "drip-headers 0.3 x1", *PAID_TWICE, 2.0),
    Trouble("sends its body a byte at a time", "drip-body 0.3 x1", *PAID_TWICE, 2.0),
    Trouble("sends half of the length it announced", "short-body x1", *PAID_TWICE),
    Trouble("stops within a chunk", "cut-chunk x1", *PAID_TWICE),
    Trouble("sends half a body of no announced length", "half-body x1", *PAID_TWICE),
    Trouble("sends a page, with status 200", "html x1", *PAID_TWICE),
    Trouble("sends `{}`", "empty x1", ("unknown", "settled"), "completed", None, 1),
    Trouble("calls a good answer `image/png`", "called-png", *GOOD),
    Trouble("calls a good answer `text/html`", "called-html", *GOOD),
    Trouble("compresses 300 MB to a thousandth", "gzip-bomb 300 x1", *PAID_TWICE),
    Trouble("sends 100 MB", "padded 100 x1", *PAID_TWICE),
    Trouble("sends 100 MB every time", "padded 100", ("unknown", "unknown"), "uncertain", "UNKNOWN", 2),
    Trouble("sends a picture with zeros behind its end", "padded 30", *GOOD),
    Trouble("sends a JSON error as a PNG", "not-an-image x1", *PAID_IN_VAIN_ONCE),
    Trouble("sends noise as a PNG", "garbage x1", *PAID_IN_VAIN_ONCE),
    Trouble("sends a PNG of no bytes", "no-bytes x1", *PAID_IN_VAIN_ONCE),
    Trouble("sends half a PNG every time", "truncated", *NEVER_A_PICTURE),
    Trouble("sends half a JPEG", "half-jpeg x1", *PAID_IN_VAIN_ONCE),
    Trouble("sends a whole JPEG as a PNG", "jpeg", *GOOD),
    Trouble("sends 200 megapixels in 45 kB", "pixel-bomb x1", *NOT_TAKEN),
    Trouble("sends a comment of 400 MB, compressed, in a PNG", "text-bomb 400", *GOOD),
    Trouble("sends 10 000 frames", "frames x1", *NOT_TAKEN),
    Trouble("finds no picture", "no-image x1", *PAID_IN_VAIN_ONCE),
    Trouble("finds none every time", "no-image", ("no_image",) * 3, "failed", "TEMPORARY", 3),
    Trouble("wants to be paid again for the rest", "continuation", ("no_image",) * 2, "failed", "UNKNOWN", 2),
    Trouble("refuses the picture", "refuse SAFETY", *REFUSED_PAID),
    Trouble("refuses the prompt", "refuse-prompt OTHER", *REFUSED_FREE),
    Trouble("refuses in words only", "text-only", *REFUSED_PAID),
]


@pytest.mark.parametrize("trouble", TROUBLE, ids=lambda trouble: trouble.script)
async def test_the_vendor(trouble: Trouble, pool: asyncpg.Pool, sandbox: RunningSandbox, start_worker: Start) -> None:
    image = vendor_image("img", trouble.script, timeout_seconds=trouble.timeout_seconds)
    accepted = await submit(pool, order(image), run_limit_seconds=3600)
    async with start_worker():
        await ended(pool, accepted.job_id)
    [row] = await images_of(pool, accepted.job_id)
    assert row["status"] == trouble.end
    assert (row["error"] or {}).get("kind") == trouble.kind
    attempts = await attempts_of(pool, accepted.job_id)
    assert tuple(attempt["status"] for attempt in attempts) == trouble.attempts
    assert len(sandbox.vendor.calls) == len(trouble.attempts), "one request for one attempt"

    bill = sandbox.vendor.bill
    assert await sandbox.vendor.wait_until(lambda: sandbox.vendor.in_flight == 0, timeout_seconds=30)
    assert bill.charged_calls == trouble.charged
    known = sum(a["cost_microusd"] for a in attempts if a["status"] != "unknown")
    uncertain = sum(a["estimate_microusd"] for a in attempts if a["status"] == "unknown")
    assert known <= bill.total_microusd <= known + uncertain
    in_order = sorted(bill.calls, key=lambda line: line["call"])
    of_known_calls = [line for line, a in zip(in_order, attempts, strict=True) if a["status"] != "unknown"]
    assert known == sum(line["cost_microusd"] for line in of_known_calls), "to the micro-dollar"


def test_every_fault_of_the_sandbox_has_its_row() -> None:
    """But for those that stop the whole account, of which `test_outages` tells."""
    of_a_request = FAULTS - OF_ACCOUNT - {Fault.DAILY_QUOTA}
    assert {trouble.script.split()[0] for trouble in TROUBLE} == {fault.value for fault in of_a_request}


def test_the_documentation_tells_the_same() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reliability.md").read_text(encoding="utf-8")
    section = page.partition("## What a vendor can do to us")[2].partition("\n## ")[0]
    documented = [line for line in section.splitlines() if line.startswith("|")][2:]
    assert documented == [trouble.in_documentation() for trouble in TROUBLE]


@pytest.mark.parametrize(
    ("policy", "end", "calls"),
    [(OnUncertain.HOLD, "uncertain", 1), (OnUncertain.FAIL, "failed", 1), (OnUncertain.RETRY_ONCE, "completed", 2)],
)
async def test_the_caller_says_what_an_unknown_outcome_leads_to(
    policy: OnUncertain, end: str, calls: int, pool: asyncpg.Pool, sandbox: RunningSandbox, start_worker: Start
) -> None:
    images = vendor_image("img", "cut x1", on_uncertain=policy)
    accepted = await submit(pool, order(images), run_limit_seconds=3600)
    async with start_worker():
        await ended(pool, accepted.job_id)
    [image] = await images_of(pool, accepted.job_id)
    assert image["status"] == end
    assert len(sandbox.vendor.calls) == calls


async def reach_deadline(pool: asyncpg.Pool, job_id: JobId) -> None:
    """The job's deadline, and with it its run's end, is now; no other clock moves, so that open calls go on."""
    await pool.execute(
        "UPDATE jobs SET deadline_at = safelight.now(), run_ends_at = safelight.now() WHERE id = $1", job_id
    )


async def test_a_vendor_that_cannot_be_reached_costs_nothing_and_burns_nothing(
    pool: asyncpg.Pool, settings: Settings
) -> None:
    """A refused connection is proven unbilled: the image is tried until its run ends, whatever `max_attempts` says."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets the port, and it refuses
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/gemini"
        gone = settings.providers["gemini"].model_copy(update={"base_url": url})
        settings = settings.model_copy(update={"providers": {"gemini": gone}})
        image = vendor_image("img", max_attempts=1)
        accepted = await submit(pool, order(image, on_deadline="fail"), run_limit_seconds=3600)
        async with running(settings):
            await until(pool, "SELECT count(*) > 1 FROM attempts WHERE status = 'unbilled'")
            await reach_deadline(pool, accepted.job_id)
            await ended(pool, accepted.job_id)
    [row] = await images_of(pool, accepted.job_id)
    assert row["status"] == "failed"
    assert row["error"]["kind"] == "DEADLINE"
    attempts = await attempts_of(pool, accepted.job_id)
    assert {(a["status"], a["cost_microusd"]) for a in attempts} == {("unbilled", 0)}


async def test_at_its_run_s_end_an_image_whose_call_is_out_winds_down_and_its_picture_is_kept(
    pool: asyncpg.Pool, sandbox: RunningSandbox, start_worker: Start
) -> None:
    sandbox.vendor.hold()
    images = [vendor_image("paid"), vendor_image("free", "429 60")]
    accepted = await submit(pool, order(*images, on_deadline="fail"), run_limit_seconds=3600)
    async with start_worker():
        assert await sandbox.vendor.wait_until(lambda: sandbox.vendor.in_flight == 2, timeout_seconds=20)
        await reach_deadline(pool, accepted.job_id)
        await until(pool, "SELECT count(*) = 2 FROM images WHERE stop = 'deadline'")
        sandbox.vendor.release()
        await ended(pool, accepted.job_id)
    for row in await images_of(pool, accepted.job_id):
        assert row["status"] == "failed"
        assert row["error"]["kind"] == "DEADLINE"
    assert [a["status"] for a in await attempts_of(pool, accepted.job_id)] == ["received", "unbilled"]
    types = await event_types(pool, accepted.job_id)
    assert types.count("job.deadline_passed") == 1


async def test_a_run_that_ends_early_says_what_its_images_have_cost(pool: asyncpg.Pool, start_worker: Start) -> None:
    scripts = {"paid": "no-image x1; 429 60 x9", "unknown": "cut x1; 429 60 x9", "free": "429 60 x9"}
    images = [vendor_image(name, script) for name, script in scripts.items()]
    accepted = await submit(pool, order(*images, on_deadline="fail"), run_limit_seconds=3600)
    async with start_worker():
        await until(pool, "SELECT count(*) = 3 FROM images WHERE status = 'queued' AND attempt_count > 0")
        await reach_deadline(pool, accepted.job_id)
        await ended(pool, accepted.job_id)
    errors = [row["error"] for row in await images_of(pool, accepted.job_id)]
    assert [(error["kind"], error["billed"]) for error in errors] == [
        ("DEADLINE", "yes"),
        ("DEADLINE", "unknown"),
        ("DEADLINE", "no"),
    ]


@pytest.mark.parametrize("text", ["no \\u0000 way", "no \\ud800 way"])
async def test_a_vendor_s_words_that_no_database_takes_are_an_outcome_all_the_same(
    text: str, pool: asyncpg.Pool, settings: Settings
) -> None:
    calls = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        await reader.readuntil(b"\r\n\r\n")
        body = f'{{"error": {{"code": 400, "status": "INVALID_ARGUMENT", "message": "{text}"}}}}'.encode()
        head = f"HTTP/1.1 400 Bad\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close"
        writer.write(head.encode() + b"\r\n\r\n" + body)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        vendor = settings.providers["gemini"].model_copy(update={"base_url": url})
        accepted = await submit(pool, order(vendor_image("a")), run_limit_seconds=3600)
        async with running(settings.model_copy(update={"providers": {"gemini": vendor}})):
            await ended(pool, accepted.job_id)
    [row] = await images_of(pool, accepted.job_id)
    assert (row["error"]["kind"], row["error"]["billed"]) == ("PERMANENT", "no")
    assert calls == 1


async def test_a_database_that_stumbles_over_an_outcome_does_not_make_it_unknown(
    pool: asyncpg.Pool, sandbox: RunningSandbox, start_worker: Start
) -> None:
    """Somebody holds the job's lock for longer than a statement may wait for it."""
    sandbox.vendor.hold()
    accepted = await submit(pool, order(vendor_image("a", "refuse IMAGE_SAFETY")), run_limit_seconds=3600)
    async with start_worker():
        assert await sandbox.vendor.wait_until(lambda: sandbox.vendor.in_flight == 1, timeout_seconds=20)
        async with pool.acquire() as conn, conn.transaction():
            await conn.execute("SELECT 1 FROM jobs FOR UPDATE")
            await conn.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            sandbox.vendor.release()
            waits = (
                "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%lock_job%'"
            )
            first = f"{waits} AND datname = current_database()"
            await until(pool, first)
            await until(pool, f"SELECT NOT ({first})")  # its patience is over
            await until(pool, first)  # and it tries again
        await ended(pool, accepted.job_id)
    [row] = await images_of(pool, accepted.job_id)
    assert row["status"] == "refused"
    assert len(sandbox.vendor.calls) == 1


@pytest.mark.slow
async def test_a_key_that_was_never_good_ends_its_images_and_one_that_worked_lets_them_wait(
    pool: asyncpg.Pool, sandbox: RunningSandbox, settings: Settings
) -> None:
    bad = settings.providers["gemini"].model_copy(update={"api_key": SecretStr("bad-key")})
    revoked = settings.model_copy(update={"providers": {"gemini": bad}})
    never = await submit(pool, order(vendor_image("never")), run_limit_seconds=3600)
    async with running(revoked):
        await ended(pool, never.job_id)
    [row] = await images_of(pool, never.job_id)
    assert (row["status"], row["error"]["kind"]) == ("failed", "AUTH_ERROR")

    good = await submit(pool, order(vendor_image("good")), run_limit_seconds=3600)
    async with running(settings):
        await ended(pool, good.job_id)
    later = await submit(pool, order(vendor_image("later")), run_limit_seconds=3600)
    async with running(revoked):
        await until(pool, "SELECT attempt_count >= 2 FROM images WHERE job_id = $1", later.job_id)
    [row] = await images_of(pool, later.job_id)
    assert row["status"] == "queued"
    async with running(settings):
        await ended(pool, later.job_id)
    [row] = await images_of(pool, later.job_id)
    assert row["status"] == "completed"
