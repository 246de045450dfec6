"""The simulation agrees with what is known exactly, and the plans with the settings that they turn up."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.growth import Growth
from benchmarks.measured import NAMES, Measured, NotMeasured, measured_in
from benchmarks.plan import FORGOTTEN_AT_ONCE, Assumptions, costs_of, limits, plan_for
from benchmarks.queue_model import MARKS, VOLUMES, simulated_of
from benchmarks.queueing import Costs, Load, Outcome, Site, simulate
from safelight.engine.upkeep import retention
from safelight.sandbox.latency import Latency

ROOT = Path(__file__).parents[2]
NO_COSTS = Costs(api=0, worker=0, render=0, postgres=0, admission=0, batch=1)
WIDE = Site(apis=1, workers=1, slots=1000, render_processes=1, postgres_cores=1, providers=1, places=1000)
MEASURED = Measured(
    worker_ms=8,
    render_ms=20,
    postgres_ms=8,
    api_ms=0.3,
    plain_worker_ms=5,
    plain_per_second=150,
    kept_per_second=40,
    admission_ms=5,
    source="a test",
)
GROWTH = Growth(
    bytes_of={"jobs": 30, "images": 700, "attempts": 600, "renditions": 400, "events": 1100, "pgqueuer_log": 500},
    events=3.2,
    log_bytes=13_000,
    transactions=20,
    requests={"PUT": 3, "HEAD": 3, "DELETE": 2},
)


def erlang_c_wait(arrivals: float, service: float, servers: int) -> float:
    """The mean wait of an M/M/c queue, exactly."""
    offered = arrivals / service
    below = sum(offered**k / math.factorial(k) for k in range(servers))
    full = offered**servers / math.factorial(servers) * servers / (servers - offered)
    return full / (below + full) / (servers * service - arrivals)


def assert_is_about(found: list[float], exact: float) -> None:
    """The mean of independent runs is within four of its own standard errors, which are small enough to tell."""
    error = statistics.stdev(found) / math.sqrt(len(found))
    assert error < 0.1 * exact, "too few images to tell"
    assert abs(statistics.mean(found) - exact) < 4 * error


def one_by_one(places: int, load: float, *, images: int, seed: int) -> Outcome:
    """Single images at random for vendors that take exponential times of a second, and nothing else."""
    arriving = Load(images_per_second=load * places, images_per_job=1, latency=lambda rng: rng.expovariate(1.0))
    return simulate(replace(WIDE, places=places), arriving, NO_COSTS, images=images, seed=seed)


@pytest.mark.parametrize(("places", "load"), [(1, 0.6), (4, 0.75), (12, 0.8)])
def test_random_arrivals_at_exponential_vendors_wait_as_long_as_erlang_says(places: int, load: float) -> None:
    runs = [one_by_one(places, load, images=8000, seed=seed) for seed in range(1, 7)]

    exact = erlang_c_wait(load * places, 1.0, places)
    assert_is_about([run.mean_wait for run in runs], exact)
    # Little's law: what waits is what arrives times how long it waits.
    assert_is_about([run.mean_backlog for run in runs], load * places * exact)
    assert all(run.utilisation["places"] == pytest.approx(load, rel=0.1) for run in runs)


def test_a_processor_that_all_share_is_as_busy_and_as_long_waited_for_as_erlang_says() -> None:
    costs = replace(NO_COSTS, postgres=0.2)  # half before the call, half after it: each image comes twice
    arriving = Load(images_per_second=7.0, images_per_job=1, latency=lambda _rng: 50.0)
    runs = [simulate(replace(WIDE, postgres_cores=2), arriving, costs, images=4000, seed=seed) for seed in range(1, 7)]

    being_served = 0.1
    assert_is_about([run.mean_wait - being_served for run in runs], erlang_c_wait(14.0, 10.0, 2))
    assert all(run.utilisation["PostgreSQL"] == pytest.approx(0.7, rel=0.1) for run in runs)


def test_more_than_can_be_carried_is_said_not_to_be_kept_up_with() -> None:
    kept_up, left_behind = (one_by_one(4, load, images=6000, seed=1) for load in (0.7, 1.3))

    assert kept_up.is_stable
    assert not left_behind.is_stable
    assert left_behind.max_backlog > 10 * kept_up.max_backlog


def test_a_plan_fills_nothing_beyond_what_was_chosen_and_keeps_up() -> None:
    assumed = Assumptions(latency=Latency(p50_seconds=1.0, p95_seconds=2.0))
    plan = plan_for(VOLUMES[0], MEASURED, GROWTH, assumed)

    done = simulated_of(plan, MEASURED, assumed).steady
    assert done.is_stable
    assert max(done.utilisation.values()) <= assumed.fill * 1.1


def test_ten_times_the_volume_takes_more_of_what_is_divided_and_what_is_shared_ends_in_more_installations() -> None:
    small, large, huge = (plan_for(volume, MEASURED, GROWTH, Assumptions()) for volume in VOLUMES)

    assert small.site.workers < large.site.workers
    assert small.connections < large.connections
    assert (small.installations, large.installations) == (1, 1)
    shared = min(each.images_per_second for each in limits(MEASURED, GROWTH, Assumptions()) if each.is_shared)
    assert huge.installations == math.ceil(huge.peak_per_second * huge.installations / (0.7 * shared)) > 1
    assert max(each.site.slots for each in (small, large, huge)) <= 1000


def test_twice_the_speed_takes_half_the_workers() -> None:
    quick = replace(MEASURED, worker_ms=MEASURED.worker_ms / 2, render_ms=MEASURED.render_ms / 2)
    slow, fast = (plan_for(VOLUMES[1], each, GROWTH, Assumptions()) for each in (MEASURED, quick))

    assert fast.site.workers == pytest.approx(slow.site.workers / 2, abs=1)
    assert costs_of(quick, Assumptions()).worker == costs_of(MEASURED, Assumptions()).worker / 2


def test_every_figure_that_is_needed_stands_on_the_page_of_benchmarks() -> None:
    found = measured_in(ROOT / "docs" / "benchmarks.md", {})

    assert all(getattr(found, name) > 0 for name in NAMES)


def test_a_figure_may_be_given_and_one_that_is_missing_is_named(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("| nothing of ours | 1 ms |", encoding="utf-8")

    given = dict.fromkeys(NAMES, 2.0)
    assert measured_in(page, given).worker_ms == 2.0
    del given["admission_ms"]
    with pytest.raises(NotMeasured, match="admission_ms"):
        measured_in(page, given)


def test_what_one_sweep_forgets_is_what_the_service_says() -> None:
    assert FORGOTTEN_AT_ONCE == retention._EVENTS_AT_ONCE


def test_the_page_on_growth_has_a_place_for_what_is_calculated() -> None:
    page = (ROOT / "docs" / "scale.md").read_text("utf-8")

    assert page.index(MARKS[0]) < page.index(MARKS[1])
