"""How long a job may still take, from what calls have taken of late.

Nothing here is a promise, and nothing is invented: without a figure to go by there is no answer.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

_OVERDUE_SHARE = 0.1
"""Of the usual time: what an image is given that has taken longer than usual already. Chosen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Seconds from the sending of a call to the stored picture: half of them took `p50_seconds` at most, nine of ten
    `p90_seconds`."""

    p50_seconds: float
    p90_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a set of images still asks of one provider, and what the provider has room for.

    `running_seconds` says for each image that is under way how long it has been so. `waiting` can start when there is
    room, `starts_in_seconds` from now at the earliest; `later` come after others of the same set. `ahead` wait before
    them and `busy` run, whoever's they are; None: so many that nobody has counted them. `concurrency` is how many run
    at a time, and 0 when nobody works; a minute begins `per_minute` at most (None: any number). `own_ahead` are those
    ahead that are the same account's, which has `cap` made at a time (None: any number). `is_open` says whether
    anything is bought. Without a `latency` nothing is known.
    """

    latency: Latency | None
    concurrency: int
    is_open: bool = True
    running_seconds: Sequence[float] = ()
    waiting: int = 0
    later: int = 0
    ahead: int | None = 0
    busy: int = 0
    starts_in_seconds: float = 0.0
    per_minute: int | None = None
    own_ahead: int = 0
    cap: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Eta:
    """Seconds until the last image has ended: as likely sooner as later, and with nine chances out of ten."""

    p50_seconds: float
    p90_seconds: float


def estimate(loads: Collection[Load]) -> Eta | None:
    """Of all of them together: providers work side by side. None where one of them cannot be told, or nothing is left.

    What comes `later` is counted as one more round, however long the chain is.
    """
    first: list[Eta] = []
    after: list[Eta] = []
    for load in loads:
        if not (load.running_seconds or load.waiting or load.later):
            continue
        rounds = _rounds(load)
        if rounds is None or load.latency is None:
            return None
        first.append(_first(load, load.latency, rounds))
        if load.later:
            after.append(_over(load.latency, max(1.0, load.later / load.concurrency)))
    if not first:
        return None
    return Eta(
        p50_seconds=max(each.p50_seconds for each in first) + max((each.p50_seconds for each in after), default=0.0),
        p90_seconds=max(each.p90_seconds for each in first) + max((each.p90_seconds for each in after), default=0.0),
    )


def _rounds(load: Load) -> float | None:
    """How many images every place has to make until the last that waits has its own; 0 when none waits."""
    if not (load.waiting or load.later):
        return 0.0
    if not load.is_open or load.concurrency < 1 or load.ahead is None:
        return None
    if not load.waiting:
        return 0.0
    of_cap = (len(load.running_seconds) + load.own_ahead + load.waiting) / load.cap if load.cap else 0.0
    return max(1.0, (load.busy + load.ahead + load.waiting) / load.concurrency, of_cap)


def _first(load: Load, latency: Latency, rounds: float) -> Eta:
    """Of the images that are under way and those that wait for nothing but room."""
    running = Eta(
        p50_seconds=max((_left(latency.p50_seconds, each) for each in load.running_seconds), default=0.0),
        p90_seconds=max((_left(latency.p90_seconds, each) for each in load.running_seconds), default=0.0),
    )
    if not load.waiting:
        return running
    made = _over(latency, rounds)
    held_back = 0.0
    if load.per_minute and load.ahead is not None:
        held_back = 60.0 * max(0.0, (load.ahead + load.waiting) / load.per_minute - 1.0)
    return Eta(
        p50_seconds=max(
            running.p50_seconds, load.starts_in_seconds + max(made.p50_seconds, held_back + latency.p50_seconds)
        ),
        p90_seconds=max(
            running.p90_seconds, load.starts_in_seconds + max(made.p90_seconds, held_back + latency.p90_seconds)
        ),
    )


def _over(latency: Latency, rounds: float) -> Eta:
    """Long and short ones even out over the rounds, so only the last one is taken for slow."""
    before = (rounds - 1.0) * latency.p50_seconds
    return Eta(p50_seconds=before + latency.p50_seconds, p90_seconds=before + latency.p90_seconds)


def _left(usual_seconds: float, passed_seconds: float) -> float:
    return max(usual_seconds - max(passed_seconds, 0.0), _OVERDUE_SHARE * usual_seconds)
