"""What the database knows about the health of an installation. Everything here reads, in one read-only transaction,
so it is safe at any time, whoever works meanwhile; the sweep is what heals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import asyncpg

from safelight.db.checkup import server_checks, unreachable
from safelight.db.pool import CONNECTION_LOST, connect
from safelight.db.statements import load
from safelight.domain.attempts import AttemptStatus
from safelight.domain.checkup import Check, Verdict, worst
from safelight.domain.money import format_usd
from safelight.domain.stuck import remedy_of
from safelight.engine.accounts.audit import books_check
from safelight.engine.queue import dispatch
from safelight.engine.queue.sweep import PATIENCE_WITH_LIMIT_SECONDS, Findings
from safelight.engine.schedules.checkup import schedule_check
from safelight.engine.timing import Timing
from safelight.engine.upkeep.stuck import Bounds, Suspect, suspects
from safelight.storage.staging import Receipt

AREA = "work"

_SQL = load("doctor")
_SWEEP = load("sweep")
_FALLBACK = load("fallback")
_REFERENCES = load("references")
_CHARGE = load("charge")

_SHOULD_MOVE_SECONDS = 60.0

MEANINGS: Mapping[str, str] = {
    "receipts": "staged pictures without a receipt in the database",
    "unknown": "calls that can no longer answer and are not booked yet",
    "orphans": "images whose worker is gone",
    "lost_hints": "admitted images whose queue row is lost",
    "stopped": "queued images that were asked to stop",
    "deadlines": "jobs past their deadline that have not said so",
    "overdue": "jobs past their end with open images",
    "unreleased": "jobs with images that await pictures which have come or never will",
    "adopted": "ended images with a paid picture that they do not use",
    "unsettled": "open jobs whose images have all ended",
    "released": "holds that nothing awaits any more",
    "moved_on": "waiting images that could go to another provider than their paused one",
    "leftovers": "staged files that nothing needs any more",
}
"""Each of the sweep's findings, in words."""

_MEND = (
    "When the vendor is down, wait: it goes on by itself. A revoked key or an empty balance is yours to mend; then "
    "start the workers again."
)

_UNBOOKED = (AttemptStatus.SENT, AttemptStatus.SUBMITTED, AttemptStatus.UNKNOWN)
"""What a staged picture proves wrong: its call was answered."""

_LOST = (asyncpg.PostgresError, TimeoutError, *CONNECTION_LOST)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseReport:
    """`checks` as far as they could be made. `store_markers` and `server_version` are None without an answer."""

    checks: tuple[Check, ...]
    store_markers: str | None = None
    server_version: str | None = None


async def examine(
    dsn: str,
    *,
    receipts: Sequence[Receipt],
    max_concurrency: Mapping[str, int],
    requests_per_minute: Mapping[str, int] | None = None,
    timing: Timing,
) -> DatabaseReport:
    """The server at `dsn`, then the work in it. `receipts` are those in the staging folder; the bounds are those that
    admission goes by."""
    bounds = Bounds(max_concurrency=max_concurrency, requests_per_minute=requests_per_minute or {})
    try:
        conn = await connect(dsn, application_name="safelight doctor", timeout_seconds=5)
    except (*_LOST, ValueError, OverflowError) as error:
        return DatabaseReport(checks=(unreachable(error),))
    try:
        async with conn.transaction(isolation="repeatable_read", readonly=True):
            return await _examined(conn, receipts, bounds, timing)
    except _LOST as error:
        return DatabaseReport(checks=(unreachable(error),))
    finally:
        conn.terminate()


async def unhealed(conn: asyncpg.Connection, receipts: Sequence[Receipt], *, timing: Timing) -> Findings:
    """What the sweep would heal if it ran now; nothing is changed. One ill may hide behind another: a job that only
    the healing of its images makes ready to end is not counted yet."""
    staged = [receipt.attempt_id for receipt in receipts]
    attempts = await conn.fetch(_SWEEP.attempts_of_receipts, staged, timing.lease_seconds)
    paid = [each["status"] for each in attempts if not each["in_hand"] and each["status"] in _UNBOOKED]
    unwanted = [
        each for each in attempts if not each["in_hand"] and each["status"] not in _UNBOOKED and not _is_wanted(each)
    ]
    return Findings(
        receipts=len(paid),
        leftovers=len(unwanted),
        unknown=await conn.fetchval(_SQL.overdue_calls) or 0,
        orphans=await _without_queue_row(conn, "is_long_dead", _SWEEP.orphans, timing.lease_seconds),
        lost_hints=await _without_queue_row(
            conn, "is_stale", _SWEEP.admitted, timing.admission_seconds, 2 * timing.lease_seconds
        ),
        stopped=len(await conn.fetch(_SWEEP.stopped_in_queue)),
        deadlines=len(await conn.fetch(_SWEEP.jobs_past_deadline)),
        overdue=len(await conn.fetch(_SWEEP.jobs_past_end)),
        unreleased=len(await conn.fetch(_REFERENCES.unsettled_children)),
        adopted=len(await conn.fetch(_SWEEP.late_receipts)),
        unsettled=len(await conn.fetch(_SWEEP.unsettled_jobs)),
        released=len(await conn.fetch(_CHARGE.late_holds, timing.adoption_window_seconds)),
        moved_on=len(await conn.fetch(_FALLBACK.waiting_at_shut_gates, PATIENCE_WITH_LIMIT_SECONDS)),
    )


