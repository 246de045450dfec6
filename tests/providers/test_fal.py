"""The fal adapter against real sockets: what leaves, what is kept of it, and where pictures come from."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fal_wire import (
    BUY,
    CANCEL,
    MODEL,
    PRICE,
    PRICE_REF,
    RESULT,
    STATUS,
    accepted,
    completed,
    handle,
    made,
    request,
)
from remote_wire import KEY, PNG, PROMPT, JobVendor, config, job_failure, job_vendor, submit_failure, submitted

from safelight.domain.errors import Billed, ErrorKind
from safelight.domain.money import FREE, UNKNOWN_COST, Cost, CostBasis
from safelight.net.billable import CallNotSent, billable_call
from safelight.providers.fal import FalProvider
from safelight.providers.provider import (
    ImageInput,
    ImageResult,
    InputRole,
    PollFailed,
    Refusal,
    RemoteCancellation,
    RemoteHandle,
    RemoteProvider,
    StillRunning,
)
from safelight.providers.registry import InvalidConfiguration


@pytest.fixture
async def vendor() -> AsyncIterator[JobVendor]:
    async with job_vendor() as vendor:
        yield vendor


@pytest.fixture
async def elsewhere() -> AsyncIterator[JobVendor]:
    """Another server, with the same addresses."""
    async with job_vendor() as other:
        other.on("GET", "/out.png", 200, PNG, headers={"content-type": "image/png"})
        other.on("GET", STATUS, 200, completed())
        yield other


@pytest.fixture
async def fal(vendor: JobVendor) -> AsyncIterator[FalProvider]:
    provider = FalProvider.from_config("fal", config(vendor.url))
    yield provider
    await provider.aclose()


# What leaves


async def test_one_request_carries_prompt_options_and_key(vendor: JobVendor, fal: FalProvider) -> None:
    vendor.on("POST", BUY, 200, accepted(vendor))

    kept = await submitted(fal, request(aspect_ratio="16:9", seed=7))

    (sent,) = vendor.requests
    assert (sent.method, sent.path) == ("POST", BUY)
    assert sent.headers["authorization"] == f"Key {KEY}"
    assert sent.headers["x-fal-no-retry"] == "1"
    assert sent.headers.keys().isdisjoint({"x-fal-request-timeout", "cookie"})
    assert sent.json == {
        "prompt": PROMPT,
        "image_size": {"width": 1024, "height": 576},
        "seed": 7,
        "num_images": 1,
        "output_format": "png",
    }
    assert kept == handle(vendor)


async def test_without_options_only_what_the_model_data_sets_is_sent(vendor: JobVendor, fal: FalProvider) -> None:
    vendor.on("POST", BUY, 200, accepted(vendor))

    await submitted(fal, request())

    assert vendor.requests[0].json == {"prompt": PROMPT, "num_images": 1, "output_format": "png"}


async def test_a_size_within_the_models_rule_is_sent_as_it_is(vendor: JobVendor, fal: FalProvider) -> None:
    vendor.on("POST", BUY, 200, accepted(vendor))

    await submitted(fal, request(size="1536x512"))

    assert vendor.requests[0].json["image_size"] == {"width": 1536, "height": 512}


PAINTER: dict[str, dict[str, Any]] = {
    "ada/painter/inpaint": {
        "timeout_seconds": 60,
        "aspect_ratios": ["16:9", "4:3"],
        "negative_prompt": True,
        "max_references": 1,
        "unit_usd": "0.5",
        "fields": {
            "image": "image_url",
            "negative_prompt": "avoid",
            "size": "shape",
            "size_names": {"16:9": "landscape_16_9"},
            "aspect_ratio": "ratio",
        },
    },
    "workflows/ada/flow/deep": {"timeout_seconds": 60, "aspect_ratios": ["1:1"], "image_usd": "0.01"},
}


@pytest.mark.parametrize(
    ("ratio", "shape"), [("16:9", {"shape": "landscape_16_9"}), ("4:3", {"ratio": "4:3"}), (None, {})]
)
async def test_every_option_is_sent_under_the_name_that_the_model_data_gives_it(
    vendor: JobVendor, ratio: str | None, shape: dict[str, str]
) -> None:
    vendor.on("POST", "/ada/painter/inpaint", 200, accepted(vendor))
    provider = FalProvider.from_config("fal", config(vendor.url, models=PAINTER))
    given = ImageInput(role=InputRole.REFERENCE, mime="image/png", data=b"look")

    asked = request(model="ada/painter/inpaint", aspect_ratio=ratio, negative_prompt="blur", inputs=(given,))
    await submitted(provider, asked)
    await provider.aclose()

    address = "data:image/png;base64," + base64.b64encode(b"look").decode()
    assert vendor.requests[0].json == {"prompt": PROMPT, "avoid": "blur", "image_url": address} | shape


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"model": "fal-ai/unheard-of"}, "UNKNOWN_MODEL"),
        ({"aspect_ratio": "7:5"}, "UNSUPPORTED_OPTION"),
        ({"size": "1000x1000"}, "UNSUPPORTED_OPTION"),
        ({"size": "2048x2048"}, "UNSUPPORTED_OPTION"),
        ({"size": "1024x1024", "aspect_ratio": "1:1"}, "UNSUPPORTED_OPTION"),
        ({"negative_prompt": "blur"}, "UNSUPPORTED_OPTION"),
        ({"quality": "high"}, "UNSUPPORTED_OPTION"),
        (
            {"inputs": (ImageInput(role=InputRole.REFERENCE, mime="image/png", data=b"x"),)},
            "UNSUPPORTED_OPTION",
        ),
        ({"model": "workflows/ada/flow/deep", "aspect_ratio": "1:1"}, "UNSUPPORTED_OPTION"),
    ],
)
async def test_what_the_model_cannot_do_is_refused_and_nothing_is_sent(
    vendor: JobVendor, changes: dict[str, Any], code: str
) -> None:
    provider = FalProvider.from_config("fal", config(vendor.url, models=PAINTER))

    failure = await submit_failure(provider, request(**changes))
    await provider.aclose()

    assert (failure.kind, failure.billed, failure.code) == (ErrorKind.PERMANENT, Billed.NO, code)
    assert vendor.requests == []


async def test_past_the_deadline_nothing_is_sent(vendor: JobVendor, fal: FalProvider) -> None:
    with billable_call(timeout_seconds=-1) as call, pytest.raises(CallNotSent):
        await fal.submit(request())

    assert not call.has_left
    assert vendor.requests == []


async def test_a_receipt_that_lost_its_body_still_names_the_job_in_a_header(
    vendor: JobVendor, fal: FalProvider
) -> None:
    vendor.on("POST", BUY, 200, b"", headers={"x-fal-request-id": "req1"})

    assert await submitted(fal, request()) == handle(vendor)


# Where the key goes


def foreign_urls(vendor: JobVendor, elsewhere: JobVendor) -> list[object]:
    port = vendor.url.rpartition(":")[2]
    return [
        f"{elsewhere.url}{STATUS}",
        f"https://127.0.0.1:{port}{STATUS}",
        f"http://127.0.0.1:{port}@{elsewhere.url.removeprefix('http://')}{STATUS}",
        f"{vendor.url}{STATUS}?key={KEY}",
        f"https://_xn--{STATUS}",
        f"{vendor.url}{STATUS}/\ud800",
        STATUS,
        None,
    ]


async def test_an_address_that_is_not_the_accounts_own_is_built_anew(
    vendor: JobVendor, elsewhere: JobVendor, fal: FalProvider
) -> None:
    named = foreign_urls(vendor, elsewhere)
    for url in named:
        vendor.on("POST", BUY, 200, accepted(vendor, status_url=url, response_url=url, cancel_url=url))

        assert await submitted(fal, request()) == handle(vendor)

    assert elsewhere.requests == []
    assert len(vendor.posts(BUY)) == len(named)


@pytest.mark.parametrize(
    ("model", "job"),
    [
        ("workflows/ada/flow/deep", "/workflows/ada/flow/requests/req1"),
        ("ada/painter/inpaint", "/ada/painter/requests/req1"),
    ],
)
async def test_jobs_are_looked_for_under_owner_and_alias(vendor: JobVendor, model: str, job: str) -> None:
    vendor.on("POST", f"/base/{model}", 200, {"request_id": "req1"})
    provider = FalProvider.from_config("fal", config(f"{vendor.url}/base", models=PAINTER))

    kept = await submitted(provider, request(model=model))
    await provider.aclose()

    at = f"{vendor.url}/base{job}"
    assert kept.urls == {"status": f"{at}/status", "response": at, "cancel": f"{at}/cancel"}


async def test_a_kept_address_of_another_origin_is_never_asked(
    vendor: JobVendor, elsewhere: JobVendor, fal: FalProvider
) -> None:
    vendor.on("GET", STATUS, 202, {"status": "IN_QUEUE", "queue_position": 0})
    for url in foreign_urls(vendor, elsewhere):
        tampered = RemoteHandle(remote_id="req1", urls={"status": str(url), "response": str(url), "cancel": str(url)})

        assert await fal.poll(tampered, request()) == StillRunning()

    assert elsewhere.requests == []


@pytest.mark.parametrize(
    ("urls", "outcome", "asked"),
    [
        ({"cancel": f"https://queue.example{CANCEL}"}, RemoteCancellation.REQUESTED, [f"PUT {CANCEL}"]),
        ({"response": f"https://queue.example{RESULT}"}, RemoteCancellation.REQUESTED, [f"PUT {CANCEL}"]),
        ({"cancel": "https://queue.example/account"}, RemoteCancellation.UNSUPPORTED, []),
        ({}, RemoteCancellation.UNSUPPORTED, []),
    ],
)
async def test_a_job_of_another_address_is_canceled_at_the_accounts_own(
    vendor: JobVendor, fal: FalProvider, urls: dict[str, str], outcome: RemoteCancellation, asked: list[str]
) -> None:
    vendor.on("PUT", CANCEL, 202, {"status": "CANCELLATION_REQUESTED"})

    assert await fal.cancel(RemoteHandle(remote_id="req1", urls=urls)) is outcome
    assert vendor.seen_addresses == asked


async def test_no_redirect_is_followed(vendor: JobVendor, elsewhere: JobVendor, fal: FalProvider) -> None:
    vendor.on("POST", BUY, 307, b"", headers={"location": f"{elsewhere.url}{BUY}"})
    failure = await submit_failure(fal, request())
    assert (failure.kind, failure.billed, failure.http_status) == (ErrorKind.UNKNOWN, Billed.UNKNOWN, 307)

    vendor.on("GET", STATUS, 302, b"", headers={"location": f"{elsewhere.url}{STATUS}"})
    with pytest.raises(PollFailed, match="HTTP 302"):
        await fal.poll(handle(vendor), request())

    assert elsewhere.requests == []


# Pictures


async def test_another_process_polls_the_job_and_fetches_its_picture_without_the_key(
    vendor: JobVendor, elsewhere: JobVendor, fal: FalProvider
) -> None:
    vendor.on("POST", BUY, 200, accepted(vendor))
    kept = await submitted(fal, request())
    other = FalProvider.from_config("fal", config(vendor.url))

    vendor.on("GET", STATUS, 202, {"status": "IN_QUEUE", "queue_position": 3})
    assert await other.poll(kept, request()) == StillRunning()
    vendor.on("GET", STATUS, 202, {"status": "IN_PROGRESS", "logs": None}, headers={"retry-after": "4"})
    assert await other.poll(kept, request()) == StillRunning(after_seconds=4.0)
    vendor.on("GET", STATUS, 200, completed())
    vendor.on("GET", RESULT, 200, made(f"{elsewhere.url}/out.png"), headers={"x-fal-billable-units": "1"})
    result = await other.poll(kept, request())
    await other.aclose()

    assert result == ImageResult(
        data=PNG,
        claimed_mime="image/png",
        cost=Cost(3_000, CostBasis.USAGE, PRICE_REF),
        usage={"inference_time": 1.5, "width": 1024, "height": 768, "billable_units": "1"},
        request_id="req1",
    )
    assert vendor.seen_addresses == [f"POST {BUY}", *[f"GET {STATUS}"] * 3, f"GET {RESULT}"]
    assert all(each.headers["authorization"] == f"Key {KEY}" for each in vendor.requests)
    (fetched,) = elsewhere.requests
    assert KEY not in str(fetched)
    assert "authorization" not in fetched.headers


@pytest.mark.parametrize(
    ("units", "image", "asked", "cost"),
    [
        ("2", {}, {}, Cost(6_000, CostBasis.USAGE, PRICE_REF)),
        ("0.5", {}, {}, Cost(1_500, CostBasis.USAGE, PRICE_REF)),
        (None, {}, {}, PRICE),
        (None, {"width": 1024, "height": 1024}, {}, PRICE),
        (None, {"width": 1025, "height": 1024}, {}, Cost(6_000, CostBasis.TABLE, PRICE_REF)),
        (None, {"width": 1920, "height": 1080}, {}, Cost(6_000, CostBasis.TABLE, PRICE_REF)),
        ("many", {"width": 2000, "height": 2000}, {}, Cost(12_000, CostBasis.TABLE, PRICE_REF)),
        ("1e9", {}, {}, PRICE),
        ("0", {}, {}, PRICE),
        ("-1", {}, {}, PRICE),
        (None, {"width": None, "height": None}, {"size": "1536x1024"}, Cost(6_000, CostBasis.TABLE, PRICE_REF)),
        (None, {"width": -5, "height": 1e300}, {}, PRICE),
        (None, {"width": True, "height": "768"}, {"size": "1536x1536"}, Cost(9_000, CostBasis.TABLE, PRICE_REF)),
    ],
)
async def test_a_picture_costs_what_the_vendor_counts_else_its_started_megapixels(
    vendor: JobVendor,
    elsewhere: JobVendor,
    fal: FalProvider,
    units: str | None,
    image: dict[str, Any],
    asked: dict[str, Any],
    cost: Cost,
) -> None:
    vendor.on("GET", STATUS, 200, completed())
    headers = {"x-fal-billable-units": units} if units is not None else {}
    vendor.on("GET", RESULT, 200, made(f"{elsewhere.url}/out.png", **image), headers=headers)

    result = await fal.poll(handle(vendor), request(**asked))

    assert isinstance(result, ImageResult)
    assert result.cost == cost


@pytest.mark.parametrize(("other", "microusd"), [("other.png", 6_000), ("out.png", 3_000)])
async def test_every_picture_that_was_made_is_paid_for_where_the_vendor_does_not_count(
    vendor: JobVendor, elsewhere: JobVendor, fal: FalProvider, other: str, microusd: int
) -> None:
    answer = made(f"{elsewhere.url}/out.png")
    answer["images"] = [*answer["images"], {**answer["images"][0], "url": f"{elsewhere.url}/{other}"}]
    vendor.on("GET", STATUS, 200, completed())
    vendor.on("GET", RESULT, 200, answer)

    result = await fal.poll(handle(vendor), request())

    assert isinstance(result, ImageResult)
    assert result.cost == Cost(microusd, CostBasis.TABLE, PRICE_REF)


async def test_a_model_sold_by_the_unit_costs_its_units(vendor: JobVendor, elsewhere: JobVendor) -> None:
    provider = FalProvider.from_config("fal", config(vendor.url, models=PAINTER))
    vendor.on("GET", STATUS, 200, completed())
    vendor.on("GET", RESULT, 200, made(f"{elsewhere.url}/out.png"), headers={"x-fal-billable-units": "1.25"})

    result = await provider.poll(handle(vendor), request(model="ada/painter/inpaint"))
    await provider.aclose()

    assert isinstance(result, ImageResult)
    assert result.cost == Cost(625_000, CostBasis.USAGE, "settings")


@pytest.mark.parametrize("sold_by", ["unit_usd", "megapixel_usd"])
async def test_a_count_that_comes_to_more_than_any_call_costs_is_not_believed(
    vendor: JobVendor, elsewhere: JobVendor, sold_by: str
) -> None:
    models = {"ada/painter": {"timeout_seconds": 60, "image_usd": "0.7", sold_by: "0.5"}}
    provider = FalProvider.from_config("fal", config(vendor.url, models=models))
    vendor.on("GET", STATUS, 200, completed())
    vendor.on("GET", RESULT, 200, made(f"{elsewhere.url}/out.png"), headers={"x-fal-billable-units": "999999"})

    result = await provider.poll(handle(vendor), request(model="ada/painter"))
    await provider.aclose()

    assert isinstance(result, ImageResult)
    assert result.cost == Cost(700_000, CostBasis.TABLE, "settings")


async def test_the_picture_of_a_model_that_is_configured_no_longer_still_counts(
    vendor: JobVendor, elsewhere: JobVendor, fal: FalProvider
) -> None:
    vendor.on("GET", STATUS, 200, completed())
    vendor.on("GET", RESULT, 200, made(f"{elsewhere.url}/out.png"), headers={"x-fal-billable-units": "1"})

    result = await fal.poll(handle(vendor), request(model="fal-ai/gone"))

    assert isinstance(result, ImageResult)
    assert (result.data, result.cost) == (PNG, UNKNOWN_COST)


async def test_a_model_with_one_image_is_read_as_well(vendor: JobVendor, fal: FalProvider) -> None:
    inside = "data:image/jpeg;base64," + base64.b64encode(PNG).decode()
    vendor.on("GET", STATUS, 200, completed())
    vendor.on("GET", RESULT, 200, {"image": {"url": inside, "width": 1024, "height": 768}})

    result = await fal.poll(handle(vendor), request())

    assert isinstance(result, ImageResult)
    assert (result.data, result.claimed_mime, result.cost) == (PNG, "image/jpeg", PRICE)


async def test_the_answers_own_type_counts_where_the_file_has_none(vendor: JobVendor, fal: FalProvider) -> None:
    vendor.on("GET", "/out", 200, PNG)
    vendor.on("GET", STATUS, 200, completed())
    vendor.on("GET", RESULT, 200, made(f"{vendor.url}/out", content_type="image/jpeg"))

    result = await fal.poll(handle(vendor), request())

    assert isinstance(result, ImageResult)
    assert result.claimed_mime == "image/jpeg"


async def test_a_blackened_picture_is_a_paid_refusal_and_is_not_fetched(
    vendor: JobVendor, elsewhere: JobVendor, fal: FalProvider
) -> None:
    vendor.on("GET", STATUS, 200, completed())
    black = made(f"{elsewhere.url}/out.png", flagged=True)
    vendor.on("GET", RESULT, 200, black, headers={"x-fal-billable-units": "1"})

    refusal = await fal.poll(handle(vendor), request())

    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.billed) == ("NSFW", Billed.YES)
    assert (refusal.cost, refusal.request_id) == (Cost(3_000, CostBasis.USAGE, PRICE_REF), "req1")
    assert elsewhere.requests == []


@pytest.mark.parametrize("result", [{}, {"images": []}, {"images": [None]}, {"images": [{"url": ""}]}, {"image": "x"}])
async def test_success_without_a_picture_is_paid_for_all_the_same(
    vendor: JobVendor, fal: FalProvider, result: dict[str, Any]
) -> None:
    vendor.on("GET", STATUS, 200, completed())
    vendor.on("GET", RESULT, 200, result)

    failure = await job_failure(fal, handle(vendor), request())

    assert (failure.kind, failure.code) == (ErrorKind.INVALID_OUTPUT, "EMPTY_ANSWER")
    assert (failure.billed, failure.cost, failure.request_id) == (Billed.YES, PRICE, "req1")


async def test_success_without_a_picture_is_free_where_no_unit_was_counted(vendor: JobVendor, fal: FalProvider) -> None:
    vendor.on("GET", STATUS, 200, completed())
    vendor.on("GET", RESULT, 200, {"images": []}, headers={"x-fal-billable-units": "0"})

    failure = await job_failure(fal, handle(vendor), request())

    assert (failure.kind, failure.code) == (ErrorKind.INVALID_OUTPUT, "EMPTY_ANSWER")
    assert (failure.billed, failure.unbilled_by_policy, failure.cost) == (Billed.NO, True, FREE)


# Data


def test_it_is_a_provider_of_remote_jobs(fal: FalProvider) -> None:
    assert isinstance(fal, RemoteProvider)
    assert (fal.default_base_url, fal.key_variable) == ("https://queue.fal.run", "FAL_KEY")


@pytest.mark.parametrize(
    ("model", "microusd"), [(MODEL, 3_000), ("fal-ai/flux/dev", 25_000), ("fal-ai/flux-pro/v1.1", 40_000)]
)
def test_every_model_that_ships_is_a_remote_job_with_a_price(fal: FalProvider, model: str, microusd: int) -> None:
    can = fal.capabilities(model)

    assert can.remote_job
    assert can.seed
    assert can.takes_size("1024x1024")
    assert not can.takes_size("1000x1000")
    assert fal.estimate(request(model=model)) == Cost(microusd, CostBasis.ESTIMATE, PRICE_REF)
    assert fal.estimate(request(model=model, aspect_ratio="1:1")) == Cost(microusd, CostBasis.ESTIMATE, PRICE_REF)
    assert fal.estimate(request(model=model, size="1440x1440")) == Cost(microusd * 2, CostBasis.ESTIMATE, PRICE_REF)


@pytest.mark.parametrize("api_key", [None, "", "two words"])
def test_an_account_without_a_key_is_not_built(api_key: str | None) -> None:
    given = config()

    with pytest.raises(InvalidConfiguration, match="API key"):
        FalProvider.from_config("mine", type(given)(api_key=api_key, fetch=given.fetch))


def test_a_model_described_wrongly_is_not_built() -> None:
    wrong = {"a/b": {"timeout_seconds": 1, "fields": {"size_names": "landscape"}}}

    with pytest.raises(InvalidConfiguration, match=r"fields\.size_names must be a table"):
        FalProvider.from_config("mine", config(models=wrong))
