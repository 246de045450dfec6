"""What a vendor's failure says about the vendor."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.domain.errors import Billed, ErrorKind, Scope
from safelight.domain.gates import Bars, CountsAgainst, LimitsRate, Works, what_a_failure_does
from safelight.domain.retry import RETRY_AFTER_MAX_SECONDS, RETRY_AFTER_MIN_SECONDS

FREE, PAID, UNSURE = Billed.NO, Billed.YES, Billed.UNKNOWN


@pytest.mark.parametrize("kind", [ErrorKind.AUTH_ERROR, ErrorKind.PERMANENT])
def test_a_key_or_balance_that_is_gone_bars_the_whole_account(kind: ErrorKind):
    assert what_a_failure_does(kind=kind, scope=Scope.ACCOUNT, billed=FREE) == Bars(of_account=True)


@pytest.mark.parametrize("scope", Scope)
def test_a_quota_of_the_day_bars_until_it_is_renewed_whatever_pause_the_vendor_names(scope: Scope):
    effect = what_a_failure_does(
        kind=ErrorKind.RATE_LIMIT, scope=scope, billed=FREE, retry_after_seconds=7.0, quota_zone="America/Los_Angeles"
    )
    assert effect == Bars(of_account=scope is Scope.ACCOUNT, quota_zone="America/Los_Angeles")


@pytest.mark.parametrize("scope", Scope)
def test_a_rate_limit_lasts_as_long_as_the_vendor_says(scope: Scope):
    def effect(seconds: float | None):
        return what_a_failure_does(kind=ErrorKind.RATE_LIMIT, scope=scope, billed=FREE, retry_after_seconds=seconds)

    of_account = scope is Scope.ACCOUNT
    assert effect(37.0) == LimitsRate(of_account=of_account, seconds=37.0)
    assert effect(None) == LimitsRate(of_account=of_account, seconds=None)
    assert effect(0.0) == LimitsRate(of_account=of_account, seconds=RETRY_AFTER_MIN_SECONDS)
    assert effect(1e9) == LimitsRate(of_account=of_account, seconds=RETRY_AFTER_MAX_SECONDS)


@pytest.mark.parametrize("kind", [ErrorKind.TEMPORARY, ErrorKind.TIMEOUT])
@pytest.mark.parametrize("billed", [FREE, UNSURE])
def test_a_vendor_that_does_not_answer_properly_is_counted_against(kind: ErrorKind, billed: Billed):
    assert what_a_failure_does(kind=kind, scope=Scope.REQUEST, billed=billed) == CountsAgainst(of_account=False)
    assert what_a_failure_does(kind=kind, scope=Scope.ACCOUNT, billed=billed) == CountsAgainst(of_account=True)


def test_an_answer_that_was_charged_shows_a_vendor_that_works():
    assert what_a_failure_does(kind=ErrorKind.TEMPORARY, scope=Scope.REQUEST, billed=PAID) == Works()


OF_THE_REQUEST = set(ErrorKind) - {ErrorKind.RATE_LIMIT, ErrorKind.TEMPORARY, ErrorKind.TIMEOUT}


@given(kind=st.sampled_from(sorted(OF_THE_REQUEST)), billed=st.sampled_from(Billed))
def test_what_concerns_one_request_says_nothing_against_the_vendor(kind: ErrorKind, billed: Billed):
    assert what_a_failure_does(kind=kind, scope=Scope.REQUEST, billed=billed) == Works()
