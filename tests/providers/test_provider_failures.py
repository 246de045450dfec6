"""What the vendors' failures have in common, where no vendor of ours can be made to show it."""

from __future__ import annotations

import errno
import ssl

import pytest

from safelight.domain.errors import Billed, ErrorKind
from safelight.net.billable import CallNotSent, billable_call
from safelight.providers.failures import CALL_FAILURES, failure_without_status, vendor_code


@pytest.mark.parametrize(
    ("has_left", "billed", "code"),
    [(False, Billed.NO, "CONNECT_FAILED"), (True, Billed.UNKNOWN, "CONNECTION_LOST")],
)
@pytest.mark.parametrize("error", [ssl.SSLError("broken record"), ssl.SSLCertVerificationError("not yours")])
def test_a_break_below_the_http_client_is_one_of_the_connection(
    error: ssl.SSLError, has_left: bool, billed: Billed, code: str
) -> None:
    with billable_call(timeout_seconds=60) as call:
        if has_left:
            call.check()
        failure = failure_without_status(error, api_key="key", prompt="prompt")

    assert not isinstance(failure, CallNotSent)
    assert (failure.kind, failure.billed, failure.code) == (ErrorKind.TEMPORARY, billed, code)


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (ValueError("no such size"), ErrorKind.PERMANENT, "INVALID_REQUEST"),
        (TypeError("not a text"), ErrorKind.PERMANENT, "INVALID_REQUEST"),
        (AttributeError("partially initialized module"), ErrorKind.TEMPORARY, "CLIENT_FAILED"),
        (KeyError("backend"), ErrorKind.TEMPORARY, "CLIENT_FAILED"),
        (RuntimeError("no running loop"), ErrorKind.TEMPORARY, "CLIENT_FAILED"),
        (OSError(errno.EMFILE, "Too many open files"), ErrorKind.TEMPORARY, "CLIENT_FAILED"),
        (
            ExceptionGroup("connecting", [RuntimeError("the file descriptor is used")]),
            ErrorKind.TEMPORARY,
            "CLIENT_FAILED",
        ),
        (ImportError("half of a module"), ErrorKind.TEMPORARY, "CLIENT_FAILED"),
        (MemoryError(), ErrorKind.TEMPORARY, "CLIENT_FAILED"),
        (AssertionError("never"), ErrorKind.TEMPORARY, "CLIENT_FAILED"),
        (OverflowError("too large"), ErrorKind.TEMPORARY, "CLIENT_FAILED"),
    ],
)
def test_a_client_that_breaks_before_it_sends_costs_nothing_and_is_permanent_only_by_the_requests_fault(
    error: Exception, kind: ErrorKind, code: str
) -> None:
    assert isinstance(error, CALL_FAILURES), "every adapter asks what it means"
    with billable_call(timeout_seconds=60):
        failure = failure_without_status(error, api_key="key", prompt="prompt")

    assert not isinstance(failure, CallNotSent)
    assert (failure.kind, failure.billed, failure.code) == (kind, Billed.NO, code)


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (OSError(errno.EMFILE, "Too many open files"), ErrorKind.TEMPORARY, "CONNECTION_LOST"),
        (TimeoutError(), ErrorKind.TIMEOUT, "NO_ANSWER"),
        (MemoryError(), ErrorKind.UNKNOWN, "CLIENT_FAILED"),
    ],
)
def test_a_client_that_breaks_once_it_has_sent_may_have_cost(error: Exception, kind: ErrorKind, code: str) -> None:
    with billable_call(timeout_seconds=60) as call:
        call.check()
        failure = failure_without_status(error, api_key="key", prompt="prompt")

    assert not isinstance(failure, CallNotSent)
    assert (failure.kind, failure.billed, failure.code) == (kind, Billed.UNKNOWN, code)


@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED"),
        ("rate_limit_exceeded", "RATE_LIMIT_EXCEEDED"),
        ("E005", "E005"),
        ("Bad Gateway", None),
        ("BadRequestError", None),
        ("<html>", None),
        ("x" * 65, None),
        ("7", None),
        ("", None),
        (None, None),
        (429, None),
        (["code"], None),
    ],
)
def test_a_vendors_word_is_a_code_only_when_it_looks_like_one(word: object, code: str | None) -> None:
    assert vendor_code(word) == code
