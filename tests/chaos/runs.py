"""The evidence of a small run in which everything went as promised, to be doctored."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from safelight.chaos.checker import judge
from safelight.chaos.evidence import (
    Attempt,
    Balance,
    Call,
    Entry,
    Event,
    Evidence,
    Hold,
    Image,
    Job,
    Message,
    Payment,
    Reception,
    Rendition,
    Served,
    Sighting,
    StoredObject,
    Submission,
)
from safelight.chaos.verdict import Question

START = datetime(2026, 11, 21, 12, tzinfo=UTC)
PRICE = 30_000


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def image(row_id: int, image_id: str, status: str = "completed", **rest: Any) -> Image:
    return Image(
        row_id=row_id,
        job_id="job_1",
        id=image_id,
        status=status,
        run=rest.pop("run", 1),
        prompts_sha256=(sha256(image_id),),
        max_attempts=3,
        max_rebuys=rest.pop("max_rebuys", 1),
        on_uncertain="retry_once",
        **rest,
    )


def attempt(row_id: int, number: int, status: str, *, begins: float, **rest: Any) -> Attempt:
    """Sent at `begins`, with ten seconds to answer, which takes one."""
    ended = rest.pop("ended", begins + 1)
    return Attempt(
        id=f"att_{row_id}_{number}",
        image_row_id=row_id,
        number=number,
        run=rest.pop("run", 1),
        status=status,
        fingerprint=rest.pop("fingerprint", f"f{row_id}"),
        sent_at=at(begins),
        resolve_at=at(begins + 10),
        ended_at=None if ended is None else at(ended),
        has_handle=rest.pop("has_handle", False),
        estimate_microusd=rest.pop("estimate", 40_000),
        cost_microusd=rest.pop("cost", PRICE if status in ("settled", "received", "no_image") else None),
        error_code=rest.pop("code", None),
        sha256=sha256(f"the picture of {chr(ord('a') + row_id - 1)}") if status in ("settled", "received") else None,
    )


def call(number: int, image_id: str, *, arrives: float, cost: int = PRICE, outcome: str = "ok") -> Call:
    return Call(
        call=number,
        vendor="gemini",
        model="m",
        prompt_sha256=sha256(image_id),
        started_at=at(arrives),
        ended_at=at(arrives + 0.5),
        outcome=outcome,
        cost_microusd=cost,
        pictures_sha256=(sha256(f"the picture of {image_id}"),) if outcome == "ok" else (),
    )


def stored(row_id: int, name: str = "card") -> Rendition:
    key = f"job_1/i{row_id}.{name}-{row_id:08x}{row_id:08x}.jpg"
    return Rendition(row_id=row_id, name=name, key=key, mime="image/jpeg", length=100 + row_id, sha256=sha256(key))


def stored_object(rendition: Rendition) -> StoredObject:
    return StoredObject(
        key=rendition.key, length=rendition.length, sha256=rendition.sha256, mime=rendition.mime, put_at=at(5)
    )


def good_run() -> Evidence:
    """One job of three images: `a` bought at once, `b` after an unknown outcome, `c` refused for nothing; each event
    told to one address, the second one twice."""
    types = ["job.created", "job.started", "image.completed", "image.completed", "image.refused", "job.partial"]
    who = [None, None, "a", "b", "c", None]
    events = [
        Event(job_id="job_1", seq=n, type=kind, image_id=about, at=at(n))
        for n, (kind, about) in enumerate(zip(types, who, strict=True), start=1)
    ]
    receptions = [
        Reception(
            at=at(10 + event.seq),
            message_id=f"msg_{event.seq}",
            endpoint="/hook",
            type=event.type,
            job_id="job_1",
            seq=event.seq,
            image_id=event.image_id,
            answered=200,
        )
        for event in events
    ]
    receptions.insert(1, replace(receptions[1], answered=None))
    renditions = [stored(1), stored(2)]
    return Evidence(
        jobs=[
            Job(id="job_1", account="default", idempotency_key="k1", status="partial", run=1, seq=6, outputs=("card",))
        ],
        images=[image(1, "a"), image(2, "b"), image(3, "c", "refused")],
        attempts=[
            attempt(1, 1, "settled", begins=0),
            attempt(2, 1, "unknown", begins=0, ended=None),
            attempt(2, 2, "settled", begins=20),
            attempt(3, 1, "refused", begins=0, cost=0, code="SAFETY"),
        ],
        events=events,
        submissions=[
            Submission(at=at(0), key="k1", status=None, images=("a", "b", "c"), is_told=True),
            Submission(
                at=at(1),
                key="k1",
                status=202,
                job_id="job_1",
                images=("a", "b", "c"),
                prompts_sha256=(sha256("a"), sha256("b"), sha256("c")),
                is_told=True,
            ),
        ],
        payments=[Payment(at=at(0), account="default", currency="credits", amount=100)],
        bill=[
            call(1, "a", arrives=0.1),
            call(2, "b", arrives=0.1, outcome="cut"),
            call(3, "c", arrives=0.1, cost=0, outcome="refused"),
            call(4, "b", arrives=20.1),
        ],
        objects=[stored_object(each) for each in renditions],
        served=[
            Served(
                job_id="job_1",
                image_id=name,
                status=200,
                length=each.length,
                sha256=each.sha256,
                content_type=each.mime,
            )
            for name, each in zip("ab", renditions, strict=True)
        ],
        receptions=receptions,
        sightings=[Sighting(at=at(1), attempt_id="att_1_1")],
        messages=[
            Message(
                message_id=f"msg_{event.seq}",
                endpoint_id="wh_1",
                type=event.type,
                job_id="job_1",
                seq=event.seq,
                status="delivered",
                attempt_count=1,
            )
            for event in events
        ],
        renditions=renditions,
        holds=[hold(1, "captured"), hold(2, "captured"), hold(3, "released")],
        ledger=[
            entry(1, "top_up", "outside", "available", 100, (100, 0), None),
            entry(2, "hold", "available", "held", 1, (99, 1), 1),
            entry(3, "hold", "available", "held", 1, (98, 2), 2),
            entry(4, "hold", "available", "held", 1, (97, 3), 3),
            entry(5, "capture", "held", "captured", 1, (97, 2), 1),
            entry(6, "capture", "held", "captured", 1, (97, 1), 2),
            entry(7, "release", "held", "available", 1, (98, 0), 3),
        ],
        balances=[Balance(account="default", currency="credits", available=98, held=0, captured=2)],
        queue=[],
    )


def hold(number: int, status: str) -> Hold:
    return Hold(
        id=number,
        account="default",
        currency="credits",
        job_id="job_1",
        image_row_id=number,
        run=1,
        amount=1,
        status=status,
    )


def entry(
    number: int, kind: str, debit: str, credit: str, amount: int, after: tuple[int, int], of: int | None
) -> Entry:
    return Entry(
        id=number,
        account="default",
        currency="credits",
        kind=kind,
        debit=debit,
        credit=credit,
        amount=amount,
        available_after=after[0],
        held_after=after[1],
        hold_id=of,
    )


def doctored(**changes: Callable[[list[Any]], Sequence[Any] | None]) -> Evidence:
    """The good run with some of its files changed."""
    good = good_run()
    changed = {name: change(list(getattr(good, name))) for name, change in changes.items()}
    return replace(good, **changed)


def assert_found(
    question: Question, words: str, changes: dict[str, Callable[[list[Any]], Sequence[Any] | None]]
) -> None:
    """The good run with these changes is broken, and says so under this question in these words."""
    verdict = judge(doctored(**changes))

    findings = verdict.line(question).findings
    assert any(words in found for found in findings), findings
    assert not verdict.is_kept


def but(index: int, **changes: Any) -> Callable[[list[Any]], list[Any]]:
    """The line at that index says something else."""

    def change(rows: list[Any]) -> list[Any]:
        rows[index] = replace(rows[index], **changes)
        return rows

    return change


def told_as(seq: int, kind: str) -> dict[str, Callable[[list[Any]], list[Any]]]:
    """The event is of that type, and all who heard of it heard so."""

    def change(rows: list[Any]) -> list[Any]:
        return [replace(row, type=kind) if row.seq == seq else row for row in rows]

    return dict.fromkeys(("events", "receptions", "messages"), change)


def without(index: int) -> Callable[[list[Any]], list[Any]]:
    return lambda rows: [row for at, row in enumerate(rows) if at != index % len(rows)]


def with_more(*more: Any) -> Callable[[list[Any]], list[Any]]:
    return lambda rows: [*rows, *more]
