"""What a simulation sees of the database: every move of a job, an image, an attempt, and every event, in their order.

Triggers write them down in the transaction of the change. After each step they are compared with a model that remembers
what was: from where a move may lead, whose it was, and what may never happen twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

import asyncpg

from safelight.domain.events import JOB_ENDS
from safelight.domain.ids import WorkerId
from safelight.domain.lifecycle import (
    JOB_TRANSITIONS,
    LIVE_IMAGE_STATUSES,
    TERMINAL_JOB_STATUSES,
    ImageStatus,
    JobStatus,
    may_follow,
)
from tests.simulation.vendor import Violation

LEASE_SECONDS = 15.0

_TRIGGERS = f"""
    CREATE SCHEMA sim;
    CREATE UNLOGGED TABLE sim.moves (
        n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, what text, id text, job_id text, was text, becomes text,
        was_token uuid, token uuid, was_worker uuid, worker uuid, owner_lives boolean, same_row boolean,
        run int, seq bigint, fingerprint text);

    CREATE FUNCTION sim.image_moved() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO sim.moves (what, id, job_id, was, becomes, was_token, token, was_worker, worker, owner_lives,
                               same_row, run, fingerprint)
        VALUES ('image', NEW.row_id, NEW.job_id, OLD.status, NEW.status, OLD.claim_token, NEW.claim_token,
                OLD.worker_id, NEW.worker_id, safelight.worker_lives(OLD.worker_id, {LEASE_SECONDS}),
                OLD.queue_row_id IS NOT DISTINCT FROM NEW.queue_row_id, NEW.run, NEW.fingerprint);
        RETURN NULL;
    END $$;
    CREATE TRIGGER zz_sim AFTER UPDATE ON safelight.images FOR EACH ROW
        WHEN ((OLD.status, OLD.claim_token, OLD.run) IS DISTINCT FROM (NEW.status, NEW.claim_token, NEW.run)
              OR OLD.status = 'completed' AND OLD IS DISTINCT FROM NEW)
        EXECUTE FUNCTION sim.image_moved();

    CREATE FUNCTION sim.image_made() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO sim.moves (what, id, job_id, becomes, run)
        VALUES ('image', NEW.row_id, NEW.job_id, NEW.status, NEW.run);
        RETURN NULL;
    END $$;
    CREATE TRIGGER zz_sim_made AFTER INSERT ON safelight.images FOR EACH ROW EXECUTE FUNCTION sim.image_made();

    CREATE FUNCTION sim.job_moved() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO sim.moves (what, id, job_id, was, becomes, run)
        VALUES ('job', NEW.id, NEW.id, CASE WHEN TG_OP = 'UPDATE' THEN OLD.status END, NEW.status, NEW.run);
        RETURN NULL;
    END $$;
    CREATE TRIGGER zz_sim AFTER UPDATE ON safelight.jobs FOR EACH ROW
        WHEN ((OLD.status, OLD.run) IS DISTINCT FROM (NEW.status, NEW.run)) EXECUTE FUNCTION sim.job_moved();
    CREATE TRIGGER zz_sim_made AFTER INSERT ON safelight.jobs FOR EACH ROW EXECUTE FUNCTION sim.job_moved();

    CREATE FUNCTION sim.attempt_moved() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO sim.moves (what, id, was, becomes, token, run, job_id, fingerprint)
        VALUES ('attempt', NEW.id, CASE WHEN TG_OP = 'UPDATE' THEN OLD.status END, NEW.status, NEW.claim_token, NEW.run,
                NEW.image_row_id, NEW.fingerprint);
        RETURN NULL;
    END $$;
    CREATE TRIGGER zz_sim AFTER UPDATE ON safelight.attempts FOR EACH ROW
        WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION sim.attempt_moved();
    CREATE TRIGGER zz_sim_made AFTER INSERT ON safelight.attempts FOR EACH ROW EXECUTE FUNCTION sim.attempt_moved();

    CREATE FUNCTION sim.event_told() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO sim.moves (what, id, job_id, becomes, seq)
        VALUES ('event', NEW.image_id, NEW.job_id, NEW.type, NEW.seq);
        RETURN NULL;
    END $$;
    CREATE TRIGGER zz_sim_made AFTER INSERT ON safelight.events FOR EACH ROW EXECUTE FUNCTION sim.event_told();
