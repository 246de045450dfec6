"""Google's SDK, with everything it does by itself switched off.

Imported by a process's first call and not before: the SDK takes a second and 45 MB, which a process that only checks
requests, quotes prices and asks after keys never gets to use.
"""

from __future__ import annotations

import httpx2
from google import genai
from google.genai import errors, types

from safelight.net.tls import public_authorities
from safelight.providers.provider import ImageRequest


class GeminiClient:
    """One account; it sends over `http`, which stays the caller's to close."""

    APIError = errors.APIError
    """What `generate` raises for an answer with the status of a failure."""

    def __init__(self, *, api_key: str, base_url: str, http: httpx2.AsyncClient) -> None:
        # The SDK makes a client for calls that block, which are never made; this one costs no reading of authorities.
        authorities = public_authorities()
        self._unused = httpx2.Client(verify=authorities, trust_env=False)
        # Each argument turns something off: the environment's Vertex switch, API version and base URL, a
        # silent change to aiohttp (which sends twice), and an infinite read timeout. The authorities are for
        # clients of its own, which are never made, and would come from the environment. Retry options stay unset,
        # which is one attempt. The client is kept: its models stop working once it is collected.
        self._client = genai.Client(
            enterprise=False,
            api_key=api_key,
            http_options=types.HttpOptions(
                base_url=base_url,
                api_version="v1",
                timeout=180_000,
                httpx_async_client=http,
                httpx_client=self._unused,
                async_client_args={"verify": authorities, "ssl": authorities},
            ),
        )

    async def generate(self, request: ImageRequest) -> types.GenerateContentResponse:
        """The one request. Raises APIError, and one of `CALL_FAILURES` when there is no answer or none to read."""
        return await self._client.aio.models.generate_content(
            model=request.model, contents=_contents(request), config=_config(request)
        )

    def close(self) -> None:
        self._client.close()


def _contents(request: ImageRequest) -> types.ContentListUnion:
    """The prompt, and after it the pictures in their order."""
    pictures = (types.Part.from_bytes(data=given.data, mime_type=given.mime) for given in request.inputs)
    return [request.prompt, *pictures] if request.inputs else request.prompt


def _config(request: ImageRequest) -> types.GenerateContentConfig:
    ratio = request.aspect_ratio
    return types.GenerateContentConfig(
        response_modalities=["IMAGE"],
        image_config=types.ImageConfig(aspect_ratio=ratio) if ratio is not None else None,
        seed=request.seed,
        automatic_continuation=False,
        http_options=types.HttpOptions(timeout=max(1, round(request.timeout_seconds * 1000))),
    )