async def _examined(
    conn: asyncpg.Connection, receipts: Sequence[Receipt], bounds: Bounds, timing: Timing
) -> DatabaseReport:
    server_version, checks = await server_checks(conn)
    if worst(checks) is Verdict.PROBLEM:
        return DatabaseReport(checks=tuple(checks), server_version=server_version)
    installation = await conn.fetchrow(_SQL.installation)
    assert installation is not None
    if installation["clock_shift_seconds"]:
        checks.append(
            _check(
                "clock shift",
                Verdict.PROBLEM,
                f"`safelight.now()` is shifted by {installation['clock_shift_seconds']:g} s",
                "Leases and deadlines go by a clock that only tests should move.",
                "Stop everything, then `UPDATE safelight.installation SET clock_shift = '0'`.",
            )
        )
    if installation["paused_seconds"] is not None:
        checks.append(
            _check(
                "pause",
                Verdict.WARNING,
                f"buying was paused {_ago(installation['paused_seconds'])}: {installation['pause_reason']}",
                "What is bought already is finished; images that have to be bought wait.",
                "Run `safelight queue resume` when the reason is gone.",
            )
        )
    workers = await conn.fetch(_SQL.workers, timing.lease_seconds)
    is_served = any(worker["lives"] for worker in workers)
    gates = await conn.fetch(_SQL.closed_gates)
    checks += [
        _workers(workers),
        await _backlog(conn, gates, bounds, timing),
        _stuck(await suspects(conn, bounds, lease_seconds=timing.lease_seconds, for_seconds=timing.stuck_seconds)),
        *(_gate(gate) for gate in gates),
        await _unknown_calls(conn),
        _sweep(await unhealed(conn, receipts, timing=timing), is_served=is_served, timing=timing),
    ]
    if schedules := await schedule_check(conn, area=AREA):
        checks.append(schedules)
    if (books := await books_check(conn, area=AREA)) is not None:
        checks.append(books)
    if strangers := await _strangers(conn, receipts):
        checks.append(strangers)
    return DatabaseReport(
        checks=tuple(checks), store_markers=installation["store_marker"], server_version=server_version
    )


def _workers(workers: Sequence[asyncpg.Record]) -> Check:
    alive = [worker for worker in workers if worker["lives"]]
    draining = sum(worker["draining"] for worker in alive)
    silent = len(workers) - len(alive)
    if not alive:
        last = f"; the last one was heard {_ago(workers[0]['silent_seconds'])}" if workers else ""
        return _check(
            "workers",
            Verdict.WARNING,
            f"no worker lives{last}",
            "Jobs are accepted and wait.",
            "Run `safelight serve`, or `safelight worker` beside your API.",
        )
    newest = alive[0]
    found = (
        f"{len(alive)} alive with {sum(worker['slots'] for worker in alive)} slots, "
        f"last beat {_ago(newest['silent_seconds'])} from {newest['host']} (process {newest['pid']})"
    )
    if draining == len(alive):
        return _check(
            "workers",
            Verdict.WARNING,
            f"{found}; all of them are draining",
            "They finish what they sent and take nothing new.",
            "Start a worker when they have stopped.",
        )
    more = (f"; {draining} draining" if draining else "") + (f"; {silent} gone without signing off" if silent else "")
    return _check("workers", Verdict.OK, found + more)


