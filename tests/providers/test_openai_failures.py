"""The adapter against real sockets: what becomes of a call that brings neither picture nor refusal."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from configs import config
from loopback_vendor import Vendor
from openai_wire import (
    INPUT_COST,
    INPUT_USAGE,
    JSON,
    KEY,
    PROMPT,
    USAGE,
    USAGE_COST,
    answer,
    error,
    failure_of,
    picture,
    reference,
    request,
)

from safelight.domain.errors import Billed, ErrorKind, Scope
from safelight.domain.money import FREE, UNKNOWN_COST, Cost
from safelight.net import billable
from safelight.net.billable import MAX_ANSWER_BYTES, billable_call
from safelight.providers.openai import OpenAIProvider
from safelight.providers.provider import ProviderError

# Answers without a picture


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"data": None},
        {"data": {"b64_json": "aW1hZ2U="}},
        {"data": "aW1hZ2U="},
        {"data": ["aW1hZ2U="]},
        {"data": [{}]},
        {"data": [{"b64_json": "", "url": ""}]},
        {"data": [{"b64_json": 7, "url": None}]},
        {"error": {"message": "the upstream was busy"}},
    ],
)
@pytest.mark.parametrize(
    ("usage", "billed", "cost"),
    [(INPUT_USAGE, Billed.YES, INPUT_COST), (None, Billed.UNKNOWN, UNKNOWN_COST), ("many", Billed.UNKNOWN, None)],
    ids=["counted", "uncounted", "no object"],
)
async def test_an_answer_without_a_picture_says_whether_it_was_charged(
    vendor: Vendor, openai: OpenAIProvider, body: dict[str, Any], usage: Any, billed: Billed, cost: Cost | None
) -> None:
    vendor.says(200, body | ({"usage": usage} if usage is not None else {}), headers=JSON)

    failure = await failure_of(openai)

    assert (failure.kind, failure.scope, failure.code) == (ErrorKind.TEMPORARY, Scope.REQUEST, "EMPTY_ANSWER")
    assert (failure.billed, failure.cost) == (billed, cost or UNKNOWN_COST)
    assert (failure.http_status, failure.request_id, failure.retry_after_seconds) == (200, "req_1", None)
    assert failure.message == ("the upstream was busy" if "error" in body else "the vendor answered without a picture")
    assert len(vendor.requests) == 1


async def test_a_picture_that_is_no_base64_was_paid_for(vendor: Vendor, openai: OpenAIProvider) -> None:
    vendor.says(200, answer({"b64_json": "%%%"}, usage=USAGE), headers=JSON)

    failure = await failure_of(openai)

    assert (failure.kind, failure.billed, failure.code) == (
        ErrorKind.INVALID_OUTPUT,
        Billed.YES,
        "UNREADABLE_PICTURE",
    )
    assert (failure.cost, failure.usage, failure.request_id) == (USAGE_COST, USAGE, "req_1")


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"<html>It works!</html>", "text/html"),
        (b"<html>It works!</html>", "application/json"),
        (b"\xff\xfe broken", "application/json"),
        (b"42", "application/json"),
        (b"[]", "application/json"),
        (b"null", "application/json"),
        (b'"a string"', "application/json"),
        (b'{"data": [', "application/json"),
        (b'{"data": [', "text/plain"),
        (b"", "application/json"),
    ],
)
async def test_a_200_that_cannot_be_read_may_have_been_charged(
    vendor: Vendor, openai: OpenAIProvider, body: bytes, content_type: str
) -> None:
    vendor.says(200, body, headers={"content-type": content_type})

    failure = await failure_of(openai)

    assert (failure.kind, failure.billed, failure.code) == (
        ErrorKind.TEMPORARY,
        Billed.UNKNOWN,
        "UNREADABLE_ANSWER",
    )
    assert failure.cost == UNKNOWN_COST
    assert len(vendor.requests) == 1


async def test_an_answer_that_is_longer_than_is_read_may_have_been_charged(
    vendor: Vendor, openai: OpenAIProvider
) -> None:
    vendor.writes(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (MAX_ANSWER_BYTES + 1))

    failure = await failure_of(openai)

    assert (failure.kind, failure.billed, failure.code) == (
        ErrorKind.INVALID_OUTPUT,
        Billed.UNKNOWN,
        "ANSWER_TOO_LARGE",
    )


# HTTP statuses


@pytest.mark.parametrize(
    ("status", "body", "kind", "scope", "code"),
    [
        (400, error("invalid_value"), ErrorKind.PERMANENT, Scope.REQUEST, "INVALID_VALUE"),
        (400, error(None), ErrorKind.PERMANENT, Scope.REQUEST, "INVALID_REQUEST_ERROR"),
        (400, error(None, kind=None), ErrorKind.PERMANENT, Scope.REQUEST, "HTTP_400"),
        (400, error("billing_hard_limit_reached"), ErrorKind.PERMANENT, Scope.ACCOUNT, "BILLING_HARD_LIMIT_REACHED"),
        (401, error("invalid_api_key"), ErrorKind.AUTH_ERROR, Scope.ACCOUNT, "INVALID_API_KEY"),
        (402, error("no_credit"), ErrorKind.PERMANENT, Scope.ACCOUNT, "NO_CREDIT"),
        (403, error(None), ErrorKind.AUTH_ERROR, Scope.ACCOUNT, "INVALID_REQUEST_ERROR"),
        (404, error("model_not_found"), ErrorKind.PERMANENT, Scope.REQUEST, "MODEL_NOT_FOUND"),
        (408, error(None, kind=None), ErrorKind.TIMEOUT, Scope.REQUEST, "HTTP_408"),
        (409, error(None, kind=None), ErrorKind.TEMPORARY, Scope.REQUEST, "HTTP_409"),
        (413, b"<html>too large</html>", ErrorKind.PERMANENT, Scope.REQUEST, "HTTP_413"),
        (422, error("bad", kind="x"), ErrorKind.PERMANENT, Scope.REQUEST, "BAD"),
        (429, error("rate_limit_exceeded"), ErrorKind.RATE_LIMIT, Scope.REQUEST, "RATE_LIMIT_EXCEEDED"),
        (429, error("insufficient_quota"), ErrorKind.PERMANENT, Scope.ACCOUNT, "INSUFFICIENT_QUOTA"),
        (
            429,
            error(None, kind="insufficient_quota"),
            ErrorKind.PERMANENT,
            Scope.ACCOUNT,
            "INSUFFICIENT_QUOTA",
        ),
    ],
)
@pytest.mark.parametrize("inputs", [(), (reference(),)], ids=["generation", "edit"])
async def test_a_4xx_is_proven_unbilled(
    vendor: Vendor,
    openai: OpenAIProvider,
    status: int,
    body: object,
    kind: ErrorKind,
    scope: Scope,
    code: str,
    inputs: Any,
) -> None:
    vendor.says(status, body, headers=JSON)

    failure = await failure_of(openai, request(inputs=inputs))

    assert (failure.kind, failure.scope, failure.code, failure.http_status) == (kind, scope, code, status)
    assert (failure.billed, failure.unbilled_by_policy, failure.cost) == (Billed.NO, False, FREE)
    assert (failure.request_id, failure.retry_after_seconds) == ("req_1", None)
    assert len(vendor.requests) == 1


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (error("x", message="as it should be"), "as it should be"),
        ({"error": "as text"}, "as text"),
        ({"detail": "as detail"}, "as detail"),
        ({"detail": [{"loc": ["body", "n"], "msg": "as a list", "input": PROMPT}]}, "as a list"),
        ({"message": "bare"}, "bare"),
        ({"error": {"code": 7}}, "HTTP 400"),
        ({"error": None}, "HTTP 400"),
        (["of", "another", "shape"], "HTTP 400"),
        (b"plain words", "plain words"),
        (b"", "HTTP 400"),
    ],
)
async def test_the_message_is_found_in_every_shape_of_error(
    vendor: Vendor, openai: OpenAIProvider, body: object, message: str
) -> None:
    vendor.says(400, body)

    failure = await failure_of(openai)

    assert (failure.kind, failure.message) == (ErrorKind.PERMANENT, message)


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (500, error("server_error", kind="server_error"), "SERVER_ERROR"),
        (502, b"<html>Bad Gateway</html>", "HTTP_502"),
        (503, error(None, kind="overloaded_error"), "OVERLOADED_ERROR"),
    ],
)
async def test_a_listed_5xx_is_unbilled_by_policy(
    vendor: Vendor, openai: OpenAIProvider, status: int, body: object, code: str
) -> None:
    vendor.says(status, body, headers=JSON)

    failure = await failure_of(openai)

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
    vendor: Vendor, openai: OpenAIProvider, status: int, kind: ErrorKind
) -> None:
    vendor.says(status, error("moderation_blocked"), headers={"location": "/elsewhere"})

    failure = await failure_of(openai)

    assert (failure.kind, failure.scope, failure.http_status) == (kind, Scope.REQUEST, status)
    assert (failure.billed, failure.unbilled_by_policy, failure.cost) == (Billed.UNKNOWN, False, UNKNOWN_COST)
    assert len(vendor.requests) == 1


@pytest.mark.parametrize(
    ("headers", "message", "seconds"),
    [
        ({"retry-after": "20"}, "no", 20.0),
        ({"retry-after-ms": "1500", "retry-after": "2"}, "no", 1.5),
        ({"retry-after": "315360000"}, "no", 3600.0),
        (
            {"date": "Fri, 20 Nov 2026 10:00:00 GMT", "retry-after": "Fri, 20 Nov 2026 10:00:25 GMT"},
            "no",
            25.0,
        ),
        ({}, "Rate limit reached for images per minute. Please try again in 12s.", 12.0),
        ({"retry-after": "20"}, "Please try again in 12s.", 20.0),
        ({"retry-after": "whenever"}, "no", None),
        ({}, "Too many requests.", None),
    ],
)
async def test_a_rate_limit_waits_as_long_as_the_vendor_says(
    vendor: Vendor, openai: OpenAIProvider, headers: dict[str, str], message: str, seconds: float | None
) -> None:
    vendor.says(429, error("rate_limit_exceeded", message=message), headers=headers)

    failure = await failure_of(openai)

    assert (failure.kind, failure.scope, failure.retry_after_seconds) == (
        ErrorKind.RATE_LIMIT,
        Scope.REQUEST,
        seconds,
    )
    assert len(vendor.requests) == 1


# Connections


@pytest.mark.parametrize("is_in_a_call", [True, False])
async def test_a_refused_connection_is_proven_unbilled(is_in_a_call: bool) -> None:
    closed = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    url = f"http://127.0.0.1:{closed.sockets[0].getsockname()[1]}/v1"
    closed.close()
    await closed.wait_closed()
    provider = OpenAIProvider.from_config("openai", config(api_key=KEY, base_url=url))

    if is_in_a_call:
        failure = await failure_of(provider)
    else:
        with pytest.raises(ProviderError) as caught:
            await provider.submit(request())
        failure = caught.value
    await provider.aclose()

    assert (failure.kind, failure.billed, failure.code) == (ErrorKind.TEMPORARY, Billed.NO, "CONNECT_FAILED")
    assert failure.cost == FREE


async def test_a_server_that_speaks_no_tls_is_proven_unbilled(vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(billable, "CONNECT_TIMEOUT_SECONDS", 0.2)
    vendor.says(200, answer(picture()))
    url = vendor.url.replace("http:", "https:") + "/v1"
    provider = OpenAIProvider.from_config("openai", config(api_key=KEY, base_url=url))

    failure = await failure_of(provider)
    await provider.aclose()

    assert (failure.kind, failure.billed, failure.code) == (ErrorKind.TEMPORARY, Billed.NO, "CONNECT_FAILED")
    assert vendor.requests == []


WHOLE_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


@pytest.mark.parametrize(
    "written",
    [
        b"",
        WHOLE_HEAD,
        WHOLE_HEAD + b'content-length: 4096\r\n\r\n{"data": [',
        WHOLE_HEAD + b'transfer-encoding: chunked\r\n\r\na\r\n{"data": [\r\n',
        b"HTTP/1.1 500 -\r\ncontent-length: 4096\r\n\r\n{",
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ],
    ids=["before the head", "in the head", "in the body", "between chunks", "in an error", "not HTTP"],
)
@pytest.mark.parametrize("inputs", [(), (reference(),)], ids=["generation", "edit"])
async def test_a_cut_answer_may_have_been_charged(
    vendor: Vendor, openai: OpenAIProvider, written: bytes, inputs: Any
) -> None:
    vendor.writes(written)

    failure = await failure_of(openai, request(inputs=inputs))

    assert (failure.kind, failure.billed, failure.code) == (
        ErrorKind.TEMPORARY,
        Billed.UNKNOWN,
        "CONNECTION_LOST",
    )
    assert failure.cost == UNKNOWN_COST
    assert len(vendor.requests) == 1


async def test_a_reset_connection_may_have_been_charged(vendor: Vendor, openai: OpenAIProvider) -> None:
    vendor.resets()

    failure = await failure_of(openai)

    assert (failure.kind, failure.billed, failure.code) == (
        ErrorKind.TEMPORARY,
        Billed.UNKNOWN,
        "CONNECTION_LOST",
    )
    assert len(vendor.requests) == 1


async def test_a_broken_encoding_may_have_been_charged(vendor: Vendor, openai: OpenAIProvider) -> None:
    vendor.says(200, b"not gzip", headers={"content-encoding": "gzip"})

    failure = await failure_of(openai)

    assert (failure.kind, failure.billed, failure.code) == (
        ErrorKind.TEMPORARY,
        Billed.UNKNOWN,
        "UNREADABLE_ANSWER",
    )
    assert len(vendor.requests) == 1


async def test_silence_past_the_read_timeout_may_have_been_charged(vendor: Vendor, openai: OpenAIProvider) -> None:
    vendor.hangs()

    failure = await failure_of(openai, request(timeout_seconds=0.2))

    assert (failure.kind, failure.billed, failure.code) == (ErrorKind.TIMEOUT, Billed.UNKNOWN, "NO_ANSWER")
    assert failure.cost == UNKNOWN_COST
    assert len(vendor.requests) == 1


async def test_the_engines_own_deadline_passes_through_and_closes_the_connection(
    vendor: Vendor, openai: OpenAIProvider
) -> None:
    vendor.hangs()
    started = time.monotonic()

    with billable_call(timeout_seconds=60) as call, pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await openai.submit(request())

    assert time.monotonic() - started < 5
    assert call.has_left
    await asyncio.wait_for(vendor.hung_up.wait(), 5)
    assert len(vendor.requests) == 1


async def test_a_cancelled_call_stays_cancelled(vendor: Vendor, openai: OpenAIProvider) -> None:
    vendor.hangs()
    submitting = asyncio.create_task(openai.submit(request()))
    await asyncio.wait_for(vendor.seen.wait(), 5)

    submitting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await submitting
    await asyncio.wait_for(vendor.hung_up.wait(), 5)


# Secrets


@pytest.mark.parametrize("status", [200, 400, 403, 429, 500])
async def test_no_failure_repeats_the_key_or_the_prompt(vendor: Vendor, openai: OpenAIProvider, status: int) -> None:
    message = f"key {KEY} may not draw '{PROMPT[:30]}…' " + "x" * 460 + KEY
    vendor.says(status, error("no", message=message))

    failure = await failure_of(openai)

    assert failure.message.startswith("key [key] may not draw '[prompt]…' xxx")
    assert len(failure.message) == 500
    assert KEY[:8] not in failure.message
    assert failure.__cause__ is None
    assert failure.__suppress_context__ or failure.__context__ is None


async def test_a_key_that_the_vendor_shows_in_part_is_left_out_whole(vendor: Vendor, openai: OpenAIProvider) -> None:
    shown = f"{KEY[:8]}{'*' * 20}{KEY[-4:]}"
    vendor.says(401, error("invalid_api_key", message=f"Incorrect API key provided: {shown}. Find yours."))

    failure = await failure_of(openai)

    assert failure.message == "Incorrect API key provided: [key]. Find yours."
