"""The Replicate adapter when something goes wrong: kind, scope, who paid, how long to wait, and what is not said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from remote_wire import (
    KEY,
    PROMPT,
    JobVendor,
    config,
    job_failure,
    job_vendor,
    poll_failure,
    submit_failure,
)
from replicate_wire import BUY, BY_THE_SECOND, JOB, PRICE, TIMED_MODEL, handle, prediction, request

from safelight.domain.errors import Billed, ErrorKind, Scope
from safelight.domain.money import FREE, UNKNOWN_COST
from safelight.net.billable import billable_call
from safelight.providers import remote
from safelight.providers.provider import PollFailed, Refusal, RemoteCancellation
from safelight.providers.replicate import ReplicateProvider


@pytest.fixture
async def vendor() -> AsyncIterator[JobVendor]:
    async with job_vendor() as vendor:
        yield vendor


@pytest.fixture
async def replicate(vendor: JobVendor) -> AsyncIterator[ReplicateProvider]:
    provider = ReplicateProvider.from_config("replicate", config(vendor.url))
    yield provider
    await provider.aclose()


def problem(status: int, detail: str = "no") -> dict[str, Any]:
    return {"title": "Something", "detail": detail, "status": status}


# Buying


@pytest.mark.parametrize(
    ("status", "body", "kind", "scope", "code"),
    [
        (400, problem(400), ErrorKind.PERMANENT, Scope.REQUEST, "HTTP_400"),
        (401, problem(401), ErrorKind.AUTH_ERROR, Scope.ACCOUNT, "HTTP_401"),
        (402, problem(402, "Insufficient credit"), ErrorKind.PERMANENT, Scope.ACCOUNT, "NO_CREDIT"),
        (403, problem(403), ErrorKind.AUTH_ERROR, Scope.ACCOUNT, "HTTP_403"),
        (404, problem(404), ErrorKind.PERMANENT, Scope.REQUEST, "HTTP_404"),
        (408, problem(408), ErrorKind.TIMEOUT, Scope.REQUEST, "HTTP_408"),
        (413, b"<html>too large</html>", ErrorKind.PERMANENT, Scope.REQUEST, "HTTP_413"),
        (422, problem(422, "seed: must be an integer"), ErrorKind.PERMANENT, Scope.REQUEST, "HTTP_422"),
        (429, problem(429), ErrorKind.RATE_LIMIT, Scope.REQUEST, "HTTP_429"),
    ],
)
async def test_a_4xx_to_the_order_is_proven_unbilled(
    vendor: JobVendor,
    replicate: ReplicateProvider,
    status: int,
    body: object,
    kind: ErrorKind,
    scope: Scope,
    code: str,
) -> None:
    vendor.on("POST", BUY, status, body)

    failure = await submit_failure(replicate, request())

    assert (failure.kind, failure.scope, failure.code, failure.http_status) == (kind, scope, code, status)
    assert (failure.billed, failure.unbilled_by_policy, failure.cost) == (Billed.NO, False, FREE)
    assert failure.retry_after_seconds is None
    assert len(vendor.posts(BUY)) == 1


@pytest.mark.parametrize(
    ("headers", "detail", "seconds"),
    [
        ({"retry-after": "9"}, "Request was throttled.", 9.0),
        ({}, "Request was throttled. Your rate limit resets in ~30s.", 30.0),
        ({}, "Request was throttled. Your rate limit resets in 2 seconds.", 2.0),
        ({"retry-after": "9"}, "Your rate limit resets in ~30s.", 9.0),
        ({"retry-after": "86400"}, "", 3600.0),
        ({}, "Your rate limit resets soon.", None),
    ],
)
async def test_a_rate_limit_waits_as_the_vendor_says(
    vendor: JobVendor, replicate: ReplicateProvider, headers: dict[str, str], detail: str, seconds: float | None
) -> None:
    vendor.on("POST", BUY, 429, problem(429, detail), headers=headers)
    vendor.on("GET", JOB, 429, problem(429, detail), headers=headers)

    bought = await submit_failure(replicate, request())
    polled = await poll_failure(replicate, handle(vendor), request())

    assert (bought.kind, bought.retry_after_seconds) == (ErrorKind.RATE_LIMIT, seconds)
    assert (polled.kind, polled.retry_after_seconds) == (ErrorKind.RATE_LIMIT, seconds)
    assert len(vendor.posts(BUY)) == 1


@pytest.mark.parametrize(
    ("status", "kind", "billed"),
    [
        (500, ErrorKind.TEMPORARY, Billed.NO),
        (502, ErrorKind.TEMPORARY, Billed.NO),
        (503, ErrorKind.TEMPORARY, Billed.NO),
        (501, ErrorKind.TEMPORARY, Billed.UNKNOWN),
        (504, ErrorKind.TIMEOUT, Billed.UNKNOWN),
    ],
)
async def test_a_5xx_to_the_order_is_unbilled_only_where_the_data_lists_it(
    vendor: JobVendor, replicate: ReplicateProvider, status: int, kind: ErrorKind, billed: Billed
) -> None:
    vendor.on("POST", BUY, status, b"<html>Bad Gateway</html>")

    failure = await submit_failure(replicate, request())

    assert (failure.kind, failure.billed, failure.unbilled_by_policy) == (kind, billed, billed is Billed.NO)
    assert failure.cost == (FREE if billed is Billed.NO else UNKNOWN_COST)
    assert (failure.code, failure.message) == (f"HTTP_{status}", f"HTTP {status}")
    assert len(vendor.posts(BUY)) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"<html>Welcome</html>",
        b"",
        b'{"id": "pred1", "sta',
        [1, 2],
        {"status": "starting"},
        {"id": 7, "status": "starting"},
        {"id": "../../account", "status": "starting"},
        b"[" * 100_000,
    ],
    ids=["a page", "nothing", "cut JSON", "a list", "no id", "a number", "a path", "too deep"],
)
async def test_an_order_that_was_accepted_without_a_job_to_ask_after_may_have_been_charged(
    vendor: JobVendor, replicate: ReplicateProvider, body: object
) -> None:
    vendor.on("POST", BUY, 201, body)

    failure = await submit_failure(replicate, request())

    assert (failure.kind, failure.billed, failure.code) == (ErrorKind.TEMPORARY, Billed.UNKNOWN, "UNREADABLE_ANSWER")
    assert (failure.http_status, failure.cost) == (201, UNKNOWN_COST)
    assert len(vendor.posts(BUY)) == 1


@pytest.mark.parametrize(
    "written", [b"", b"HTTP/1.1 201 Created\r\ncontent-length: 99\r\n\r\n{"], ids=["at once", "later"]
)
async def test_a_cut_answer_to_the_order_may_have_been_charged(
    vendor: JobVendor, replicate: ReplicateProvider, written: bytes
) -> None:
    vendor.writes(written)

    failure = await submit_failure(replicate, request())

    assert (failure.kind, failure.billed, failure.code) == (ErrorKind.TEMPORARY, Billed.UNKNOWN, "CONNECTION_LOST")
    assert len(vendor.posts(BUY)) == 1


async def test_silence_after_the_order_may_have_been_charged(vendor: JobVendor, replicate: ReplicateProvider) -> None:
    vendor.hangs()

    failure = await submit_failure(replicate, request(timeout_seconds=0.2))

    assert (failure.kind, failure.billed, failure.code) == (ErrorKind.TIMEOUT, Billed.UNKNOWN, "NO_ANSWER")
    assert len(vendor.posts(BUY)) == 1


async def test_a_refused_connection_is_proven_unbilled() -> None:
    provider = ReplicateProvider.from_config("replicate", config(await closed_url()))

    failure = await submit_failure(provider, request())
    await provider.aclose()

    assert (failure.kind, failure.billed, failure.code) == (ErrorKind.TEMPORARY, Billed.NO, "CONNECT_FAILED")
    assert failure.cost == FREE


async def closed_url() -> str:
    """An address where nobody listens."""
    closed = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    url = f"http://127.0.0.1:{closed.sockets[0].getsockname()[1]}"
    closed.close()
    await closed.wait_closed()
    return url


async def test_a_cancelled_order_stays_cancelled(vendor: JobVendor, replicate: ReplicateProvider) -> None:
    vendor.hangs()
    with billable_call(timeout_seconds=60):
        submitting = asyncio.create_task(replicate.submit(request()))
    await asyncio.wait_for(vendor.seen.wait(), 5)

    submitting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await submitting
    await asyncio.wait_for(vendor.hung_up.wait(), 5)


# How the job ended


@pytest.mark.parametrize(
    ("status", "error", "kind", "code", "billed"),
    [
        ("failed", "CUDA out of memory", ErrorKind.UNKNOWN, "FAILED", Billed.NO),
        ("failed", None, ErrorKind.UNKNOWN, "FAILED", Billed.NO),
        ("failed", {"of": "another shape"}, ErrorKind.UNKNOWN, "FAILED", Billed.NO),
        ("failed", "Prediction timed out (E1002)", ErrorKind.TIMEOUT, "TIMED_OUT", Billed.NO),
        ("failed", f"no GPU for: {PROMPT} NSFW", ErrorKind.UNKNOWN, "FAILED", Billed.NO),
        ("canceled", None, ErrorKind.TEMPORARY, "CANCELED", Billed.UNKNOWN),
        ("aborted", None, ErrorKind.TIMEOUT, "ABORTED", Billed.NO),
    ],
)
async def test_a_job_that_ends_without_a_picture_says_why(
    vendor: JobVendor,
    replicate: ReplicateProvider,
    status: str,
    error: object,
    kind: ErrorKind,
    code: str,
    billed: Billed,
) -> None:
    asked = request(prompt=f"{PROMPT} NSFW") if error and "NSFW" in str(error) else request()
    ended = prediction(vendor, status, error=error, metrics={"predict_time": 1.5, "note": "x"})
    vendor.on("GET", JOB, 200, ended)
    vendor.on("POST", BUY, 201, ended)

    polled = await job_failure(replicate, handle(vendor), asked)
    bought = await submit_failure(replicate, asked)

    for failure in (polled, bought):
        assert (failure.kind, failure.code, failure.billed, failure.scope) == (kind, code, billed, Scope.REQUEST)
        assert failure.unbilled_by_policy == (billed is Billed.NO)
        assert failure.cost == (FREE if billed is Billed.NO else UNKNOWN_COST)
        assert (failure.request_id, failure.usage) == ("pred1", {"predict_time": 1.5})
    assert len(vendor.posts(BUY)) == 1


@pytest.mark.parametrize(
    "error",
    [
        "NSFW content detected. Try running it again, or try a different prompt.",
        "The input or output was flagged as sensitive. Please try again with different inputs. (E005)",
        "Error generating image: E005",
        "sensitive content",
    ],
)
async def test_a_job_that_failed_over_its_content_is_a_refusal(
    vendor: JobVendor, replicate: ReplicateProvider, error: str
) -> None:
    vendor.on("GET", JOB, 200, prediction(vendor, "failed", error=error))
    vendor.on("POST", BUY, 201, prediction(vendor, "failed", error=error))

    polled = await replicate.poll(handle(vendor), request())
    with billable_call(timeout_seconds=60):
        bought = await replicate.submit(request())

    assert polled == bought
    assert isinstance(polled, Refusal)
    assert (polled.code, polled.billed, polled.cost) == ("FLAGGED", Billed.NO, FREE)
    assert (polled.message, polled.request_id) == (error, "pred1")


@pytest.mark.parametrize("error", ["CUDA out of memory", "NSFW content detected"])
async def test_a_failed_job_of_a_model_sold_by_the_second_may_have_been_charged(vendor: JobVendor, error: str) -> None:
    provider = ReplicateProvider.from_config("replicate", config(vendor.url, models=BY_THE_SECOND))
    vendor.on("GET", JOB, 200, prediction(vendor, "failed", error=error, metrics={"predict_time": 4}))
    asked = request(model=TIMED_MODEL)

    if error.startswith("NSFW"):
        ended = await provider.poll(handle(vendor), asked)
        assert isinstance(ended, Refusal)
    else:
        ended = await job_failure(provider, handle(vendor), asked)
        assert not ended.unbilled_by_policy
    await provider.aclose()

    assert (ended.billed, ended.cost, ended.usage) == (Billed.UNKNOWN, UNKNOWN_COST, {"predict_time": 4})


@pytest.mark.parametrize("status", [404, 410])
async def test_a_job_that_the_vendor_does_not_know_is_gone(
    vendor: JobVendor, replicate: ReplicateProvider, status: int
) -> None:
    vendor.on("GET", JOB, status, problem(status))

    failure = await job_failure(replicate, handle(vendor), request())

    assert (failure.kind, failure.billed, failure.code) == (ErrorKind.UNKNOWN, Billed.UNKNOWN, "REMOTE_JOB_GONE")
    assert (failure.http_status, failure.cost) == (status, UNKNOWN_COST)


# When it cannot be told


@pytest.mark.parametrize(
    ("status", "body", "kind", "scope", "code"),
    [
        (401, problem(401), ErrorKind.AUTH_ERROR, Scope.ACCOUNT, "HTTP_401"),
        (403, problem(403), ErrorKind.AUTH_ERROR, Scope.ACCOUNT, "HTTP_403"),
        (402, problem(402), ErrorKind.PERMANENT, Scope.ACCOUNT, "NO_CREDIT"),
        (429, problem(429), ErrorKind.RATE_LIMIT, Scope.REQUEST, "HTTP_429"),
        (400, problem(400), ErrorKind.PERMANENT, Scope.REQUEST, "HTTP_400"),
        (302, b"", ErrorKind.UNKNOWN, Scope.REQUEST, "HTTP_302"),
        (500, problem(500), ErrorKind.TEMPORARY, Scope.REQUEST, "HTTP_500"),
        (502, b"<html>Bad Gateway</html>", ErrorKind.TEMPORARY, Scope.REQUEST, "HTTP_502"),
        (504, b"", ErrorKind.TIMEOUT, Scope.REQUEST, "HTTP_504"),
        (200, b"<html>Welcome</html>", ErrorKind.TEMPORARY, Scope.REQUEST, "UNREADABLE_ANSWER"),
        (200, b'{"status": "succ', ErrorKind.TEMPORARY, Scope.REQUEST, "UNREADABLE_ANSWER"),
        (200, ["succeeded"], ErrorKind.TEMPORARY, Scope.REQUEST, "UNREADABLE_ANSWER"),
        (200, {"id": "pred1"}, ErrorKind.TEMPORARY, Scope.REQUEST, "UNREADABLE_ANSWER"),
        (200, {"id": "pred1", "status": "pondering"}, ErrorKind.UNKNOWN, Scope.REQUEST, "UNKNOWN_STATUS"),
    ],
)
async def test_an_answer_that_says_nothing_of_the_job_leaves_it_to_be_asked_again(
    vendor: JobVendor,
    replicate: ReplicateProvider,
    status: int,
    body: object,
    kind: ErrorKind,
    scope: Scope,
    code: str,
) -> None:
    vendor.on("GET", JOB, status, body)

    failure = await poll_failure(replicate, handle(vendor), request())

    assert (failure.kind, failure.scope, failure.code, failure.http_status) == (kind, scope, code, status)


@pytest.mark.parametrize("fault", ["refused", "cut", "reset"])
async def test_a_broken_connection_leaves_the_job_to_be_asked_again(
    vendor: JobVendor, replicate: ReplicateProvider, fault: str
) -> None:
    vendor.resets() if fault == "reset" else vendor.writes(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{")
    provider = replicate
    if fault == "refused":
        provider = ReplicateProvider.from_config("replicate", config(await closed_url()))

    polled = await poll_failure(provider, handle(vendor), request())
    with pytest.raises(PollFailed) as canceled:
        await provider.cancel(handle(vendor))
    if provider is not replicate:
        await provider.aclose()

    code = "CONNECT_FAILED" if fault == "refused" else "CONNECTION_LOST"
    for failure in (polled, canceled.value):
        assert (failure.kind, failure.scope, failure.code) == (ErrorKind.TEMPORARY, Scope.REQUEST, code)


async def test_an_answer_that_never_ends_leaves_the_job_to_be_asked_again(
    vendor: JobVendor, replicate: ReplicateProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "QUESTION_TIMEOUT_SECONDS", 0.2)
    vendor.hangs()

    failure = await poll_failure(replicate, handle(vendor), request())

    assert (failure.kind, failure.code) == (ErrorKind.TIMEOUT, "NO_ANSWER")


# The picture


@pytest.mark.parametrize(
    ("status", "code"),
    [(404, "OUTPUT_GONE"), (410, "OUTPUT_GONE"), (403, "OUTPUT_UNREADABLE"), (302, "OUTPUT_UNREADABLE")],
)
async def test_a_picture_that_can_never_be_had_is_paid_for_all_the_same(
    vendor: JobVendor, replicate: ReplicateProvider, status: int, code: str
) -> None:
    vendor.on("GET", "/out.png", status, b"", headers={"location": f"{vendor.url}/other.png"})
    vendor.on("GET", JOB, 200, prediction(vendor, "succeeded", output=[f"{vendor.url}/out.png"]))

    failure = await job_failure(replicate, handle(vendor), request())

    assert (failure.kind, failure.billed, failure.code) == (ErrorKind.INVALID_OUTPUT, Billed.YES, code)
    assert (failure.cost, failure.request_id) == (PRICE, "pred1")
    assert vendor.seen_addresses == [f"GET {JOB}", "GET /out.png"]


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_picture_that_cannot_be_had_now_is_asked_for_again(
    vendor: JobVendor, replicate: ReplicateProvider, status: int
) -> None:
    vendor.on("GET", "/out.png", status, b"")
    vendor.on("GET", JOB, 200, prediction(vendor, "succeeded", output=[f"{vendor.url}/out.png"]))

    failure = await poll_failure(replicate, handle(vendor), request())

    assert (failure.kind, failure.code) == (ErrorKind.TEMPORARY, "OUTPUT_UNREACHABLE")
    assert (failure.scope, failure.http_status) == (Scope.REQUEST, status)


@pytest.mark.parametrize("url", ["http://192.0.2.1/out.png", "file:///etc/passwd", "not an address"])
async def test_an_address_that_the_guard_refuses_is_not_fetched(
    vendor: JobVendor, replicate: ReplicateProvider, url: str
) -> None:
    vendor.on("GET", JOB, 200, prediction(vendor, "succeeded", output=[url]))

    failure = await job_failure(replicate, handle(vendor), request())

    assert (failure.kind, failure.billed) == (ErrorKind.INVALID_OUTPUT, Billed.YES)
    assert (failure.code, failure.cost) == ("OUTPUT_URL_REFUSED", PRICE)


@pytest.mark.parametrize(
    "output",
    [
        ["data:image/png;base64,!!!"],
        ["data:image/png;base64,iVBO Rw0KGgo="],
        ["data:image/png;base64,"],
        ["data:image/png"],
        [{"url": "https://x.example/out.png"}],
        {"image": "https://x.example/out.png"},
        7,
    ],
)
async def test_an_output_that_is_no_picture_is_paid_for_all_the_same(
    vendor: JobVendor, replicate: ReplicateProvider, output: object
) -> None:
    vendor.on("GET", JOB, 200, prediction(vendor, "succeeded", output=output))

    failure = await job_failure(replicate, handle(vendor), request())

    assert (failure.kind, failure.billed) == (ErrorKind.INVALID_OUTPUT, Billed.YES)
    assert (failure.code, failure.cost) == ("OUTPUT_UNREADABLE", PRICE)


@pytest.mark.parametrize("is_inside", [True, False])
async def test_a_picture_that_is_too_large_is_not_read(
    vendor: JobVendor, replicate: ReplicateProvider, monkeypatch: pytest.MonkeyPatch, is_inside: bool
) -> None:
    monkeypatch.setattr(remote, "PICTURE_MAX_BYTES", 1000)
    vendor.on("GET", "/out.png", 200, b"x" * 1001)
    url = "data:image/png," + "x" * 1001 if is_inside else f"{vendor.url}/out.png"
    vendor.on("GET", JOB, 200, prediction(vendor, "succeeded", output=url))

    failure = await job_failure(replicate, handle(vendor), request())

    assert (failure.kind, failure.billed) == (ErrorKind.INVALID_OUTPUT, Billed.YES)
    assert (failure.code, failure.cost) == ("OUTPUT_UNREADABLE", PRICE)


# Canceling


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (200, {"status": "canceled"}, RemoteCancellation.REQUESTED),
        (200, {"status": "processing"}, RemoteCancellation.REQUESTED),
        (200, {"status": "aborted"}, RemoteCancellation.REQUESTED),
        (202, b"", RemoteCancellation.REQUESTED),
        (200, {"status": "succeeded"}, RemoteCancellation.TOO_LATE),
        (200, {"status": "failed"}, RemoteCancellation.TOO_LATE),
        (404, problem(404), RemoteCancellation.TOO_LATE),
        (409, problem(409), RemoteCancellation.TOO_LATE),
        (422, problem(422), RemoteCancellation.TOO_LATE),
    ],
)
async def test_a_job_is_canceled_unless_it_has_ended(
    vendor: JobVendor, replicate: ReplicateProvider, status: int, body: object, outcome: RemoteCancellation
) -> None:
    vendor.on("POST", f"{JOB}/cancel", status, body)

    assert await replicate.cancel(handle(vendor)) is outcome

    (sent,) = vendor.requests
    assert (sent.headers["authorization"], sent.body) == (f"Bearer {KEY}", b"")


@pytest.mark.parametrize(
    ("status", "kind", "scope"),
    [
        (401, ErrorKind.AUTH_ERROR, Scope.ACCOUNT),
        (429, ErrorKind.RATE_LIMIT, Scope.REQUEST),
        (503, ErrorKind.TEMPORARY, Scope.REQUEST),
    ],
)
async def test_a_cancellation_that_was_not_heard_can_be_sent_again(
    vendor: JobVendor, replicate: ReplicateProvider, status: int, kind: ErrorKind, scope: Scope
) -> None:
    vendor.on("POST", f"{JOB}/cancel", status, problem(status))

    with pytest.raises(PollFailed) as caught:
        await replicate.cancel(handle(vendor))

    assert (caught.value.kind, caught.value.scope, caught.value.http_status) == (kind, scope, status)


# Secrets

LEAK = f"key {KEY} may not draw '{PROMPT[:30]}…' " + "x" * 460 + KEY


@pytest.mark.parametrize("path", ["order", "poll", "job", "refusal"])
async def test_nothing_that_is_kept_repeats_the_key_or_the_prompt(
    vendor: JobVendor, replicate: ReplicateProvider, path: str
) -> None:
    vendor.on("POST", BUY, 422, problem(422, LEAK))
    match path:
        case "order":
            kept = await submit_failure(replicate, request())
        case "poll":
            vendor.on("GET", JOB, 503, problem(503, LEAK))
            kept = await poll_failure(replicate, handle(vendor), request())
        case "job":
            vendor.on("GET", JOB, 200, prediction(vendor, "failed", error=LEAK))
            kept = await job_failure(replicate, handle(vendor), request())
        case _:
            vendor.on("GET", JOB, 200, prediction(vendor, "failed", error=LEAK.replace("xxx", "nsfw", 1)))
            kept = await replicate.poll(handle(vendor), request())
            assert isinstance(kept, Refusal)

    assert kept.message.startswith("key [key] may not draw '[prompt]…' ")
    assert len(kept.message) == 500
    assert KEY[:8] not in kept.message
    if isinstance(kept, Exception):
        assert kept.__cause__ is None


NEGATIVE = "no fog, no rain, no umbrellas at all"


async def test_nothing_that_is_kept_repeats_the_negative_prompt(
    vendor: JobVendor, replicate: ReplicateProvider
) -> None:
    said = f"'{NEGATIVE}' is too long (nsfw)"
    own = {"house/model": {"timeout_seconds": 60, "negative_prompt": True}}
    house = ReplicateProvider.from_config("replicate", config(vendor.url, models=own))
    vendor.on("POST", "/v1/models/house/model/predictions", 422, problem(422, said))
    asked = request(model="house/model", negative_prompt=NEGATIVE)

    kept = [(await submit_failure(house, asked)).message]
    await house.aclose()
    vendor.on("GET", JOB, 503, problem(503, said))
    kept.append((await poll_failure(replicate, handle(vendor), asked)).message)
    vendor.on("GET", JOB, 200, prediction(vendor, "failed", error=said))
    refusal = await replicate.poll(handle(vendor), asked)

    assert isinstance(refusal, Refusal)
    assert [*kept, refusal.message] == ["'[prompt]' is too long (nsfw)"] * 3


async def test_a_filters_word_counts_though_the_negative_prompt_has_it_too(
    vendor: JobVendor, replicate: ReplicateProvider
) -> None:
    vendor.on("GET", JOB, 200, prediction(vendor, "failed", error="possible nsfw content"))

    refusal = await replicate.poll(handle(vendor), request(negative_prompt="nsfw"))

    assert isinstance(refusal, Refusal)
    assert refusal.code == "FLAGGED"


async def test_an_unknown_status_does_not_repeat_the_key(vendor: JobVendor, replicate: ReplicateProvider) -> None:
    vendor.on("GET", JOB, 200, {"status": f"seen {KEY}"})

    failure = await poll_failure(replicate, handle(vendor), request())

    assert failure.message == "the job's status is `seen [key]`"
