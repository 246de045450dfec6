"""What alerts have to tell reaches an operator's services, whoever dies meanwhile and whatever hangs, and says no more
than it should."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator

import asyncpg
import psutil
import pytest
from structlog.testing import capture_logs

from safelight.delivery.notices import AlertsExtraMissing, Note, Notifier, Services, require_extra, send
from safelight.engine.pause import pause, resume
from tests.delivery.receiver import Receiver, hang, receiving, status
from tests.engine.alarms import CANARY, Tower, call, end_images, job_of
from tests.engine.by_hand import pass_time

BASE = "https://images.example"
SECRET = "canary-secret-in-an-address"


@pytest.fixture
async def desk() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


def address(receiver: Receiver, path: str = "/hook") -> str:
    return f"json://operator:{SECRET}@127.0.0.1:{receiver.port}{path}"


def notifier(pool: asyncpg.Pool, *urls: str, send_seconds: float = 20.0, **more: object) -> Notifier:
    services = Services(everything=urls, **more)  # pyright: ignore[reportArgumentType]
    return Notifier(pool, services, base_url=BASE, send_seconds=send_seconds)


async def fire(pool: asyncpg.Pool) -> Tower:
    """Buying has been paused for long, and images have failed."""
    tower = Tower(pool=pool).only("queue_paused", "success_rate", "uncertain_spend")
    job_id = await job_of(pool, 12)
    await call(pool, job_id, "unknown")
    await end_images(pool, job_id, "failed", first=0, last=11)
    await pause(pool, reason=CANARY)
    assert len(await tower.look(after_seconds=800)) == 2
    assert len(await tower.look(after_seconds=3000)) == 1
    return tower


async def statuses(pool: asyncpg.Pool) -> list[str]:
    return [row["status"] for row in await pool.fetch("SELECT status FROM alert_messages ORDER BY id")]


async def test_what_is_told_says_what_since_when_and_what_to_do_and_nothing_that_is_secret_by_one_of_two_senders(
    pool: asyncpg.Pool, desk: Receiver
) -> None:
    tower = await fire(pool)
    await resume(pool)
    await tower.until_over()
    with capture_logs() as logs:
        tried = await asyncio.gather(*(notifier(pool, address(desk)).send_due() for _ in range(2)))
    assert sorted(tried) == [0, 4]
    critical, _, paused, over = [json.loads(each.body) for each in desk.messages]
    assert critical["title"] == "[critical] This installation brings too few pictures"
    assert critical["type"] == "failure"
    assert (paused["title"], paused["type"]) == ("[warning] Buying is paused", "warning")
    assert (over["title"], over["type"]) == ("[resolved] Buying is paused", "success")
    for part in (
        "Nothing has been bought for 63 min (warning after 60 min).",
        "Since 20",
        "What to do: `safelight queue show` says why",
        "More: docs/troubleshooting.md#an-image-does-not-move",
        f"{BASE}/dashboard/queue",
    ):
        assert part in paused["message"]
    sent = b"".join(each.body for each in desk.messages).decode()
    assert CANARY not in sent + str(logs)
    assert SECRET not in sent + str(logs)
    assert await statuses(pool) == ["sent"] * 4
    assert all(alert.notified_at for alert in await tower.shown())


async def test_a_service_that_hangs_keeps_nobody_from_looking_and_a_sender_that_dies_meanwhile_loses_nothing(
    pool: asyncpg.Pool, desk: Receiver
) -> None:
    tower = await fire(pool)
    with desk.answering(hang):
        sending = asyncio.create_task(notifier(pool, address(desk)).run())
        await desk.has(1)
        await resume(pool)
        assert await tower.look() == []
        assert [alert.clear_since is not None for alert in await tower.shown()] == [False, False, True]
        sending.cancel()
        await asyncio.wait([sending])
    assert [child for child in psutil.Process().children() if "notice_child" in " ".join(child.cmdline())] == []
    assert await notifier(pool, address(desk)).send_due() == 0, "whoever has them may still be at it"
    await pass_time(pool, 51)
    before = len(desk.messages)
    assert await notifier(pool, address(desk)).send_due() == 3
    assert len(desk.messages) - before == 3
    assert await statuses(pool) == ["sent"] * 3


async def test_a_service_that_does_not_take_it_is_asked_again_and_one_that_has_is_not(
    pool: asyncpg.Pool, desk: Receiver
) -> None:
    tower = Tower(pool=pool).only("queue_paused")
    await pause(pool, reason="x")
    await tower.look(after_seconds=3700)
    async with receiving() as mute, receiving() as broken:
        mute.answer, broken.answer = hang, status(500, body=SECRET.encode())
        sender = notifier(pool, address(mute) + "?rto=1", address(desk), address(broken), "nonsense://x")
        with capture_logs() as logs:
            assert await sender.send_due() == 1
        assert SECRET not in str(logs)
        row = await pool.fetchrow("SELECT status, accepted, error FROM alert_messages")
        assert row is not None
        assert (row["status"], row["accepted"]) == ("pending", ["json-2"])
        assert row["error"] == (
            "json-1: it was not accepted; json-3: it was not accepted (status 500); "
            "nonsense-1: its address is none that Apprise can read"
        )
        assert await sender.send_due() == 0, "not before its pause is over"
        mute.answer = broken.answer = status(204)
        await pass_time(pool, 16)
        assert await notifier(pool, address(mute), address(desk), address(broken)).send_due() == 1
        assert (len(desk.messages), len(mute.messages), len(broken.messages)) == (1, 2, 2)
    assert await statuses(pool) == ["sent"]


async def test_nobody_hears_that_it_began_after_they_have_heard_that_it_is_over(
    pool: asyncpg.Pool, desk: Receiver
) -> None:
    tower = Tower(pool=pool).only("queue_paused")
    await pause(pool, reason="x")
    await tower.look(after_seconds=3700)
    async with receiving() as other:
        sender = notifier(pool, address(desk), address(other))
        other.answer = desk.answer = status(500)
        assert await sender.send_due() == 1
        desk.answer = status(204)
        await resume(pool)
        assert await tower.until_over() == ["resolved warning queue_paused"]
        later = "UPDATE alert_messages SET due_at = safelight.now() + interval '5 minutes' WHERE kind = 'firing'"
        await pool.execute(later)
        desk.messages.clear()
        assert await sender.send_due() == 1
        other.answer = status(204)
        await pass_time(pool, 301)
        assert await sender.send_due() == 2

    def titles(receiver: Receiver) -> list[str]:
        return [json.loads(each.body)["title"] for each in receiver.messages]

    assert titles(desk) == ["[resolved] Buying is paused"]
    assert titles(other)[-2:] == ["[warning] Buying is paused", "[resolved] Buying is paused"]
    assert await statuses(pool) == ["sent"] * 2


async def test_nobody_hears_that_it_is_over_after_they_have_heard_that_it_is_back(
    pool: asyncpg.Pool, desk: Receiver
) -> None:
    tower = Tower(pool=pool).only("queue_paused")
    sender = notifier(pool, address(desk))
    await pause(pool, reason="x")
    await tower.look(after_seconds=3700)
    assert await sender.send_due() == 1
    desk.answer = status(500)
    await resume(pool)
    assert await tower.until_over() == ["resolved warning queue_paused"]
    assert await sender.send_due() == 1
    await pool.execute("UPDATE alert_messages SET due_at = safelight.now() + interval '9 h' WHERE status = 'pending'")
    await pause(pool, reason="x")
    assert await tower.look(after_seconds=3700) == ["firing warning queue_paused"]
    desk.answer = status(204)
    desk.messages.clear()
    assert await sender.send_due() == 1
    await pass_time(pool, 33_000)
    assert await sender.send_due() == 1
    assert [json.loads(each.body)["title"] for each in desk.messages] == ["[warning] Buying is paused"]
    assert await statuses(pool) == ["sent"] * 3


async def test_what_nobody_wants_is_done_with_and_what_nobody_took_for_a_day_is_given_up(
    pool: asyncpg.Pool, desk: Receiver
) -> None:
    await fire(pool)
    assert await notifier(pool, by_rule={"success_rate": []}).send_due() == 3
    assert await statuses(pool) == ["sent"] * 3
    await pool.execute("UPDATE alert_messages SET status = 'pending', ended_at = NULL")
    await pass_time(pool, 86_500)
    assert await notifier(pool, address(desk)).send_due() == 3
    assert await statuses(pool) == ["dead"] * 3
    assert desk.messages == []


def test_who_hears_of_what() -> None:
    services = Services(everything=["a://1", "a://2"], critical=["b://1"], by_rule={"budget": ["c://1"], "stuck": []})
    assert services.named == {"a-1": "a://1", "a-2": "a://2", "b-1": "b://1", "c-1": "c://1"}
    assert services.hearing("queue_paused", "warning") == ["a-1", "a-2"]
    assert services.hearing("queue_paused", "critical") == ["a-1", "a-2", "b-1"]
    assert services.hearing("budget", "warning") == ["c-1"]
    assert services.hearing("stuck", "warning") == []
    assert "a://1" not in repr(services)


async def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    require_extra()
    monkeypatch.setitem(sys.modules, "apprise", None)  # as where it is not installed
    with pytest.raises(AlertsExtraMissing, match=r"pip install 'safelight\[alerts\]'"):
        require_extra()


async def test_what_was_not_answered_in_time_is_not_taken_for_sent_and_nothing_of_it_is_left(desk: Receiver) -> None:
    note = Note(id=1, to=["json-1"], title="t", body="b", kind="info")
    desk.answer = hang
    [result] = await send([note], {"json-1": address(desk)}, within_seconds=0.01)
    assert result.why == "it did not answer within 0.01 s"
    assert [child for child in psutil.Process().children() if "notice_child" in " ".join(child.cmdline())] == []
