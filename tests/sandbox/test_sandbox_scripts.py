from __future__ import annotations

import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.sandbox.faults import (
    ASIDES,
    CHARGES_PICTURE,
    CHARGES_WORDS,
    FREE,
    GENERATES,
    Directive,
    Fault,
    UnknownDirective,
    parse_fault_rates,
    path_directives,
    plan_call,
    prompt_directives,
)
from safelight.sandbox.latency import Latency, parse_latency

RNG = random.Random(0)


def faults(prompt: str, calls: int) -> list[str]:
    directives = prompt_directives(prompt)
    return [plan_call(directives, nth=nth, rng=RNG).outcome for nth in range(1, calls + 1)]


@pytest.mark.parametrize("fault", sorted(set(Fault) - ASIDES))
def test_every_fault_can_be_scripted_without_arguments(fault: Fault) -> None:
    (directive,) = prompt_directives(f"a pier [[sandbox: {fault.value}]] at night")

    assert directive.fault is fault


def test_directives_are_served_in_the_order_written() -> None:
    assert faults("[[sandbox: 500 x2]] a pier [[sandbox:429 9 x1]]", 5) == ["500", "500", "429 9", "ok", "ok"]


def test_an_unlimited_directive_applies_for_ever() -> None:
    assert faults("[[sandbox: 503 x1]] [[sandbox: refuse SPII]]", 4) == ["503", *["refuse SPII"] * 3]


def test_slow_goes_together_with_what_the_call_ends_with() -> None:
    directives = prompt_directives("[[sandbox: slow 2.5 x1]] [[sandbox: cut]]")

    first, second = (plan_call(directives, nth=nth, rng=RNG) for nth in (1, 2))
    assert (first.takes_seconds, first.outcome) == (2.5, "cut")
    assert (second.takes_seconds, second.outcome) == (None, "cut")


def test_a_path_is_read_like_a_prompt() -> None:
    assert path_directives("slow=2/429=37,x3") == (
        Directive(fault=Fault.SLOW, seconds=2.0),
        Directive(fault=Fault.RATE_LIMIT, seconds=37.0, limit=3),
    )
    assert path_directives("") == ()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nothing",
        "ok 3",
        "slow",
        "slow -1",
        "slow inf",
        "slow 1 2",
        "500 x0",
        "500 x",
        "refuse safety",
        "hang x",
        "padded 0",
        "padded 1001",
        "padded many",
        f"padded {'9' * 5000}",
        "poll poll 503",
        f"{'poll ' * 5000}503",
        "frames 3",
    ],
)
def test_a_misspelt_directive_is_refused(text: str) -> None:
    with pytest.raises(UnknownDirective):
        prompt_directives(f"[[sandbox: {text}]]")


def test_what_a_fault_costs_is_said_once() -> None:
    assert not CHARGES_PICTURE & CHARGES_WORDS
    assert not FREE & (CHARGES_PICTURE | CHARGES_WORDS)
    assert set(Fault) - FREE <= GENERATES, "nothing is charged that was not generated"


def test_an_amount_is_in_megabytes_and_on_the_bill() -> None:
    assert faults("[[sandbox: padded 60 x1]] [[sandbox: gzip-bomb]]", 2) == ["padded 60", "gzip-bomb 300"]
    assert faults("[[sandbox: drip-body 0.01 x1]] [[sandbox: drip-headers]]", 2) == [
        "drip-body 0.01",
        "drip-headers 0.3",
    ]


@given(st.text())
def test_a_prompt_without_a_directive_has_none(prompt: str) -> None:
    assert prompt_directives(prompt.replace("[[", "")) == ()


def test_rates_hold_on_average() -> None:
    rates, rng = parse_fault_rates("429=0.1,hang 5=0.05"), random.Random(1)
    drawn = [plan_call((), nth=1, rates=rates, rng=rng).outcome for _ in range(20_000)]

    assert drawn.count("429 2") / len(drawn) == pytest.approx(0.1, abs=0.01)
    assert drawn.count("hang 5") / len(drawn) == pytest.approx(0.05, abs=0.01)
    assert drawn.count("ok") + drawn.count("429 2") + drawn.count("hang 5") == len(drawn)


@pytest.mark.parametrize("text", ["429", "429=2", "429=0.6,500=0.6", "slow 1=0.1", "500 x2=0.1", "oops=0.1", "429=a"])
def test_a_wrong_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"rate|directive|float"):
        parse_fault_rates(text)


def test_a_constant_latency_is_constant() -> None:
    assert {parse_latency("0.05").sample_seconds(RNG) for _ in range(9)} == {0.05}


def test_a_log_normal_latency_has_its_percentiles() -> None:
    latency, rng = parse_latency("p50=2,p95=6"), random.Random(3)
    cuts = statistics.quantiles([latency.sample_seconds(rng) for _ in range(40_000)], n=20)

    assert cuts[9] == pytest.approx(2, rel=0.03)
    assert cuts[18] == pytest.approx(6, rel=0.03)


@pytest.mark.parametrize("text", ["", "fast", "-1", "p50=2", "p50=6,p95=2", "p50=0,p95=2", "p50=1,p95=inf", "nan"])
def test_a_wrong_latency_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="p50=2,p95=6"):
        parse_latency(text)


def test_no_latency_is_the_default() -> None:
    assert Latency().sample_seconds(RNG) == 0
