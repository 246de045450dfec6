"""A discrete-event simulation of the way of images: what waits where, and for how long, under a given load.

A job arrives at an API process; its images wait for admission, which one process does at a time and which lets an
image go when its provider has a place and a worker has a slot. Then come the worker's processor, PostgreSQL's, the
vendor, the worker's again, its render process's, and PostgreSQL's; at the end place and slot are free. Places and slots
are held from admission to the end, as in the service. Work of processors takes exponential times around the mean that
was measured: that is more variable than it is, so waits come out rather too long than too short.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count

from benchmarks.figures import percentile

Draw = Callable[[random.Random], float]
"""Seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Seconds, as measured: processor time per image; `api` per job, `admission` per `batch` images at most."""

    api: float
    worker: float
    render: float
    postgres: float
    admission: float
    batch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What there is of everything. `places`: calls in flight at each provider; `slots`: of each worker."""

    apis: int
    workers: int
    slots: int
    render_processes: int
    postgres_cores: int
    providers: int
    places: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Jobs of `images_per_job` come in groups of `burst` at random times; `latency` is the vendor's."""

    images_per_second: float
    images_per_job: int
    latency: Draw
    burst: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """`utilisation` by resource: the work that came in, over what it can do; above 1 it cannot keep up. Waits are
    seconds of an image: until its vendor has the call, and in all without the vendor's own time. `backlog` are images
    that await admission; it is stable when it is not longer at the end than it was half-way."""

    images: int
    utilisation: dict[str, float]
    call_wait_p50: float
    call_wait_p99: float
    added_p50: float
    added_p99: float
    mean_wait: float
    mean_backlog: float
    max_backlog: int
    is_stable: bool


class Station:
    """Servers that take who comes first; waits are counted by time."""

    def __init__(self, clock: Clock, servers: int, mean_seconds: float) -> None:
        self._clock, self._servers, self._mean = clock, servers, mean_seconds
        self._waiting: deque[tuple[Callable[[_Image], None], _Image]] = deque()
        self._busy = 0
        self.busy_seconds = 0.0

    def serve(self, image: _Image, then: Callable[[_Image], None]) -> None:
        """`then` is called when it was served; at once where serving takes no time."""
        if self._mean == 0:
            then(image)
        elif self._busy < self._servers:
            self._begin(image, then)
        else:
            self._waiting.append((then, image))

    def _begin(self, image: _Image, then: Callable[[_Image], None]) -> None:
        self._busy += 1
        seconds = self._clock.rng.expovariate(1 / self._mean)
        self.busy_seconds += seconds
        self._clock.after(seconds, self._end, (image, then))

    def _end(self, done: tuple[_Image, Callable[[_Image], None]]) -> None:
        self._busy -= 1
        if self._waiting:
            then, image = self._waiting.popleft()
            self._begin(image, then)
        image, then = done
        then(image)


class Clock:
    """What happens next, and the chance of it. What is planned for one moment happens in the order of planning."""

    def __init__(self, seed: int) -> None:
        self.now = 0.0
        self.rng = random.Random(seed)  # noqa: S311 - a simulation, and the same one each time
        self._next: list[tuple[float, int, Callable[[object], None], object]] = []
        self._order = count()

    def after(self, seconds: float, what: Callable[..., None], whom: object = None) -> None:
        heapq.heappush(self._next, (self.now + seconds, next(self._order), what, whom))

    def run(self) -> None:
        """Until nothing is planned."""
        while self._next:
            self.now, _, what, whom = heapq.heappop(self._next)
            what(whom)


@dataclass(slots=True)
class _Image:
    arrived_at: float
    provider: int
    worker: int = -1
    called_at: float = 0.0
    latency: float = 0.0
    left: int = 0


@dataclass(slots=True)
class _Counted:
    waits: list[float] = field(default_factory=list)
    added: list[float] = field(default_factory=list)
    backlog_seconds: float = 0.0
    max_backlog: int = 0


def simulate(site: Site, load: Load, costs: Costs, *, images: int, seed: int = 1) -> Outcome:
    """So many images arrive; the first fifth of them finds an empty site and is not counted."""
    return _Run(site, load, costs, images=images, seed=seed).outcome()


