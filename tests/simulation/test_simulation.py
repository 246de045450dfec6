"""Whatever happens, in whatever order, to a whole installation in one process: each promise holds after each step.

The same seed is the same histories. How to replay one is told in docs/reliability.md.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, core, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.simulation.clock import StoppedLoop
from tests.simulation.machine import Ground, Simulation

CHECKED = settings(
    deadline=None,
    database=None,
    print_blob=True,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
FEWEST_EXAMPLES = 200
SEED = 1


@pytest.fixture
def ground(postgres: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    loop = StoppedLoop()
    loop.set_exception_handler(lambda _loop, _context: None)  # the dead do not complain
    began = time.perf_counter(), time.process_time()
    loop.install(monkeypatch)
    ground = Ground(postgres=postgres, loop=loop)
    yield ground
    seconds, cpu_seconds = time.perf_counter() - began[0], time.process_time() - began[1]
    print(
        f"{ground.examples} histories, {ground.steps} steps, {ground.calls} paid calls, {len(ground.deaths)} deaths"
        f" in {seconds:.1f} s ({cpu_seconds:.1f} s of this process)"
    )
    for (failpoint, where), deaths in sorted(Counter(ground.deaths).items()):
        print(f"  {deaths} before `{where}`, {f'after `{failpoint}`' if failpoint else 'with nothing in hand'}")
    loop.close()


def test_a_few_histories_keep_every_promise(ground: Ground) -> None:
    explore(ground, 1, max_examples=8, stateful_step_count=25)


@pytest.mark.slow
@pytest.mark.timeout(36_000)
def test_many_histories_keep_every_promise(ground: Ground) -> None:
    chosen = core.global_force_seed if core.global_force_seed is not None else SEED
    explore(ground, int(chosen), max_examples=max(FEWEST_EXAMPLES, settings().max_examples), stateful_step_count=50)


def explore(ground: Ground, chosen: int, *, max_examples: int, stateful_step_count: int) -> None:
    print(f"simulation: seed {chosen}, {max_examples} histories of up to {stateful_step_count} steps")

    @seed(chosen)
    class Seeded(Simulation):
        pass

    Seeded.ground = ground
    chosen_settings = settings(CHECKED, max_examples=max_examples, stateful_step_count=stateful_step_count)
    run_state_machine_as_test(Seeded, settings=chosen_settings)
