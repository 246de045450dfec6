"""A job's place in line, how long it may still take, and what it waits for."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from safelight.domain.eta import Eta, Load, estimate
from safelight.engine.estimates.outlook import MAX_AHEAD, Outlook, Own, Place
from safelight.engine.gates import limits_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """An image that has not ended. `is_taken`: a worker holds it, or it is on its way to one. `sent_at` is of its call
    that is open. `awaits_parents`: it is made from others that have no picture yet."""

    provider: str
    model: str
    place: Place
    is_taken: bool
    awaits_parents: bool
    sent_at: datetime | None

    @property
    def due_at(self) -> datetime:
        return self.place[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """`queue_position` counts from 1, the next, among images of the same account. `waits` says in words what keeps the
    job from going on. None: nothing, or nobody knows."""

    queue_position: int | None = None
    eta: Eta | None = None
    waits: str | None = None


NOTHING = Forecast()


def forecast(outlook: Outlook, own: Own, images: Collection[Pending], *, account: str, now: datetime) -> Forecast:
    """Of a job of that account, from those of its images that have not ended.

    When it may end takes into account that others have turns in between; its place in line and what it waits for are
    told among the images of its own account, since what others have ordered is theirs.
    """
    waiting = [each for each in images if not (each.is_taken or each.awaits_parents)]
    in_line = [each for each in waiting if each.due_at <= now and not outlook.is_shut(each.provider, each.model)]
    ahead: dict[str, int | None] = {}
    for provider in dict.fromkeys(each.provider for each in in_line):
        line = own.lines.get(provider)
        first = min(each.place for each in in_line if each.provider == provider)
        if line is not None:
            ahead[provider] = line.ahead_of(first)
        else:
            ahead[provider] = 0 if provider in outlook.limits else None
    counted = [each for each in ahead.values() if each is not None]
    position = min(counted) + 1 if counted and outlook.pause is None else None
    has_stopped = waiting and not any(each.is_taken for each in images)
    return Forecast(
        queue_position=position,
        eta=estimate(_loads(outlook, own, images, ahead, account, now)),
        waits=_why(outlook, waiting, in_line, position, now) if has_stopped else None,
    )


def _loads(
    outlook: Outlook,
    own: Own,
    images: Collection[Pending],
    ahead: dict[str, int | None],
    account: str,
    now: datetime,
) -> list[Load]:
    by_model: dict[tuple[str, str], list[Pending]] = defaultdict(list)
    for each in images:
        by_model[each.provider, each.model].append(each)
    waiting = Counter(each.provider for each in images if not (each.is_taken or each.awaits_parents))
    loads: list[Load] = []
    for (provider, model), those in by_model.items():
        load = _load(outlook, provider, model, those, now)
        before = ahead.get(provider, 0)
        # The job's images for other models of the provider take the same places.
        besides = waiting[provider] - load.waiting
        if before is None:
            loads.append(replace(load, ahead=None))
            continue
        before += besides
        others = outlook.others_before(provider, account, before + load.waiting, weight=own.weight)
        loads.append(replace(load, ahead=before + others, own_ahead=before, cap=own.max_concurrency))
    return loads


def _load(outlook: Outlook, provider: str, model: str, images: Sequence[Pending], now: datetime) -> Load:
    running = [each for each in images if each.is_taken]
    waiting = [each for each in images if not (each.is_taken or each.awaits_parents)]
    limits = outlook.limits.get(provider)
    begin_at = [each.due_at for each in waiting] + limits_of(outlook.gates, provider, {model})
    return Load(
        latency=outlook.latencies.get((provider, model)),
        concurrency=outlook.concurrency(provider),
        is_open=outlook.pause is None and not outlook.is_shut(provider, model),
        running_seconds=[(now - each.sent_at).total_seconds() if each.sent_at is not None else 0.0 for each in running],
        waiting=len(waiting),
        later=sum(each.awaits_parents for each in images),
        busy=max(outlook.busy.get(provider, 0), len(running)),
        starts_in_seconds=max([0.0, *((at - now).total_seconds() for at in begin_at)]),
        per_minute=limits.per_minute if limits is not None else None,
    )


def _why(
    outlook: Outlook, waiting: Sequence[Pending], in_line: Sequence[Pending], position: int | None, now: datetime
) -> str | None:
    due = [each for each in waiting if each.due_at <= now]
    if not due:
        return _until(min(each.due_at for each in waiting))
    if outlook.pause is not None:
        return "waiting until buying is resumed"
    if not in_line:
        names = sorted({each.provider for each in due})
        return f"waiting for {' and '.join(names)}, which {'is' if len(names) == 1 else 'are'} paused"
    if not any(outlook.concurrency(each.provider) for each in in_line):
        return "waiting for a worker"
    limited = [limits_of(outlook.gates, each.provider, {each.model}) for each in in_line]
    if all(limited):
        return _until(min(max(each) for each in limited))
    if position is None:
        return f"waiting for more than {MAX_AHEAD:,} other images".replace(",", " ")
    if position > 1:
        return f"waiting for {position - 1} other image{'s' if position > 2 else ''}"
    return None


def _until(at: datetime) -> str:
    return f"waiting until {at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