"""

_LAWFUL: dict[str | None, set[str]] = {
    None: {"sent"},
    "sent": {"submitted", "received", "settled", "unbilled", "no_image", "refused", "unknown"},
    "submitted": {"received", "settled", "unbilled", "no_image", "refused", "unknown"},
    "unknown": {"submitted", "received", "settled", "unbilled", "no_image", "refused"},
    "received": {"settled", "no_image"},
}
"""Of an attempt. What is settled, or known to have brought nothing, stays so."""

_JOB_MOVES = {(each.source, each.target) for each in JOB_TRANSITIONS}
_LIVE = {each.value for each in LIVE_IMAGE_STATUSES}
_ENDS = {each.value for each in JOB_ENDS}


async def write_down_moves(conn: asyncpg.Connection) -> None:
    """From now on every move in this database is in `sim.moves`."""
    await conn.execute(_TRIGGERS)


@dataclass(slots=True, kw_only=True)
class Actor:
    """Who took the last step: the tokens that it holds, the workers that it is, and whether it may heal."""

    name: str
    tokens: set[UUID] = field(default_factory=set)
    workers: set[WorkerId] = field(default_factory=set)
    is_keeper: bool = False
    """The beat of a worker, which hands back what that worker owns."""
    is_sweep: bool = False


@dataclass(slots=True)
class _Job:
    status: JobStatus
    run: int
    seq: int = 0
    ends_told: int = 0


@dataclass(slots=True)
class Model:
    """What is known of every job, image and attempt, from their moves alone."""

    jobs: dict[str, _Job] = field(default_factory=dict)
    images: dict[str, tuple[str, UUID | None]] = field(default_factory=dict)
    job_of: dict[str, str] = field(default_factory=dict)
    attempts: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    """By id: its status, its image and its fingerprint."""
    _read: int = 0

    async def look(self, conn: asyncpg.Connection, actor: Actor) -> int:
        """Takes in what the last step has moved, and how much that was. Raises Violation."""
        rows = await conn.fetch("SELECT * FROM sim.moves WHERE n > $1 ORDER BY n", self._read)
        for row in rows:
            self._read = row["n"]
            getattr(self, f"_{row['what']}")(row, actor)
        for job in self.jobs.values():
            is_over = job.status in TERMINAL_JOB_STATUSES
            _require(
                job.ends_told == int(is_over), "one terminal event", f"{job.ends_told} of a job that is {job.status}"
            )
        return len(rows)

    def _image(self, row: asyncpg.Record, actor: Actor) -> None:
        was, becomes = row["was"], row["becomes"]
        if was is None:
            self.images[row["id"]] = (becomes, None)
            self.job_of[row["id"]] = row["job_id"]
            return
        _require(self.images[row["id"]] == (was, row["was_token"]), "lawful moves", "the model has missed a move")
        _require(was != "completed", "lawful moves", f"a completed image was changed by {actor.name}")
        is_same = was == becomes and was not in _LIVE
        _require(is_same or may_follow(ImageStatus(was), ImageStatus(becomes)), "lawful moves", f"{was} -> {becomes}")
        if was in _LIVE:
            _require(self._may_write(row, actor), "fenced writes", f"{was} -> {becomes} by {actor.name}")
        if becomes == "processing":
            actor.tokens.add(row["token"])
        self.images[row["id"]] = (becomes, row["token"])

    def _may_write(self, row: asyncpg.Record, actor: Actor) -> bool:
        """Of an image that somebody owns: its owner may, and whoever takes it over from one that is lost."""
        if row["was_token"] in actor.tokens:
            return True
        if row["becomes"] == "processing" and row["worker"] in actor.workers:
            return not row["owner_lives"] or row["same_row"]
        if row["becomes"] == "queued" and actor.is_sweep:
            return not row["owner_lives"]
        return actor.is_keeper and row["was_worker"] in actor.workers

    def _job(self, row: asyncpg.Record, actor: Actor) -> None:
        becomes = JobStatus(row["becomes"])
        if row["was"] is None:
            self.jobs[row["id"]] = _Job(becomes, row["run"])
            return
        job = self.jobs[row["id"]]
        was = JobStatus(row["was"])
        _require(job.status == was, "lawful moves", "the model has missed a job's move")
        _require(was == becomes or (was, becomes) in _JOB_MOVES, "lawful moves", f"job {was} -> {becomes}")
        if was in TERMINAL_JOB_STATUSES and becomes not in TERMINAL_JOB_STATUSES:
            _require(row["run"] > job.run, "one terminal event", "a job went on in a run that had ended")
            job.ends_told = 0
        if becomes in TERMINAL_JOB_STATUSES:
            open_images = [
                i for i, of in self.job_of.items() if of == row["id"] and self.images[i][0] in {*_LIVE, "queued"}
            ]
            _require(not open_images, "accepted is kept", f"a job is {becomes} with images that are not")
        job.status, job.run = becomes, row["run"]

    def _event(self, row: asyncpg.Record, actor: Actor) -> None:
        job = self.jobs[row["job_id"]]
        _require(row["seq"] == job.seq + 1, "one terminal event", f"event {row['seq']} after {job.seq}")
        job.seq = row["seq"]
        if row["becomes"] in _ENDS:
            job.ends_told += 1

    def _attempt(self, row: asyncpg.Record, actor: Actor) -> None:
        was, becomes, image = row["was"], row["becomes"], row["job_id"]
        _require(becomes in _LAWFUL.get(was, set()), "a paid fact is a fact", f"attempt {was} -> {becomes}")
        if was is None:
            _require(row["token"] in actor.tokens, "fenced writes", f"an attempt under a stale token, by {actor.name}")
            for status, of, fingerprint in self.attempts.values():
                if of == image:
                    _require(status not in ("sent", "submitted"), "intent before money", "two open attempts")
                    is_received = status in ("received", "settled") and fingerprint == row["fingerprint"]
                    _require(not is_received, "pay once", "an attempt after a receipt")
        self.attempts[row["id"]] = (becomes, image, row["fingerprint"])


def _require(is_so: bool, promise: str, otherwise: str) -> None:
    if not is_so:
        raise Violation(f"{promise}: {otherwise}")
