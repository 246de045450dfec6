"""The Replicate adapter against real sockets: what leaves, what is kept of it, and where pictures come from."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from PIL import Image
from remote_wire import KEY, PNG, PROMPT, JobVendor, config, job_failure, job_vendor, submit_failure, submitted
from replicate_wire import BUY, BY_THE_SECOND, JOB, MODEL, PRICE, TIMED_MODEL, handle, prediction, request

from safelight.domain.errors import Billed, ErrorKind
from safelight.domain.money import FREE, UNKNOWN_COST, Cost, CostBasis
from safelight.net.billable import CallNotSent, billable_call
from safelight.providers.provider import (
    ImageInput,
    ImageResult,
    InputRole,
    Refusal,
    RemoteCancellation,
    RemoteHandle,
    RemoteProvider,
    StillRunning,
    UnknownModel,
)
from safelight.providers.registry import InvalidConfiguration, ProviderConfig
from safelight.providers.replicate import ReplicateProvider


@pytest.fixture
async def vendor() -> AsyncIterator[JobVendor]:
    async with job_vendor() as vendor:
        yield vendor


@pytest.fixture
async def elsewhere() -> AsyncIterator[JobVendor]:
    """Another server, with the same addresses."""
    async with job_vendor() as other:
        other.on("GET", "/out.png", 200, PNG, headers={"content-type": "image/png"})
        other.on("GET", JOB, 200, {"status": "starting"})
        yield other


@pytest.fixture
async def replicate(vendor: JobVendor) -> AsyncIterator[ReplicateProvider]:
    provider = ReplicateProvider.from_config("replicate", config(vendor.url))
    yield provider
    await provider.aclose()


# What leaves


async def test_one_request_carries_prompt_options_and_key(vendor: JobVendor, replicate: ReplicateProvider) -> None:
    vendor.on("POST", BUY, 201, prediction(vendor, "starting"))

    kept = await submitted(replicate, request(aspect_ratio="16:9", seed=7))

    (sent,) = vendor.requests
    assert (sent.method, sent.path) == ("POST", BUY)
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert sent.json == {
        "input": {
            "prompt": PROMPT,
            "aspect_ratio": "16:9",
            "seed": 7,
            "num_outputs": 1,
            "output_format": "png",
            "go_fast": False,
        }
    }
    assert sent.headers.keys().isdisjoint({"prefer", "cancel-after", "cookie"})
    assert kept == handle(vendor)


async def test_without_options_only_what_the_model_data_sets_is_sent(
    vendor: JobVendor, replicate: ReplicateProvider
) -> None:
    vendor.on("POST", BUY, 201, prediction(vendor, "starting"))

    await submitted(replicate, request())

    assert vendor.requests[0].json == {"input": {"prompt": PROMPT, "num_outputs": 1, "output_format": "png"}}


async def test_a_base_url_with_a_path_is_kept_whole(vendor: JobVendor) -> None:
    vendor.on("POST", "/gateway" + BUY, 201, prediction(vendor, "starting", urls={}))
    provider = ReplicateProvider.from_config("replicate", config(vendor.url + "/gateway/"))

    kept = await submitted(provider, request())
    await provider.aclose()

    assert kept.urls == {
        "get": f"{vendor.url}/gateway{JOB}",
        "cancel": f"{vendor.url}/gateway{JOB}/cancel",
    }


async def test_a_community_model_is_bought_by_its_version(vendor: JobVendor) -> None:
    vendor.on("POST", "/v1/predictions", 201, prediction(vendor, "starting"))
    provider = ReplicateProvider.from_config("replicate", config(vendor.url, models=BY_THE_SECOND))

    await submitted(provider, request(model=TIMED_MODEL))
    await provider.aclose()

    (sent,) = vendor.requests
    assert sent.json == {"version": "v" * 64, "input": {"prompt": PROMPT}}


def painting_model(**fields: Any) -> dict[str, dict[str, Any]]:
    """A model of the operator's that can do everything."""
    return {
        "ada/painter": {
            "timeout_seconds": 60,
            "remote_job": True,
            "seed": True,
            "negative_prompt": True,
            "qualities": ["high"],
            "max_references": 2,
            "mask": True,
            "sizes_by_ratio": {"16:9": "1344x768"},
            "size_rule": {"step_px": 64, "max_width_px": 2048, "max_height_px": 2048, "max_ratio": 4.0},
            "megapixel_usd": "0.01",
            "fields": {
                "images": "input_images",
                "mask": "mask_image",
                "width": "w",
                "height": "h",
                "seed": "rng",
                "input": {"steps": 4},
            }
            | fields,
        }
    }


