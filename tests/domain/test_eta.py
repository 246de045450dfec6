"""How long a job may still take."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.domain.eta import Latency, Load, estimate

TEN = Latency(p50_seconds=10.0, p90_seconds=25.0)

seconds = st.floats(0.0, 10_000.0)
latencies = st.tuples(seconds, seconds).map(lambda two: Latency(p50_seconds=min(two), p90_seconds=max(two)))
loads = st.builds(
    Load,
    latency=latencies,
    concurrency=st.integers(1, 50),
    running_seconds=st.lists(st.floats(-5.0, 10_000.0), max_size=5),
    waiting=st.integers(0, 500),
    later=st.integers(0, 500),
    ahead=st.integers(0, 10_000),
    busy=st.integers(0, 50),
    starts_in_seconds=seconds,
    per_minute=st.none() | st.integers(1, 1000),
)


@given(several=st.lists(loads, max_size=3))
def test_it_is_never_negative_and_the_cautious_figure_never_the_smaller(several: list[Load]):
    found = estimate(several)
    remaining = sum(len(load.running_seconds) + load.waiting + load.later for load in several)
    assert (found is None) == (remaining == 0)
    if found is not None:
        assert 0 <= found.p50_seconds <= found.p90_seconds


@given(load=loads, beside=st.lists(loads, max_size=2), data=st.data())
def test_fewer_images_never_take_longer(load: Load, beside: list[Load], data: st.DataObject):
    fewer = replace(
        load,
        waiting=data.draw(st.integers(0, load.waiting)),
        later=data.draw(st.integers(0, load.later)),
        ahead=data.draw(st.integers(0, load.ahead or 0)),
        busy=data.draw(st.integers(0, load.busy)),
        running_seconds=load.running_seconds[: data.draw(st.integers(0, len(load.running_seconds)))],
    )
    before, after = estimate([load, *beside]), estimate([fewer, *beside])
    if after is not None:
        assert before is not None
        assert after.p50_seconds <= before.p50_seconds
        assert after.p90_seconds <= before.p90_seconds


@pytest.mark.parametrize(
    "unknown",
    [
        {"latency": None},
        {"is_open": False},
        {"concurrency": 0},
        {"ahead": None},
    ],
    ids=["no history", "nothing is bought", "nobody works", "too many ahead to count"],
)
def test_what_cannot_be_known_is_not_said(unknown: dict[str, object]):
    known = Load(latency=TEN, concurrency=4, waiting=1)
    assert estimate([known]) is not None
    assert estimate([known, replace(known, **unknown)]) is None


def test_a_picture_that_is_under_way_needs_neither_an_open_gate_nor_a_place():
    found = estimate([Load(latency=TEN, concurrency=0, is_open=False, ahead=None, running_seconds=[4.0])])
    assert found is not None
    assert (found.p50_seconds, found.p90_seconds) == (6.0, 21.0)


def test_one_that_is_overdue_is_expected_soon_and_not_in_the_past():
    found = estimate([Load(latency=TEN, concurrency=1, running_seconds=[1000.0])])
    assert found is not None
    assert (found.p50_seconds, found.p90_seconds) == (1.0, 2.5)


def test_eight_at_four_places_take_two_rounds_and_more_when_others_are_before_them():
    alone = estimate([Load(latency=TEN, concurrency=4, waiting=8)])
    behind = estimate([Load(latency=TEN, concurrency=4, waiting=8, ahead=6, busy=2)])
    assert alone is not None
    assert behind is not None
    assert (alone.p50_seconds, alone.p90_seconds) == (20.0, 35.0)
    assert (behind.p50_seconds, behind.p90_seconds) == (40.0, 55.0)


def test_providers_work_side_by_side_and_what_is_made_from_pictures_comes_after_them():
    slow = Load(latency=Latency(p50_seconds=30.0, p90_seconds=40.0), concurrency=1, waiting=1)
    found = estimate([slow, Load(latency=TEN, concurrency=4, waiting=4, later=2)])
    assert found is not None
    assert found.p50_seconds == 30.0 + 10.0


def test_a_bound_on_calls_a_minute_and_a_start_that_lies_ahead_are_waited_for():
    bounded = estimate([Load(latency=TEN, concurrency=100, waiting=30, per_minute=10)])
    to_come = estimate([Load(latency=TEN, concurrency=100, waiting=1, starts_in_seconds=600.0)])
    assert bounded is not None
    assert to_come is not None
    assert bounded.p50_seconds == 2 * 60.0 + 10.0
    assert to_come.p50_seconds == 610.0
