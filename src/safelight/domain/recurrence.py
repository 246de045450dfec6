"""When something happens again and again: five cron fields, read by the clock of a time zone.

Where a zone's clock jumps ahead, a time of day that does not exist comes right after the jump, or right before it where
the next day begins there (in Nuuk); where it goes back, one that exists twice comes once, the first time. Fields that
say "every" (`*` in minutes or hours) follow real time instead. Times are aware; what comes out is UTC. Exact where
clocks change by whole hours: everywhere but on Lord Howe.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

NICKNAMES: Mapping[str, str] = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
}
MAX_CRON_CHARS = 100
MOST_CAUGHT_UP = 100
"""Missed times that one recovery makes up for. Chosen."""

_ON_TIME = timedelta(minutes=5)
"""A time that is noticed within it was not missed: a restart is no downtime. Chosen."""
_FIELDS = 5
_ZONE = re.compile(r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+){0,2}")
_NOT_FOR_CLOCKS = ("right/", "posix/", "localtime", "posixrules")
_TIME_OF_DAY = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
_FINEST = timedelta(seconds=1)


class CatchUp(StrEnum):
    """What becomes of times that passed while nobody looked."""

    SKIP = "skip"
    LATEST = "latest"
    ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What follows from times that have come: `run_at` are those to run for, in order; `skipped_at` is the newest of
    those that are left out on purpose, if there is one; `next_at` comes next, None when nothing does."""

    run_at: tuple[datetime, ...]
    skipped_at: datetime | None
    next_at: datetime | None


@dataclass(frozen=True, slots=True)
class Recurrence:
    """`fields` are five cron fields, as `cron_fields` gives them."""

    fields: str
    zone: ZoneInfo

    def next_after(self, moment: datetime) -> datetime | None:
        """The first time after the moment; None when there is none within 50 years."""
        for found in CronSim(self.fields, moment.astimezone(self.zone)):
            at = self._on_its_day(found.astimezone(UTC))
            if at > moment:  # an hour that the clock repeats is searched by its name: its times may be over
                return at
        return None

    def latest(self, *, after: datetime, until: datetime, most: int) -> list[datetime]:
        """The times after the one moment and not after the other, in order; only the last of them when there are more
        than `most`. However many there are, few are looked at."""
        times: list[datetime] = []
        moment = after
        while len(times) <= most:
            at = self.next_after(moment)
            if at is None or at > until:
                return times
            times.append(at)
            moment = at
        times.clear()
        while len(times) < most:
            at = self._last(until)
            times.append(at)
            until = at - _FINEST
        return times[::-1]

    def day_of(self, moment: datetime) -> date:
        """The day on the zone's calendar."""
        return moment.astimezone(self.zone).date()

    def ready_at(self, scheduled_at: datetime, time_of_day: str) -> datetime:
        """The next `HH:MM` of the zone's clock after a scheduled time."""
        match = _TIME_OF_DAY.fullmatch(time_of_day)
        assert match is not None, "it was read before it was kept"
        at = Recurrence(f"{int(match[2])} {int(match[1])} * * *", self.zone).next_after(scheduled_at)
        assert at is not None, "every day has this time"
        return at

    def plan(self, *, due_at: datetime, now: datetime, catch_up: CatchUp) -> Plan:
        """What to do now that `due_at` has come, which counts as a time whatever the fields say."""
        times = self.latest(after=due_at, until=now, most=MOST_CAUGHT_UP)
        if len(times) < MOST_CAUGHT_UP:
            times.insert(0, due_at)
        next_at = self.next_after(now)
        match catch_up:
            case CatchUp.ALL:
                return Plan(run_at=tuple(times), skipped_at=None, next_at=next_at)
            case CatchUp.SKIP if now - times[-1] > _ON_TIME:
                return Plan(run_at=(), skipped_at=times[-1], next_at=next_at)
            case CatchUp.SKIP | CatchUp.LATEST:
                return Plan(run_at=(times[-1],), skipped_at=None, next_at=next_at)

    def _on_its_day(self, at: datetime) -> datetime:
        """The same; but a second before a jump to midnight for a time that it skips, which is of the day that ends."""
        last, local = (at - _FINEST).astimezone(self.zone), at.astimezone(self.zone)
        if last.utcoffset() == local.utcoffset() or local.time() != time():
            return at
        named = local.replace(tzinfo=None)
        is_own = next(CronSim(self.fields, named - _FINEST), None) == named
        return at if is_own else at - _FINEST

    def _last(self, until: datetime) -> datetime:
        """The last time that is not after the moment; there has to be one."""
        span = timedelta(minutes=1)
        while not self._comes_between(until - span, until):
            span *= 2
        before, beyond = until - span, until
        while beyond - before > _FINEST:
            middle = before + (beyond - before) / 2
            if self._comes_between(middle, until):
                before = middle
            else:
                beyond = middle
        at = self.next_after(before)
        assert at is not None, "one was found in this span"
        return at

    def _comes_between(self, after: datetime, until: datetime) -> bool:
        at = self.next_after(after)
        return at is not None and at <= until


def cron_fields(text: str) -> str:
    """The five fields that the text stands for. Raises ValueError that says what is wrong with it."""
    fields = NICKNAMES.get(text, text)
    if len(text) > MAX_CRON_CHARS:
        raise ValueError(f"Has at most {MAX_CRON_CHARS} characters.")
    if fields.startswith("@"):
        raise ValueError(f"There is no such nickname; there are {', '.join(f'`{name}`' for name in NICKNAMES)}.")
    if len(fields.split()) != _FIELDS or not fields.isascii():
        raise ValueError("Has five fields: minute, hour, day of month, month, day of week.")
    try:
        first = next(CronSim(fields, datetime(2026, 1, 1, tzinfo=UTC)), None)
    except CronSimError as error:
        raise ValueError(f"{error}.") from None
    if first is None:
        raise ValueError("Never comes.")
    return fields


def zone_of(name: str) -> ZoneInfo:
    """The zone of the IANA database. Raises ValueError when it has none of this name."""
    if _ZONE.fullmatch(name) and not name.startswith(_NOT_FOR_CLOCKS):
        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            pass
    raise ValueError("There is no such time zone; name one of the IANA database, such as `Europe/Berlin`.")


def require_time_of_day(text: str) -> None:
    """Raises ValueError unless it reads `HH:MM`."""
    if not _TIME_OF_DAY.fullmatch(text):
        raise ValueError("Reads `HH:MM`, from `00:00` to `23:59`.")