async def test_every_option_is_sent_under_the_name_that_the_model_data_gives_it(vendor: JobVendor) -> None:
    vendor.on("POST", "/v1/models/ada/painter/predictions", 201, prediction(vendor, "starting"))
    provider = ReplicateProvider.from_config("replicate", config(vendor.url, models=painting_model()))
    mask = Image.new("RGBA", (2, 1), (9, 9, 9, 255))
    mask.putpixel((1, 0), (9, 9, 9, 0))
    held = io.BytesIO()
    mask.save(held, "PNG")

    await submitted(
        provider,
        request(
            model="ada/painter",
            size="1024x512",
            seed=3,
            negative_prompt="blur",
            quality="high",
            inputs=(
                ImageInput(role=InputRole.REFERENCE, mime="image/png", data=b"first"),
                ImageInput(role=InputRole.MASK, mime="image/png", data=held.getvalue()),
                ImageInput(role=InputRole.REFERENCE, mime="image/jpeg", data=b"second"),
            ),
        ),
    )
    await provider.aclose()

    sent = vendor.requests[0].json["input"]
    painted = Image.open(io.BytesIO(base64.b64decode(sent.pop("mask_image").removeprefix("data:image/png;base64,"))))
    assert [painted.getpixel((x, 0)) for x in (0, 1)] == [0, 255]  # white where the mask is transparent
    assert sent == {
        "prompt": PROMPT,
        "steps": 4,
        "rng": 3,
        "negative_prompt": "blur",
        "quality": "high",
        "w": 1024,
        "h": 512,
        "input_images": [
            "data:image/png;base64," + base64.b64encode(b"first").decode(),
            "data:image/jpeg;base64," + base64.b64encode(b"second").decode(),
        ],
    }


async def test_a_ratio_goes_as_its_size_where_the_model_takes_sizes(vendor: JobVendor) -> None:
    vendor.on("POST", "/v1/models/ada/painter/predictions", 201, prediction(vendor, "starting"))
    provider = ReplicateProvider.from_config("replicate", config(vendor.url, models=painting_model()))

    await submitted(provider, request(model="ada/painter", aspect_ratio="16:9"))
    await provider.aclose()

    sent = vendor.requests[0].json["input"]
    assert (sent["w"], sent["h"]) == (1344, 768)
    assert "aspect_ratio" not in sent


async def test_one_reference_goes_into_the_field_of_the_model(vendor: JobVendor, replicate: ReplicateProvider) -> None:
    vendor.on("POST", "/v1/models/black-forest-labs/flux-dev/predictions", 201, prediction(vendor, "starting"))
    given = ImageInput(role=InputRole.REFERENCE, mime="image/webp", data=b"look")

    await submitted(replicate, request(model="black-forest-labs/flux-dev", inputs=(given,)))

    assert vendor.requests[0].json["input"]["image"] == "data:image/webp;base64," + base64.b64encode(b"look").decode()


