"""The adapter against real sockets: what becomes of a call that brings neither picture nor refusal."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from configs import config
from gemini_wire import (
    BAD_KEY,
    INPUT_COST,
    INPUT_USAGE,
    KEY,
    PROMPT,
    answer,
    error,
    failure_of,
    quota_failure,
    request,
    retry_info,
)
from loopback_vendor import Vendor

from safelight.domain.errors import Billed, ErrorKind, Scope
from safelight.domain.money import FREE, UNKNOWN_COST, Cost
from safelight.net.billable import billable_call
from safelight.providers.gemini import GeminiProvider
from safelight.providers.provider import ProviderError

# Answers without a picture


@pytest.mark.parametrize(
    ("finish", "kind", "scope", "code"),
    [
        ("NO_IMAGE", ErrorKind.TEMPORARY, Scope.REQUEST, "NO_IMAGE"),
        ("IMAGE_OTHER", ErrorKind.TEMPORARY, Scope.REQUEST, "IMAGE_OTHER"),
        ("OTHER", ErrorKind.TEMPORARY, Scope.REQUEST, "OTHER"),
        ("MALFORMED_RESPONSE", ErrorKind.TEMPORARY, Scope.REQUEST, "MALFORMED_RESPONSE"),
        ("STOP", ErrorKind.TEMPORARY, Scope.REQUEST, "EMPTY_ANSWER"),
        (None, ErrorKind.TEMPORARY, Scope.REQUEST, "EMPTY_ANSWER"),
        ("MAX_TOKENS", ErrorKind.PERMANENT, Scope.REQUEST, "MAX_TOKENS"),
        ("PUP_LIMITED_DISABLED", ErrorKind.AUTH_ERROR, Scope.ACCOUNT, "PUP_LIMITED_DISABLED"),
        ("CONTINUATION", ErrorKind.UNKNOWN, Scope.REQUEST, "CONTINUATION"),
        ("BRAND_NEW_REASON", ErrorKind.UNKNOWN, Scope.REQUEST, "BRAND_NEW_REASON"),
    ],
)
@pytest.mark.parametrize(
    ("usage", "billed", "cost"),
    [(INPUT_USAGE, Billed.YES, INPUT_COST), (None, Billed.UNKNOWN, UNKNOWN_COST)],
    ids=["counted", "uncounted"],
)
@pytest.mark.filterwarnings("ignore:BRAND_NEW_REASON is not a valid FinishReason:UserWarning")
async def test_an_answer_without_a_picture_says_why_and_whether_it_was_charged(
    vendor: Vendor,
    gemini: GeminiProvider,
    finish: str | None,
    kind: ErrorKind,
    scope: Scope,
    code: str,
    usage: Any,
    billed: Billed,
    cost: Cost,
) -> None:
    vendor.says(200, answer(finish=finish, usage=usage))

    failure = await failure_of(gemini)

    assert (failure.kind, failure.scope, failure.code) == (kind, scope, code)
    assert (failure.billed, failure.cost, failure.usage) == (billed, cost, usage or {})
    assert (failure.http_status, failure.request_id, failure.retry_after_seconds) == (200, "r1", None)
    assert not failure.unbilled_by_policy
    assert len(vendor.requests) == 1


async def test_an_empty_object_may_have_been_charged(vendor: Vendor, gemini: GeminiProvider) -> None:
    vendor.says(200, {})

    failure = await failure_of(gemini)

    assert (failure.kind, failure.billed, failure.code) == (
        ErrorKind.TEMPORARY,
        Billed.UNKNOWN,
        "EMPTY_ANSWER",
    )


@pytest.mark.parametrize(
    "body",
    [
        b"<html>It works!</html>",
        b"\xff\xfe broken",
        b"42",
        b'{"candidates": [',
        b'{"candidates": [{"finishReason": 7}]}',
        b'{"candidates": [{"content": {"parts": [{"inlineData": {"data": "%%%"}}]}}]}',
    ],
)
async def test_a_200_that_cannot_be_read_may_have_been_charged(
    vendor: Vendor, gemini: GeminiProvider, body: bytes
) -> None:
    vendor.says(200, body)

    failure = await failure_of(gemini)

    assert (failure.kind, failure.billed, failure.code) == (
        ErrorKind.TEMPORARY,
        Billed.UNKNOWN,
        "UNREADABLE_ANSWER",
    )
    assert failure.cost == UNKNOWN_COST
    assert len(vendor.requests) == 1


# HTTP statuses


@pytest.mark.parametrize(
    ("status", "body", "kind", "scope", "code"),
    [
        (
            400,
            error(400, "INVALID_ARGUMENT", BAD_KEY),
            ErrorKind.AUTH_ERROR,
            Scope.ACCOUNT,
            "API_KEY_INVALID",
        ),
        (400, error(400, "INVALID_ARGUMENT"), ErrorKind.PERMANENT, Scope.REQUEST, "INVALID_ARGUMENT"),
        (401, error(401, "UNAUTHENTICATED"), ErrorKind.AUTH_ERROR, Scope.ACCOUNT, "UNAUTHENTICATED"),
        (403, error(403, "PERMISSION_DENIED"), ErrorKind.AUTH_ERROR, Scope.ACCOUNT, "PERMISSION_DENIED"),
        (404, error(404, "NOT_FOUND"), ErrorKind.PERMANENT, Scope.REQUEST, "NOT_FOUND"),
        (408, error(408, "DEADLINE_EXCEEDED"), ErrorKind.TIMEOUT, Scope.REQUEST, "DEADLINE_EXCEEDED"),
        (413, b"<html>too large</html>", ErrorKind.PERMANENT, Scope.REQUEST, "HTTP_413"),
        (422, b'{"error": "as text"}', ErrorKind.PERMANENT, Scope.REQUEST, "HTTP_422"),
        (400, b'["of", "another", "shape"]', ErrorKind.PERMANENT, Scope.REQUEST, "HTTP_400"),
        (429, error(429, "RESOURCE_EXHAUSTED"), ErrorKind.RATE_LIMIT, Scope.REQUEST, "RESOURCE_EXHAUSTED"),
    ],
)
async def test_a_4xx_is_proven_unbilled(
    vendor: Vendor,
    gemini: GeminiProvider,
    status: int,
    body: object,
    kind: ErrorKind,
    scope: Scope,
    code: str,
) -> None:
    vendor.says(status, body)

    failure = await failure_of(gemini)

    assert (failure.kind, failure.scope, failure.code, failure.http_status) == (kind, scope, code, status)
    assert (failure.billed, failure.unbilled_by_policy, failure.cost) == (Billed.NO, False, FREE)
    assert failure.retry_after_seconds is None
    assert len(vendor.requests) == 1


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (500, error(500, "INTERNAL"), "INTERNAL"),
        (502, b"<html>Bad Gateway</html>", "HTTP_502"),
        (503, error(503, "UNAVAILABLE", message="The model is overloaded."), "UNAVAILABLE"),
    ],
)
async def test_a_listed_5xx_is_unbilled_by_policy(
    vendor: Vendor, gemini: GeminiProvider, status: int, body: object, code: str
) -> None:
    vendor.says(status, body)

    failure = await failure_of(gemini)

    assert (failure.kind, failure.scope, failure.code) == (ErrorKind.TEMPORARY, Scope.REQUEST, code)
    assert (failure.billed, failure.unbilled_by_policy, failure.cost) == (Billed.NO, True, FREE)
    assert failure.http_status == status
    assert len(vendor.requests) == 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (504, ErrorKind.TIMEOUT),
        (501, ErrorKind.TEMPORARY),
        (529, ErrorKind.TEMPORARY),
        (302, ErrorKind.UNKNOWN),
    ],
)
async def test_any_other_status_may_have_been_charged(
    vendor: Vendor, gemini: GeminiProvider, status: int, kind: ErrorKind
) -> None:
    vendor.says(status, error(status, "DEADLINE_EXCEEDED"), headers={"location": "/elsewhere"})

    failure = await failure_of(gemini)

    assert (failure.kind, failure.scope, failure.http_status) == (kind, Scope.REQUEST, status)
    assert (failure.billed, failure.unbilled_by_policy, failure.cost) == (Billed.UNKNOWN, False, UNKNOWN_COST)
    assert len(vendor.requests) == 1


@pytest.mark.parametrize(
    ("details", "headers", "seconds"),
    [
        ([retry_info("37s")], {}, 37.0),
        ([retry_info("1.5s")], {}, 1.5),
        ([quota_failure("GenerateRequestsPerMinutePerProject"), retry_info("12s")], {}, 12.0),
        ([retry_info("0.2s")], {}, 1.0),
        ([retry_info("315360000s")], {}, 3600.0),
        ([retry_info("soon")], {}, None),
        ([retry_info("soon")], {"retry-after": "9"}, 9.0),
        ([retry_info("4s")], {"retry-after": "9"}, 4.0),
        (
            [],
            {"date": "Fri, 20 Nov 2026 10:00:00 GMT", "retry-after": "Fri, 20 Nov 2026 10:00:25 GMT"},
            25.0,
        ),
        ([], {"retry-after": "whenever"}, None),
    ],
)
async def test_the_wait_a_rate_limit_asks_for_is_kept_between_a_second_and_an_hour(
    vendor: Vendor,
    gemini: GeminiProvider,
    details: list[dict[str, Any]],
    headers: dict[str, str],
    seconds: float | None,
) -> None:
    vendor.says(429, error(429, "RESOURCE_EXHAUSTED", *details), headers=headers)

    failure = await failure_of(gemini)

    assert (failure.kind, failure.scope, failure.retry_after_seconds) == (
        ErrorKind.RATE_LIMIT,
        Scope.REQUEST,
        seconds,
    )
    assert len(vendor.requests) == 1


async def test_a_spent_daily_quota_concerns_the_whole_account(vendor: Vendor, gemini: GeminiProvider) -> None:
    quota = quota_failure("GenerateRequestsPerDayPerProjectPerModel-FreeTier")
    vendor.says(429, error(429, "RESOURCE_EXHAUSTED", quota, retry_info("37s")))

    failure = await failure_of(gemini)

    assert (failure.kind, failure.scope, failure.billed) == (ErrorKind.RATE_LIMIT, Scope.ACCOUNT, Billed.NO)
    assert (failure.code, failure.retry_after_seconds) == ("DAILY_QUOTA", 37.0)
    assert len(vendor.requests) == 1


@pytest.mark.parametrize(
    ("status", "kind", "billed"),
    [
        (400, ErrorKind.PERMANENT, Billed.NO),
        (403, ErrorKind.AUTH_ERROR, Billed.NO),
        (504, ErrorKind.TIMEOUT, Billed.UNKNOWN),
    ],
)
async def test_a_daily_quota_that_is_no_rate_limits_is_not_waited_for(
    vendor: Vendor, gemini: GeminiProvider, status: int, kind: ErrorKind, billed: Billed
) -> None:
    vendor.says(status, error(status, "FAILED_PRECONDITION", quota_failure("GenerateRequestsPerDayPerProject")))

    failure = await failure_of(gemini)

    assert (failure.kind, failure.billed, failure.code) == (kind, billed, "FAILED_PRECONDITION")
    assert failure.quota_zone is None


# Connections


@pytest.mark.parametrize("is_in_a_call", [True, False])
async def test_a_refused_connection_is_proven_unbilled(is_in_a_call: bool) -> None:
    closed = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    url = f"http://127.0.0.1:{closed.sockets[0].getsockname()[1]}"
    closed.close()
    await closed.wait_closed()
    provider = GeminiProvider.from_config("gemini", config(api_key=KEY, base_url=url))

    if is_in_a_call:
        failure = await failure_of(provider)
    else:
        with pytest.raises(ProviderError) as caught:
            await provider.submit(request())
        failure = caught.value
    await provider.aclose()

    assert (failure.kind, failure.billed, failure.code) == (ErrorKind.TEMPORARY, Billed.NO, "CONNECT_FAILED")
    assert failure.cost == FREE


WHOLE_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


@pytest.mark.parametrize(
    "written",
    [
        b"",
        WHOLE_HEAD,
        WHOLE_HEAD + b'content-length: 4096\r\n\r\n{"candidates": [',
        WHOLE_HEAD + b'transfer-encoding: chunked\r\n\r\n10\r\n{"candidates": [\r\n',
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ],
    ids=["before the head", "in the head", "in the body", "between chunks", "not HTTP"],
)
async def test_a_cut_answer_may_have_been_charged(vendor: Vendor, gemini: GeminiProvider, written: bytes) -> None:
    vendor.writes(written)

    failure = await failure_of(gemini)

    assert (failure.kind, failure.billed, failure.code) == (
        ErrorKind.TEMPORARY,
        Billed.UNKNOWN,
        "CONNECTION_LOST",
    )
    assert failure.cost == UNKNOWN_COST
    assert len(vendor.requests) == 1


async def test_a_reset_connection_may_have_been_charged(vendor: Vendor, gemini: GeminiProvider) -> None:
    vendor.resets()

    failure = await failure_of(gemini)

    assert (failure.kind, failure.billed, failure.code) == (
        ErrorKind.TEMPORARY,
        Billed.UNKNOWN,
        "CONNECTION_LOST",
    )
    assert len(vendor.requests) == 1


async def test_a_broken_encoding_may_have_been_charged(vendor: Vendor, gemini: GeminiProvider) -> None:
    vendor.says(200, b"not gzip", headers={"content-encoding": "gzip"})

    failure = await failure_of(gemini)

    assert (failure.kind, failure.billed, failure.code) == (
        ErrorKind.TEMPORARY,
        Billed.UNKNOWN,
        "UNREADABLE_ANSWER",
    )
    assert len(vendor.requests) == 1


async def test_silence_past_the_read_timeout_may_have_been_charged(vendor: Vendor, gemini: GeminiProvider) -> None:
    vendor.hangs()

    failure = await failure_of(gemini, request(timeout_seconds=0.2))

    assert (failure.kind, failure.billed, failure.code) == (ErrorKind.TIMEOUT, Billed.UNKNOWN, "NO_ANSWER")
    assert failure.cost == UNKNOWN_COST
    assert len(vendor.requests) == 1


async def test_the_engines_own_deadline_passes_through_and_closes_the_connection(
    vendor: Vendor, gemini: GeminiProvider
) -> None:
    vendor.hangs()
    started = time.monotonic()

    with billable_call(timeout_seconds=60) as call, pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await gemini.submit(request())

    assert time.monotonic() - started < 5
    assert call.has_left
    await asyncio.wait_for(vendor.hung_up.wait(), 5)
    assert len(vendor.requests) == 1


async def test_a_cancelled_call_stays_cancelled(vendor: Vendor, gemini: GeminiProvider) -> None:
    vendor.hangs()
    submitting = asyncio.create_task(gemini.submit(request()))
    await asyncio.wait_for(vendor.seen.wait(), 5)

    submitting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await submitting
    await asyncio.wait_for(vendor.hung_up.wait(), 5)


# Secrets


@pytest.mark.parametrize("status", [200, 400, 403, 429, 500])
async def test_no_failure_repeats_the_key_or_the_prompt(vendor: Vendor, gemini: GeminiProvider, status: int) -> None:
    message = f"key {KEY} may not draw '{PROMPT[:30]}…' " + "x" * 460 + KEY
    body = answer({"text": message}, finish="OTHER") if status == 200 else error(status, "NO", message=message)
    vendor.says(status, body)

    failure = await failure_of(gemini)

    assert failure.message.startswith("key [key] may not draw '[prompt]…' xxx")
    assert len(failure.message) == 500
    assert KEY[:8] not in failure.message
    assert failure.__cause__ is None
    assert failure.__suppress_context__ or failure.__context__ is None
