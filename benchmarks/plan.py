"""The arithmetic of growing: how much of everything a volume takes, and what is full first."""

from __future__ import annotations

import math
from dataclasses import dataclass

from benchmarks.admission import AT_ONCE
from benchmarks.growth import Growth
from benchmarks.measured import Measured
from benchmarks.queueing import Costs, Site
from safelight.sandbox.latency import Latency
from safelight.settings import ProviderSettings, Settings

DAY_SECONDS = 86_400.0
CONNECTIONS = {"API process": 12, "worker process": 25}
"""At most, when all of its pools are full: those of `wiring/` and `engine/queue/dispatch.py`."""
FORGOTTEN_AT_ONCE = 2000
"""Events that one sweep forgets at most."""


SLOW_VENDOR = Latency(p50_seconds=8.0, p95_seconds=20.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """What is not measured but chosen. `peak`: the busiest minutes, over the day's mean; `fill`: how far a resource is
    used in them; `followers`: open streams for each unfinished job."""

    images_per_job: int = 14
    latency: Latency = SLOW_VENDOR
    peak: float = 3.0
    fill: float = 0.7
    followers: float = 1.0
    postgres_cores: int = 32
    max_connections: int = 1000

    @property
    def mean_latency_seconds(self) -> float:
        sigma = math.log(self.latency.p95_seconds / self.latency.p50_seconds) / 1.6449
        return self.latency.p50_seconds * math.exp(sigma**2 / 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What one of a kind carries, in images a second when it is entirely full. `knob`: what is turned up for more;
    `is_shared`: there is one for the whole installation, however many processes there are."""

    what: str
    images_per_second: float
    knob: str
    is_shared: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """For one volume. All figures but `installations` are of one installation, which has its share of the volume."""

    images_per_day: float
    installations: int
    images_per_second: float
    peak_per_second: float
    site: Site
    connections: int
    streams: int
    calls: int


def limits(measured: Measured, growth: Growth, assumed: Assumptions) -> list[Limit]:
    """The lowest first."""
    hold = _held_seconds(measured, assumed)
    slots, places = _most(Settings, "slots"), _most(ProviderSettings, "max_concurrency")
    streams = Settings.model_fields["max_streams"].default
    job_seconds = assumed.latency.p95_seconds
    found = [
        Limit(
            what="one render process (processor)",
            images_per_second=1000 / measured.render_ms,
            knob="`render_processes`, or more workers",
            is_shared=False,
        ),
        Limit(
            what="one worker process, its own processor time",
            images_per_second=1000 / measured.worker_ms,
            knob="more workers",
            is_shared=False,
        ),
        Limit(
            what=f"one worker with {Settings.model_fields['slots'].default} slots, the default",
            images_per_second=Settings.model_fields["slots"].default / hold,
            knob=f"`slots`, up to {slots}; more workers",
            is_shared=False,
        ),
        Limit(
            what=f"one provider with {places} calls at once, the most that can be set",
            images_per_second=places / hold,
            knob="another account at the vendor as a further provider",
            is_shared=False,
        ),
        Limit(
            what="one API process (processor)",
            images_per_second=1000 / measured.api_ms,
            knob="more API processes",
            is_shared=False,
        ),
        Limit(
            what=f"one API process with {streams} streams, each job followed until its end",
            images_per_second=streams / assumed.followers / job_seconds * assumed.images_per_job,
            knob="`max_streams`, or more API processes",
            is_shared=False,
        ),
        Limit(
            what="forgetting events, for each worker process",
            images_per_second=FORGOTTEN_AT_ONCE / Settings.model_fields["sweep_seconds"].default / growth.events,
            knob="more workers; `sweep_seconds`; partitions of `events`",
            is_shared=False,
        ),
        Limit(
            what=f"admission, one at a time, {AT_ONCE} images each",
            images_per_second=1000 * AT_ONCE / measured.admission_ms,
            knob="a further installation",
            is_shared=True,
        ),
        Limit(
            what=f"PostgreSQL on {assumed.postgres_cores} cores (processor)",
            images_per_second=1000 * assumed.postgres_cores / measured.postgres_ms,
            knob="more cores; then a further installation",
            is_shared=True,
        ),
        Limit(
            what=f"{assumed.max_connections} connections, {CONNECTIONS['worker process']} for each worker at most",
            images_per_second=assumed.max_connections / CONNECTIONS["worker process"] * 1000 / measured.render_ms,
            knob="`max_connections`; `render_processes`, so that fewer workers do",
            is_shared=True,
        ),
    ]
    return sorted(found, key=lambda limit: limit.images_per_second)


def plan_for(images_per_day: float, measured: Measured, growth: Growth, assumed: Assumptions) -> Plan:
    """The fewest installations in which nothing that is shared is fuller than it may be, and what each of them has."""
    peak = images_per_day / DAY_SECONDS * assumed.peak
    shared = min(each.images_per_second for each in limits(measured, growth, assumed) if each.is_shared)
    installations = max(1, math.ceil(peak / (shared * assumed.fill)))
    rate = peak / installations
    places_in_all = _needed(rate * _held_seconds(measured, assumed), assumed)
    per_worker = min(1000 / measured.worker_ms, 1000 / measured.render_ms)
    workers = max(2, _needed(rate / per_worker, assumed), -(-places_in_all // _most(Settings, "slots")))
    providers = -(-places_in_all // _most(ProviderSettings, "max_concurrency"))
    streams = math.ceil(rate / assumed.images_per_job * assumed.latency.p95_seconds * assumed.followers)
    of_an_api = Settings.model_fields["max_streams"].default
    apis = max(2, _needed(rate * measured.api_ms / 1000, assumed), -(-streams // of_an_api))
    site = Site(
        apis=apis,
        workers=workers,
        slots=-(-places_in_all // workers),
        render_processes=Settings.model_fields["render_processes"].default,
        postgres_cores=max(1, _needed(rate * measured.postgres_ms / 1000, assumed)),
        providers=providers,
        places=-(-places_in_all // providers),
    )
    return Plan(
        images_per_day=images_per_day,
        installations=installations,
        images_per_second=images_per_day / DAY_SECONDS / installations,
        peak_per_second=rate,
        site=site,
        connections=apis * CONNECTIONS["API process"] + workers * CONNECTIONS["worker process"],
        streams=streams,
        calls=math.ceil(rate * _held_seconds(measured, assumed)),
    )


def costs_of(measured: Measured, assumed: Assumptions) -> Costs:
    """For the simulation, in seconds."""
    return Costs(
        api=measured.api_ms * assumed.images_per_job / 1000,
        worker=measured.worker_ms / 1000,
        render=measured.render_ms / 1000,
        postgres=measured.postgres_ms / 1000,
        admission=measured.admission_ms / 1000,
        batch=AT_ONCE,
    )


def _held_seconds(measured: Measured, assumed: Assumptions) -> float:
    """For how long an image has a slot and a place: the vendor's time, and the processors' when nothing is busy."""
    return assumed.mean_latency_seconds + (measured.worker_ms + measured.render_ms + measured.postgres_ms) / 1000


def _needed(of_one: float, assumed: Assumptions) -> int:
    return math.ceil(of_one / assumed.fill)


def _most(settings: type[Settings] | type[ProviderSettings], name: str) -> int:
    """The largest value that the setting takes."""
    return next(each.le for each in settings.model_fields[name].metadata if hasattr(each, "le"))
