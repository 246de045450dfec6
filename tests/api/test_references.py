"""Jobs that name uploads and addresses: what is looked at before they are accepted, and what is shown of them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import asyncpg
import httpx2
import pytest
from PIL import Image

from safelight.api.app import ApiDependencies
from safelight.domain.money import Cost
from safelight.engine.orders.catalog import Catalog, ConfiguredProvider
from safelight.net.egress import Unresolvable
from safelight.providers.placeholder import PlaceholderProvider
from safelight.providers.provider import Capabilities, ImageRequest
from tests.api.conftest import Serve, catalog, image, serving, submitted
from tests.api.problems import refusal
from tests.api.test_uploads import file_of, png, uploaded

PHOTO = {"url": "https://hooks.example/photo.jpg", "role": "model"}


class MaskingProvider(PlaceholderProvider):
    """Says that it takes a mask."""

    def capabilities(self, model: str) -> Capabilities:
        return replace(super().capabilities(model), mask=True, max_references=2)

    def estimate(self, request: ImageRequest) -> Cost:
        return super().estimate(request)


@pytest.fixture
def masking(deps: ApiDependencies) -> ApiDependencies:
    masker = ConfiguredProvider(
        provider=MaskingProvider(), kind="placeholder", model="placeholder-1", max_concurrency=1
    )
    return replace(deps, catalog=Catalog(providers={**catalog().providers, "masker": masker}, default="masker"))


def mask_of(side_px: int) -> bytes:
    mask = Image.new("RGBA", (side_px, side_px), (0, 0, 0, 255))
    mask.putpixel((0, 0), (0, 0, 0, 0))
    return file_of(mask, "PNG")


async def faults(client: httpx2.AsyncClient, slug: str, *images: dict[str, Any]) -> dict[str, str]:
    problem = refusal(await client.post("/v1/jobs", json={"images": images}), 422, slug)
    return {each["pointer"]: each["detail"] for each in problem["errors"]}


async def test_a_job_shows_the_pictures_and_the_mask_that_it_is_to_be_made_from(masking: ApiDependencies) -> None:
    async with serving(masking) as client:
        photo, mask = await uploaded(client, png(8)), await uploaded(client, mask_of(8))
        references = [{"upload": photo["id"], "role": "product"}, PHOTO]
        job = await submitted(client, images=[image(references=references, mask={"upload": mask["id"]})])
        [shown] = job["images"]
        assert (shown["references"], shown["mask"]) == (references, {"upload": mask["id"]})
        assert shown["status"] == "queued", "it waits for no other image"


async def test_a_mask_has_to_fit_its_reference_and_its_model(masking: ApiDependencies) -> None:
    async with serving(masking) as client:
        photo, fitting = await uploaded(client, png(8)), await uploaded(client, mask_of(8))
        larger, opaque = await uploaded(client, mask_of(9)), await uploaded(client, png(8, "red"))

        def masked(mask: dict[str, Any], **fields: Any) -> dict[str, Any]:
            return image(references=[{"upload": photo["id"]}], mask={"upload": mask["id"]}, **fields)

        assert "8 × 8 px" in (await faults(client, "validation-error", masked(larger)))["/images/0/mask/upload"]
        assert "transparent" in (await faults(client, "validation-error", masked(opaque)))["/images/0/mask/upload"]
        no_mask = {"/images/0/mask": "`placeholder-1` takes no mask."}
        assert await faults(client, "unsupported-option", masked(fitting, provider="placeholder")) == no_mask
        assert await faults(client, "unsupported-option", masked(fitting, fallback=["placeholder"])) == no_mask
        alone = image(mask={"upload": fitting["id"]})
        assert list(await faults(client, "validation-error", alone)) == ["/images/0/mask"]
        unknown = image(references=[{"upload": photo["id"]}], mask={"upload": "upl_" + "0" * 26})
        assert list(await faults(client, "validation-error", unknown)) == ["/images/0/mask/upload"]
        too_many = image(references=[{"upload": each["id"]} for each in (photo, larger, opaque)])
        assert list(await faults(client, "unsupported-option", too_many)) == ["/images/0/references"]


async def test_every_fault_of_every_picture_is_told_at_once(client: httpx2.AsyncClient) -> None:
    said = await faults(
        client,
        "validation-error",
        image("a", references=[{"upload": "upl_" + "0" * 26}, PHOTO, {"url": "https://private.example/"}]),
        image("b", references=[{"image": "c"}, {"url": "https://nobody.example/"}]),
        image("d", references=[{"url": "http://hooks.example/"}, {"url": "x"}]),
    )
    assert sorted(said) == [
        "/images/0/references/0/upload",
        "/images/0/references/2/url",
        "/images/1/references/0/image",
        "/images/1/references/1/url",
        "/images/2/references/0/url",
        "/images/2/references/1/url",
    ]


async def test_an_address_is_looked_up_once_however_often_a_job_names_it(serve_with: Serve) -> None:
    asked: list[str] = []

    async def check(url: str) -> None:
        asked.append(url)

    async with serve_with(check_url=check) as client:
        await submitted(client, images=[image(f"i{n}", references=[PHOTO]) for n in range(30)])
    assert asked == [PHOTO["url"]]


async def test_addresses_are_looked_up_side_by_side(serve_with: Serve) -> None:
    together = asyncio.Barrier(10)

    async def check(url: str) -> None:
        async with asyncio.timeout(20):
            await together.wait()
        raise Unresolvable(url)

    async with serve_with(check_url=check) as client:
        images = [image(f"i{n}", references=[{"url": f"https://h{n}.example/"}]) for n in range(10)]
        assert len(await faults(client, "url-unresolvable", *images)) == 10


async def test_a_schedules_job_is_checked_for_its_pictures_too(client: httpx2.AsyncClient) -> None:
    references = [{"upload": "upl_" + "0" * 26}, {"url": "https://private.example/"}]
    body = {"name": "night", "cron": "0 3 * * *", "timezone": "UTC", "job": {"images": [image(references=references)]}}
    problem = refusal(await client.post("/v1/schedules", json=body), 422, "validation-error")
    assert [each["pointer"] for each in problem["errors"]] == [
        "/job/images/0/references/0/upload",
        "/job/images/0/references/1/url",
    ]


async def test_somebody_elses_upload_is_no_upload(client: httpx2.AsyncClient, pool: asyncpg.Pool) -> None:
    photo = await uploaded(client, png())
    await pool.execute("UPDATE uploads SET account = 'other'")
    said = await faults(client, "validation-error", image(references=[{"upload": photo["id"]}]))
    assert said == {"/images/0/references/0/upload": "There is no such upload."}


async def test_the_same_request_again_is_the_same_job_though_its_upload_has_gone(
    client: httpx2.AsyncClient, pool: asyncpg.Pool
) -> None:
    photo = await uploaded(client, png())
    body = {"images": [image(references=[{"upload": photo["id"]}])]}
    first = await client.post("/v1/jobs", json=body, headers={"Idempotency-Key": "k"})
    await pool.execute("DELETE FROM uploads")
    again = await client.post("/v1/jobs", json=body, headers={"Idempotency-Key": "k"})
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
