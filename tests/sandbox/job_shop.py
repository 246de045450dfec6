"""A client of the vendors that answer with jobs, as simple as can be."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import httpx2
from PIL import Image

from safelight.sandbox.server import RunningSandbox

VENDORS = ("replicate", "fal")

PICTURE_MICROUSD = 3_000

SCHNELL = {"replicate": "black-forest-labs/flux-schnell", "fal": "fal-ai/flux/schnell"}

SCHEMES = {"replicate": "Bearer", "fal": "Key"}

ENDED = ("succeeded", "failed", "canceled", "aborted", "COMPLETED")


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    look: str
    result: str
    cancel: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """A client of one vendor, as simple as can be: every request is sent once."""

    name: str
    sandbox: RunningSandbox
    http: httpx2.AsyncClient

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"{SCHEMES[self.name]} sk-canary"}

    async def post(self, prompt: str, *, scenario: str = "", count: int = 1) -> httpx2.Response:
        base_url = self.sandbox.url(self.name, scenario)
        if self.name == "replicate":
            given = {"prompt": prompt, "num_outputs": count, "megapixels": "0.25", "output_format": "png"}
            url, body = f"{base_url}/v1/models/{SCHNELL[self.name]}/predictions", {"input": given}
        else:
            url = f"{base_url}/{SCHNELL[self.name]}"
            size = {"width": 512, "height": 512}
            body = {"prompt": prompt, "num_images": count, "output_format": "png", "image_size": size}
        return await self.http.post(url, json=body, headers=self.headers)

    async def buy(self, prompt: str, *, scenario: str = "", count: int = 1) -> Receipt:
        answer = (await self.post(prompt, scenario=scenario, count=count)).json()
        if self.name == "replicate":
            return Receipt(look=answer["urls"]["get"], result=answer["urls"]["get"], cancel=answer["urls"]["cancel"])
        return Receipt(look=answer["status_url"], result=answer["response_url"], cancel=answer["cancel_url"])

    async def look(self, receipt: Receipt) -> httpx2.Response:
        return await self.http.get(receipt.look, headers=self.headers)

    async def standing(self, receipt: Receipt) -> str:
        return (await self.look(receipt)).json()["status"]

    async def result(self, receipt: Receipt) -> httpx2.Response:
        return await self.http.get(receipt.result, headers=self.headers)

    async def cancel(self, receipt: Receipt) -> httpx2.Response:
        return await self.http.request(
            "POST" if self.name == "replicate" else "PUT", receipt.cancel, headers=self.headers
        )

    async def made(self, receipt: Receipt) -> list[str]:
        """Waits for the end of all jobs; the addresses of this one's pictures."""
        assert (await self.http.get("/bill?wait_idle=1&timeout=60")).status_code == 200
        answer = (await self.result(receipt)).json()
        return answer["output"] if self.name == "replicate" else [each["url"] for each in answer["images"]]

    async def bill(self, wait: str = "wait_idle=1") -> list[tuple[str, int]]:
        response = await self.http.get(f"/bill?{wait}&timeout=60")
        assert response.status_code == 200
        return [(line["outcome"], line["cost_microusd"]) for line in response.json()["calls"]]

    async def requests(self, wait: str = "") -> dict[str, Any]:
        return (await self.http.get(f"/requests?{wait}")).json()


def decoded(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image
