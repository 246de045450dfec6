"""How a simulation ends: everybody comes to rest, and then all of it is looked at once more, from outside too."""

from __future__ import annotations

from functools import partial

from safelight.domain.lifecycle import TERMINAL_IMAGE_STATUSES, TERMINAL_JOB_STATUSES
from safelight.engine.queue.sweep import Findings, sweep
from tests.engine.books import assert_books_balance
from tests.simulation.process import Plan
from tests.simulation.vendor import ESTIMATE, Fate, Violation
from tests.simulation.watch import Actor
from tests.simulation.world import TIMING, World

_ROUNDS = 60
_PAUSES_SECONDS = (1.0, 20.0, 100.0, 400.0)


async def come_to_rest(world: World, *, others_go_on: bool) -> None:
    """Every job has ended, whoever was dead by then. With `others_go_on`, those who had stopped finish what they had in
    hand, although it has long been taken from them; else they are gone. Raises Violation."""
    await world.conn.execute("UPDATE installation SET paused_at = NULL, pause_reason = NULL")
    for each in world.processes:
        each.is_frozen = True
    await world.pass_time(200.0)
    await settle_all(world)
    for each in world.processes:
        each.is_frozen = False
    for errand in world.standing if others_go_on else []:
        for _ in range(8):
            if errand.is_over or errand.process.is_dead:
                break
            await world.go_on(errand, _kindly())
    for process in world.processes:
        process.die()
    await world.pass_time(0.0)
    await settle_all(world)
    found = await swept(world)
    _require(found.total == 0, "nothing left to heal", f"{found}")
    await look_at_everything(world)


async def settle_all(world: World) -> None:
    """One worker does all that there is to do, while time passes."""
    process = await world.start_worker()
    for n in range(_ROUNDS):
        found = await swept(world)
        handed_out = await world.admit()
        for hint in await world.hints():
            await world.run(process, "the last worker", partial(world.serve, process, hint), _kindly())
            if process.open_errands:
                stands = [(each.name, each.where) for each in process.open_errands]
                raise Violation(f"every run ends: a worker waits for what has been answered: {stands}")
        if not await _unfinished(world) and not found.total and not handed_out:
            process.die()
            await world.pass_time(TIMING.lease_seconds + 1)
            return
        await world.pass_time(_PAUSES_SECONDS[n % len(_PAUSES_SECONDS)])
    raise Violation(f"every run ends: {await _unfinished(world)}")


async def swept(world: World) -> Findings:
    found = await sweep(world.pool, world.queue, world.shelf, timing=TIMING)
    if found is None:
        raise Violation("a sweep that died keeps its lock")
    await world.model.look(world.conn, Actor(name="sweep", is_sweep=True))
    return found


async def look_at_everything(world: World) -> None:
    """At rest. Raises Violation."""
    await assert_books_balance(world.pool)
    for job_id, job in world.model.jobs.items():
        _require(job.status in TERMINAL_JOB_STATUSES, "accepted is kept", f"{job_id} is {job.status}")
    for status, _ in world.model.images.values():
        _require(status in TERMINAL_IMAGE_STATUSES, "every run ends", f"an image is {status}")
    await _compare_bills(world)
    await _look_at_pictures(world)
    held = await world.conn.fetch(
        "SELECT i.status FROM holds AS h JOIN images AS i ON i.row_id = h.image_row_id WHERE h.status = 'held'"
    )
    _require({row["status"] for row in held} <= {"uncertain"}, "a hold ends once", f"{held}")
    await world.pass_time(TIMING.adoption_window_seconds + 60)
    await swept(world)
    left = await world.conn.fetchval("SELECT count(*) FROM holds WHERE status = 'held'")
    _require(left == 0, "a hold ends once", f"{left} are held for ever")
    _require((await swept(world)).total == 0, "nothing left to heal", "after the window")
    await assert_books_balance(world.pool)


async def _compare_bills(world: World) -> None:
    """Call by call: what is known was charged so; of what is not known, no more than was said."""
    book = {row["id"]: row for row in await world.conn.fetch("SELECT * FROM attempts")}
    for key, call in world.vendors.calls.items():
        row = book[key]
        charged = ESTIMATE if call.cost_microusd is None else call.cost_microusd
        if row["status"] == "unknown" or row["cost_basis"] == "unknown":
            _require(charged <= row["estimate_microusd"], "visible spend", f"{charged} for an unknown call")
        else:
            said = row["cost_microusd"] or 0
            _require(said == charged, "visible spend", f"booked {said}, charged {charged}: {row['status']}, {call}")


async def _look_at_pictures(world: World) -> None:
    """A completed image has its outputs, made of the one call that it was settled with."""
    rows = await world.conn.fetch(
        "SELECT i.row_id, i.status, jsonb_array_length(j.outputs) AS wanted,"
        " (SELECT array_agg(r.key) FROM renditions AS r WHERE r.image_row_id = i.row_id AND NOT r.is_internal) AS keys,"
        " (SELECT count(*) FROM attempts AS a WHERE a.image_row_id = i.row_id AND a.status = 'settled') AS settled"
        " FROM images AS i JOIN jobs AS j ON j.id = i.job_id"
    )
    for row in rows:
        is_completed = row["status"] == "completed"
        _require(row["settled"] == int(is_completed), "pay once", f"{row['settled']} settled calls, {row['status']}")
        keys = row["keys"] or []
        _require(len(keys) == (row["wanted"] if is_completed else 0), "lawful moves", f"{len(keys)} outputs")
        _require(all(key in world.gallery.blobs for key in keys), "no orphans", "an output is not in the store")


async def _unfinished(world: World) -> list[str]:
    rows = await world.conn.fetch(
        "SELECT i.row_id, i.status, i.stop, i.lane, i.not_before - safelight.now() AS wait, i.awaits_parents,"
        " i.admitted_at IS NOT NULL AS admitted FROM images AS i JOIN jobs AS j ON j.id = i.job_id"
        " WHERE i.status IN ('queued', 'processing', 'generating', 'uploading')"
        " OR j.status IN ('pending', 'generating', 'canceling')"
    )
    return [str(dict(row)) for row in rows]


def _kindly() -> Plan:
    return Plan(usual=Fate.PICTURE)


def _require(is_so: bool, promise: str, otherwise: str) -> None:
    if not is_so:
        raise Violation(f"{promise}: {otherwise}")
