"""Where Safelight's messages arrive."""

from __future__ import annotations

import logging

from fastapi import APIRouter, Request
from starlette.responses import Response

from examples.storyboard.settings import Settings
from examples.storyboard.studio import Studio
from safelight.client.webhooks import NotVerified, verify

_log = logging.getLogger("storyboard")

_MOST_BYTES = 64_000
"""A message has less than 20 kB."""


def webhook_routes(studio: Studio, settings: Settings) -> APIRouter:
    router = APIRouter()

    @router.post("/api/webhooks/safelight", status_code=204)
    async def receive(request: Request) -> Response:
        """The news are on the disk when this answers. What they tell of is read from Safelight afterwards, so it does
        no harm when a message comes twice, late or out of order."""
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > _MOST_BYTES:
                return Response(status_code=413)
        try:
            event = verify(request.headers, bytes(body), settings.safelight_webhook_secret or [])
        except (NotVerified, ValueError) as error:
            _log.warning("a message was not taken: %s", error)
            return Response(status_code=401)
        data = event.get("data", {})
        if "job_id" in data and "seq" in data:
            await studio.heard(data["job_id"], data["seq"])
        return Response(status_code=204)

    return router