async def _backlog(conn: asyncpg.Connection, gates: Sequence[asyncpg.Record], bounds: Bounds, timing: Timing) -> Check:
    counts = await conn.fetchrow(_SQL.backlog)
    assert counts is not None
    found = f"{counts['queued']} images queued, {counts['in_work']} in work"
    image = await conn.fetchrow(_SQL.longest_waiting, timing.lease_seconds)
    if image is None:
        return _check("backlog", Verdict.OK, found)
    verdict, why, remedy = _why_it_waits(image, _gate_of(image, gates), bounds)
    return _check(
        "backlog",
        verdict,
        f"{found}; `{image['id']}` of {image['job_id']} has waited longest, {_span(image['waited_seconds'])}",
        why,
        remedy,
    )


def _stuck(found: Sequence[Suspect]) -> Check:
    """Of work that stands still, what has done so for longest."""
    if not found:
        return _check("stuck", Verdict.OK, "nothing stands still without a reason")
    longest, others = found[0], f", and {len(found) - 1} more" if len(found) > 1 else ""
    return _check(
        "stuck",
        Verdict.PROBLEM if longest.has_workers else Verdict.WARNING,
        f"`{longest.id}` of {longest.job_id} ({longest.status}) has stood still for {_span(longest.seconds)}{others}",
        longest.why,
        remedy_of(longest.cause, provider=longest.provider, has_workers=longest.has_workers),
    )


def _gate(gate: asyncpg.Record) -> Check:
    """A gate that keeps calls back."""
    name = f"gate {gate['provider']}" + (f" {gate['model']}" if gate["model"] else "")
    who = f"`{gate['provider']}`" + (f", model `{gate['model']}`," if gate["model"] else "")
    if not gate["is_shut"]:
        return _check(name, Verdict.OK, f"{who} limits its rate: no call for {_span(gate['limited_seconds'])}")
    said = f" ({gate['message']})" if gate["message"] else ""
    return _check(
        name,
        Verdict.WARNING,
        f"{who} has been paused for {_span(gate['shut_seconds'])}: {gate['code']}{said}",
        f"Its images wait or fall back; {_next_probe(gate)}.",
        _MEND,
    )


def _next_probe(gate: asyncpg.Record) -> str:
    if gate["is_probing"]:
        return "one of them tries it just now"
    seconds = max(gate["probe_seconds"], gate["limited_seconds"] or 0.0)
    return f"next probe in {_span(seconds)}" if seconds > 0 else "the next of them tries it"


def _gate_of(image: asyncpg.Record, gates: Sequence[asyncpg.Record]) -> asyncpg.Record | None:
    """The gate that this image waits behind: a shut one before one that only limits the rate."""
    mine = [each for each in gates if each["provider"] == image["provider"] and each["model"] in ("", image["model"])]
    return min(mine, key=lambda each: not each["is_shut"], default=None)


def _why_it_waits(image: asyncpg.Record, gate: asyncpg.Record | None, bounds: Bounds) -> tuple[Verdict, str, str]:
    """In the order in which the engine asks."""
    provider = image["provider"]
    calls_allowed = bounds.max_concurrency.get(provider)
    calls_a_minute = bounds.requests_per_minute.get(provider)
    # `is_late`: with nothing in its way, admission would have taken it by now.
    is_late = min(image["waited_seconds"], -image["waits_seconds"]) > _SHOULD_MOVE_SECONDS
    if image["is_to_stop"]:
        return Verdict.OK, "It was asked to stop and ends with the next sweep.", ""
    if (seconds := image["answer_open_seconds"]) is not None and seconds > 0:
        return Verdict.OK, f"An earlier call for it may still answer for {_span(seconds)}.", ""
    if image["is_at_vendor"]:
        return Verdict.OK, f"`{provider}` works on it, and is asked how it stands.", ""
    if image["awaits_parents"]:
        return Verdict.OK, "It awaits the pictures of images that it references.", ""
    if (seconds := image["waits_seconds"]) > 0 and image["is_job_not_due"]:
        return Verdict.OK, f"Its job is not to begin for another {_span(seconds)}.", ""
    if seconds > 0:
        return Verdict.OK, f"It is to be tried again in {_span(seconds)}.", ""
    if image["is_paused"]:
        return Verdict.OK, "Buying is paused.", ""
    if not image["slots"]:
        return Verdict.WARNING, "No worker takes new images.", "Start a worker."
    if not image["serves_provider"]:
        return (
            Verdict.PROBLEM,
            f"No living worker knows provider `{provider}`.",
            f"Configure `{provider}` where the workers run and start them again, or cancel the job.",
        )
    if image["is_admitted"] and not is_late:
        return Verdict.OK, "It was handed to a worker just now.", ""
    if gate is not None and gate["is_shut"]:
        since = _span(gate["shut_seconds"])
        why = f"Provider `{provider}` has been paused for {since}: {gate['code']}; {_next_probe(gate)}."
        return Verdict.WARNING, why, _MEND
    if gate is not None:
        return Verdict.OK, f"`{provider}` limits its rate: no call for {_span(gate['limited_seconds'])}.", ""
    if calls_allowed is not None and image["provider_calls"] >= calls_allowed:
        return Verdict.OK, f"All {calls_allowed} calls that `{provider}` allows at once are in use.", ""
    if calls_a_minute is not None and image["minute_calls"] >= calls_a_minute:
        return Verdict.OK, f"All {calls_a_minute} calls that `{provider}` is given in a minute are used.", ""
    if image["slots_taken"] >= image["slots"]:
        return Verdict.OK, f"All {image['slots']} slots of the living workers are in use.", ""
    if image["provider_slots_taken"] >= image["provider_slots"]:
        slots = image["provider_slots"]
        return Verdict.OK, f"All {slots} slots of the living workers that know `{provider}` are in use.", ""
    if is_late:
        return (
            Verdict.PROBLEM,
            "Nothing stands in its way, and yet nobody takes it.",
            "Look for `admission failed` or `intake lost` in the logs of API and workers.",
        )
    return Verdict.OK, "It goes next.", ""


