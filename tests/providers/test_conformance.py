"""Our own providers pass the suite that is shipped for everyone else's."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any, ClassVar

import gemini_wire as gemini

from safelight.providers.fal import FalProvider
from safelight.providers.gemini import GeminiProvider
from safelight.providers.openai import OpenAIProvider
from safelight.providers.placeholder import MODEL as PLACEHOLDER_MODEL
from safelight.providers.placeholder import PlaceholderProvider
from safelight.providers.provider import ImageProvider
from safelight.providers.registry import ProviderConfig
from safelight.providers.replicate import ReplicateProvider
from safelight.testing import Case, ProviderConformance, Reply, Scene, SeenRequest


class TestGemini(ProviderConformance):
    model = "gemini-3.1-flash-image"
    retired_model = "gemini-2.5-flash-image"
    options: ClassVar = {"aspect_ratio": "16:9", "seed": 7}
    retry_after_seconds = 37.0

    def build(self, config: ProviderConfig) -> ImageProvider:
        return GeminiProvider.from_config("gemini", config)

    def reply(self, scene: Scene, request: SeenRequest) -> Reply:
        match scene.case:
            case Case.REFUSAL:
                words = {"text": scene.words}
                return Reply.json(gemini.answer(words, finish="IMAGE_SAFETY", usage=gemini.INPUT_USAGE))
            case Case.RATE_LIMIT:
                details = gemini.retry_info("37s")
                return Reply.json(gemini.error(429, "RESOURCE_EXHAUSTED", details, message=scene.words), status=429)
            case Case.BAD_KEY:
                body = gemini.error(400, "INVALID_ARGUMENT", gemini.BAD_KEY, message=scene.words)
                return Reply.json(body, status=400)
            case Case.SERVER_ERROR:
                return Reply.json(gemini.error(503, "UNAVAILABLE", message=scene.words), status=503)
            case _:
                return Reply.json(gemini.answer(gemini.picture_part(scene.picture), usage=gemini.USAGE))


class TestPlaceholder(ProviderConformance):
    model = PLACEHOLDER_MODEL
    options: ClassVar = {"aspect_ratio": "16:9", "seed": 7}
    is_free = True
    is_local = True

    def build(self, config: ProviderConfig) -> ImageProvider:
        return PlaceholderProvider.from_config("placeholder", config)


class TestOpenAI(ProviderConformance):
    model = "gpt-image-2"
    retired_model = "gpt-image-1"
    options: ClassVar = {"size": "1536x1024", "quality": "low"}
    retry_after_seconds = 7.0

    def build(self, config: ProviderConfig) -> ImageProvider:
        return OpenAIProvider.from_config("openai", replace(config, base_url=f"{config.base_url}/v1"))

    def reply(self, scene: Scene, request: SeenRequest) -> Reply:
        match scene.case:
            case Case.REFUSAL:
                return self._error(400, "moderation_blocked", scene)
            case Case.RATE_LIMIT:
                return self._error(429, "rate_limit_exceeded", scene, headers={"retry-after": "7"})
            case Case.BAD_KEY:
                return self._error(401, "invalid_api_key", scene)
            case Case.SERVER_ERROR:
                return self._error(500, "server_error", scene)
            case _:
                return Reply.json(self._success(scene))

    def _success(self, scene: Scene) -> dict[str, Any]:
        usage = {
            "input_tokens": 20,
            "input_tokens_details": {"text_tokens": 20, "image_tokens": 0},
            "output_tokens": 194,
            "total_tokens": 214,
        }
        return {"created": 1, "data": [{"b64_json": base64.b64encode(scene.picture).decode()}], "usage": usage}

    def _error(self, status: int, code: str, scene: Scene, *, headers: dict[str, str] | None = None) -> Reply:
        body = {"error": {"message": scene.words, "type": "invalid_request_error", "param": None, "code": code}}
        return Reply.json(body, status=status, headers=headers)


class TestOpenAICompatible(TestOpenAI):
    """A server of the operator's, which answers with the address of its picture."""

    model = "ada-draw"
    options: ClassVar = {"size": "512x512", "seed": 7, "negative_prompt": "blur"}

    def build(self, config: ProviderConfig) -> ImageProvider:
        model = {
            "sizes": ["512x512"],
            "seed": True,
            "negative_prompt": True,
            "timeout_seconds": 60,
            "image_usd": "0.01",
        }
        return super().build(replace(config, models={self.model: model}))

    def _success(self, scene: Scene) -> dict[str, Any]:
        return {"created": 1, "data": [{"url": scene.picture_url}]}


