"""Next times, against a clock that is walked through minute by minute."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safelight.domain.recurrence import (
    MOST_CAUGHT_UP,
    CatchUp,
    Plan,
    Recurrence,
    cron_fields,
    require_time_of_day,
    zone_of,
)

MINUTE = timedelta(minutes=1)
BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"
CHANGES = [
    (BERLIN, date(2026, 3, 29)),
    (BERLIN, date(2026, 10, 25)),
    (NEW_YORK, date(2026, 3, 8)),
    (NEW_YORK, date(2026, 11, 1)),
]
MINUTES = {"*": range(60), "*/20": range(0, 60, 20), "0": [0], "30": [30], "0,30": [0, 30], "59": [59]}
HOURS = {"*": range(24), "*/2": range(0, 24, 2), "0": [0], "1": [1], "2": [2], "2,3": [2, 3], "1-3": [1, 2, 3]}
DAYS = {"*": range(7), "SUN": [6], "MON-FRI": range(5), "5,7": [4, 6]}


def at(zone: str, text: str, *, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC)


def recurrence(cron: str, zone: str) -> Recurrence:
    return Recurrence(cron_fields(cron), zone_of(zone))


def times(cron: str, zone: str, *, after: datetime, count: int) -> list[datetime]:
    found: list[datetime] = []
    while len(found) < count:
        following = recurrence(cron, zone).next_after(found[-1] if found else after)
        assert following is not None
        found.append(following)
    return found


@pytest.mark.parametrize(
    ("zone", "missing", "after_it"),
    [(BERLIN, "2026-03-29 02:30", "2026-03-29 03:00"), (NEW_YORK, "2026-03-08 02:30", "2026-03-08 03:00")],
)
def test_a_time_that_does_not_exist_comes_once_right_after_the_jump(zone: str, missing: str, after_it: str) -> None:
    before = at(zone, missing) - timedelta(days=2)
    found = times("30 2 * * *", zone, after=before, count=4)
    assert found[1] == at(zone, after_it)
    assert [each.astimezone(ZoneInfo(zone)).hour for each in found] == [2, 3, 2, 2]
    assert len({each.astimezone(ZoneInfo(zone)).date() for each in found}) == 4


@pytest.mark.parametrize(("zone", "doubled"), [(BERLIN, "2026-10-25 02:30"), (NEW_YORK, "2026-11-01 01:30")])
def test_a_time_that_exists_twice_comes_once_the_first_time(zone: str, doubled: str) -> None:
    cron = "30 2 * * *" if zone == BERLIN else "30 1 * * *"
    first, second = at(zone, doubled), at(zone, doubled, fold=1)
    assert second - first == timedelta(hours=1)
    assert times(cron, zone, after=first - MINUTE, count=2) == [first, second + timedelta(days=1)]
    assert recurrence(cron, zone).next_after(second - MINUTE) == second + timedelta(days=1)


def test_every_hour_is_every_real_hour() -> None:
    found = times("@hourly", BERLIN, after=at(BERLIN, "2026-10-24 23:30"), count=6)
    assert {later - earlier for earlier, later in pairwise(found)} == {timedelta(hours=1)}


def walk(zone: str, start: datetime, end: datetime, minute: str, hour: str, days: str) -> Iterator[datetime]:
    """The times by definition. "Every" goes by real time; a named time of day by the wall clock, moved past a jump."""
    clock = ZoneInfo(zone)

    def fits(local: datetime) -> bool:
        return local.minute in MINUTES[minute] and local.hour in HOURS[hour] and local.weekday() in DAYS[days]

    if minute.startswith("*") or hour.startswith("*"):
        moment = start + MINUTE
        while moment <= end:
            if fits(moment.astimezone(clock)):
                yield moment
            moment += MINUTE
        return
    seen: set[datetime] = set()
    local = (start - timedelta(hours=3)).astimezone(clock).replace(tzinfo=None)
    while local <= (end + timedelta(hours=3)).astimezone(clock).replace(tzinfo=None):
        if fits(local):
            shown = local
            while (moment := shown.replace(tzinfo=clock).astimezone(UTC)).astimezone(clock).replace(
                tzinfo=None
            ) != shown:
                shown += MINUTE
            if start < moment <= end and moment not in seen:
                seen.add(moment)
                yield moment
        local += MINUTE


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    change=st.sampled_from(CHANGES),
    minute=st.sampled_from(sorted(MINUTES)),
    hour=st.sampled_from(sorted(HOURS)),
    days=st.sampled_from(sorted(DAYS)),
    offset_seconds=st.integers(0, 2 * 86_400),
)
def test_times_only_grow_and_none_is_left_out_from_wherever_one_looks(
    change: tuple[str, date], minute: str, hour: str, days: str, offset_seconds: int
) -> None:
    zone, day = change
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    start, end = noon - timedelta(days=1, hours=6), noon + timedelta(days=1)
    wanted = list(walk(zone, start, end, minute, hour, days))
    assert wanted == sorted(wanted)

    rule = recurrence(f"{minute} {hour} * * {days}", zone)
    assert rule.latest(after=start, until=end, most=10_000) == wanted
    assert rule.latest(after=start, until=end, most=3) == wanted[-3:]
    somewhere = start + timedelta(seconds=offset_seconds)
    following = next((each for each in wanted if each > somewhere), None)
    if following is not None:
        assert rule.next_after(somewhere) == following


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(alphabet="0123456789*/,-#LWMON@ \t?", max_size=24) | st.text(max_size=12))
def test_no_text_breaks_the_reading_of_cron(text: str) -> None:
    with suppress(ValueError):
        fields = cron_fields(text)
        assert Recurrence(fields, ZoneInfo("UTC")).next_after(datetime(2026, 1, 1, tzinfo=UTC)) is not None


@pytest.mark.parametrize(
    "text",
    ["", "* * * *", "* * * * * *", "60 * * * *", "0 24 * * *", "0 0 30 2 *", "@fortnightly", "0 0 0 * *", "x" * 101],
)
def test_what_is_no_cron_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\.$"):
        cron_fields(text)


@pytest.mark.parametrize(
    "name",
    ["", "Berlin", "Europe", "../etc/passwd", "/Europe/Berlin", "right/UTC", "localtime", "Europe/Berlin\0", "+1"],
)
def test_what_is_no_zone_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no such time zone"):
        zone_of(name)


@pytest.mark.parametrize("text", ["24:00", "7:00", "07:60", "07:00:00", "", "０7:00"])
def test_what_is_no_time_of_day_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="HH:MM"):
        require_time_of_day(text)


DUE = at(BERLIN, "2026-11-01 18:00")
DAILY = "0 18 * * *"


@pytest.mark.parametrize(
    ("catch_up", "days_late", "seconds_late", "runs", "skipped"),
    [
        (CatchUp.LATEST, 0, 3, [0], None),
        (CatchUp.SKIP, 0, 3, [0], None),
        (CatchUp.SKIP, 0, 3600, [], 0),
        (CatchUp.SKIP, 3, 3600, [], 3),
        (CatchUp.SKIP, 3, 60, [3], None),
        (CatchUp.LATEST, 3, 3600, [3], None),
        (CatchUp.ALL, 3, 3600, [0, 1, 2, 3], None),
        (CatchUp.ALL, 500, 3600, list(range(401, 501)), None),
    ],
)
def test_what_was_missed_is_caught_up_as_each_policy_says(
    catch_up: CatchUp, days_late: int, seconds_late: int, runs: list[int], skipped: int | None
) -> None:
    rule = recurrence(DAILY, BERLIN)
    days = times(DAILY, BERLIN, after=DUE - MINUTE, count=days_late + 2)
    now = days[days_late] + timedelta(seconds=seconds_late)
    assert rule.plan(due_at=DUE, now=now, catch_up=catch_up) == Plan(
        run_at=tuple(days[n] for n in runs),
        skipped_at=days[skipped] if skipped is not None else None,
        next_at=days[days_late + 1],
    )
    assert len(runs) <= MOST_CAUGHT_UP


def test_pictures_are_wanted_at_the_next_such_time_after_the_run() -> None:
    rule = recurrence(DAILY, BERLIN)
    assert rule.ready_at(DUE, "00:00") == at(BERLIN, "2026-11-02 00:00")
    assert rule.ready_at(DUE, "18:00") == at(BERLIN, "2026-11-02 18:00")
    assert rule.ready_at(at(BERLIN, "2026-03-29 00:00"), "02:30") == at(BERLIN, "2026-03-29 03:00")


def test_a_day_is_the_zones_own() -> None:
    assert recurrence(DAILY, BERLIN).day_of(at(BERLIN, "2026-11-01 00:10")) == date(2026, 11, 1)
    assert recurrence(DAILY, NEW_YORK).day_of(at(BERLIN, "2026-11-01 00:10")) == date(2026, 10, 31)


@pytest.mark.parametrize("fields", ["0 0 * * *", "30 0 * * *", "15 2 * * *", "0 23 * * *", "30 23 * * *"])
@pytest.mark.parametrize("zone", ["America/Nuuk", "America/Havana", "Asia/Beirut", "Europe/Berlin", "America/Santiago"])
def test_every_day_of_the_calendar_has_its_daily_time(zone: str, fields: str) -> None:
    """In Nuuk the clock jumps from 23:00 to midnight: a time that it skips is still of the day that ends."""
    daily = Recurrence(fields, zone_of(zone))
    moment, days = datetime(2026, 1, 1, 12, tzinfo=UTC), list[date]()
    while len(days) < 730:
        at = daily.next_after(moment)
        assert at is not None
        days.append(daily.day_of(at))
        moment = at
    assert days == [days[0] + timedelta(days=n) for n in range(730)]
