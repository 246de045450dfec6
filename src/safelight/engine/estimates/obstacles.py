"""What stands in the way of a job that is not ordered yet, in sentences for whoever would order it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC
from math import ceil

from safelight.domain.eta import Eta
from safelight.domain.order import JobOrder
from safelight.engine.estimates.outlook import Outlook, Own
from safelight.engine.gates import GateState


def obstacles(order: JobOrder, outlook: Outlook, own: Own, *, eta: Eta | None, waits_seconds: float) -> list[str]:
    """What keeps its images from being made at once, and whether it may miss its deadline. Its run begins in
    `waits_seconds`, and `eta` is counted from now."""
    images = Counter(image.provider for image in order.images)
    return [
        *_paused(order, outlook),
        *_without_worker(images, outlook),
        *_limited(images, outlook),
        *_capped(order, own),
        *_without_figures(order, outlook),
        *_late(order, eta, waits_seconds),
    ]


def _paused(order: JobOrder, outlook: Outlook) -> Iterator[str]:
    if outlook.pause is not None:
        yield "Buying is paused: nothing is begun until it is resumed."
    models = dict.fromkeys((image.provider, image.model) for image in order.images)
    gates = {
        gate: None
        for provider, model in models
        for gate in outlook.gates
        if gate.provider == provider and gate.model in (None, model)
    }
    for gate in gates:
        if gate.is_shut:
            why = f" ({gate.code})" if gate.code else ""
            yield f"{_name(gate)} is paused{why}: {_what_its_images_do(order, gate)}."
        elif gate.limited_until is not None:
            yield f"{_name(gate)} is not called before {gate.limited_until.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC."


def _name(gate: GateState) -> str:
    return f"`{gate.provider}`" if gate.model is None else f"`{gate.provider}/{gate.model}`"


def _what_its_images_do(order: JobOrder, gate: GateState) -> str:
    its = [image for image in order.images if image.provider == gate.provider and gate.model in (None, image.model)]
    with_another = sum(bool(image.fallbacks) for image in its)
    if with_another == len(its):
        return "its images go on to their fallback"
    return "its images wait" if not with_another else "its images wait, or go on to their fallback"


def _without_worker(images: Counter[str], outlook: Outlook) -> Iterator[str]:
    for provider in images:
        if not outlook.concurrency(provider):
            yield f"No worker serves `{provider}` at the moment: its images wait for one."


def _limited(images: Counter[str], outlook: Outlook) -> Iterator[str]:
    for provider, count in images.items():
        limits = outlook.limits.get(provider)
        if limits is None or limits.per_minute is None or count <= limits.per_minute:
            continue
        minutes = ceil(count / limits.per_minute) - 1
        yield (
            f"`{provider}` is called {limits.per_minute} times a minute at most: "
            f"the last of {count} images is begun after {minutes} minute{'s' if minutes > 1 else ''}."
        )


def _capped(order: JobOrder, own: Own) -> Iterator[str]:
    if own.max_concurrency is not None and own.max_concurrency < len(order.images):
        yield f"The account has at most {own.max_concurrency} of its images made at a time."


def _without_figures(order: JobOrder, outlook: Outlook) -> Iterator[str]:
    for provider, model in dict.fromkeys((image.provider, image.model) for image in order.images):
        if (provider, model) not in outlook.latencies:
            yield f"How long `{provider}/{model}` takes is not known: it has made no picture in the last 24 hours."


def _late(order: JobOrder, eta: Eta | None, waits_seconds: float) -> Iterator[str]:
    if eta is None:
        return
    left = order.deadline_seconds + waits_seconds
    p50, p90 = eta.p50_seconds, eta.p90_seconds
    if p90 <= left:
        return
    then = "what is unfinished then fails" if order.on_deadline == "fail" else "the rest goes on behind everything else"
    how, seconds = ("likely", p50) if p50 > left else ("perhaps", p90)
    yield f"It {how} takes {ceil(seconds)} seconds, and its deadline passes after {ceil(left)}: {then}."