REFERENCE = ImageInput(role=InputRole.REFERENCE, mime="image/png", data=b"x")
MASK = ImageInput(role=InputRole.MASK, mime="image/png", data=b"no PNG")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"model": "ada/unheard-of"}, "UNKNOWN_MODEL"),
        ({"aspect_ratio": "7:5"}, "UNSUPPORTED_OPTION"),
        ({"model": "black-forest-labs/flux-1.1-pro", "aspect_ratio": "21:9"}, "UNSUPPORTED_OPTION"),
        ({"size": "1024x1024"}, "UNSUPPORTED_OPTION"),
        ({"quality": "high"}, "UNSUPPORTED_OPTION"),
        ({"negative_prompt": "blur"}, "UNSUPPORTED_OPTION"),
        ({"inputs": (REFERENCE,)}, "UNSUPPORTED_OPTION"),
        ({"model": "black-forest-labs/flux-dev", "inputs": (REFERENCE, REFERENCE)}, "UNSUPPORTED_OPTION"),
        ({"model": "black-forest-labs/flux-dev", "inputs": (REFERENCE, MASK)}, "UNSUPPORTED_OPTION"),
        ({"model": "ada/painter", "inputs": (REFERENCE, MASK)}, "INVALID_MASK"),
        ({"model": TIMED_MODEL, "seed": 1}, "UNSUPPORTED_OPTION"),
        ({"model": "ada/shapeless", "size": "512x512"}, "UNSUPPORTED_OPTION"),
    ],
)
async def test_what_the_model_cannot_do_is_refused_and_nothing_is_sent(
    vendor: JobVendor, changes: dict[str, Any], code: str
) -> None:
    shapeless = {"ada/shapeless": {"timeout_seconds": 60, "sizes": ["512x512"]}}
    models = BY_THE_SECOND | painting_model() | shapeless
    provider = ReplicateProvider.from_config("replicate", config(vendor.url, models=models))

    failure = await submit_failure(provider, request(**changes))
    await provider.aclose()

    assert (failure.kind, failure.billed, failure.code) == (ErrorKind.PERMANENT, Billed.NO, code)
    assert vendor.requests == []


async def test_past_the_deadline_nothing_is_sent(vendor: JobVendor, replicate: ReplicateProvider) -> None:
    with billable_call(timeout_seconds=-1) as call, pytest.raises(CallNotSent):
        await replicate.submit(request())

    assert not call.has_left
    assert vendor.requests == []


# Where the key goes


def foreign_urls(vendor: JobVendor, elsewhere: JobVendor) -> list[object]:
    port = vendor.url.rpartition(":")[2]
    return [
        f"{elsewhere.url}{JOB}",
        f"http://localhost:{port}{JOB}",
        f"https://127.0.0.1:{port}{JOB}",
        f"http://127.0.0.1:{port}@{elsewhere.url.removeprefix('http://')}{JOB}",
        f"http://someone:else@127.0.0.1:{port}{JOB}",
        f"{vendor.url}{JOB}?token={KEY}",
        f"//{elsewhere.url.removeprefix('http://')}{JOB}",
        "http://[::broken" + JOB,
        f"https://_xn--{JOB}",
        f"{vendor.url}{JOB}/\ud800",
        JOB,
        {"href": f"{vendor.url}{JOB}"},
        None,
    ]


async def test_an_address_that_is_not_the_accounts_own_is_built_anew(
    vendor: JobVendor, elsewhere: JobVendor, replicate: ReplicateProvider
) -> None:
    named = foreign_urls(vendor, elsewhere)
    for url in named:
        vendor.on("POST", BUY, 201, prediction(vendor, "starting", urls={"get": url, "cancel": url}))

        assert await submitted(replicate, request()) == handle(vendor)

    assert elsewhere.requests == []
    assert len(vendor.posts(BUY)) == len(named)


async def test_a_kept_address_of_another_origin_is_never_asked(
    vendor: JobVendor, elsewhere: JobVendor, replicate: ReplicateProvider
) -> None:
    vendor.on("GET", JOB, 200, prediction(vendor, "processing"))
    vendor.on("POST", f"{JOB}/cancel", 200, prediction(vendor, "canceled"))
    for url in foreign_urls(vendor, elsewhere):
        tampered = RemoteHandle(remote_id="pred1", urls={"get": str(url), "cancel": str(url)})

        assert await replicate.poll(tampered, request()) == StillRunning()
        assert await replicate.cancel(tampered) is RemoteCancellation.REQUESTED

    assert elsewhere.requests == []