async def _unknown_calls(conn: asyncpg.Connection) -> Check:
    row = await conn.fetchrow(_SQL.unknown_calls)
    assert row is not None
    if not row["calls"]:
        return _check("unknown outcomes", Verdict.OK, "no call of the last day lost its outcome")
    at_most = row["at_most_microusd"]
    bound = f"at most ${format_usd(at_most)}" if at_most is not None else "an amount that nobody knows"
    return _check(
        "unknown outcomes",
        Verdict.WARNING,
        f"{row['calls']} calls of the last day lost their outcome: {bound} may have been billed",
        "Their answers never came: a worker was killed, a connection broke, or the vendor fell silent.",
        "Compare with the vendor's own bill; `safelight jobs list` shows the jobs.",
    )


def _sweep(findings: Findings, *, is_served: bool, timing: Timing) -> Check:
    if not findings.total:
        return _check("sweep", Verdict.OK, "nothing is left to heal")
    counts = {name: count for name, count in asdict(findings).items() if count}
    return _check(
        "sweep",
        Verdict.WARNING,
        "; ".join(f"{count} {MEANINGS[name]}" for name, count in counts.items()),
        "A crash or a stop left it behind, or it happened just now.",
        f"A worker heals it within {timing.sweep_seconds:g} s. Look at its log when it stays."
        if is_served
        else "Start a worker, which heals it.",
    )


async def _strangers(conn: asyncpg.Connection, receipts: Sequence[Receipt]) -> Check | None:
    """Staged pictures of attempts that the database does not have."""
    staged = [receipt.attempt_id for receipt in receipts]
    known = {row["id"] for row in await conn.fetch(_SQL.known_attempts, staged)}
    strangers = [receipt for receipt in receipts if receipt.attempt_id not in known]
    if not strangers:
        return None
    jobs = sorted({receipt.job_id for receipt in strangers})
    return _check(
        "strangers",
        Verdict.WARNING,
        f"{len(strangers)} staged pictures belong to calls that the database does not know, of {', '.join(jobs[:3])}"
        + (f" and {len(jobs) - 3} more jobs" if len(jobs) > 3 else ""),
        "The database was restored from before they were bought. Their images may be bought once more.",
        "Run `safelight serve --after-restore`, which uses those that an image still waits for.",
    )


def _is_wanted(attempt: asyncpg.Record) -> bool:
    return attempt["status"] == AttemptStatus.RECEIVED and attempt["is_needed"]


async def _without_queue_row(conn: asyncpg.Connection, given_up: str, question: str, *seconds: float) -> int:
    """How many of the images that the question finds no queue row will bring back; `given_up` is the column that says
    so of a row that is there."""
    rows = await conn.fetch(question, *seconds)
    present = await dispatch.present(conn, [row["queue_row_id"] for row in rows if row["queue_row_id"] is not None])
    return sum(row["queue_row_id"] not in present or row[given_up] for row in rows)


def _check(name: str, verdict: Verdict, found: str, meaning: str = "", remedy: str = "") -> Check:
    return Check(area=AREA, name=name, verdict=verdict, found=found, meaning=meaning, remedy=remedy)


def _ago(seconds: float) -> str:
    return f"{_span(seconds)} ago"


def _span(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min`, `5 h`, `2 days`."""
    if seconds < 10:
        return f"{max(seconds, 0):.1f} s"
    for unit, length in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
