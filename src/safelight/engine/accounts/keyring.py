"""Who a request's key belongs to, with a database that is asked now and then.

What was found is remembered for some seconds, so that polling costs no second statement; a revoked key is refused
everywhere before five have passed. What is remembered is bounded, unknown keys apart from known ones: whoever makes
keys up pushes nobody else's out.
"""

from __future__ import annotations

import hmac
import time
from dataclasses import dataclass
from typing import Any

import asyncpg

from safelight.db.statements import load
from safelight.domain.access import ANYBODY, Caller, KeyScope
from safelight.domain.keys import KeyId, digest_of, id_in

FRESH_SECONDS, GOOD_SECONDS = 2.0, 4.0
"""After the first somebody looks again, and others go by what is known until the second at most. Chosen: a revoked key
is refused within five, which leaves a second to look."""

MOST_KEYS = 10_000
"""Remembered, of each kind. Chosen: some 5 MB."""

_SQL = load("keys")
_NOBODY = bytes(32)


@dataclass(slots=True, kw_only=True)
class _Entry:
    """What the database said, when it was asked at `asked_at`. `caller` is None for a key that is refused."""

    digest: bytes
    caller: Caller | None
    fresh_until: float
    good_until: float
    is_being_renewed: bool = False


class Keyring:
    """The keys of one installation, as one process knows them.

    `may_run_open`: nobody but this machine can reach the process, so that it needs no keys until there is one.
    """

    def __init__(self, pool: asyncpg.Pool, *, acquire_seconds: float, may_run_open: bool) -> None:
        self._pool = pool
        self._acquire_seconds = acquire_seconds
        self._may_run_open = may_run_open
        self._open_until = self._open_fresh_until = float("-inf")
        self._is_looking = False
        self._times_told = 0
        self._known: dict[KeyId, _Entry] = {}
        self._unknown: dict[KeyId, _Entry] = {}

    @property
    def needs_keys(self) -> bool:
        """Whether callers have to have one, as far as this process has found out by now."""
        return not self._may_run_open

    async def caller(self, key: str | None) -> Caller | None:
        """Who calls with this key, or without one; None: nobody who may. Raises what the database raises.

        Keys that are unknown, revoked, expired, or that have another secret take the same steps to be refused.
        """
        if await self._is_open():
            return ANYBODY
        key_id = id_in(key) if key is not None else None
        if key is None or key_id is None:
            return None
        digest = digest_of(key)
        entry = await self._entry(key_id, digest)
        is_right = hmac.compare_digest(entry.digest, digest)
        return entry.caller if is_right else None

    def forget(self, key_id: str | None = None) -> None:
        """This process asks again for the key at its next use, and whether there are keys; what is being asked just now
        is not remembered."""
        self._times_told += 1
        self._open_until = self._open_fresh_until = float("-inf")
        if key_id is not None:
            self._known.pop(KeyId(key_id), None)
            self._unknown.pop(KeyId(key_id), None)

    async def _is_open(self) -> bool:
        if not self._may_run_open:
            return False
        now = time.monotonic()
        if now < self._open_until and (now < self._open_fresh_until or self._is_looking):
            return True
        self._is_looking = True
        try:
            async with self._pool.acquire(timeout=self._acquire_seconds) as conn:
                asked_at, told = time.monotonic(), self._times_told
                has_keys = await conn.fetchval(_SQL.is_any)
        finally:
            self._is_looking = False
        if has_keys:
            self._may_run_open = False  # rows of keys stay: it is never open again
            return False
        if told == self._times_told:
            self._open_fresh_until, self._open_until = asked_at + FRESH_SECONDS, asked_at + GOOD_SECONDS
        return True

    async def _entry(self, key_id: KeyId, digest: bytes) -> _Entry:
        entry = self._known.get(key_id) or self._unknown.get(key_id)
        now = time.monotonic()
        if entry is not None and now < entry.good_until and (now < entry.fresh_until or entry.is_being_renewed):
            return entry
        if entry is not None:
            entry.is_being_renewed = True
        try:
            async with self._pool.acquire(timeout=self._acquire_seconds) as conn:
                asked_at, told = time.monotonic(), self._times_told
                row = await conn.fetchrow(_SQL.key, key_id, digest)
        finally:
            if entry is not None:
                entry.is_being_renewed = False
        found = _entry_of(key_id, row, asked_at)
        if told != self._times_told:
            return found
        among = self._known if row is not None else self._unknown
        among.pop(key_id, None)
        among[key_id] = found
        if len(among) > MOST_KEYS:
            del among[next(iter(among))]  # the one that was asked for longest ago
        return found


def _entry_of(key_id: KeyId, row: Any, asked_at: float) -> _Entry:
    if row is None:
        return _Entry(
            digest=_NOBODY, caller=None, fresh_until=asked_at + FRESH_SECONDS, good_until=asked_at + GOOD_SECONDS
        )
    lasts_seconds = row["expires_in_seconds"]
    is_valid = not row["is_revoked"] and (lasts_seconds is None or lasts_seconds > 0)
    ends_at = asked_at + lasts_seconds if is_valid and lasts_seconds is not None else float("inf")
    return _Entry(
        digest=row["digest"],
        caller=_caller(key_id, row) if is_valid else None,
        fresh_until=min(asked_at + FRESH_SECONDS, ends_at),
        good_until=min(asked_at + GOOD_SECONDS, ends_at),
    )


def _caller(key_id: KeyId, row: Any) -> Caller:
    scopes = frozenset(KeyScope(scope) for scope in row["scopes"])
    return Caller(account=row["account"], scopes=scopes, key_id=key_id)