class TestReplicate(ProviderConformance):
    model = "black-forest-labs/flux-dev"
    options: ClassVar = {"aspect_ratio": "16:9", "seed": 7}
    retry_after_seconds = 30.0

    def build(self, config: ProviderConfig) -> ImageProvider:
        return ReplicateProvider.from_config("replicate", config)

    def reply(self, scene: Scene, request: SeenRequest) -> Reply:
        match scene.case:
            case Case.RATE_LIMIT:
                return Reply.json({"detail": f"{scene.words}; resets in ~30s", "status": 429}, status=429)
            case Case.BAD_KEY:
                return Reply.json({"title": "Unauthenticated", "detail": scene.words, "status": 401}, status=401)
            case Case.SERVER_ERROR:
                return Reply.json({"detail": scene.words}, status=500)
        if request.method == "POST" and request.path.endswith("/predictions"):
            return Reply.json(self._prediction("starting", request), status=201)
        match scene.case:
            case Case.RUNNING:
                return Reply.json(self._prediction("processing", request))
            case Case.REFUSAL:
                return Reply.json(self._prediction("failed", request, error=f"flagged as sensitive: {scene.words}"))
            case _:
                return Reply.json(self._prediction("succeeded", request, output=[scene.picture_url]))

    def _prediction(self, status: str, request: SeenRequest, **more: Any) -> dict[str, Any]:
        job = f"{request.origin}/v1/predictions/pred1"
        return {"id": "pred1", "status": status, "output": None, "urls": {"get": job, "cancel": f"{job}/cancel"}} | more


class TestFal(ProviderConformance):
    model = "fal-ai/flux/dev"
    options: ClassVar = {"aspect_ratio": "16:9", "seed": 7}
    retry_after_seconds = 7.0

    def build(self, config: ProviderConfig) -> ImageProvider:
        return FalProvider.from_config("fal", config)

    def reply(self, scene: Scene, request: SeenRequest) -> Reply:
        match scene.case:
            case Case.RATE_LIMIT:
                return Reply.json({"detail": scene.words}, status=429, headers={"retry-after": "7"})
            case Case.BAD_KEY:
                return Reply.json({"detail": scene.words}, status=401)
            case Case.SERVER_ERROR:
                return Reply.json({"detail": scene.words}, status=500)
        job = f"{request.origin}/fal-ai/flux/requests/r1"
        if request.method == "POST":
            urls = {"status_url": f"{job}/status", "response_url": job, "cancel_url": f"{job}/cancel"}
            return Reply.json({"status": "IN_QUEUE", "request_id": "r1", **urls})
        if request.method == "PUT":
            return Reply.json({"status": "CANCELLATION_REQUESTED"}, status=202)
        if request.path.endswith("/status"):
            if scene.case is Case.RUNNING:
                return Reply.json({"status": "IN_PROGRESS"}, status=202)
            return Reply.json({"status": "COMPLETED", "metrics": {"inference_time": 1.5}})
        if scene.case is Case.REFUSAL:
            detail = [{"type": "content_policy_violation", "msg": scene.words}]
            return Reply.json({"detail": detail}, status=422)
        image = {"url": scene.picture_url, "width": 1024, "height": 576, "content_type": "image/png"}
        return Reply.json({"images": [image], "has_nsfw_concepts": [False], "seed": 7})
