"""Work that stands still although nothing explains it: what seems to be the matter, and what to do, in words."""

from __future__ import annotations

from enum import StrEnum

from safelight.domain.lifecycle import ImageStatus


class Cause(StrEnum):
    """What an image that stands still waits for in vain."""

    UNSERVED = "unserved"
    """A worker that knows its provider."""
    NOT_HANDED_OUT = "not_handed_out"
    """Admission: there is room for it, and its gate is open."""
    NOT_TAKEN = "not_taken"
    """A worker that takes it: it was handed out."""
    NOT_ENDED = "not_ended"
    """The sweep, which ends what was asked to stop."""
    NOT_ASKED = "not_asked"
    """A worker that asks after its job at the vendor."""
    NOT_FINISHED = "not_finished"
    """A worker that uses, or gives up, what was bought for it."""
    NOT_WORKED_ON = "not_worked_on"
    """The worker that has it, and lives."""
    ABANDONED = "abandoned"
    """Another worker than the one that had it, and is gone."""


_WORKING = {
    ImageStatus.PROCESSING: "looks at what was bought for it before",
    ImageStatus.GENERATING: "waits for a call that can no longer answer",
    ImageStatus.UPLOADING: "makes and stores its outputs",
}

_LOOK_AT_WORKERS = "Look into the workers' logs, and start the workers again: what they had goes on elsewhere."


def why_stuck(cause: Cause, *, provider: str, status: ImageStatus) -> str:
    """One sentence for whoever waits for the image."""
    match cause:
        case Cause.UNSERVED:
            return f"No living worker serves provider `{provider}`."
        case Cause.NOT_HANDED_OUT:
            return "Nothing stands in its way, and yet it is handed to no worker."
        case Cause.NOT_TAKEN:
            return "It was handed to the workers, and none of them takes it."
        case Cause.NOT_ENDED:
            return "It was asked to stop, and nobody ends it."
        case Cause.NOT_ASKED:
            return f"Provider `{provider}` works on a job for it, and nobody asks how that stands."
        case Cause.NOT_FINISHED:
            return "What was bought for it is there, and nobody goes on with it."
        case Cause.NOT_WORKED_ON:
            return f"Its worker lives, {_WORKING[status]}, and has not gone on from there."
        case Cause.ABANDONED:
            return "The worker that had it is gone, and nobody has taken it over."


def remedy_of(cause: Cause, *, provider: str, has_workers: bool) -> str:
    """What the operator may do."""
    match cause:
        case _ if not has_workers:
            return "Start a worker: `safelight serve`, or `safelight worker` beside your API."
        case Cause.UNSERVED:
            return (
                f"Look whether the workers that know `{provider}` still live. If there are none, configure it where "
                "workers run and start them again, or cancel the job."
            )
        case Cause.NOT_HANDED_OUT:
            return "Look for `admission failed` in the logs of API and workers."
        case Cause.NOT_TAKEN:
            return "Look for `intake lost` in the workers' logs, and start the workers again."
        case Cause.NOT_ENDED | Cause.ABANDONED:
            return "Look for `sweep failed` or `a rule of the sweep failed` in the workers' logs."
        case Cause.NOT_ASKED | Cause.NOT_FINISHED | Cause.NOT_WORKED_ON:
            return _LOOK_AT_WORKERS
