"""Whether a request is a new one, or one that was made before and is made again.

OpenAI's clients repeat a request by themselves when its answer does not come, without a key that would say so. What
they do say is how often they have repeated it. So the newest job that the very same request has made tells:

    it still runs                              the same job: two that ask at one moment share it
    it has pictures that nobody was given      the same job, for a day: somebody gave up waiting for them
    it ended just now, and this is a repeat    the same job, pictures or not: the answer was lost on the way
    it ended without a picture, within a day   the same job, in another run: what came too late for it is used; a new
                                               one where its name means another model now, or an upload of it is gone
    otherwise                                  a new one
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

JUST_ENDED_SECONDS = 600.0
"""Clients repeat after two minutes of `Retry-After` at most. Chosen, with room for one that was slow to notice."""
KEPT_READY_SECONDS = 86_400.0
"""After a day, the same words are a new wish. Chosen."""


class Way(Enum):
    JOIN = auto()
    """It is that job's."""
    RUN_AGAIN = auto()
    """It is that job's, which tries again what has no picture."""
    NEW = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """The newest job of the same request."""

    job_id: str
    is_live: bool
    has_pictures: bool
    is_handed_over: bool
    has_just_ended: bool
    is_kept_ready: bool
    can_run_again: bool

    @staticmethod
    def from_row(row: Mapping[str, Any]) -> Earlier:
        return Earlier(
            job_id=row["id"],
            is_live=row["is_live"],
            has_pictures=row["has_pictures"],
            is_handed_over=row["is_handed_over"],
            has_just_ended=row["has_just_ended"],
            is_kept_ready=row["is_kept_ready"],
            can_run_again=row["can_run_again"],
        )


def way_of(earlier: Earlier, *, is_repeat: bool) -> Way:
    """`is_repeat`: the client says that it has sent this before."""
    if earlier.is_live or (is_repeat and earlier.has_just_ended):
        return Way.JOIN
    if not earlier.is_kept_ready or earlier.is_handed_over:
        return Way.NEW
    if earlier.has_pictures:
        return Way.JOIN
    return Way.RUN_AGAIN if earlier.can_run_again else Way.NEW


def key_after(earlier: Earlier | None, fingerprint: str) -> str:
    """The idempotency key of the next job of this request: whoever else finds the same job to be the newest arrives at
    the same key, so that one job comes of it. No caller can send it, for its spaces."""
    return f"openai {fingerprint} {earlier.job_id if earlier is not None else 'first'}"
