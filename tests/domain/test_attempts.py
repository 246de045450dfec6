"""The re-send rule, over every history of attempts that an image can have."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.domain.attempts import (
    UNBILLED_BY_POLICY_LIMIT,
    Adopt,
    AttemptFact,
    AttemptStatus,
    Buy,
    GiveUp,
    NextStep,
    OnUncertain,
    Poll,
    RetryBudget,
    WaitUntil,
    next_step,
)
from safelight.domain.errors import ErrorKind

NOW = datetime(2026, 11, 20, 23, 0, tzinfo=UTC)
BUDGET = RetryBudget(max_attempts=3, max_rebuys=1, on_uncertain=OnUncertain.RETRY_ONCE)


def attempt(
    status: AttemptStatus,
    *,
    run: int = 1,
    fingerprint: str = "same",
    by_policy: bool = False,
    kind: ErrorKind | None = None,
    resolves_in_seconds: float = -1,
    name: str = "att_1",
    provider: str = "here",
    model: str = "this",
    is_charged: bool = False,
) -> AttemptFact:
    return AttemptFact(
        id=name,
        run=run,
        provider=provider,
        model=model,
        is_charged=is_charged,
        status=status,
        fingerprint=fingerprint,
        unbilled_by_policy=by_policy,
        error_kind=kind,
        resolve_at=NOW + timedelta(seconds=resolves_in_seconds),
    )


def step(attempts: Sequence[AttemptFact], *, run: int = 1, budget: RetryBudget = BUDGET) -> NextStep:
    return next_step(attempts, run=run, provider="here", model="this", fingerprint="same", budget=budget, now=NOW)


budgets = st.builds(
    RetryBudget,
    max_attempts=st.integers(1, 5),
    max_rebuys=st.integers(0, 3),
    on_uncertain=st.sampled_from(OnUncertain),
)
histories = st.lists(
    st.builds(
        attempt,
        st.sampled_from(AttemptStatus),
        run=st.integers(1, 3),
        fingerprint=st.sampled_from(["same", "other"]),
        provider=st.sampled_from(["here", "elsewhere"]),
        is_charged=st.booleans(),
        by_policy=st.booleans(),
        resolves_in_seconds=st.sampled_from([-60, 0, 60, 120]),
    ),
    max_size=30,
)


def test_the_first_call_may_be_bought():
    assert step([]) == Buy()


@given(history=histories, budget=budgets)
def test_nothing_is_bought_beside_received_bytes_or_a_call_that_may_still_answer(
    history: list[AttemptFact], budget: RetryBudget
):
    received = [a for a in history if a.status is AttemptStatus.RECEIVED and a.fingerprint == "same"]
    answering = [a for a in history if a.status is AttemptStatus.SENT and a.resolve_at > NOW]
    at_the_vendor = [a for a in history if a.status is AttemptStatus.SUBMITTED]
    for run in (1, 2, 3):
        if received:
            assert isinstance(step(history, run=run, budget=budget), Adopt)
        elif at_the_vendor:
            assert step(history, run=run, budget=budget) == Poll(at_the_vendor[0].id)
        elif answering:
            assert step(history, run=run, budget=budget) == WaitUntil(max(a.resolve_at for a in answering))
        else:
            assert isinstance(step(history, run=run, budget=budget), Buy | GiveUp)


@given(history=histories, budget=budgets)
def test_a_purchase_keeps_every_budget_of_its_run(history: list[AttemptFact], budget: RetryBudget):
    if step(history, run=2, budget=budget) != Buy():
        return
    mine = [a for a in history if a.run == 2]
    rebuys = budget.max_rebuys if budget.on_uncertain is OnUncertain.RETRY_ONCE else 0
    assert sum(a.status in (AttemptStatus.UNKNOWN, AttemptStatus.SENT) for a in mine) <= rebuys
    refused_for_money = [a for a in mine if a.status is AttemptStatus.REFUSED and a.is_charged]
    assert sum(a.status is AttemptStatus.NO_IMAGE for a in mine) + len(refused_for_money) < budget.max_attempts
    here = [a for a in mine if a.provider == "here"]
    by_policy = [a for a in here if a.status is AttemptStatus.UNBILLED and a.unbilled_by_policy]
    assert len(by_policy) < UNBILLED_BY_POLICY_LIMIT


@given(history=histories, budget=budgets)
def test_an_earlier_run_spends_none_of_this_runs_budget(history: list[AttemptFact], budget: RetryBudget):
    assert isinstance(step(history, run=9, budget=budget), Buy | Adopt | Poll | WaitUntil)


def test_bytes_of_the_same_request_are_adopted_in_a_later_run():
    earlier = attempt(AttemptStatus.RECEIVED, run=1, name="att_early")
    assert step([earlier, attempt(AttemptStatus.UNKNOWN, run=2)], run=2) == Adopt("att_early")


def test_bytes_of_another_request_are_not():
    assert step([attempt(AttemptStatus.RECEIVED, fingerprint="other prompt")], run=2) == Buy()


def test_a_call_of_an_earlier_run_is_waited_for():
    sent = attempt(AttemptStatus.SENT, run=1, resolves_in_seconds=30)
    assert step([sent], run=2) == WaitUntil(NOW + timedelta(seconds=30))


def test_the_moment_at_which_a_call_can_no_longer_answer_does_not_wait():
    assert step([attempt(AttemptStatus.SENT, resolves_in_seconds=0)]) == Buy()


@pytest.mark.parametrize(
    ("on_uncertain", "ends_uncertain"),
    [(OnUncertain.HOLD, True), (OnUncertain.FAIL, False), (OnUncertain.RETRY_ONCE, True)],
)
def test_a_lost_outcome_without_a_rebuy_left_ends_as_the_caller_chose(on_uncertain: OnUncertain, ends_uncertain: bool):
    budget = RetryBudget(max_attempts=3, max_rebuys=0, on_uncertain=on_uncertain)
    ended = step([attempt(AttemptStatus.UNKNOWN)], budget=budget)
    assert isinstance(ended, GiveUp)
    assert (ended.kind, ended.uncertain) == (ErrorKind.UNKNOWN, ends_uncertain)


@pytest.mark.parametrize("on_uncertain", [OnUncertain.HOLD, OnUncertain.FAIL])
def test_only_retry_once_buys_again_after_a_lost_outcome(on_uncertain: OnUncertain):
    unknown = attempt(AttemptStatus.UNKNOWN)
    assert step([unknown]) == Buy()
    assert step([unknown, unknown]) != Buy()
    budget = RetryBudget(max_attempts=3, max_rebuys=3, on_uncertain=on_uncertain)
    assert isinstance(step([unknown], budget=budget), GiveUp)


def test_paid_calls_without_a_picture_end_the_image_with_the_last_ones_reason():
    paid = [
        attempt(AttemptStatus.NO_IMAGE, kind=ErrorKind.TEMPORARY),
        attempt(AttemptStatus.NO_IMAGE),
        attempt(AttemptStatus.NO_IMAGE, kind=ErrorKind.INVALID_OUTPUT),
    ]
    assert step(paid[:2]) == Buy()
    ended = step(paid)
    assert isinstance(ended, GiveUp)
    assert (ended.kind, ended.code, ended.uncertain) == (ErrorKind.INVALID_OUTPUT, "NO_IMAGE", False)


def test_proven_unbilled_calls_are_free_and_server_errors_are_free_twenty_times():
    proven = [attempt(AttemptStatus.UNBILLED)] * 100
    assert step(proven) == Buy()
    answers = [attempt(AttemptStatus.UNBILLED, by_policy=True)] * UNBILLED_BY_POLICY_LIMIT
    assert step(proven + answers[1:]) == Buy()
    ended = step(proven + answers)
    assert isinstance(ended, GiveUp)
    assert (ended.kind, ended.code) == (ErrorKind.TEMPORARY, "VENDOR_FAILING")
    assert ended.at_provider


def test_another_providers_failures_try_no_patience_here():
    assert step([attempt(AttemptStatus.UNBILLED, by_policy=True, provider="elsewhere")] * 100) == Buy()


def test_refusals_that_cost_something_are_paid_calls_without_a_picture():
    assert step([attempt(AttemptStatus.REFUSED)] * 9) == Buy()
    assert isinstance(step([attempt(AttemptStatus.REFUSED, is_charged=True)] * 3), GiveUp)


def test_a_job_at_the_vendor_is_asked_after_whatever_its_deadline_was():
    job = attempt(AttemptStatus.SUBMITTED, resolves_in_seconds=-3600, name="att_job")
    assert step([attempt(AttemptStatus.UNKNOWN), job], run=2) == Poll("att_job")


def test_patience_that_is_spent_on_one_model_is_not_spent_on_another():
    """A fallback may be another model of the same provider."""
    unexplained = [attempt(AttemptStatus.UNBILLED, kind=ErrorKind.UNKNOWN, model=model) for model in ("other", "other")]
    assert step(unexplained) == Buy()
    failing = [attempt(AttemptStatus.UNBILLED, by_policy=True, model="other")] * UNBILLED_BY_POLICY_LIMIT
    assert step(failing) == Buy()