async def test_no_redirect_is_followed(vendor: JobVendor, elsewhere: JobVendor, replicate: ReplicateProvider) -> None:
    vendor.on("POST", BUY, 307, b"", headers={"location": f"{elsewhere.url}{BUY}"})
    failure = await submit_failure(replicate, request())
    assert (failure.kind, failure.billed, failure.http_status) == (ErrorKind.UNKNOWN, Billed.UNKNOWN, 307)

    vendor.on("GET", JOB, 302, b"", headers={"location": f"{elsewhere.url}{JOB}"})
    with pytest.raises(Exception, match="HTTP 302"):
        await replicate.poll(handle(vendor), request())

    assert elsewhere.requests == []


async def test_the_environment_redirects_nothing(vendor: JobVendor, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "REPLICATE_BASE_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("REPLICATE_API_TOKEN", "someone-else")
    vendor.on("POST", BUY, 201, prediction(vendor, "starting"))
    vendor.on("GET", JOB, 200, prediction(vendor, "processing"))
    provider = ReplicateProvider.from_config("replicate", config(vendor.url))

    await provider.poll(await submitted(provider, request()), request())
    await provider.aclose()

    assert {each.headers["authorization"] for each in vendor.requests} == {f"Bearer {KEY}"}


# Pictures


async def test_another_process_polls_the_job_and_fetches_its_picture_without_the_key(
    vendor: JobVendor, elsewhere: JobVendor, replicate: ReplicateProvider
) -> None:
    vendor.on("POST", BUY, 201, prediction(vendor, "starting"))
    kept = await submitted(replicate, request())
    other = ReplicateProvider.from_config("replicate", config(vendor.url))

    for status in ("starting", "processing"):
        vendor.on("GET", JOB, 200, prediction(vendor, status))
        assert await other.poll(kept, request()) == StillRunning()
    made = prediction(vendor, "succeeded", output=[f"{elsewhere.url}/out.png"], metrics={"predict_time": 0.5})
    vendor.on("GET", JOB, 200, made)
    result = await other.poll(kept, request())
    await other.aclose()

    assert result == ImageResult(
        data=PNG,
        claimed_mime="image/png",
        cost=PRICE,
        usage={"predict_time": 0.5},
        request_id="pred1",
        model_version="hidden",
    )
    assert vendor.seen_addresses == [f"POST {BUY}", *[f"GET {JOB}"] * 3]
    assert all(each.headers["authorization"] == f"Bearer {KEY}" for each in vendor.requests)
    (fetched,) = elsewhere.requests
    assert KEY not in str(fetched)
    assert "authorization" not in fetched.headers


async def test_a_job_that_has_ended_when_it_is_bought_is_fetched_by_a_poll(
    vendor: JobVendor, elsewhere: JobVendor, replicate: ReplicateProvider
) -> None:
    vendor.on("POST", BUY, 201, prediction(vendor, "succeeded", output=f"{elsewhere.url}/out.png"))

    assert await submitted(replicate, request()) == handle(vendor)
    assert elsewhere.requests == []


async def test_a_wait_that_the_vendor_wants_between_polls_is_told(
    vendor: JobVendor, replicate: ReplicateProvider
) -> None:
    vendor.on("GET", JOB, 200, prediction(vendor, "processing"), headers={"retry-after": "4"})

    assert await replicate.poll(handle(vendor), request()) == StillRunning(after_seconds=4.0)


@pytest.mark.parametrize(
    ("outputs", "metrics", "cost_microusd"),
    [
        ("{}/out.png", {}, 3_000),
        (["{}/out.png"], None, 3_000),
        (["{}/out.png", "{}/2.png", "{}/3.png"], {}, 9_000),
        (["{}/out.png", "{}/out.png"], {}, 3_000),
        (["{}/out.png", "{}/2.png"], {"image_count": 4}, 12_000),
        (["{}/out.png"], {"image_count": -1}, 3_000),
        (["{}/out.png"], {"image_count": "many", "predict_time": 9.0}, 3_000),
        ([None, "{}/out.png"], {}, 3_000),
    ],
)
async def test_the_first_picture_is_taken_and_all_are_paid_for(
    vendor: JobVendor,
    elsewhere: JobVendor,
    replicate: ReplicateProvider,
    outputs: object,
    metrics: object,
    cost_microusd: int,
) -> None:
    named = json.loads(json.dumps(outputs).replace("{}", elsewhere.url))
    vendor.on("GET", JOB, 200, prediction(vendor, "succeeded", output=named, metrics=metrics))

    result = await replicate.poll(handle(vendor), request())

    assert isinstance(result, ImageResult)
    assert result.cost == Cost(cost_microusd, CostBasis.TABLE, PRICE.price_ref)
    assert elsewhere.seen_addresses == ["GET /out.png"]


@pytest.mark.parametrize(
    ("metrics", "cost"),
    [
        ({"predict_time": 2.5}, Cost(2_500, CostBasis.USAGE, "settings")),
        ({"predict_time": 1e300}, UNKNOWN_COST),
        ({"predict_time": True}, UNKNOWN_COST),
        ({}, UNKNOWN_COST),
    ],
)
async def test_a_model_sold_by_the_second_costs_what_it_took(
    vendor: JobVendor, elsewhere: JobVendor, metrics: object, cost: Cost
) -> None:
    provider = ReplicateProvider.from_config("replicate", config(vendor.url, models=BY_THE_SECOND))
    made = prediction(vendor, "succeeded", output=[f"{elsewhere.url}/out.png"] * 3, metrics=metrics)
    vendor.on("GET", JOB, 200, made)

    result = await provider.poll(handle(vendor), request(model=TIMED_MODEL))
    await provider.aclose()

    assert isinstance(result, ImageResult)
    assert result.cost == cost


async def test_the_picture_of_a_model_that_is_configured_no_longer_still_counts(
    vendor: JobVendor, elsewhere: JobVendor, replicate: ReplicateProvider
) -> None:
    vendor.on("GET", JOB, 200, prediction(vendor, "succeeded", output=f"{elsewhere.url}/out.png"))

    result = await replicate.poll(handle(vendor), request(model="ada/gone"))

    assert isinstance(result, ImageResult)
    assert (result.data, result.cost) == (PNG, UNKNOWN_COST)


@pytest.mark.parametrize(
    "url",
    [
        "data:image/png;base64," + base64.b64encode(PNG).decode(),
        "DATA:image/png;name=x;base64," + base64.b64encode(PNG).decode(),
        "data:image/png,%89PNG%0D%0A%1A%0A-not-decoded-here",
    ],
)
async def test_a_picture_inside_its_address_is_taken_from_there(
    vendor: JobVendor, replicate: ReplicateProvider, url: str
) -> None:
    vendor.on("GET", JOB, 200, prediction(vendor, "succeeded", output=[url]))

    result = await replicate.poll(handle(vendor), request())

    assert isinstance(result, ImageResult)
    assert (result.data, result.claimed_mime, result.cost) == (PNG, "image/png", PRICE)


@pytest.mark.parametrize("output", [None, "", [], [None], [""]])
async def test_success_without_an_output_is_a_paid_refusal(
    vendor: JobVendor, replicate: ReplicateProvider, output: object
) -> None:
    vendor.on("GET", JOB, 200, prediction(vendor, "succeeded", output=output))

    refusal = await replicate.poll(handle(vendor), request())

    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.billed, refusal.cost) == ("EMPTY_OUTPUT", Billed.YES, PRICE)
    assert refusal.request_id == "pred1"


