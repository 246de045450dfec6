"""What Replicate's official client, unchanged, makes of the sandbox's wire."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest
from PIL import Image
from pydantic.v1 import ValidationError
from replicate.client import Client
from replicate.exceptions import ModelError, ReplicateError
from replicate.prediction import Prediction

from safelight.sandbox.config import SandboxConfig
from safelight.sandbox.decoys import pixel_bomb
from safelight.sandbox.replicate import ReplicateWire
from safelight.sandbox.replicate_models import MODELS, RATIO_PX
from safelight.sandbox.server import RunningSandbox, running_sandbox

SCHNELL, DEV, PRO = MODELS
CREATE = f"/replicate/v1/models/{SCHNELL}/predictions"
BEARER = {"authorization": "Bearer r8_test"}
TOO_LARGE = "data:image/png;base64," + base64.b64encode(pixel_bomb()).decode()

Connect = Callable[..., Client]


@pytest.fixture
async def connect(sandbox: RunningSandbox) -> AsyncIterator[Connect]:
    """The official client. It keeps a connection pool of its own."""
    clients: list[Client] = []

    def connect(*, scenario: str = "", token: str = "r8_test", **headers: str) -> Client:
        client = Client(
            api_token=token,
            base_url=sandbox.url("replicate", scenario),
            trust_env=False,
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        )
        client.poll_interval = 0.01
        clients.append(client)
        return client

    yield connect
    for client in clients:
        await client._async_client.aclose()


async def create(client: Client, prompt: str, *, model: str = SCHNELL, **given: Any) -> Prediction:
    return await client.models.predictions.async_create(model, input={"prompt": prompt, **given})


async def ended(client: Client, prompt: str, *, model: str = SCHNELL, **given: Any) -> Prediction:
    prediction = await create(client, prompt, model=model, **given)
    await prediction.async_wait()
    return prediction


async def pictures(http: httpx2.AsyncClient, prediction: Prediction) -> list[Image.Image]:
    """Every output downloaded, by a client that has no key, and decoded."""
    images: list[Image.Image] = []
    for address in addresses(prediction):
        image = Image.open(io.BytesIO((await http.get(address)).content))
        image.load()
        images.append(image)
    return images


def addresses(prediction: Prediction) -> list[str]:
    return [prediction.output] if isinstance(prediction.output, str) else prediction.output or []


def png_uri(width_px: int, height_px: int) -> str:
    file = io.BytesIO()
    Image.new("RGB", (width_px, height_px), "teal").save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


async def test_a_prediction_starts_is_polled_and_succeeds_with_a_picture(
    connect: Connect, sandbox: RunningSandbox, http: httpx2.AsyncClient
) -> None:
    sandbox.vendor.hold()
    client = connect()
    prediction = await create(client, "a pier", seed=7)
    assert prediction.status in ("starting", "processing")
    assert (prediction.model, prediction.output, prediction.error) == (SCHNELL, None, None)
    assert prediction.input == {"prompt": "a pier", "seed": 7}
    assert prediction.urls is not None
    assert prediction.urls["get"] == f"{sandbox.base_url}/replicate/v1/predictions/{prediction.id}"
    assert prediction.urls["cancel"] == f"{prediction.urls['get']}/cancel"

    sandbox.vendor.release()
    await prediction.async_wait()

    assert prediction.status == "succeeded"
    assert prediction.logs == "Using seed: 7\n"
    assert prediction.metrics is not None
    assert prediction.metrics["image_count"] == 1
    assert prediction.metrics["total_time"] >= prediction.metrics["predict_time"] > 0
    [image] = await pictures(http, prediction)
    assert (image.format, image.size) == ("WEBP", (1024, 1024))


async def test_one_prompt_gets_as_many_different_pictures_as_asked(connect: Connect, http: httpx2.AsyncClient) -> None:
    prediction = await ended(connect(), "a pier", num_outputs=4, output_format="png", megapixels="0.25")

    images = await pictures(http, prediction)
    assert [image.format for image in images] == ["PNG"] * 4
    assert len({image.tobytes() for image in images}) == 4


@pytest.mark.parametrize(("asked", "made"), [("webp", "WEBP"), ("jpg", "JPEG"), ("png", "PNG")])
async def test_each_format_is_what_it_is_called(
    connect: Connect, http: httpx2.AsyncClient, asked: str, made: str
) -> None:
    prediction = await ended(connect(), "a pier", output_format=asked, megapixels="0.25")

    response = await http.get(addresses(prediction)[0])
    [image] = await pictures(http, prediction)
    assert (image.format, image.size) == (made, (512, 512))
    assert response.headers["content-type"] == f"image/{made.lower()}"


async def test_every_ratio_has_its_size(connect: Connect, http: httpx2.AsyncClient) -> None:
    client = connect()
    for ratio, (width_px, height_px) in RATIO_PX.items():
        [image] = await pictures(http, await ended(client, "a pier", aspect_ratio=ratio, megapixels="0.25"))
        assert image.size == (width_px // 2, height_px // 2)


async def test_a_model_of_single_pictures_gives_an_address_not_a_list(
    connect: Connect, http: httpx2.AsyncClient
) -> None:
    prediction = await ended(
        connect(), "a pier", model=PRO, aspect_ratio="custom", width=512, height=300, image_prompt=png_uri(40, 40)
    )

    assert isinstance(prediction.output, str)
    [image] = await pictures(http, prediction)
    assert image.size == (512, 288)


async def test_a_reference_gives_its_shape(connect: Connect, http: httpx2.AsyncClient) -> None:
    [image] = await pictures(http, await ended(connect(), "in snow", model=DEV, image=png_uri(300, 100)))

    assert image.size == (1776, 592)


async def test_a_version_is_as_good_as_a_name(connect: Connect) -> None:
    version = MODELS[DEV].version
    for asked in (version, f"{DEV}:{version}"):
        prediction = await connect().predictions.async_create(version=asked, input={"prompt": "a pier"})
        assert (prediction.model, prediction.version) == (DEV, version)


async def test_run_waits_and_returns_what_was_made(connect: Connect, http: httpx2.AsyncClient) -> None:
    made: Any = await connect().async_run(SCHNELL, input={"prompt": "a pier"})

    [address] = made
    assert (await http.get(address)).headers["content-type"] == "image/webp"


async def test_a_caller_may_wait_for_the_end_and_is_not_kept_longer_than_asked(
    connect: Connect, sandbox: RunningSandbox
) -> None:
    client = connect()
    waited = await client.models.predictions.async_create(SCHNELL, input={"prompt": "a pier"}, wait=30)
    assert waited.status == "succeeded"

    sandbox.vendor.hold()
    short = await client.models.predictions.async_create(SCHNELL, input={"prompt": "a pier"}, wait=1)
    assert (short.status, short.output) == ("processing", None)
    sandbox.vendor.release()


async def test_a_model_tells_its_inputs(connect: Connect) -> None:
    client = connect()
    for name, sold in MODELS.items():
        model = await client.models.async_get(name)
        assert (model.id, model.visibility) == (name, "public")
        version = model.latest_version
        assert version is not None
        assert version.id == sold.version
        schemas = version.openapi_schema["components"]["schemas"]
        assert set(schemas["Input"]["properties"]) == set(sold.inputs)
        assert schemas["Input"]["required"] == ["prompt"]
        assert schemas["aspect_ratio"]["enum"] == list(sold.inputs["aspect_ratio"]["enum"])
        assert schemas["Output"]["type"] == ("array" if sold.gives_list else "string")
        assert (await model.versions.async_get(version.id)).id == version.id


async def test_a_failed_prediction_raises_nothing_but_says_so(connect: Connect) -> None:
    client = connect()
    prediction = await ended(client, "a pier [[sandbox: failed TIMED_OUT]]")

    assert (prediction.status, prediction.output) == ("failed", None)
    assert prediction.error == "Prediction failed: timed out"
    with pytest.raises(ModelError, match="out of memory"):
        await client.async_run(SCHNELL, input={"prompt": "a pier [[sandbox: failed]]"}, wait=False)


@pytest.mark.parametrize(("script", "words"), [("refuse", "NSFW"), ("refuse-prompt", "E005")])
async def test_a_refused_prompt_is_a_failure_with_a_text(connect: Connect, script: str, words: str) -> None:
    prediction = await ended(connect(), f"a pier [[sandbox: {script}]]")

    assert (prediction.status, prediction.output) == ("failed", None)
    assert prediction.error is not None
    assert words in prediction.error


@pytest.mark.parametrize(("model", "nothing"), [(SCHNELL, []), (PRO, None)])
async def test_a_success_can_be_empty(connect: Connect, model: str, nothing: object) -> None:
    prediction = await ended(connect(), "a pier [[sandbox: no-pictures]]", model=model)

    assert (prediction.status, prediction.output, prediction.error) == ("succeeded", nothing, None)
    assert prediction.metrics is not None
    assert prediction.metrics["image_count"] == 0


async def test_a_running_prediction_is_canceled_at_once(connect: Connect, sandbox: RunningSandbox) -> None:
    sandbox.vendor.hold()
    prediction = await create(connect(), "a pier")

    await prediction.async_cancel()

    assert (prediction.status, prediction.output) == ("canceled", None)
    assert sandbox.vendor.is_held
    await prediction.async_cancel()
    assert prediction.status == "canceled"


async def test_a_prediction_that_ended_stays_as_it_is(connect: Connect) -> None:
    prediction = await ended(connect(), "a pier")
    await prediction.async_cancel()

    assert prediction.status == "succeeded"
    assert prediction.output


async def test_the_vendor_can_cancel_too(connect: Connect) -> None:
    assert (await ended(connect(), "a pier [[sandbox: canceled]]")).status == "canceled"


@pytest.mark.parametrize("script", ["aborted", "queued 60"])
async def test_a_prediction_that_never_starts_is_aborted_which_the_client_cannot_read(
    connect: Connect, http: httpx2.AsyncClient, script: str
) -> None:
    client = connect(cancel_after="0.05s")
    prediction = await create(client, f"a pier [[sandbox: {script}]]")
    await http.get("/bill?wait_ended=1")

    with pytest.raises(ValidationError, match="aborted"):
        await client.predictions.async_get(prediction.id)
    shown = (await http.get(f"/replicate/v1/predictions/{prediction.id}", headers=BEARER)).json()
    assert (shown["status"], shown["output"], shown["metrics"]) == ("aborted", None, {})
    assert "started_at" not in shown


async def test_a_prediction_that_overruns_its_deadline_is_canceled(connect: Connect, sandbox: RunningSandbox) -> None:
    sandbox.vendor.hold()
    prediction = await create(connect(cancel_after="0.3s"), "a pier")
    await prediction.async_wait()

    assert prediction.status == "canceled"


@pytest.mark.parametrize("header", ["soon", "", "5 minutes", "-1s"])
async def test_a_senseless_deadline_is_a_400(http: httpx2.AsyncClient, header: str) -> None:
    response = await http.post(CREATE, json={"input": {"prompt": "a pier"}}, headers=BEARER | {"cancel-after": header})

    assert response.status_code == 400


@pytest.mark.parametrize("token", ["bad-key", ""])
async def test_a_wrong_token_is_a_401(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, token: str, http: httpx2.AsyncClient
) -> None:
    monkeypatch.delenv("REPLICATE_API_TOKEN", raising=False)
    with pytest.raises(ReplicateError, match="authentication token") as caught:
        await create(connect(token=token), "a pier")

    assert (caught.value.status, caught.value.title) == (401, "Unauthenticated")
    response = await http.get("/replicate/v1/predictions/any", headers={"authorization": "Key r8_test"})
    assert response.json().keys() == {"title", "detail", "status"}


async def test_an_unknown_model_version_or_id_is_refused(connect: Connect) -> None:
    client = connect()
    with pytest.raises(ReplicateError, match="could not be found") as no_model:
        await create(client, "a pier", model="black-forest-labs/flux-9")
    with pytest.raises(ReplicateError, match="does not exist") as no_version:
        await client.predictions.async_create(version="0" * 64, input={"prompt": "a pier"})
    with pytest.raises(ReplicateError) as no_prediction:
        await client.predictions.async_get("nothing")

    assert [each.value.status for each in (no_model, no_version, no_prediction)] == [404, 422, 404]


@pytest.mark.parametrize(
    ("model", "given", "complaint"),
    [
        (SCHNELL, {"num_outputs": 5}, "input.num_outputs: Must be less than or equal to 4"),
        (SCHNELL, {"num_outputs": True}, "input.num_outputs: Invalid type. Expected: integer, given: boolean"),
        (SCHNELL, {"aspect_ratio": "8:1"}, "input.aspect_ratio: Must be one of the following"),
        (SCHNELL, {"output_format": "gif"}, "input.output_format"),
        (SCHNELL, {"seed": "7"}, "input.seed: Invalid type. Expected: integer, given: string"),
        (SCHNELL, {"negative_prompt": "blur"}, "input: Additional property negative_prompt is not allowed"),
        (SCHNELL, {"image": png_uri(4, 4)}, "Additional property image"),
        (PRO, {"num_outputs": 2}, "Additional property num_outputs"),
        (PRO, {"aspect_ratio": "21:9"}, "input.aspect_ratio"),
        (DEV, {"image": "file.png"}, "input.image: Does not match format 'uri'"),
        (DEV, {"image": "data:image/png;base64,aGk="}, "input.image: Does not match format 'uri'"),
        (DEV, {"image": TOO_LARGE}, "input.image: Does not match format 'uri'"),
        (DEV, {"prompt": 3}, "input.prompt: Invalid type"),
    ],
)
async def test_an_input_the_model_lacks_is_a_422(
    connect: Connect, sandbox: RunningSandbox, model: str, given: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ReplicateError) as caught:
        await create(connect(), **{"prompt": "a pier", "model": model, **given})

    assert (caught.value.status, caught.value.title) == (422, "Input validation failed")
    assert caught.value.detail is not None
    assert complaint in caught.value.detail
    assert sandbox.vendor.bill.calls[-1]["outcome"] == "rejected INVALID_INPUT"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 422),
        (b"{}", 422),
        (b'{"input": []}', 422),
        (b'{"input": {}}', 422),
        (b'{"inptu": {"prompt": "a pier"}}', 422),
        (b'{"input": {"prompt": "a pier [[sandbox: explode]]"}}', 422),
        (b'{"input": {"prompt": "a pier [[sandbox: thought]]"}}', 422),
    ],
)
async def test_a_malformed_request_is_refused(http: httpx2.AsyncClient, body: bytes, status: int) -> None:
    response = await http.post(CREATE, content=body, headers=BEARER)

    assert (response.status_code, response.json()["status"]) == (status, status)
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("script", "status", "words"),
    [
        ("no-credit", 402, "insufficient credit"),
        ("forbidden", 403, "permission"),
        ("model-gone", 404, "could not be found"),
        ("error-detail 422", 422, "input"),
        ("429 30", 429, "resets in ~30s"),
        ("500", 500, "Internal server error"),
        ("503", 503, "temporarily unavailable"),
        ("504", 504, "in time"),
    ],
)
async def test_an_error_has_its_status_and_words(connect: Connect, script: str, status: int, words: str) -> None:
    with pytest.raises(ReplicateError, match=words) as caught:
        await create(connect(), f"a pier [[sandbox: {script}]]")

    assert caught.value.status == status


async def test_a_bad_gateway_is_a_page_without_a_detail(connect: Connect) -> None:
    with pytest.raises(ReplicateError) as caught:
        await create(connect(), "a pier [[sandbox: 502]]")

    assert (caught.value.status, caught.value.detail) == (502, None)


@pytest.mark.parametrize(("script", "header"), [("429 37", "37"), ("429", "2"), ("429-date 5", "GMT")])
async def test_a_rate_limit_says_when_to_come_back(http: httpx2.AsyncClient, script: str, header: str) -> None:
    body = {"input": {"prompt": f"a pier [[sandbox: {script}]]"}}
    response = await http.post(CREATE, json=body, headers=BEARER)

    assert response.status_code == 429
    assert response.headers["retry-after"].endswith(header)


async def test_a_page_with_status_200_does_not_parse(connect: Connect) -> None:
    with pytest.raises(json.JSONDecodeError):
        await create(connect(), "a pier [[sandbox: html]]")


async def test_output_can_be_data_uris(connect: Connect) -> None:
    made: Any = await connect().async_run(SCHNELL, input={"prompt": "a pier [[sandbox: data-uri]]"})

    [file] = made
    assert Image.open(io.BytesIO(await file.aread())).format == "WEBP"


async def test_a_receipt_may_lack_the_id(http: httpx2.AsyncClient) -> None:
    response = await http.post(CREATE, json={"input": {"prompt": "a pier [[sandbox: no-id]]"}}, headers=BEARER)

    assert response.status_code == 201
    assert response.json().keys() & {"id", "urls"} == set()


async def test_what_was_made_is_removed_after_its_hour(bill_path: Any) -> None:
    async with (
        running_sandbox(
            SandboxConfig(pictures=1), bill_path=bill_path, wires=[ReplicateWire(retention_seconds=0)]
        ) as sandbox,
        httpx2.AsyncClient(base_url=sandbox.base_url, timeout=30, trust_env=False) as http,
    ):
        created = await http.post(CREATE, json={"input": {"prompt": "a pier"}}, headers=BEARER)
        await http.get("/bill?wait_ended=1")
        shown = (await http.get(created.json()["urls"]["get"], headers=BEARER)).json()

    assert (shown["status"], shown["data_removed"]) == ("succeeded", True)
    assert (shown["input"], shown["output"], shown["logs"]) == ({}, None, "")


@pytest.mark.parametrize(
    ("model", "given", "microusd"),
    [
        (SCHNELL, {}, 3_000),
        (SCHNELL, {"num_outputs": 4, "megapixels": "0.25"}, 12_000),
        (DEV, {"megapixels": "0.25"}, 25_000),
        (DEV, {"num_outputs": 2, "megapixels": "0.25"}, 50_000),
        (PRO, {}, 40_000),
    ],
)
async def test_a_picture_costs_what_the_price_list_says(
    connect: Connect, sandbox: RunningSandbox, model: str, given: dict[str, Any], microusd: int
) -> None:
    await ended(connect(), "a pier", model=model, **given)

    [line] = sandbox.vendor.bill.calls
    assert (line["vendor"], line["model"], line["cost_microusd"]) == ("replicate", model, microusd)


async def test_a_scenario_in_the_path_stays_in_the_addresses(connect: Connect, http: httpx2.AsyncClient) -> None:
    client = connect(scenario="poll=500,x1/failed=TIMED_OUT")
    prediction = await create(client, "a pier")
    with pytest.raises(ReplicateError) as caught:
        await client.predictions.async_get(prediction.id)
    await http.get("/bill?wait_ended=1")

    assert caught.value.status == 500
    assert prediction.urls is not None
    assert prediction.urls["get"].endswith(f"/poll=500,x1/failed=TIMED_OUT/replicate/v1/predictions/{prediction.id}")
    assert (await http.get(prediction.urls["get"], headers=BEARER)).json()["status"] == "failed"


async def test_the_account_is_shown_to_a_good_token_alone(connect: Connect) -> None:
    account = await connect().accounts.async_current()

    assert account.username == "ada"
    with pytest.raises(ReplicateError) as caught:
        await connect(token="bad-key").accounts.async_current()
    assert caught.value.status == 401
