"""Acme sells pictures at two cents each: one request, one picture."""

from __future__ import annotations

import base64
from typing import Self

from safelight.domain.errors import Billed
from safelight.domain.money import FREE, Cost
from safelight.net.billable import billable_client
from safelight.providers.configuration import checked_url, required_key
from safelight.providers.failures import CALL_FAILURES, buyable, failure_of_status, failure_without_status
from safelight.providers.models import parse_models
from safelight.providers.prices import table_cost, table_estimate
from safelight.providers.provider import Capabilities, ImageProvider, ImageRequest, ImageResult, Refusal
from safelight.providers.registry import ProviderConfig

LIVE = {"draw-2": {"aspect_ratios": ["1:1", "16:9"], "seed": True, "timeout_seconds": 60, "image_usd": "0.02"}}
DATA = {"version": "2026-11", "unbilled_statuses": [503], "models": LIVE, "retired": {"draw-1": "2026-03-31"}}
MODELS = parse_models("acme", DATA)


class AcmeProvider(ImageProvider):
    default_base_url = "https://api.acme.example"

    def __init__(self, *, api_key: str, base_url: str) -> None:
        self._key, self._url, self._http = api_key, f"{base_url}/v1/draw", billable_client()

    @classmethod
    def from_config(cls, name: str, config: ProviderConfig) -> Self:
        base_url = checked_url(name, config) or cls.default_base_url
        return cls(api_key=required_key(name, config, kind="acme"), base_url=base_url)

    def models(self) -> tuple[str, ...]:
        return tuple(MODELS.models)

    def capabilities(self, model: str) -> Capabilities:
        return MODELS.find(model).capabilities

    def estimate(self, request: ImageRequest) -> Cost:
        return table_estimate(request, model=MODELS.find(request.model), table=MODELS)

    async def submit(self, request: ImageRequest) -> ImageResult | Refusal:
        model, key, prompt = buyable(request, MODELS), self._key, request.prompt
        asked = {"model": model.id, "prompt": prompt, "ratio": request.aspect_ratio, "seed": request.seed}
        try:
            answer = await self._http.post(self._url, json=asked, headers={"x-acme-key": key})
            status, said, headers = answer.status_code, answer.text, answer.headers
            if status == 451:
                return Refusal(code="POLICY", message="Acme's policy says no", billed=Billed.NO, cost=FREE)
            if status != 200:
                raise failure_of_status(status, said, table=MODELS, api_key=key, prompt=prompt, headers=headers)
            picture = base64.b64decode(answer.json()["png"], validate=True)
        except CALL_FAILURES as error:
            raise failure_without_status(error, api_key=key, prompt=prompt) from None
        return ImageResult(data=picture, claimed_mime="image/png", cost=table_cost(model, MODELS))

    async def aclose(self) -> None:
        await self._http.aclose()
