"""What a call's result means: for the attempt (what was bought) and for the image (what comes next), and what a write
about an image has made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from safelight.domain.attempts import AttemptStatus, GiveUp
from safelight.domain.errors import Billed, ErrorKind, Scope
from safelight.domain.lifecycle import ImageStatus
from safelight.domain.money import FREE, UNKNOWN_COST, Cost, believed
from safelight.domain.text import storable, storable_json
from safelight.providers.provider import ProviderError, Refusal

RETRYABLE_KINDS = frozenset(ErrorKind) - {ErrorKind.PERMANENT, ErrorKind.AUTH_ERROR, ErrorKind.SAFETY}
"""Kinds where the same request may succeed when the user retries it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageError:
    """Why an image has no picture, as the caller reads it. `billed` None: what the run's attempts say."""

    kind: ErrorKind
    code: str
    message: str
    billed: Billed | None = None

    def as_json(self) -> dict[str, Any]:
        assert self.billed is not None, "settled before it is told"
        return {
            "kind": self.kind.value,
            "code": self.code,
            "message": self.message,
            "retryable": self.kind in RETRYABLE_KINDS,
            "billed": self.billed.value,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEnd:
    """A call that brought no picture, for the provider book."""

    status: AttemptStatus
    cost: Cost
    error: ImageError
    usage: Mapping[str, Any] = field(default_factory=dict)
    http_status: int | None = None
    request_id: str | None = None
    unbilled_by_policy: bool = False


@dataclass(frozen=True, slots=True)
class Opened:
    """A billable call may be made now: the image's attempt of this `number` is committed. `is_watched`: a gate takes
    note of its answer."""

    number: int
    is_watched: bool


@dataclass(frozen=True, slots=True)
class Released:
    """The image is back in the backlog."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The image is terminal, and its job too if this was the last one."""

    status: ImageStatus


@dataclass(frozen=True, slots=True)
class TryAgain:
    """Back to the backlog. `after_seconds` None: after the next step of the backoff."""

    after_seconds: float | None = None
    counts_as_failure: bool = True


@dataclass(frozen=True, slots=True)
class End:
    """The image ends in this state; the engine will not try again by itself.

    `unless_provider_worked`: the fault is the account's, so that an image of a provider that has worked before waits.
    """

    status: ImageStatus
    unless_provider_worked: bool = False


Verdict = TryAgain | End


def judge_error(error: ProviderError) -> tuple[AttemptEnd, Verdict]:
    """A vendor's failure.

    A rate limit waits as long as the vendor says and counts as nothing; a quota of the day waits at the provider's
    gate, which knows when it is renewed. PERMANENT ends the image, and so does a key that is bad before anything ever
    succeeded; everything else is tried again for as long as the re-send rule and the run allow.
    """
    match error.billed:
        case Billed.NO:
            status, cost = AttemptStatus.UNBILLED, FREE
        case Billed.YES:
            status, cost = AttemptStatus.NO_IMAGE, believed(error.cost)
        case Billed.UNKNOWN:
            status, cost = AttemptStatus.UNKNOWN, UNKNOWN_COST
    end = AttemptEnd(
        status=status,
        cost=cost,
        error=ImageError(
            kind=error.kind, code=storable(error.code), message=storable(error.message), billed=error.billed
        ),
        usage=storable_json(error.usage),
        http_status=error.http_status,
        request_id=storable(error.request_id) if error.request_id else None,
        unbilled_by_policy=error.unbilled_by_policy,
    )
    if error.quota_zone is not None and error.kind is ErrorKind.RATE_LIMIT:
        return end, TryAgain(0.0, counts_as_failure=False)
    if error.kind is ErrorKind.RATE_LIMIT:
        return end, TryAgain(error.retry_after_seconds, counts_as_failure=error.retry_after_seconds is None)
    if error.kind is ErrorKind.PERMANENT and error.scope is Scope.REQUEST:
        return end, End(ImageStatus.FAILED)
    if error.kind in (ErrorKind.PERMANENT, ErrorKind.AUTH_ERROR):
        return end, End(ImageStatus.FAILED, unless_provider_worked=True)
    return end, TryAgain(error.retry_after_seconds)


def judge_refusal(refusal: Refusal) -> tuple[AttemptEnd, Verdict]:
    """A refusal ends the image as `refused`, whatever it cost."""
    error = ImageError(
        kind=ErrorKind.SAFETY, code=storable(refusal.code), message=storable(refusal.message), billed=refusal.billed
    )
    end = AttemptEnd(
        status=AttemptStatus.REFUSED,
        cost=believed(refusal.cost),
        error=error,
        usage=storable_json(refusal.usage),
        request_id=storable(refusal.request_id) if refusal.request_id else None,
    )
    return end, End(ImageStatus.REFUSED)


def not_sent(reason: str) -> tuple[AttemptEnd, Verdict]:
    """Nothing left this process: proven unbilled, and free to be tried again at once."""
    error = ImageError(kind=ErrorKind.TIMEOUT, code="NOT_SENT", message=reason, billed=Billed.NO)
    return AttemptEnd(status=AttemptStatus.UNBILLED, cost=FREE, error=error), TryAgain(0.0, counts_as_failure=False)


def no_answer(code: str, message: str) -> tuple[AttemptEnd, Verdict]:
    """The call left and its answer will not come: billed or not, nobody knows."""
    error = ImageError(kind=ErrorKind.TIMEOUT, code=code, message=message, billed=Billed.UNKNOWN)
    return AttemptEnd(status=AttemptStatus.UNKNOWN, cost=UNKNOWN_COST, error=error), TryAgain()


def no_picture(code: str, message: str) -> ImageError:
    """What came is paid for and is no picture."""
    return ImageError(kind=ErrorKind.INVALID_OUTPUT, code=code, message=message, billed=Billed.YES)


def picture_lost(code: str, message: str) -> ImageError:
    """The picture came, is paid for, and our own storage does not have it."""
    return ImageError(kind=ErrorKind.STORAGE, code=code, message=message, billed=Billed.YES)


def given_up(spent: GiveUp, *, last: ImageError | None) -> tuple[ImageStatus, ImageError]:
    """How an image ends whose budget is spent; the last failure's own words are kept when there are any."""
    if spent.uncertain:
        status, billed = ImageStatus.UNCERTAIN, Billed.UNKNOWN
    else:
        status, billed = ImageStatus.FAILED, None
    if last and not spent.uncertain:
        return status, last
    return status, ImageError(kind=spent.kind, code=spent.code, message=spent.message, billed=billed)


def stopped(stop: str) -> tuple[ImageStatus, ImageError | None]:
    """How an image ends that was asked to stop; being canceled is no error."""
    if stop == "deadline":
        return ImageStatus.FAILED, ImageError(
            kind=ErrorKind.DEADLINE, code="RUN_ENDED", message="The run ended before this image did."
        )
    return ImageStatus.CANCELED, None


def broken(failures: int) -> ImageError:
    return ImageError(
        kind=ErrorKind.UNKNOWN,
        code="INTERNAL",
        message=f"Safelight failed {failures} times in a row on this image; its log says how.",
    )


def crashed(crashes: int) -> ImageError:
    return ImageError(
        kind=ErrorKind.CRASHED,
        code="CRASHED",
        message=f"{crashes} worker processes died on this image without getting further.",
    )


def no_such_provider(name: str) -> ImageError:
    return ImageError(
        kind=ErrorKind.PERMANENT,
        code="PROVIDER_NOT_CONFIGURED",
        message=f"Provider `{name}` is no longer configured.",
    )


def without_reference(parent_id: str, ended: ImageStatus) -> ImageError:
    """An image that it was to be made from has no picture; nothing was asked of any vendor."""
    return ImageError(
        kind=ErrorKind.DEPENDENCY,
        code=f"REFERENCE_{ended.value.upper()}",
        message=f"Image `{parent_id}`, which this one references, ended without a picture: {ended.value}.",
        billed=Billed.NO,
    )


def over_budget(code: str, message: str) -> ImageError:
    """It may not be bought for what is left; no call was made. A retry asks for room again."""
    return ImageError(kind=ErrorKind.BUDGET, code=code, message=message)


def without_price(model: str) -> ImageError:
    """A budget concerns it that was set after it was ordered, and nobody knows what a call would cost."""
    return over_budget("PRICE_UNKNOWN", f"What `{model}` costs is not known, so it cannot be bought under a budget.")


def reference_not_read(what: str) -> tuple[AttemptEnd, Verdict]:
    """The store did not give the picture that was to go into the call, which was not made: tried again later."""
    return _without_call("REFERENCE_NOT_READ", f"{what} cannot be read now."), TryAgain()


def reference_gone(what: str) -> tuple[AttemptEnd, Verdict]:
    """The picture that was to go into the call is not there any more: the call was not made and never can be."""
    return _without_call("REFERENCE_GONE", f"{what} is not kept any more."), End(ImageStatus.FAILED)


def reference_not_fetched(why: str) -> ImageError:
    """An address that it was to be made from gives no picture; nothing was asked of any vendor for it."""
    return ImageError(
        kind=ErrorKind.PERMANENT,
        code="reference-fetch-failed",
        message=f"A picture that this image was to be made from could not be fetched: {storable(why)}."[:500],
    )


def _without_call(code: str, message: str) -> AttemptEnd:
    error = ImageError(kind=ErrorKind.STORAGE, code=code, message=message, billed=Billed.NO)
    return AttemptEnd(status=AttemptStatus.UNBILLED, cost=FREE, error=error)


def not_stored(error: Exception) -> ImageError:
    return ImageError(
        kind=ErrorKind.STORAGE,
        code=type(error).__name__.upper(),
        message="The picture is paid for and staged, but could not be rendered or stored; a retry buys nothing.",
        billed=Billed.YES,
    )
