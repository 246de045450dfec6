"""The fal adapter when something goes wrong: kind, scope, who paid, how long to wait, and what is not said."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from fal_wire import (
    BUY,
    CANCEL,
    PRICE,
    RESULT,
    STATUS,
    accepted,
    completed,
    handle,
    made,
    model_error,
    queue_error,
    request,
)
from remote_wire import KEY, PROMPT, JobVendor, config, job_failure, job_vendor, poll_failure, submit_failure

from safelight.domain.errors import Billed, ErrorKind, Scope
from safelight.domain.money import FREE, UNKNOWN_COST
from safelight.net.billable import billable_call
from safelight.providers.fal import FalProvider
from safelight.providers.provider import ImageResult, PollFailed, Refusal, RemoteCancellation, StillRunning


@pytest.fixture
async def vendor() -> AsyncIterator[JobVendor]:
    async with job_vendor() as vendor:
        yield vendor


@pytest.fixture
async def fal(vendor: JobVendor) -> AsyncIterator[FalProvider]:
    provider = FalProvider.from_config("fal", config(vendor.url))
    yield provider
    await provider.aclose()


# Buying

LOCKED = {"detail": "User is locked. Reason: Exhausted balance. Top up at fal.ai/dashboard/billing."}


@pytest.mark.parametrize(
    ("status", "body", "kind", "scope", "code"),
    [
        (400, queue_error("bad_request"), ErrorKind.PERMANENT, Scope.REQUEST, "BAD_REQUEST"),
        (401, {"detail": "Invalid key"}, ErrorKind.AUTH_ERROR, Scope.ACCOUNT, "HTTP_401"),
        (402, {"detail": "Payment required"}, ErrorKind.PERMANENT, Scope.ACCOUNT, "NO_CREDIT"),
        (403, LOCKED, ErrorKind.PERMANENT, Scope.ACCOUNT, "NO_CREDIT"),
        (403, {"detail": "Not yours"}, ErrorKind.AUTH_ERROR, Scope.ACCOUNT, "HTTP_403"),
        (404, {"detail": "Application not found"}, ErrorKind.PERMANENT, Scope.REQUEST, "HTTP_404"),
        (408, b"", ErrorKind.TIMEOUT, Scope.REQUEST, "HTTP_408"),
        (422, model_error("value_error"), ErrorKind.PERMANENT, Scope.REQUEST, "VALUE_ERROR"),
        (429, {"detail": "Too many"}, ErrorKind.RATE_LIMIT, Scope.REQUEST, "HTTP_429"),
    ],
)
async def test_a_4xx_to_the_order_is_proven_unbilled(
    vendor: JobVendor, fal: FalProvider, status: int, body: object, kind: ErrorKind, scope: Scope, code: str
) -> None:
    vendor.on("POST", BUY, status, body, headers={"retry-after": "9"} if status == 429 else {})

    failure = await submit_failure(fal, request())

    assert (failure.kind, failure.scope, failure.code, failure.http_status) == (kind, scope, code, status)
    assert (failure.billed, failure.unbilled_by_policy, failure.cost) == (Billed.NO, False, FREE)
    assert failure.retry_after_seconds == (9.0 if status == 429 else None)
    assert len(vendor.posts(BUY)) == 1


async def test_an_order_refused_for_its_content_is_an_unpaid_refusal(vendor: JobVendor, fal: FalProvider) -> None:
    vendor.on("POST", BUY, 422, model_error("content_policy_violation", f"'{PROMPT}' is not allowed"))

    with billable_call(timeout_seconds=60):
        refusal = await fal.submit(request())

    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.billed, refusal.cost) == ("CONTENT_POLICY_VIOLATION", Billed.NO, FREE)
    assert refusal.message == "'[prompt]' is not allowed"
    assert len(vendor.posts(BUY)) == 1


@pytest.mark.parametrize(
    ("status", "kind", "billed"),
    [
        (500, ErrorKind.TEMPORARY, Billed.NO),
        (502, ErrorKind.TEMPORARY, Billed.NO),
        (503, ErrorKind.TEMPORARY, Billed.NO),
        (504, ErrorKind.TIMEOUT, Billed.UNKNOWN),
        (529, ErrorKind.TEMPORARY, Billed.UNKNOWN),
    ],
)
async def test_a_5xx_to_the_order_is_unbilled_only_where_the_data_lists_it(
    vendor: JobVendor, fal: FalProvider, status: int, kind: ErrorKind, billed: Billed
) -> None:
    vendor.on("POST", BUY, status, b"<html>nginx</html>")

    failure = await submit_failure(fal, request())

    assert (failure.kind, failure.billed, failure.unbilled_by_policy) == (kind, billed, billed is Billed.NO)
    assert failure.code == f"HTTP_{status}"
    assert len(vendor.posts(BUY)) == 1


@pytest.mark.parametrize("body", [b"<html></html>", b"", ["req1"], {"request_id": None}, {"request_id": "a/b"}])
async def test_an_order_that_was_accepted_without_a_job_to_ask_after_may_have_been_charged(
    vendor: JobVendor, fal: FalProvider, body: object
) -> None:
    vendor.on("POST", BUY, 200, body)

    failure = await submit_failure(fal, request())

    assert (failure.kind, failure.billed, failure.code) == (ErrorKind.TEMPORARY, Billed.UNKNOWN, "UNREADABLE_ANSWER")
    assert len(vendor.posts(BUY)) == 1


async def test_a_cut_answer_to_the_order_may_have_been_charged(vendor: JobVendor, fal: FalProvider) -> None:
    vendor.writes(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{")

    failure = await submit_failure(fal, request())

    assert (failure.kind, failure.billed, failure.code) == (ErrorKind.TEMPORARY, Billed.UNKNOWN, "CONNECTION_LOST")
    assert len(vendor.posts(BUY)) == 1


async def test_silence_after_the_order_may_have_been_charged(vendor: JobVendor, fal: FalProvider) -> None:
    vendor.hangs()

    failure = await submit_failure(fal, request(timeout_seconds=0.2))

    assert (failure.kind, failure.billed, failure.code) == (ErrorKind.TIMEOUT, Billed.UNKNOWN, "NO_ANSWER")
    assert len(vendor.posts(BUY)) == 1


# How the job ended


@pytest.mark.parametrize(
    ("status", "body", "kind", "code", "billed"),
    [
        (504, queue_error("request_timeout"), ErrorKind.TIMEOUT, "REQUEST_TIMEOUT", Billed.NO),
        (504, queue_error("startup_timeout"), ErrorKind.TIMEOUT, "STARTUP_TIMEOUT", Billed.NO),
        (504, model_error("generation_timeout"), ErrorKind.TIMEOUT, "GENERATION_TIMEOUT", Billed.NO),
        (503, queue_error("runner_scheduling_failure"), ErrorKind.TEMPORARY, "RUNNER_SCHEDULING_FAILURE", Billed.NO),
        (503, queue_error("runner_connection_timeout"), ErrorKind.TEMPORARY, "RUNNER_CONNECTION_TIMEOUT", Billed.NO),
        (503, queue_error("runner_disconnected"), ErrorKind.TEMPORARY, "RUNNER_DISCONNECTED", Billed.NO),
        (502, queue_error("runner_incomplete_response"), ErrorKind.TEMPORARY, "RUNNER_INCOMPLETE_RESPONSE", Billed.NO),
        (500, queue_error("runner_server_error"), ErrorKind.TEMPORARY, "RUNNER_SERVER_ERROR", Billed.NO),
        (500, queue_error("internal_error"), ErrorKind.TEMPORARY, "INTERNAL_ERROR", Billed.NO),
        (500, model_error("internal_server_error"), ErrorKind.TEMPORARY, "INTERNAL_SERVER_ERROR", Billed.NO),
        (400, model_error("downstream_service_error"), ErrorKind.TEMPORARY, "DOWNSTREAM_SERVICE_ERROR", Billed.UNKNOWN),
        (400, queue_error("bad_request"), ErrorKind.PERMANENT, "BAD_REQUEST", Billed.UNKNOWN),
        (403, queue_error("auth_error"), ErrorKind.PERMANENT, "AUTH_ERROR", Billed.UNKNOWN),
        (422, model_error("image_too_small"), ErrorKind.PERMANENT, "IMAGE_TOO_SMALL", Billed.UNKNOWN),
        (422, model_error("no_media_generated"), ErrorKind.PERMANENT, "NO_MEDIA_GENERATED", Billed.UNKNOWN),
        (499, queue_error("client_cancelled"), ErrorKind.TEMPORARY, "CANCELED", Billed.UNKNOWN),
        (499, queue_error("client_disconnected"), ErrorKind.TEMPORARY, "CANCELED", Billed.UNKNOWN),
    ],
)
async def test_a_job_that_ends_without_a_picture_says_why(
    vendor: JobVendor, fal: FalProvider, status: int, body: dict[str, Any], kind: ErrorKind, code: str, billed: Billed
) -> None:
    is_of_queue = "error_type" in body
    vendor.on("GET", STATUS, 200, completed(**{"error": "no"} if is_of_queue else {}))
    vendor.on("GET", RESULT, status, body)

    failure = await job_failure(fal, handle(vendor), request())

    assert (failure.kind, failure.code, failure.billed, failure.scope) == (kind, code, billed, Scope.REQUEST)
    assert failure.unbilled_by_policy == (billed is Billed.NO)
    assert failure.cost == (FREE if billed is Billed.NO else UNKNOWN_COST)
    assert (failure.http_status, failure.request_id, failure.message) == (status, "req1", "no")


@pytest.mark.parametrize(
    ("told", "headers", "status", "body", "kind", "code", "billed"),
    [
        (
            {"error": "Runner gone", "error_type": "runner_disconnected"},
            {},
            502,
            b"<html>nginx</html>",
            ErrorKind.TEMPORARY,
            "RUNNER_DISCONNECTED",
            Billed.NO,
        ),
        ({"error": "Internal"}, {}, 500, {"detail": "no"}, ErrorKind.TEMPORARY, "HTTP_500", Billed.NO),
        ({"error": "Rejected"}, {}, 422, {"detail": "no"}, ErrorKind.PERMANENT, "HTTP_422", Billed.UNKNOWN),
        (
            {"error": "x"},
            {"x-fal-error-type": "startup_timeout"},
            504,
            b"",
            ErrorKind.TIMEOUT,
            "STARTUP_TIMEOUT",
            Billed.NO,
        ),
        ({}, {"x-fal-error-type": "client_cancelled"}, 499, b"", ErrorKind.TEMPORARY, "CANCELED", Billed.UNKNOWN),
        (
            {"error_type": "runner_server_error", "error": "gone"},
            {},
            200,
            {"images": []},
            ErrorKind.TEMPORARY,
            "RUNNER_SERVER_ERROR",
            Billed.UNKNOWN,
        ),
    ],
)
async def test_the_status_and_a_header_can_say_it_too(
    vendor: JobVendor,
    fal: FalProvider,
    told: dict[str, Any],
    headers: dict[str, str],
    status: int,
    body: object,
    kind: ErrorKind,
    code: str,
    billed: Billed,
) -> None:
    vendor.on("GET", STATUS, 200, completed(**told))
    vendor.on("GET", RESULT, status, body, headers=headers)

    failure = await job_failure(fal, handle(vendor), request())

    assert (failure.kind, failure.code, failure.billed) == (kind, code, billed)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (502, b"<html>nginx</html>", ErrorKind.TEMPORARY),
        (429, {"detail": "Too many"}, ErrorKind.RATE_LIMIT),
        (403, {"detail": "Not yours"}, ErrorKind.AUTH_ERROR),
        (200, b"<html></html>", ErrorKind.TEMPORARY),
    ],
)
async def test_the_result_of_a_failed_job_is_asked_for_again_when_something_else_answers(
    vendor: JobVendor, fal: FalProvider, status: int, body: object, kind: ErrorKind
) -> None:
    vendor.on("GET", STATUS, 200, completed(error="Unprocessable", error_type="image_too_small"))
    vendor.on("GET", RESULT, status, body)

    assert (await poll_failure(fal, handle(vendor), request())).kind is kind


async def test_a_picture_counts_even_where_the_status_tells_of_an_error(vendor: JobVendor, fal: FalProvider) -> None:
    vendor.on("GET", "/out.png", 200, b"whole", headers={"content-type": "image/png"})
    vendor.on("GET", STATUS, 200, completed(error="a warning", error_type="runner_server_error"))
    vendor.on("GET", RESULT, 200, made(f"{vendor.url}/out.png"))

    result = await fal.poll(handle(vendor), request())

    assert isinstance(result, ImageResult)
    assert result.data == b"whole"


@pytest.mark.parametrize(
    ("status", "body", "retryable", "kind"),
    [
        (500, model_error("internal_server_error"), "false", ErrorKind.PERMANENT),
        (500, model_error("internal_server_error"), "true", ErrorKind.TEMPORARY),
        (422, model_error("file_download_error"), "true", ErrorKind.TEMPORARY),
        (422, model_error("file_download_error"), "false", ErrorKind.PERMANENT),
        (504, model_error("generation_timeout"), "true", ErrorKind.TIMEOUT),
        (499, queue_error("client_cancelled"), "false", ErrorKind.TEMPORARY),
    ],
)
async def test_the_vendors_word_on_trying_again_decides(
    vendor: JobVendor, fal: FalProvider, status: int, body: object, retryable: str, kind: ErrorKind
) -> None:
    vendor.on("GET", STATUS, 200, completed())
    vendor.on("GET", RESULT, status, body, headers={"x-fal-retryable": retryable})

    assert (await job_failure(fal, handle(vendor), request())).kind is kind


@pytest.mark.parametrize(("status", "billed"), [(422, Billed.UNKNOWN), (400, Billed.UNKNOWN), (500, Billed.NO)])
async def test_a_result_withheld_for_its_content_is_a_refusal(
    vendor: JobVendor, fal: FalProvider, status: int, billed: Billed
) -> None:
    vendor.on("GET", STATUS, 200, completed(error="rejected"))
    vendor.on("GET", RESULT, status, model_error("content_policy_violation", f"'{PROMPT}' is not allowed"))

    refusal = await fal.poll(handle(vendor), request())

    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.billed) == ("CONTENT_POLICY_VIOLATION", billed)
    assert refusal.cost == (FREE if billed is Billed.NO else UNKNOWN_COST)
    assert (refusal.message, refusal.request_id) == ("'[prompt]' is not allowed", "req1")


@pytest.mark.parametrize("where", [STATUS, RESULT])
async def test_a_job_that_the_vendor_does_not_know_is_gone(vendor: JobVendor, fal: FalProvider, where: str) -> None:
    vendor.on("GET", STATUS, 200, completed())
    vendor.on("GET", where, 404, {"detail": "Request not found"})

    failure = await job_failure(fal, handle(vendor), request())

    assert (failure.kind, failure.billed, failure.code) == (ErrorKind.UNKNOWN, Billed.UNKNOWN, "REMOTE_JOB_GONE")
    assert failure.cost == UNKNOWN_COST


# When it cannot be told


@pytest.mark.parametrize("where", [STATUS, RESULT])
@pytest.mark.parametrize(
    ("status", "body", "kind", "scope", "code"),
    [
        (401, {"detail": "Invalid key"}, ErrorKind.AUTH_ERROR, Scope.ACCOUNT, "HTTP_401"),
        (403, {"detail": "Not yours"}, ErrorKind.AUTH_ERROR, Scope.ACCOUNT, "HTTP_403"),
        (403, LOCKED, ErrorKind.PERMANENT, Scope.ACCOUNT, "NO_CREDIT"),
        (429, {"detail": "Too many"}, ErrorKind.RATE_LIMIT, Scope.REQUEST, "HTTP_429"),
        (302, b"", ErrorKind.UNKNOWN, Scope.REQUEST, "HTTP_302"),
        (500, {"detail": "Internal Server Error"}, ErrorKind.TEMPORARY, Scope.REQUEST, "HTTP_500"),
        (403, queue_error("auth_error"), ErrorKind.AUTH_ERROR, Scope.ACCOUNT, "HTTP_403"),
        (500, queue_error("internal_error"), ErrorKind.TEMPORARY, Scope.REQUEST, "HTTP_500"),
        (503, queue_error("runner_scheduling_failure"), ErrorKind.TEMPORARY, Scope.REQUEST, "HTTP_503"),
        (502, b"<html>nginx</html>", ErrorKind.TEMPORARY, Scope.REQUEST, "HTTP_502"),
        (504, b"", ErrorKind.TIMEOUT, Scope.REQUEST, "HTTP_504"),
        (200, b"<html></html>", ErrorKind.TEMPORARY, Scope.REQUEST, "UNREADABLE_ANSWER"),
        (200, ["COMPLETED"], ErrorKind.TEMPORARY, Scope.REQUEST, "UNREADABLE_ANSWER"),
    ],
)
async def test_an_answer_that_says_nothing_of_the_job_leaves_it_to_be_asked_again(
    vendor: JobVendor,
    fal: FalProvider,
    where: str,
    status: int,
    body: object,
    kind: ErrorKind,
    scope: Scope,
    code: str,
) -> None:
    vendor.on("GET", STATUS, 200, completed())
    vendor.on("GET", where, status, body, headers={"retry-after": "9"} if status == 429 else {})

    failure = await poll_failure(fal, handle(vendor), request())

    assert (failure.kind, failure.scope, failure.code, failure.http_status) == (kind, scope, code, status)
    assert failure.retry_after_seconds == (9.0 if status == 429 else None)


async def test_a_status_that_nobody_knows_leaves_the_job_to_be_asked_again(vendor: JobVendor, fal: FalProvider) -> None:
    vendor.on("GET", STATUS, 200, {"status": "PONDERING"})

    failure = await poll_failure(fal, handle(vendor), request())

    assert (failure.kind, failure.code) == (ErrorKind.UNKNOWN, "UNKNOWN_STATUS")


async def test_a_result_that_is_not_ready_yet_is_asked_for_again(vendor: JobVendor, fal: FalProvider) -> None:
    vendor.on("GET", STATUS, 200, completed())
    vendor.on("GET", RESULT, 202, {"status": "IN_PROGRESS"})

    assert await fal.poll(handle(vendor), request()) == StillRunning()


async def test_a_broken_connection_leaves_the_job_to_be_asked_again(vendor: JobVendor, fal: FalProvider) -> None:
    vendor.resets()

    polled = await poll_failure(fal, handle(vendor), request())
    with pytest.raises(PollFailed) as canceled:
        await fal.cancel(handle(vendor))

    for failure in (polled, canceled.value):
        assert (failure.kind, failure.scope, failure.code) == (ErrorKind.TEMPORARY, Scope.REQUEST, "CONNECTION_LOST")


# The picture


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/out.png", 404, "OUTPUT_GONE"),
        ("/out.png", 410, "OUTPUT_GONE"),
        ("/out.png", 403, "OUTPUT_UNREADABLE"),
        ("ftp://x.example/out.png", 0, "OUTPUT_URL_REFUSED"),
    ],
)
async def test_a_picture_that_can_never_be_had_is_paid_for_all_the_same(
    vendor: JobVendor, fal: FalProvider, path: str, status: int, code: str
) -> None:
    vendor.on("GET", path, status, b"")
    vendor.on("GET", STATUS, 200, completed())
    vendor.on("GET", RESULT, 200, made(path if "://" in path else vendor.url + path))

    failure = await job_failure(fal, handle(vendor), request())

    assert (failure.kind, failure.billed, failure.code) == (ErrorKind.INVALID_OUTPUT, Billed.YES, code)
    assert (failure.cost, failure.request_id) == (PRICE, "req1")


async def test_a_picture_that_cannot_be_had_now_is_asked_for_again(vendor: JobVendor, fal: FalProvider) -> None:
    vendor.on("GET", "/out.png", 503, b"")
    vendor.on("GET", STATUS, 200, completed())
    vendor.on("GET", RESULT, 200, made(f"{vendor.url}/out.png"))

    failure = await poll_failure(fal, handle(vendor), request())

    assert (failure.kind, failure.code, failure.http_status) == (ErrorKind.TEMPORARY, "OUTPUT_UNREACHABLE", 503)


# Canceling


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (202, {"status": "CANCELLATION_REQUESTED"}, RemoteCancellation.REQUESTED),
        (200, {"status": "OK"}, RemoteCancellation.REQUESTED),
        (202, b"", RemoteCancellation.REQUESTED),
        (400, {"status": "ALREADY_COMPLETED"}, RemoteCancellation.TOO_LATE),
        (400, {"detail": "ALREADY_COMPLETED"}, RemoteCancellation.TOO_LATE),
        (404, {"status": "NOT_FOUND"}, RemoteCancellation.TOO_LATE),
    ],
)
async def test_a_job_is_canceled_unless_it_has_ended(
    vendor: JobVendor, fal: FalProvider, status: int, body: object, outcome: RemoteCancellation
) -> None:
    vendor.on("PUT", CANCEL, status, body)

    assert await fal.cancel(handle(vendor)) is outcome

    (sent,) = vendor.requests
    assert (sent.headers["authorization"], sent.body) == (f"Key {KEY}", b"")


@pytest.mark.parametrize(
    ("status", "kind", "scope"),
    [
        (400, ErrorKind.PERMANENT, Scope.REQUEST),
        (401, ErrorKind.AUTH_ERROR, Scope.ACCOUNT),
        (429, ErrorKind.RATE_LIMIT, Scope.REQUEST),
        (503, ErrorKind.TEMPORARY, Scope.REQUEST),
    ],
)
async def test_a_cancellation_that_was_not_heard_can_be_sent_again(
    vendor: JobVendor, fal: FalProvider, status: int, kind: ErrorKind, scope: Scope
) -> None:
    vendor.on("PUT", CANCEL, status, {"detail": "no"})

    with pytest.raises(PollFailed) as caught:
        await fal.cancel(handle(vendor))

    assert (caught.value.kind, caught.value.scope, caught.value.http_status) == (kind, scope, status)


# Secrets

LEAK = f"key {KEY} may not draw '{PROMPT[:30]}…' " + "x" * 460 + KEY


@pytest.mark.parametrize("path", ["order", "poll", "job", "refusal"])
async def test_nothing_that_is_kept_repeats_the_key_or_the_prompt(
    vendor: JobVendor, fal: FalProvider, path: str
) -> None:
    vendor.on("POST", BUY, 422, model_error("value_error", LEAK))
    vendor.on("GET", STATUS, 200, completed())
    match path:
        case "order":
            kept = await submit_failure(fal, request())
        case "poll":
            vendor.on("GET", STATUS, 503, {"detail": LEAK})
            kept = await poll_failure(fal, handle(vendor), request())
        case "job":
            vendor.on("GET", RESULT, 422, model_error("value_error", LEAK))
            kept = await job_failure(fal, handle(vendor), request())
        case _:
            vendor.on("GET", RESULT, 422, model_error("content_policy_violation", LEAK))
            kept = await fal.poll(handle(vendor), request())
            assert isinstance(kept, Refusal)

    assert kept.message.startswith("key [key] may not draw '[prompt]…' xxx")
    assert len(kept.message) == 500
    assert KEY[:8] not in kept.message
    if isinstance(kept, Exception):
        assert kept.__cause__ is None


NEGATIVE = "no fog, no rain, no umbrellas at all"


async def test_nothing_that_is_kept_repeats_the_negative_prompt(vendor: JobVendor, fal: FalProvider) -> None:
    said = f"'{NEGATIVE}' is too long"
    own = {"house/model": {"timeout_seconds": 60, "negative_prompt": True}}
    house = FalProvider.from_config("fal", config(vendor.url, models=own))
    vendor.on("POST", "/house/model", 422, model_error("value_error", said))
    vendor.on("GET", STATUS, 503, {"detail": said})
    asked = request(model="house/model", negative_prompt=NEGATIVE)

    kept = [(await submit_failure(house, asked)).message]
    await house.aclose()
    kept.append((await poll_failure(fal, handle(vendor), asked)).message)
    vendor.on("GET", STATUS, 200, completed())
    vendor.on("GET", RESULT, 422, model_error("value_error", said))
    kept.append((await job_failure(fal, handle(vendor), asked)).message)
    vendor.on("GET", RESULT, 422, model_error("content_policy_violation", said))
    refusal = await fal.poll(handle(vendor), asked)

    assert isinstance(refusal, Refusal)
    assert [*kept, refusal.message] == ["'[prompt]' is too long"] * 4


async def test_a_handle_holds_no_key(vendor: JobVendor, fal: FalProvider) -> None:
    vendor.on("POST", BUY, 200, accepted(vendor, status_url=f"{vendor.url}{STATUS}?token={KEY}"))

    with billable_call(timeout_seconds=60):
        kept = await fal.submit(request())

    assert kept == handle(vendor)
    assert KEY not in repr(kept)
