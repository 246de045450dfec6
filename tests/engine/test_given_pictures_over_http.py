"""From a form over HTTP to a vendor's wire: the API, a worker and the sandbox, put together as an installation does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from pydantic import SecretStr

from safelight.api.server import ServerConfig
from safelight.client import SafelightClient
from safelight.domain.lifecycle import JobStatus
from safelight.sandbox.server import RunningSandbox
from safelight.settings import ProviderSettings, Settings
from safelight.wiring.api import api_of
from tests.api.conftest import _Server
from tests.engine.conftest import running
from tests.engine.test_given_pictures import ANYWHERE_HERE, at, mask_png, png
from tests.listening import listening_socket
from tests.net.loopback_site import open_site, whole


@asynccontextmanager
async def service(settings: Settings) -> AsyncIterator[SafelightClient]:
    """A client of the API of this installation."""
    assert settings.database_url is not None
    listener = listening_socket()
    async with api_of(settings, settings.database_url) as app:
        server = _Server(ServerConfig(app, head_seconds=30.0, stop_seconds=2, stall_seconds=30.0))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            async with asyncio.timeout(20):
                await server.listening.wait()
            async with SafelightClient(f"http://127.0.0.1:{listener.getsockname()[1]}") as client:
                yield client
        finally:
            server.leave()
            await serving


async def test_pictures_that_are_sent_or_named_reach_the_vendors_as_they_are_kept(
    settings: Settings, sandbox: RunningSandbox
) -> None:
    vendors = {
        name: ProviderSettings(kind=name, base_url=sandbox.url(name), api_key=SecretStr("good-key"), max_concurrency=4)
        for name in ("openai", "replicate")
    }
    changed = settings.model_copy(
        update={
            "providers": {**settings.providers, **vendors},
            "egress_allow": ANYWHERE_HERE,
            "poll_seconds": 0.05,
        }
    )
    async with open_site() as site, service(changed) as client, running(changed):
        site.says = whole(png("gold"))
        photo, style, mask = [await client.upload(data) for data in (png(), png("red"), mask_png())]
        product: dict[str, Any] = {"upload": photo.id, "role": "product"}
        three = [product, {"upload": style.id, "role": "style"}, {"url": at(site), "role": "model"}]
        pro = {"provider": "gemini", "model": "gemini-3-pro-image"}
        model = {"provider": "openai", "model": "gpt-image-1.5", "quality": "low"}
        flux = {"provider": "replicate", "model": "black-forest-labs/flux-dev"}
        images = [
            {"id": "three", "prompt": "three", "references": three, **pro},
            {"id": "masked", "prompt": "masked", "references": [product], "mask": {"upload": mask.id}, **model},
            {"id": "flux", "prompt": "flux", "references": [product], **flux},
        ]
        async with asyncio.timeout(60):
            job = await client.wait((await client.submit({"images": images})).job.id)
        assert job.status is JobStatus.COMPLETED, job.document
        assert job.document["images"][0]["references"] == three
    calls = {call.vendor: call for call in sandbox.vendor.calls}
    assert calls["gemini"].references_sha256[:2] == (photo.sha256, style.sha256)
    assert len(calls["gemini"].references_sha256) == 3
    assert (calls["openai"].references_sha256, calls["openai"].mask_sha256) == ((photo.sha256,), mask.sha256)
    assert calls["replicate"].references_sha256 == (photo.sha256,)
    assert len(sandbox.vendor.calls) == 3
    assert len(site.requests) == 1