async def test_success_without_an_output_is_free_where_pictures_are_sold_and_none_was_counted(
    vendor: JobVendor, replicate: ReplicateProvider
) -> None:
    vendor.on("GET", JOB, 200, prediction(vendor, "succeeded", output=[], metrics={"image_count": 0}))

    refusal = await replicate.poll(handle(vendor), request())

    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.billed, refusal.cost) == ("EMPTY_OUTPUT", Billed.NO, FREE)


async def test_an_output_that_the_vendor_has_removed_is_gone_and_no_refusal(
    vendor: JobVendor, replicate: ReplicateProvider
) -> None:
    vendor.on("GET", JOB, 200, prediction(vendor, "succeeded", output=None, data_removed=True))

    failure = await job_failure(replicate, handle(vendor), request())

    assert (failure.kind, failure.code) == (ErrorKind.INVALID_OUTPUT, "OUTPUT_GONE")
    assert (failure.billed, failure.cost, failure.request_id) == (Billed.YES, PRICE, "pred1")


# Data


def test_it_is_a_provider_of_remote_jobs(replicate: ReplicateProvider) -> None:
    assert isinstance(replicate, RemoteProvider)
    assert (replicate.default_base_url, replicate.key_variable) == ("https://api.replicate.com", "REPLICATE_API_TOKEN")


