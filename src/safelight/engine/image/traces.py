"""What traces and log lines say of the work on an image: which it is, what its vendor answered, what became of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import structlog

from safelight.engine.image.lease import Lease, LeaseLost
from safelight.engine.image.outcome import AttemptEnd, Ended, Opened, Released, Verdict
from safelight.providers.provider import (
    ImageResult,
    PollFailed,
    ProviderError,
    Refusal,
    RemoteHandle,
    StillRunning,
)
from safelight.tracing.spans import Attribute, Kind, SpanName, note, span

P = ParamSpec("P")
Became = TypeVar("Became", bound=Opened | Released | Ended | LeaseLost | Lease)
Answers = ImageResult | Refusal | RemoteHandle | StillRunning | tuple[AttemptEnd, Verdict]
Answer = TypeVar("Answer", bound=Answers)


@contextmanager
def at_work(lease: Lease) -> Iterator[None]:
    """The image's span, in the trace that its job was ordered in; every log line within the block names the image."""
    attributes = {
        Attribute.JOB_ID: lease.job_id,
        Attribute.IMAGE_ID: lease.image_id,
        Attribute.PROVIDER: lease.provider,
        Attribute.MODEL: lease.model,
        Attribute.ATTEMPT: lease.attempts,
    }
    with (
        span(SpanName.IMAGE, kind=Kind.CONSUMER, parent=lease.trace, attributes=attributes) as image,
        structlog.contextvars.bound_contextvars(**log_fields(lease) | image.log_fields),
    ):
        yield


def log_fields(lease: Lease | None) -> dict[str, str | int]:
    """What a log line says of an image at work; `attempt` is the number of its newest one."""
    if lease is None:
        return {}
    traced = lease.trace.log_fields if lease.trace is not None else {}
    return {
        "job_id": lease.job_id,
        "image_id": lease.image_id,
        "attempt": lease.attempts,
        "provider": lease.provider,
        **traced,
    }


def begin_attempt(number: int) -> None:
    """From here on it is this attempt that is worked on."""
    structlog.contextvars.bind_contextvars(attempt=number)
    note({Attribute.ATTEMPT: number}, on=SpanName.IMAGE)


@contextmanager
def asking(name: SpanName, provider: str, model: str) -> Iterator[Callable[[Answer], Answer]]:
    """The span of a vendor's answer, which is handed through what the block is given. Only what kind of answer it is
    and what it cost is said of it."""
    attributes = {Attribute.PROVIDER: provider, Attribute.MODEL: model}

    with span(name, kind=Kind.CLIENT, attributes=attributes) as asked:

        def say(outcome: str, cost_microusd: int | None = None) -> None:
            asked.note({Attribute.OUTCOME: outcome, Attribute.COST_MICROUSD: cost_microusd})
            note({Attribute.COST_MICROUSD: cost_microusd}, on=SpanName.IMAGE)

        def told(answer: Answer) -> Answer:
            say(*_word_and_cost(answer))
            return answer

        try:
            yield told
        except ProviderError as error:
            say("error", error.cost.microusd)
            asked.note({Attribute.ERROR_KIND: error.kind.value, Attribute.HTTP_STATUS: error.http_status})
            raise
        except PollFailed as failed:
            say("failed")
            asked.note({Attribute.ERROR_KIND: failed.kind.value})
            raise


def told_as(
    name: SpanName,
) -> Callable[[Callable[P, Awaitable[Became]]], Callable[P, Coroutine[Any, Any, Became]]]:
    """A write about an image as a span of its own; what the image became is said of its claim's span, too."""

    def told(write: Callable[P, Awaitable[Became]]) -> Callable[P, Coroutine[Any, Any, Became]]:
        @wraps(write)
        async def writing(*arguments: P.args, **named: P.kwargs) -> Became:
            with span(name) as part:
                became = await write(*arguments, **named)
                attributes = {Attribute.OUTCOME: _word(became)}
                part.note(attributes)
                note(attributes, on=SpanName.IMAGE)
                return became

        return writing

    return told


def _word_and_cost(answer: Answers) -> tuple[str, int | None]:
    match answer:
        case ImageResult():
            return "picture", answer.cost.microusd
        case Refusal():
            return "refusal", answer.cost.microusd
        case RemoteHandle():
            return "job", None
        case StillRunning():
            return "running", None
        case (end, _):
            return end.status.value, end.cost.microusd


def _word(became: Opened | Released | Ended | LeaseLost | Lease) -> str:
    match became:
        case Opened():
            return "opened"
        case Released():
            return "released"
        case Ended(status):
            return status.value
        case LeaseLost():
            return "lease_lost"
        case Lease():
            return became.status.value
