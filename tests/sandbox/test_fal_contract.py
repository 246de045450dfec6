"""What fal's official client, unchanged, makes of the sandbox's wire."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import fal_client
import fal_client.client
import httpx2
import pytest
from fal_client import AsyncClient, AsyncRequestHandle, Completed, FalClientHTTPError, InProgress, Queued
from PIL import Image

from safelight.sandbox.config import SandboxConfig
from safelight.sandbox.decoys import pixel_bomb
from safelight.sandbox.fal import FalWire
from safelight.sandbox.fal_models import NAMED_PX
from safelight.sandbox.server import RunningSandbox, running_sandbox

SCHNELL, DEV, IMAGE_TO_IMAGE, PRO = (
    "fal-ai/flux/schnell",
    "fal-ai/flux/dev",
    "fal-ai/flux/dev/image-to-image",
    "fal-ai/flux-pro/v1.1",
)
KEY = {"authorization": "Key id:secret"}
TOO_LARGE = "data:image/png;base64," + base64.b64encode(pixel_bomb()).decode()
SMALL = {"width": 96, "height": 64}

Connect = Callable[..., AsyncClient]


@pytest.fixture
async def connect(sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Connect]:
    """The official client, with its one switch for retries off. Its base URL belongs to the process."""
    clients: list[AsyncClient] = []
    monkeypatch.setattr(fal_client.client, "MAX_ATTEMPTS", 1)

    def connect(*, scenario: str = "", key: str = "id:secret") -> AsyncClient:
        monkeypatch.setattr(fal_client.client, "QUEUE_URL_FORMAT", f"{sandbox.url('fal', scenario)}/")
        clients.append(AsyncClient(key=key, default_timeout=30))
        return clients[-1]

    yield connect
    for client in clients:
        await (await client._client).aclose()


async def submit(client: AsyncClient, prompt: str, *, model: str = SCHNELL, **given: Any) -> AsyncRequestHandle:
    headers = given.pop("headers", {})
    arguments = {"prompt": prompt, **({} if model == IMAGE_TO_IMAGE else {"image_size": SMALL}), **given}
    return await client.submit(model, arguments, headers=headers)


async def result(client: AsyncClient, prompt: str, *, model: str = SCHNELL, **given: Any) -> dict[str, Any]:
    handle = await submit(client, prompt, model=model, **given)
    return await handle.get(interval=0.01)


async def completed(handle: AsyncRequestHandle, *, with_logs: bool = False) -> Completed:
    async for status in handle.iter_events(with_logs=with_logs, interval=0.01):
        if isinstance(status, Completed):
            return status
    raise AssertionError("the client asks until it is completed")


async def pictures(http: httpx2.AsyncClient, made: dict[str, Any]) -> list[Image.Image]:
    """Every image downloaded, by a client that has no key, decoded, and compared with what was said of it."""
    images: list[Image.Image] = []
    for entry in made["images"]:
        response = await http.get(entry["url"])
        image = Image.open(io.BytesIO(response.content))
        image.load()
        assert image.size == (entry["width"], entry["height"])
        assert response.headers["content-type"] == entry["content_type"] == f"image/{(image.format or '').lower()}"
        images.append(image)
    return images


def png_uri(width_px: int, height_px: int) -> str:
    file = io.BytesIO()
    Image.new("RGB", (width_px, height_px), "teal").save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


async def test_a_request_is_queued_runs_and_completes_with_a_picture(
    connect: Connect, sandbox: RunningSandbox, http: httpx2.AsyncClient
) -> None:
    sandbox.vendor.hold()
    handle = await submit(connect(), "a pier", seed=7, image_size="landscape_4_3")
    assert handle.response_url == f"{sandbox.base_url}/fal/fal-ai/flux/requests/{handle.request_id}"
    assert handle.status_url == f"{handle.response_url}/status"
    assert handle.cancel_url == f"{handle.response_url}/cancel"
    assert isinstance(await handle.status(), InProgress)

    sandbox.vendor.release()
    done = await completed(handle)
    made = await handle.get()

    assert done.metrics["inference_time"] > 0
    assert (done.error, done.error_type) == (None, None)
    assert (made["seed"], made["prompt"], made["has_nsfw_concepts"]) == (7, "a pier", [False])
    assert made["timings"]["inference"] > 0
    [image] = await pictures(http, made)
    assert (image.format, image.size) == ("JPEG", (1024, 768))


async def test_a_request_can_wait_in_the_queue(connect: Connect) -> None:
    handle = await submit(connect(), "a pier [[sandbox: queued 60]]")

    assert await handle.status() == Queued(position=0)


async def test_logs_come_when_asked_for(connect: Connect) -> None:
    handle = await submit(connect(), "a pier")

    [line] = (await completed(handle, with_logs=True)).logs or []
    assert line["message"]
    assert (await completed(handle)).logs is None


async def test_one_prompt_gets_as_many_different_pictures_as_asked(connect: Connect, http: httpx2.AsyncClient) -> None:
    made = await result(connect(), "a pier", num_images=4, output_format="png")

    images = await pictures(http, made)
    assert [image.format for image in images] == ["PNG"] * 4
    assert len({image.tobytes() for image in images}) == 4
    assert made["has_nsfw_concepts"] == [False] * 4


async def test_every_named_size_is_known(connect: Connect, http: httpx2.AsyncClient) -> None:
    client = connect()
    for name, size_px in NAMED_PX.items():
        made = await result(client, "a pier [[sandbox: nsfw]]", image_size=name)
        assert [image.size for image in await pictures(http, made)] == [size_px]


@pytest.mark.parametrize(
    ("given", "size_px"),
    [({"image_size": "square"}, (512, 512)), ({"image_size": {"width": 333, "height": 77}}, (333, 77))],
)
async def test_the_picture_has_the_asked_size(
    connect: Connect, http: httpx2.AsyncClient, given: dict[str, Any], size_px: tuple[int, int]
) -> None:
    [image] = await pictures(http, await result(connect(), "a pier", **given))

    assert image.size == size_px


async def test_a_reference_gives_its_shape(connect: Connect, http: httpx2.AsyncClient) -> None:
    made = await result(connect(), "in snow", model=IMAGE_TO_IMAGE, image_url=png_uri(300, 100), strength=0.9)

    [image] = await pictures(http, made)
    assert image.size == (1760, 576)


@pytest.mark.parametrize(("prompt", "given"), [("a pier", {"sync_mode": True}), ("a [[sandbox: data-uri]]", {})])
async def test_the_picture_itself_may_be_in_the_result(connect: Connect, prompt: str, given: dict[str, Any]) -> None:
    [entry] = (await result(connect(), prompt, **given))["images"]

    head, _, data = entry["url"].partition(",")
    assert head == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (96, 64)


async def test_subscribing_does_it_all(connect: Connect, http: httpx2.AsyncClient) -> None:
    seen: list[type] = []
    made = await connect().subscribe(
        SCHNELL,
        {"prompt": "a pier", "image_size": SMALL},
        interval=0.01,
        on_queue_update=lambda status: seen.append(type(status)),
    )

    assert seen[-1] is Completed
    assert len(await pictures(http, made)) == 1


async def test_a_result_is_found_by_app_and_id_alone(connect: Connect, http: httpx2.AsyncClient) -> None:
    client = connect()
    handle = await submit(client, "a pier", model=PRO)

    assert (await client.result(PRO, handle.request_id))["prompt"] == "a pier"
    assert (await client.result("fal-ai/flux-pro", handle.request_id))["prompt"] == "a pier"
    with pytest.raises(FalClientHTTPError) as caught:
        await client.result(DEV, handle.request_id)
    assert caught.value.status_code == 404
    whole = await http.get(f"/fal/{PRO}/requests/{handle.request_id}/status", headers=KEY)
    assert whole.status_code == 405


async def test_a_result_says_what_was_billed_and_for_which_request(connect: Connect, http: httpx2.AsyncClient) -> None:
    handle = await submit(connect(), "a pier", num_images=2)
    await completed(handle)

    response = await http.get(handle.response_url, headers=KEY)

    assert response.headers["x-fal-billable-units"] == "2"
    assert response.headers["x-fal-request-id"] == handle.request_id


async def test_the_units_may_be_missing(connect: Connect, http: httpx2.AsyncClient) -> None:
    handle = await submit(connect(), "a pier [[sandbox: no-usage]]")
    await completed(handle)

    response = await http.get(handle.response_url, headers=KEY)

    assert "x-fal-billable-units" not in response.headers
    assert len(response.json()["images"]) == 1


async def test_an_early_look_at_the_result_is_a_400(
    connect: Connect, sandbox: RunningSandbox, http: httpx2.AsyncClient
) -> None:
    sandbox.vendor.hold()
    handle = await submit(connect(), "a pier")
    early = await http.get(handle.response_url, headers=KEY)

    assert (early.status_code, early.json()) == (400, {"detail": "Request is still in progress"})


async def test_an_unsafe_picture_is_black_and_marked(connect: Connect, http: httpx2.AsyncClient) -> None:
    made = await result(connect(), "a pier [[sandbox: nsfw]]", num_images=2)

    assert made["has_nsfw_concepts"] == [True, True]
    assert [image.getextrema() for image in await pictures(http, made)] == [((0, 0),) * 3] * 2


@pytest.mark.parametrize(("script", "loc"), [("refuse-prompt", ["body", "prompt"]), ("refuse", ["body"])])
async def test_a_refused_prompt_is_an_error_of_the_model(connect: Connect, script: str, loc: list[str]) -> None:
    handle = await submit(connect(), f"a pier [[sandbox: {script}]]")
    done = await completed(handle)

    with pytest.raises(FalClientHTTPError) as caught:
        await handle.get()

    assert (done.error, done.error_type) == (None, None)
    assert caught.value.status_code == 422
    detail: Any = caught.value.message
    assert [(each["type"], each["loc"]) for each in detail] == [("content_policy_violation", loc)]
    assert detail[0]["input"]["prompt"].startswith("a pier")
    assert caught.value.response_headers["x-fal-retryable"] == "false"


@pytest.mark.parametrize(
    ("script", "error_type", "status"),
    [
        ("failed", "runner_disconnected", 503),
        ("failed REQUEST_TIMEOUT", "request_timeout", 504),
        ("failed STARTUP_TIMEOUT", "startup_timeout", 504),
        ("failed RUNNER_SERVER_ERROR", "runner_server_error", 500),
        ("canceled", "client_cancelled", 499),
        ("aborted", "request_timeout", 504),
    ],
)
async def test_a_failed_request_is_completed_with_an_error(
    connect: Connect, script: str, error_type: str, status: int
) -> None:
    handle = await submit(connect(), f"a pier [[sandbox: {script}]]")
    done = await completed(handle)

    assert done.error
    assert done.error_type == error_type
    with pytest.raises(FalClientHTTPError) as caught:
        await handle.get()
    assert (caught.value.status_code, caught.value.error_type) == (status, error_type)
    assert caught.value.message == done.error
    headers = caught.value.response_headers
    assert headers["x-fal-error-type"] == error_type
    assert headers["x-fal-retryable"] == ("true" if status >= 500 else "false")
    assert headers["x-fal-request-id"] == handle.request_id


async def test_a_model_can_run_out_of_time(connect: Connect) -> None:
    handle = await submit(connect(), "a pier [[sandbox: failed GENERATION_TIMEOUT]]")
    await completed(handle)

    with pytest.raises(FalClientHTTPError) as caught:
        await handle.get()

    detail: Any = caught.value.message
    assert (caught.value.status_code, detail[0]["type"]) == (504, "generation_timeout")


async def test_a_success_can_be_empty(connect: Connect) -> None:
    made = await result(connect(), "a pier [[sandbox: no-pictures]]")

    assert (made["images"], made["has_nsfw_concepts"]) == ([], [])


async def test_a_queued_request_is_canceled(connect: Connect, http: httpx2.AsyncClient) -> None:
    handle = await submit(connect(), "a pier [[sandbox: queued 60]]")

    response = await http.put(handle.cancel_url, headers=KEY)

    assert (response.status_code, response.json()) == (202, {"status": "CANCELLATION_REQUESTED"})
    done = await handle.status()
    assert isinstance(done, Completed)
    assert done.error_type == "client_cancelled"
    with pytest.raises(FalClientHTTPError) as caught:
        await handle.get()
    assert caught.value.status_code == 499


async def test_a_running_request_goes_on_when_canceled(connect: Connect, sandbox: RunningSandbox) -> None:
    sandbox.vendor.hold()
    handle = await submit(connect(), "a pier")
    assert isinstance(await handle.status(), InProgress)

    await handle.cancel()

    assert isinstance(await handle.status(), InProgress)
    sandbox.vendor.release()
    assert (await handle.get(interval=0.01))["images"]


async def test_what_is_completed_cannot_be_canceled(connect: Connect) -> None:
    handle = await submit(connect(), "a pier")
    await completed(handle)

    with pytest.raises(FalClientHTTPError) as caught:
        await handle.cancel()

    assert (caught.value.status_code, caught.value.response.json()) == (400, {"status": "ALREADY_COMPLETED"})


async def test_an_unknown_request_is_a_404(connect: Connect) -> None:
    client = connect()
    for ask in (client.status, client.cancel):
        with pytest.raises(FalClientHTTPError) as caught:
            await ask(DEV, "nothing")
        assert (caught.value.status_code, caught.value.response.json()["status"]) == (404, "NOT_FOUND")


async def test_a_request_that_does_not_start_in_time_is_over(connect: Connect) -> None:
    handle = await submit(connect(), "a pier [[sandbox: queued 60]]", headers={"x-fal-request-timeout": "0.05"})
    done = await completed(handle)

    assert done.error_type == "request_timeout"
    with pytest.raises(FalClientHTTPError) as caught:
        await handle.get()
    assert caught.value.response_headers["x-fal-request-timeout-type"] == "user"


async def test_the_time_to_start_does_not_count_once_it_started(connect: Connect, sandbox: RunningSandbox) -> None:
    sandbox.vendor.hold()
    handle = await submit(connect(), "a pier [[sandbox: slow 0.4]]", headers={"x-fal-request-timeout": "0.2"})
    sandbox.vendor.release()

    assert (await handle.get(interval=0.01))["images"]


async def test_a_wrong_key_is_a_401(connect: Connect, http: httpx2.AsyncClient) -> None:
    with pytest.raises(FalClientHTTPError, match="Authentication") as caught:
        await submit(connect(key="bad-key"), "a pier")

    assert caught.value.status_code == 401
    for headers in ({}, {"authorization": "Bearer id:secret"}):
        response = await http.get("/fal/fal-ai/flux/requests/any/status", headers=headers)
        assert response.status_code == 401


async def test_an_unknown_model_is_a_404(connect: Connect) -> None:
    with pytest.raises(FalClientHTTPError, match="not found") as caught:
        await submit(connect(), "a pier", model="fal-ai/flux/nine")

    assert caught.value.status_code == 404


@pytest.mark.parametrize(
    ("model", "given", "kind", "loc"),
    [
        (SCHNELL, {"num_images": 5}, "less_than_equal", ["num_images"]),
        (SCHNELL, {"num_images": 0}, "greater_than_equal", ["num_images"]),
        (SCHNELL, {"num_images": True}, "integer_type", ["num_images"]),
        (SCHNELL, {"num_inference_steps": 13}, "less_than_equal", ["num_inference_steps"]),
        (SCHNELL, {"output_format": "webp"}, "literal_error", ["output_format"]),
        (SCHNELL, {"image_size": "tall"}, "literal_error", ["image_size"]),
        (SCHNELL, {"image_size": {"width": 512}}, "missing", ["image_size", "height"]),
        (SCHNELL, {"image_size": {"width": 512, "height": 9}}, "greater_than_equal", ["image_size", "height"]),
        (SCHNELL, {"image_size": 512}, "model_type", ["image_size"]),
        (SCHNELL, {"prompt": None}, "string_type", ["prompt"]),
        (SCHNELL, {"negative_prompt": "blur"}, "extra_forbidden", ["negative_prompt"]),
        (DEV, {"image_url": png_uri(4, 4)}, "extra_forbidden", ["image_url"]),
        (PRO, {"guidance_scale": 3}, "extra_forbidden", ["guidance_scale"]),
        (IMAGE_TO_IMAGE, {}, "missing", ["image_url"]),
        (IMAGE_TO_IMAGE, {"image_url": "data:image/png;base64,aGk="}, "image_load_error", ["image_url"]),
        (IMAGE_TO_IMAGE, {"image_url": TOO_LARGE}, "image_load_error", ["image_url"]),
        (IMAGE_TO_IMAGE, {"image_url": "cat.png"}, "image_load_error", ["image_url"]),
    ],
)
async def test_wrong_input_is_queued_and_refused_by_the_model(
    connect: Connect, sandbox: RunningSandbox, model: str, given: dict[str, Any], kind: str, loc: list[str]
) -> None:
    handle = await submit(connect(), **{"prompt": "a pier", "model": model, **given})
    await completed(handle)

    with pytest.raises(FalClientHTTPError) as caught:
        await handle.get()

    assert caught.value.status_code == 422
    detail: Any = caught.value.message
    assert [(each["type"], each["loc"]) for each in detail] == [(kind, ["body", *loc])]
    [line] = sandbox.vendor.bill.calls
    assert (line["outcome"], line["cost_microusd"]) == ("rejected INVALID_INPUT", 0)


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"prompt": "a pier [[sandbox: explode]]"}'])
async def test_a_malformed_request_is_refused_at_once(http: httpx2.AsyncClient, body: bytes) -> None:
    response = await http.post(f"/fal/{DEV}", content=body, headers=KEY)

    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["body"]


@pytest.mark.parametrize(
    ("script", "status", "error_type", "words"),
    [
        ("no-credit", 403, None, "Exhausted balance"),
        ("forbidden", 403, None, "access"),
        ("model-gone", 404, None, "not found"),
        ("429 30", 429, None, "Too many requests"),
        ("500", 500, "internal_error", "Internal error"),
        ("503", 503, "runner_scheduling_failure", "Runner"),
        ("504", 504, "startup_timeout", "timeout"),
    ],
)
async def test_an_error_has_its_status_type_and_words(
    connect: Connect, script: str, status: int, error_type: str | None, words: str
) -> None:
    with pytest.raises(FalClientHTTPError, match=words) as caught:
        await submit(connect(), f"a pier [[sandbox: {script}]]")

    assert (caught.value.status_code, caught.value.error_type) == (status, error_type)


async def test_a_rate_limit_says_when_to_come_back(connect: Connect) -> None:
    with pytest.raises(FalClientHTTPError) as caught:
        await submit(connect(), "a pier [[sandbox: 429 37]]")

    assert caught.value.response_headers["retry-after"] == "37"


async def test_a_bad_gateway_is_a_page(connect: Connect) -> None:
    with pytest.raises(FalClientHTTPError, match="<html>") as caught:
        await submit(connect(), "a pier [[sandbox: 502]]")

    assert caught.value.status_code == 502


async def test_a_request_can_be_refused_at_once_with_a_detail(connect: Connect) -> None:
    with pytest.raises(FalClientHTTPError) as caught:
        await submit(connect(), "a pier [[sandbox: error-detail 422]]")

    detail: Any = caught.value.message
    assert (caught.value.status_code, detail[0]["type"]) == (422, "value_error")


async def test_a_page_with_status_200_does_not_parse(connect: Connect) -> None:
    with pytest.raises(json.JSONDecodeError):
        await submit(connect(), "a pier [[sandbox: html]]")


async def test_a_receipt_may_lack_the_id(connect: Connect) -> None:
    with pytest.raises(KeyError, match="request_id"):
        await submit(connect(), "a pier [[sandbox: no-id]]")


async def test_results_go_after_their_hour(bill_path: Any) -> None:
    async with (
        running_sandbox(
            SandboxConfig(pictures=1), bill_path=bill_path, wires=[FalWire(retention_seconds=0)]
        ) as sandbox,
        httpx2.AsyncClient(base_url=sandbox.base_url, timeout=30, trust_env=False) as http,
    ):
        receipt = await http.post(f"/fal/{DEV}", json={"prompt": "a pier", "image_size": SMALL}, headers=KEY)
        await http.get("/bill?wait_ended=1")
        response = await http.get(receipt.json()["response_url"], headers=KEY)

    assert response.status_code == 404


@pytest.mark.parametrize(
    ("model", "given", "microusd"),
    [
        (SCHNELL, {}, 3_000),
        (SCHNELL, {"num_images": 3}, 9_000),
        (SCHNELL, {"image_size": "square_hd"}, 3_000),
        (DEV, {"image_size": {"width": 1024, "height": 1025}}, 50_000),
        (DEV, {"image_size": {"width": 1536, "height": 1536}}, 75_000),
        (PRO, {"num_images": 2}, 80_000),
    ],
)
async def test_a_started_megapixel_costs_what_the_price_list_says(
    connect: Connect, sandbox: RunningSandbox, model: str, given: dict[str, Any], microusd: int
) -> None:
    await result(connect(), "a pier", model=model, **given)

    [line] = sandbox.vendor.bill.calls
    assert (line["vendor"], line["model"], line["cost_microusd"]) == ("fal", model, microusd)


async def test_a_scenario_in_the_path_stays_in_the_addresses(connect: Connect, sandbox: RunningSandbox) -> None:
    handle = await submit(connect(scenario="poll=500,x1/no-pictures"), "a pier")
    with pytest.raises(FalClientHTTPError) as caught:
        await handle.status()

    assert caught.value.status_code == 500
    assert handle.status_url.startswith(f"{sandbox.base_url}/poll=500,x1/no-pictures/fal/fal-ai/flux/requests/")
    assert (await handle.get(interval=0.01))["images"] == []


async def test_wrong_input_is_not_noticed_while_it_waits(connect: Connect) -> None:
    handle = await submit(connect(), "a pier [[sandbox: queued 60]]", num_images=9)
    await handle.cancel()

    with pytest.raises(FalClientHTTPError) as caught:
        await handle.get(interval=0.01)
    assert (caught.value.status_code, caught.value.error_type) == (499, "client_cancelled")