@pytest.mark.parametrize(
    ("model", "microusd"),
    [(MODEL, 3_000), ("black-forest-labs/flux-dev", 25_000), ("black-forest-labs/flux-1.1-pro", 40_000)],
)
def test_every_model_that_ships_is_a_remote_job_with_a_price(
    replicate: ReplicateProvider, model: str, microusd: int
) -> None:
    assert replicate.capabilities(model).remote_job
    assert replicate.capabilities(model).seed
    assert replicate.estimate(request(model=model)) == Cost(microusd, CostBasis.ESTIMATE, PRICE.price_ref)


def test_a_model_that_nobody_listed_is_unknown(replicate: ReplicateProvider) -> None:
    with pytest.raises(UnknownModel, match=r"ada/gone"):
        replicate.capabilities("ada/gone")


def test_a_model_of_the_operators_is_a_remote_job_without_saying_so() -> None:
    provider = ReplicateProvider.from_config("replicate", config(models={"a/b": {"timeout_seconds": 1}}))

    assert provider.capabilities("a/b").remote_job


def test_a_price_that_nobody_wrote_down_is_not_estimated() -> None:
    provider = ReplicateProvider.from_config("replicate", config(models=BY_THE_SECOND))

    assert provider.estimate(request(model=TIMED_MODEL)) == UNKNOWN_COST


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"api_key": None}, "needs an API key"),
        ({"api_key": "two words"}, "space"),
        ({"base_url": "ftp://x"}, "must begin with http"),
        ({"models": {"a/b": {}}}, "timeout_seconds"),
        ({"models": {"a/b": {"timeout_seconds": 1, "max_references": 1}}}, r"fields\.image"),
        (
            {"models": {"a/b": {"timeout_seconds": 1, "max_references": 2, "fields": {"image": "i"}}}},
            r"fields\.images does not",
        ),
        ({"models": {"a/b": {"timeout_seconds": 1, "mask": True}}}, r"fields\.mask"),
        ({"models": {"a/b": {"timeout_seconds": 1, "fields": {"input": "png"}}}}, r"fields\.input must be a table"),
        ({"models": {"a/b": {"timeout_seconds": 1, "fields": {"count": 1}}}}, r"fields\.count must be the name"),
    ],
)
def test_an_account_that_cannot_be_used_is_not_built(changes: dict[str, Any], match: str) -> None:
    given = config()
    settings: dict[str, Any] = {"api_key": KEY, "base_url": None, "models": {}, "fetch": given.fetch} | changes

    with pytest.raises(InvalidConfiguration, match=match):
        ReplicateProvider.from_config("mine", ProviderConfig(**settings))
