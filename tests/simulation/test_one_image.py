"""One image, whose worker dies or stands still at each of its steps in turn, while another one takes over."""

from __future__ import annotations

import pytest

from tests.simulation.machine import Ground, Mischief, Simulation
from tests.simulation.process import Plan, Trouble
from tests.simulation.test_simulation import ground as ground
from tests.simulation.vendor import Fate

STEPS = range(14)
WITH_OUTPUT, WITHOUT_OUTPUT, AT_A_VENDOR_WITH_JOBS = 5, 1, 3


def begun(ground: Ground, pick: int, *, others_go_on: bool = False) -> Simulation:
    Simulation.ground = ground
    history = Simulation()
    history.begin(others_go_on=others_go_on, pick=pick, account="prepaid", has_family=False)
    return history


def plan(steps: int | None, trouble: Trouble = Trouble.PAUSE) -> Plan:
    return Plan(steps=steps, trouble=trouble, answers=[Fate.PICTURE] * 3)


def dies_and_is_followed(ground: Ground, pick: int, steps: int) -> None:
    """Nobody sweeps in between: the claim itself finds what the dead have left."""
    history = begun(ground, pick)
    try:
        history.work(pick=0, whose=0, plan=plan(steps, Trouble.CRASH))
        for seconds in (16.0, 80.0, 80.0):
            history.wait(seconds)
            history.work(pick=0, whose=0, plan=plan(None))
    except BaseException:
        history.has_failed = True
        raise
    finally:
        history.teardown()


def stands_still_and_comes_back(ground: Ground, pick: int, steps: int, others_steps: int) -> None:
    """It goes on while another one is at work on its image."""
    history = begun(ground, pick, others_go_on=True)
    try:
        history.work(pick=0, whose=0, plan=plan(steps))
        history.happen(Mischief.FREEZE, pick=0)
        history.wait(16.0)
        history.work(pick=0, whose=0, plan=plan(others_steps))
        history.happen(Mischief.THAW, pick=0)
        if history.world.standing:
            history.go_on(pick=0, plan=plan(None))
    except BaseException:
        history.has_failed = True
        raise
    finally:
        history.teardown()


def test_a_worker_may_die_at_these_steps(ground: Ground) -> None:
    for steps in (1, 3, 5, 7):
        dies_and_is_followed(ground, WITH_OUTPUT, steps)


def test_a_worker_may_come_back_at_these_steps(ground: Ground) -> None:
    for steps, others_steps in ((2, 1), (4, 1), (5, 3)):
        stands_still_and_comes_back(ground, WITH_OUTPUT, steps, others_steps)


@pytest.mark.slow
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("pick", [WITH_OUTPUT, WITHOUT_OUTPUT, AT_A_VENDOR_WITH_JOBS])
def test_a_worker_may_die_at_any_step(ground: Ground, pick: int) -> None:
    for steps in STEPS:
        dies_and_is_followed(ground, pick, steps)


@pytest.mark.slow
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("pick", [WITH_OUTPUT, WITHOUT_OUTPUT, AT_A_VENDOR_WITH_JOBS])
def test_a_worker_may_come_back_at_any_step(ground: Ground, pick: int) -> None:
    for steps in STEPS:
        for others_steps in range(0, 12, 2):
            stands_still_and_comes_back(ground, pick, steps, others_steps)
