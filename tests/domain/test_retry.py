"""Waiting before the next attempt."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from safelight.domain.retry import (
    RETRY_AFTER_MAX_SECONDS,
    RETRY_AFTER_MIN_SECONDS,
    backoff_seconds,
    clamp_retry_after,
)

jitters = st.floats(0, 1, exclude_max=True)


def test_waits_grow_to_a_minute_and_stay_there():
    middle = [backoff_seconds(failures, jitter=0.5) for failures in range(1, 11)]
    assert middle == [1, 2, 4, 8, 10, 20, 40, 60, 60, 60]


@given(failures=st.integers(1, 10_000), jitter=jitters, unit_seconds=st.floats(0.001, 10))
def test_a_wait_is_spread_by_at_most_a_fifth_and_scales_with_its_unit(
    failures: int, jitter: float, unit_seconds: float
):
    wait = backoff_seconds(failures, jitter=jitter, unit_seconds=unit_seconds)
    middle = backoff_seconds(failures, jitter=0.5) * unit_seconds
    assert math.isclose(wait, middle, rel_tol=0.2 + 1e-9)
    assert 0.8 * unit_seconds <= wait * (1 + 1e-9)
    assert wait <= 72 * unit_seconds * (1 + 1e-9)


@given(failures=st.integers(1, 50), jitter=jitters)
def test_a_further_failure_never_shortens_the_wait(failures: int, jitter: float):
    assert backoff_seconds(failures + 1, jitter=jitter) >= backoff_seconds(failures, jitter=jitter)


@given(seconds=st.floats(allow_nan=False))
def test_what_a_vendor_asks_for_is_held_between_a_second_and_an_hour(seconds: float):
    held = clamp_retry_after(seconds)
    assert RETRY_AFTER_MIN_SECONDS <= held <= RETRY_AFTER_MAX_SECONDS
    assert held == seconds or not RETRY_AFTER_MIN_SECONDS <= seconds <= RETRY_AFTER_MAX_SECONDS
