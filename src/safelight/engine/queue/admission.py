"""Admission: which queued image goes next, and never more than can start now.

The backlog is our `images` rows; dispatch holds only what was admitted, so priorities, retries and a backlog of any
length never touch it. One admission runs at a time; each is a short transaction of its own that takes no job's lock and
no account's.

What there is goes to accounts by their weights (`domain.fair_share`). So that thousands of accounts cost no more than
some, so many of each model are looked at per admission, and the next ones by the next.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import asyncpg
import orjson
import structlog

from safelight.db.pool import ACQUIRE_SECONDS
from safelight.db.statements import load
from safelight.domain.fair_share import LAG, SLOTS, FairShare, Found, Line, Room, Share
from safelight.domain.ids import ImageRowId
from safelight.engine.queue.dispatch import Admitted, enqueue
from safelight.engine.timing import Timing

_SQL = load("admission")

_GAP_SECONDS = 0.04
"""Between two admissions of one process: images that end together are followed by one admission. Chosen."""

MAX_ACCOUNTS = 32
"""Of each model that are looked at in one admission, unless more than half as many can start. Chosen: to step over so
many takes half a millisecond, and each of them is looked at again soon."""

WIDEST_LOOK = 256
"""Of each model, while nothing that is looked at may begin. Chosen: some milliseconds each second, and of a thousand
accounts whose images are due later one with an image that is due is found within some seconds."""

Where = dict[tuple[str, str], str]
"""By provider and model the account after which an admission begins to look; without one, with the first."""

_Books = Mapping[tuple[str, str], Mapping[str, Any]]
"""By provider and model, what a survey says of the room there and of those who share it."""

log = structlog.get_logger(__name__)


async def admit(
    pool: asyncpg.Pool,
    *,
    max_concurrency: Mapping[str, int],
    requests_per_minute: Mapping[str, int] | None = None,
    lease_seconds: float,
    grace_seconds: float = 15.0,
    where: Where | None = None,
    max_accounts: int = MAX_ACCOUNTS,
) -> int:
    """How many images were handed to dispatch: at most each provider's free concurrency, what its requests per minute
    leave, what each account may have made at once, and the free slots. A provider that is paused gets one image as its
    probe when that is due, or none.

    Calls of any 60 seconds stay within `requests_per_minute`, since an image that was handed out counts as a call until
    it has sent one or come back. Where more than `max_accounts` wait for a model, `where` remembers who was looked at
    last; without it they are always the same.
    """
    limits = requests_per_minute or {}
    where = {} if where is None else where
    async with pool.acquire(timeout=ACQUIRE_SECONDS) as conn, conn.transaction():
        await conn.execute(_SQL.lock_admission)
        rows = await conn.fetch(
            _SQL.survey,
            list(max_concurrency.keys()),
            list(max_concurrency.values()),
            [limits.get(name) for name in max_concurrency],
            lease_seconds,
            max_accounts,
            *_columns(((provider, model, account) for (provider, model), account in where.items()), 3),
        )
        books = {
            (row["provider"], row["model"]): orjson.loads(row["books"]) for row in rows if row["books"] is not None
        }
        _look_on(where, rows, books)
        chosen = await _choose(conn, rows, books) if rows else _NOBODY  # pyright: ignore[reportArgumentType]
        admitted = await conn.fetch(
            _SQL.admit,
            lease_seconds,
            grace_seconds,
            chosen.row_ids,
            chosen.probes,
            *_columns(chosen.turns, 3),
        )
        if admitted:
            await _hand_over(conn, admitted, in_order=chosen.row_ids)  # pyright: ignore[reportArgumentType]
    return len(admitted)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chosen:
    """Images to buy, in order, those of them that are probes, and what the clocks show: provider, account, time."""

    row_ids: Sequence[int] = ()
    probes: Sequence[int] = ()
    turns: Collection[tuple[str, str, float]] = ()


_NOBODY = _Chosen()


async def _choose(conn: asyncpg.Connection, rows: Sequence[Mapping[str, Any]], books: _Books) -> _Chosen:
    """By fair share among all that a survey has found; who begins is locked afterwards."""
    share = _share_among(rows, books)
    while wanted := share.wanted():
        lines = list(wanted)
        found: dict[int, list[Found]] = defaultdict(list)
        for row in await conn.fetch(
            _SQL.candidates,
            *_columns(((each.provider, each.model, each.account, each.urgency[0], wanted[each]) for each in lines), 5),
        ):
            urgency = (row["priority"], row["not_before"], row["job_id"], row["position"])
            found[row["nth"]].append(Found(row_id=row["row_id"], urgency=urgency))
        for nth, line in enumerate(lines, start=1):
            images = sorted(found[nth], key=lambda each: each.urgency)[: wanted[line]]
            share.found(line, images, asked=wanted[line])
    return _Chosen(
        row_ids=[pick.row_id for pick in share.picks],
        probes=[pick.row_id for pick in share.picks if books[pick.line.provider, pick.line.model]["is_shut"]],
        turns=[(turn.provider, turn.account, turn.at) for turn in share.turns],
    )


def _share_among(rows: Sequence[Mapping[str, Any]], books: _Books) -> FairShare:
    """What a survey has found, as what is to be shared."""
    shares: dict[str, Share] = defaultdict(Share)
    rooms: dict[str, Room] = {}
    for (provider, _), each in books.items():
        in_all = each["running_in_all"] or {}
        for account, (weight, cap) in (each["shares"] or {}).items():
            shares[account] = Share(weight=weight, headroom=None if cap is None else cap - in_all.get(account, 0))
        # With the gate of the whole account at the vendor shut, there is room for its probe.
        rooms[provider] = _room(1 if each["is_account_shut"] else each["free"], each["running"], each["turns"])
        rooms[SLOTS] = _room(each["to_buy"], in_all, each["slot_turns"])
    lines = [
        Line(
            provider=row["provider"],
            model=row["model"],
            account=row["account"],
            urgency=(row["priority"], row["not_before"], "", 0),
        )
        for row in rows
    ]
    return FairShare(lines, shares=shares, rooms=rooms, models={at: 1 for at, each in books.items() if each["is_shut"]})


def _room(free: int, running: Mapping[str, int] | None, turns: Mapping[str, float] | None) -> Room:
    return Room(free=free, running=running or {}, turns=turns or {}, turn=(turns or {}).get("", 0.0))


def _look_on(where: Where, rows: Sequence[Mapping[str, Any]], books: _Books) -> None:
    """Where there were more accounts than are looked at, the next admission begins after the last of these. Of a model
    that had no room nobody was looked at, so that it stays as it is."""
    for at in books:
        where.pop(at, None)
    for row in rows:
        at = (row["provider"], row["model"])
        if row["nth"] == books[at]["most"]:
            where[at] = row["account"]


async def _hand_over(conn: asyncpg.Connection, rows: Sequence[Mapping[str, Any]], *, in_order: Sequence[int]) -> None:
    """Each admitted image has a queue row, in the order in which workers should take them."""
    place = {row_id: nth for nth, row_id in enumerate(in_order)}
    in_turn = sorted(
        rows,
        key=lambda row: (
            place.get(row["row_id"], -1),
            row["priority"],
            row["not_before"],
            row["job_id"],
            row["position"],
        ),
    )
    admitted = [
        Admitted(
            row_id=ImageRowId(row["row_id"]),
            generation=row["generation"],
            provider=row["provider"] if row["lane"] == "buy" else None,
        )
        for row in in_turn
    ]
    queue_row_ids = await enqueue(conn, admitted)
    await conn.execute(
        _SQL.note_queue_rows,
        [each.row_id for each in admitted],
        [each.generation for each in admitted],
        queue_row_ids,
    )


def _columns(rows: Iterable[tuple[Any, ...]], width: int) -> list[list[Any]]:
    """Rows as arrays, one for each of their columns; so many also when there is no row."""
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(width)]


async def forget_turns(pool: asyncpg.Pool) -> None:
    """Clocks that say nothing any more are gone."""
    await pool.execute(_SQL.forget_turns, LAG)


class Admission:
    """Runs `admit` when something changed that may let an image start, and once every `admission_seconds`.

    Nudges are coalesced: any number of them while one admission runs, or right after it, lead to one more.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        *,
        max_concurrency: Mapping[str, int],
        requests_per_minute: Mapping[str, int] | None = None,
        timing: Timing,
    ) -> None:
        self._pool = pool
        self._max_concurrency = dict(max_concurrency)
        self._requests_per_minute = dict(requests_per_minute or {})
        self._timing = timing
        self._where: Where = {}
        self._max_accounts = MAX_ACCOUNTS
        self._nudged = asyncio.Event()

    def nudge(self) -> None:
        self._nudged.set()

    async def admit_once(self) -> int:
        """How many images were handed to dispatch. Where there was room and none of those that were looked at could
        begin, twice as many accounts are looked at next time."""
        began_after = dict(self._where)
        handed = await admit(
            self._pool,
            max_concurrency=self._max_concurrency,
            requests_per_minute=self._requests_per_minute,
            lease_seconds=self._timing.lease_seconds,
            grace_seconds=self._timing.grace_seconds,
            where=self._where,
            max_accounts=self._max_accounts,
        )
        if handed:
            self._max_accounts = MAX_ACCOUNTS
        elif self._where != began_after:
            self._max_accounts = min(2 * self._max_accounts, WIDEST_LOOK)
        return handed

    async def run(self) -> None:
        """Until cancelled. A failed admission is logged and tried again with the next nudge or tick."""
        while True:
            self._nudged.clear()
            try:
                await self.admit_once()
            except Exception as error:  # the next tick tries again, whatever it was
                log.warning("admission failed", error=type(error).__name__)
                await asyncio.sleep(min(self._timing.admission_seconds, 0.2))
            await asyncio.sleep(_GAP_SECONDS)
            with suppress(TimeoutError):
                # Not `wait_for`: before Python 3.12 a nudge that comes with a cancellation makes it forget that one.
                async with asyncio.timeout(self._timing.admission_seconds):
                    await self._nudged.wait()
