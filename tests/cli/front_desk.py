"""A service with a script instead of an engine: for what the client and the command line make of its answers.

A job moves on by one image each time somebody looks at it, so nothing here depends on time.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from safelight.delivery.frames import frame
from tests.listening import listening_socket

JOB_ID = "job_01JDTEST000000000000000000"
SCRIPT = {
    ("locations", "loc-1"): "completed",
    ("evidence", "ev-1"): "completed",
    ("evidence", "ev-2"): "completed",
}


def jpeg(image_id: str) -> bytes:
    shade = int(hashlib.sha256(image_id.encode()).hexdigest()[:2], 16)
    written = io.BytesIO()
    Image.new("RGB", (512, 512), (shade, 90, 120)).save(written, "JPEG")
    return written.getvalue()


@dataclass(slots=True, kw_only=True)
class FrontDesk:
    """`script` says how each image ends, `after_retry` how those without a picture end in the second run.

    `failures` are answered before anything else; `holds_after` stops the job at that many ended images.
    With `streams` there is a stream, too, on which the job moves on to its end.
    """

    script: dict[tuple[str, str], str] = field(default_factory=lambda: dict(SCRIPT))
    after_retry: str = "completed"
    failures: list[Response] = field(default_factory=list)
    holds_after: int | None = None
    damages: bool = False
    is_removed: bool = False
    keeps_nothing: bool = False
    streams: bool = False
    keys: dict[str, Any] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    run: int = 1
    ended: int = 0
    base_url: str = ""
    looked: asyncio.Event = field(default_factory=asyncio.Event)

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/healthz", self._health),
                Route("/v1/jobs", self._submit, methods=["POST"]),
                Route("/v1/jobs", self._list),
                Route("/v1/jobs/{job_id}", self._show),
                Route("/v1/jobs/{job_id}/retry", self._retry, methods=["POST"]),
                Route("/v1/jobs/{job_id}/cancel", self._cancel, methods=["POST"]),
                *([Route("/v1/jobs/{job_id}/events", self._events)] if self.streams else []),
                Route("/v1/jobs/{job_id}/images/{image_id}/{output}", self._picture),
            ]
        )

    @property
    def document(self) -> dict[str, Any]:
        images = [self._image(n, group, image_id) for n, (group, image_id) in enumerate(self.script)]
        completed = sum(image["status"] == "completed" for image in images)
        over = self.ended == len(images)
        status = "generating"
        if over:
            status = "completed" if completed == len(images) else "partial" if completed else "failed"
        return {
            "id": JOB_ID,
            "status": status,
            "run": self.run,
            "current_step": f"Generating images… {self.ended}/{len(images)}",
            "counts": {"total": len(images), "completed": completed},
            "cost": {"actual_usd": "0.034", "uncertain_usd": "0.000"},
            "images": images,
            "outputs": [] if self.keeps_nothing else [{"name": "card", "format": "jpeg", "width": 512, "height": 512}],
            "data_removed": self.is_removed,
            "created_at": "2026-11-20T20:00:00.163610Z",
        }

    def _image(self, n: int, group: str, image_id: str) -> dict[str, Any]:
        image: dict[str, Any] = {"id": image_id, "group": group, "status": "queued", "attempt_count": 0}
        if n >= self.ended:
            return image
        status = self.script[group, image_id]
        if status != "completed" and self.run > 1:
            status = self.after_retry
        image |= {"status": status, "attempt_count": 1}
        if status == "completed":
            if self.is_removed or self.keeps_nothing:
                return image | {"cost_usd": "0.034"}
            sha256 = hashlib.sha256(jpeg(image_id)).hexdigest()
            return image | {"cost_usd": "0.034", "outputs": {"card": {"format": "jpeg", "sha256": sha256}}}
        return image | {"error": {"kind": "SAFETY", "code": "IMAGE_SAFETY", "message": "It [said] no."}}

    async def _health(self, _: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _submit(self, request: Request) -> Response:
        if failure := self._failure("submit"):
            return failure
        key = request.headers["idempotency-key"]
        replayed = key in self.keys
        self.keys.setdefault(key, await request.json())
        headers = {"idempotency-replayed": "true"} if replayed else {}
        return JSONResponse(self.document, 202, headers)

    async def _show(self, request: Request) -> Response:
        if failure := self._failure("show"):
            return failure
        if request.path_params["job_id"] != JOB_ID:
            return problem(404, "not-found", "There is no such job.")
        last = len(self.script) if self.holds_after is None else self.holds_after
        self.ended = min(self.ended + 1, last)
        if self.ended == last:
            self.looked.set()
        etag = f'"{self.run}-{self.ended}"'
        if request.headers.get("if-none-match") == etag:
            self.asked["unchanged"] += 1
            return Response(status_code=304, headers={"etag": etag})
        return JSONResponse(self.document, headers={"etag": etag})

    async def _events(self, request: Request) -> Response:
        """An image's event has its place in the job as its number, the job's end the one after them."""
        self.asked["events"] += 1
        seen = request.headers.get("last-event-id")
        if seen == str(len(self.script) + 1):
            return Response(status_code=204)
        return StreamingResponse(self._told(None if seen is None else int(seen)), media_type="text/event-stream")

    async def _told(self, after: int | None) -> AsyncIterator[bytes]:
        if after is None:
            after = self.ended
            yield frame("snapshot", json.dumps(self.document).encode(), event_id=after)
        for seq in range(after + 1, len(self.script) + 2):
            self.ended = max(self.ended, min(seq, len(self.script)))
            data: dict[str, Any] = {"job_id": JOB_ID, "seq": seq}
            name = f"job.{self.document['status']}"
            if seq <= len(self.script):
                image = self.document["images"][seq - 1]
                name, data["image_id"] = f"image.{image['status']}", image["id"]
            event = {"type": name, "timestamp": "2026-11-20T20:00:00Z", "data": data}
            yield frame(name, json.dumps(event).encode(), event_id=seq)

    async def _list(self, request: Request) -> Response:
        self.asked["list"] += 1
        return JSONResponse({"jobs": [self.document], "next_cursor": None, "asked": dict(request.query_params)})

    async def _retry(self, request: Request) -> Response:
        self.asked["retry"] += 1
        self.run += 1
        return JSONResponse(self.document, 202)

    async def _cancel(self, request: Request) -> Response:
        self.asked["cancel"] += 1
        if self.ended == len(self.script):
            return problem(409, "job-already-terminal", "The job has ended as completed.")
        return JSONResponse(self.document | {"asked": await request.json()}, 202)

    async def _picture(self, request: Request) -> Response:
        self.asked["picture"] += 1
        content = jpeg(request.path_params["image_id"])
        return Response(content[:-9] if self.damages else content, media_type="image/jpeg")

    def _failure(self, what: str) -> Response | None:
        self.asked[what] += 1
        return self.failures.pop(0) if self.failures else None


def problem(status: int, slug: str, detail: str, **more: Any) -> Response:
    body = {"type": f"/problems/{slug}", "title": slug, "status": status, "detail": detail, **more}
    return JSONResponse(body, status, media_type="application/problem+json")


@asynccontextmanager
async def opened(desk: FrontDesk) -> AsyncIterator[FrontDesk]:
    """The desk answers at its `base_url` inside of the block."""
    listener = listening_socket()
    desk.base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    config = uvicorn.Config(desk.app(), log_config=None, lifespan="off", timeout_graceful_shutdown=1)
    server = _Server(config)
    running = asyncio.create_task(server.serve([listener]))
    try:
        yield desk
    finally:
        server.should_exit = True
        await running


class _Server(uvicorn.Server):
    """Leaves signals to the tests."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