class _Run:
    def __init__(self, site: Site, load: Load, costs: Costs, *, images: int, seed: int) -> None:
        self._site, self._load, self._costs = site, load, costs
        self._wanted, self._skipped = images, images // 5
        self._clock = clock = Clock(seed)
        self._api = Station(clock, site.apis, costs.api)
        # Half before the call and half after it: where exactly the work falls changes little.
        self._postgres = Station(clock, site.postgres_cores, costs.postgres / 2)
        self._loops = [Station(clock, 1, costs.worker / 2) for _ in range(site.workers)]
        self._renders = [Station(clock, site.render_processes, costs.render) for _ in range(site.workers)]
        self._backlog = [deque[_Image]() for _ in range(site.providers)]
        self._free_places = [site.places] * site.providers
        self._free_slots = [worker for worker in range(site.workers) for _ in range(site.slots)]
        self._counted = _Counted()
        self._arrived = self._waiting = self._under_way = self._turn = self._done = 0
        self._backlog_halfway = self._waiting_at_end = 0
        self._is_admitting = False
        self._admitting_seconds = self._held_seconds = 0.0
        self._looked_at = self._held_at = self._began_at = self._ended_at = 0.0

    def outcome(self) -> Outcome:
        self._plan_arrival(None)
        self._clock.run()
        counted, site = self._counted, self._site
        seconds = self._ended_at
        of_stations = {
            "API": (self._api.busy_seconds, site.apis),
            "worker": (sum(each.busy_seconds for each in self._loops), site.workers),
            "render process": (sum(e.busy_seconds for e in self._renders), site.workers * site.render_processes),
            "PostgreSQL": (self._postgres.busy_seconds, site.postgres_cores),
            "admission": (self._admitting_seconds, 1),
            "slots": (self._held_seconds, site.workers * site.slots),
            "places": (self._held_seconds, site.providers * site.places),
        }
        return Outcome(
            images=len(counted.waits),
            utilisation={name: busy / servers / seconds for name, (busy, servers) in of_stations.items()},
            call_wait_p50=percentile(counted.waits, 50),
            call_wait_p99=percentile(counted.waits, 99),
            added_p50=percentile(counted.added, 50),
            added_p99=percentile(counted.added, 99),
            mean_wait=sum(counted.waits) / len(counted.waits),
            mean_backlog=counted.backlog_seconds / (self._ended_at - self._began_at),
            max_backlog=counted.max_backlog,
            is_stable=self._waiting_at_end <= max(2 * self._backlog_halfway, self._wanted // 50),
        )

    def _plan_arrival(self, _: object) -> None:
        load = self._load
        rate = load.images_per_second / load.images_per_job / load.burst
        self._clock.after(self._clock.rng.expovariate(rate), self._arrive)

    def _arrive(self, _: object) -> None:
        for _job in range(self._load.burst):
            if self._arrived >= self._wanted:
                break
            self._arrived += self._load.images_per_job
            job = _Image(self._clock.now, self._clock.rng.randrange(self._site.providers))
            self._api.serve(job, self._accepted)
        if self._arrived < self._wanted:
            self._plan_arrival(None)
        else:
            self._ended_at, self._waiting_at_end = self._clock.now, self._waiting

    def _accepted(self, job: _Image) -> None:
        self._look()
        for _ in range(self._load.images_per_job):
            self._backlog[job.provider].append(_Image(job.arrived_at, job.provider))
        self._waiting += self._load.images_per_job
        self._counted.max_backlog = max(self._counted.max_backlog, self._waiting)
        self._admit()

    def _admit(self) -> None:
        """One admission at a time, of what can start now."""
        if self._is_admitting or not self._waiting or not self._free_slots:
            return
        chosen = list(self._choose())
        if not chosen:
            return
        self._is_admitting = True
        seconds = self._costs.admission
        self._admitting_seconds += seconds
        if seconds:
            self._clock.after(seconds, self._admitted, chosen)
        else:
            self._admitted(chosen)

    def _choose(self) -> Sequence[_Image]:
        """Providers in turn, as many images as one admission takes."""
        self._look()
        chosen: list[_Image] = []
        idle = 0
        while len(chosen) < self._costs.batch and self._free_slots and idle < self._site.providers:
            self._turn = (self._turn + 1) % self._site.providers
            if not self._backlog[self._turn] or not self._free_places[self._turn]:
                idle += 1
                continue
            idle = 0
            image = self._backlog[self._turn].popleft()
            self._free_places[self._turn] -= 1
            at = self._clock.rng.randrange(len(self._free_slots))
            self._free_slots[at], self._free_slots[-1] = self._free_slots[-1], self._free_slots[at]
            image.worker = self._free_slots.pop()
            chosen.append(image)
        self._waiting -= len(chosen)
        return chosen

    def _admitted(self, chosen: list[_Image]) -> None:
        self._is_admitting = False
        self._change_held(len(chosen))
        for image in chosen:
            self._loops[image.worker].serve(image, self._claimed)
        self._admit()

    def _claimed(self, image: _Image) -> None:
        self._postgres.serve(image, self._committed)

    def _committed(self, image: _Image) -> None:
        image.called_at = self._clock.now
        image.latency = self._load.latency(self._clock.rng)
        self._clock.after(image.latency, self._answered, image)

    def _answered(self, image: _Image) -> None:
        self._loops[image.worker].serve(image, self._staged)

    def _staged(self, image: _Image) -> None:
        self._renders[image.worker].serve(image, self._rendered)

    def _rendered(self, image: _Image) -> None:
        self._postgres.serve(image, self._completed)

    def _completed(self, image: _Image) -> None:
        self._change_held(-1)
        self._free_places[image.provider] += 1
        self._free_slots.append(image.worker)
        self._done += 1
        if self._done > self._skipped:
            self._counted.waits.append(image.called_at - image.arrived_at)
            self._counted.added.append(self._clock.now - image.arrived_at - image.latency)
        self._admit()

    def _look(self) -> None:
        """The backlog was what it is now since it was looked at last."""
        if self._arrived > self._skipped and self._arrived < self._wanted:
            self._began_at = self._began_at or self._clock.now
            self._counted.backlog_seconds += self._waiting * (self._clock.now - max(self._looked_at, self._began_at))
            if self._arrived <= self._wanted // 2:
                self._backlog_halfway = max(self._backlog_halfway, self._waiting)
        self._looked_at = self._clock.now

    def _change_held(self, change: int) -> None:
        """Places and slots that are held, over time, for as long as images arrive."""
        now = self._clock.now if self._ended_at == 0 else self._ended_at
        self._held_seconds += self._under_way * max(0.0, now - self._held_at)
        self._held_at = now
        self._under_way += change
