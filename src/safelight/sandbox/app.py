"""The sandbox's routes: the vendor's wire, the bill, the requests seen, and the controls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from safelight.sandbox.bill import Bill
from safelight.sandbox.config import SandboxConfig
from safelight.sandbox.faults import UnknownDirective, path_directives, prompt_directives
from safelight.sandbox.gemini import (
    Rejected,
    check_key,
    find_model,
    invalid,
    read_body,
    read_call,
    read_prompt,
)
from safelight.sandbox.vendor import Call, Vendor, sha256
from safelight.sandbox.wire import CUT, Answer, Delivery, deliver

CONNECTION_EXTENSION = "safelight.sandbox.connection"
"""ASGI scope extension: the connection's `asyncio.Transport`; `server` provides it."""

_LONGEST_WAIT_SECONDS = 300.0


def create_app(config: SandboxConfig, *, bill_path: Path) -> Starlette:
    """The app, with its `Vendor` in `app.state.vendor`.

    Served by anything but this package's server it cannot spoil connections: those calls are answered with 500.
    Raises ValueError when the file at `bill_path` is not a bill.
    """
    bill = Bill(bill_path)
    vendor = Vendor(config, bill)
    routes = _Routes(vendor)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        vendor.close()
        bill.close()

    generate = "gemini/{version}/models/{model}:{method}"
    app = Starlette(
        routes=[
            Route("/bill", routes.show_bill),
            Route("/requests", routes.show_requests),
            Route("/control/hold", routes.hold, methods=["POST"]),
            Route("/control/release", routes.release, methods=["POST"]),
            Route(f"/{generate}", routes.generate_content, methods=["POST"]),
            Route(f"/{{scenario:path}}/{generate}", routes.generate_content, methods=["POST"]),
        ],
        lifespan=lifespan,
    )
    app.state.vendor = vendor
    return app


@dataclass(frozen=True, slots=True)
class _Routes:
    vendor: Vendor

    async def generate_content(self, request: Request) -> Response:
        key = request.headers.get("x-goog-api-key")
        model_id: str = request.path_params["model"]
        call = self.vendor.see(path=request.url.path, model=model_id, key=key)
        try:
            check_key(key)
            task = self._accept(call, request.path_params, await request.body())
        except Rejected as rejected:
            return _response(self.vendor.reject(call, rejected))
        except ClientDisconnect:
            return _response(CUT)
        return await self._outcome(call, task, request)

    def _accept(self, call: Call, path: dict[str, str], body: bytes) -> asyncio.Task[Answer]:
        model = find_model(call.model, version=path["version"], method=path["method"])
        payload = read_body(body)
        prompt = read_prompt(payload)
        call.prompt_sha256 = sha256(prompt)
        scenario = path.get("scenario", "")
        try:
            directives = path_directives(scenario) + prompt_directives(prompt)
        except UnknownDirective as unknown:
            raise invalid(str(unknown)) from None
        accepted = read_call(payload, model_id=call.model, model=model, prompt=prompt)
        return self.vendor.accept(call, accepted, scenario=scenario, directives=directives)

    async def _outcome(self, call: Call, task: asyncio.Task[Answer], request: Request) -> Response:
        watch = asyncio.create_task(_watch(call, request), name=f"sandbox caller {call.number}")
        try:
            # Waits for the task without owning it: a handler that is cancelled leaves the generation running.
            await asyncio.wait([task])
        finally:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch
        return _response(CUT if task.cancelled() else task.result())

    async def show_bill(self, request: Request) -> Response:
        vendor = self.vendor
        conditions: dict[str, Callable[[int], bool]] = {
            "wait_in_flight": lambda wanted: vendor.in_flight >= wanted,
            "wait_charged": lambda wanted: vendor.bill.charged_calls >= wanted,
            "wait_ended": lambda wanted: len(vendor.bill.calls) >= wanted,
            "wait_idle": lambda _: vendor.in_flight == 0,
        }
        status = await self._wait(request, conditions)
        return _json(
            {
                "calls": vendor.bill.calls,
                "charged_calls": vendor.bill.charged_calls,
                "total_microusd": vendor.bill.total_microusd,
                **self._state(),
            },
            status=status,
        )

    async def show_requests(self, request: Request) -> Response:
        calls = self.vendor.calls
        status = await self._wait(request, {"wait_seen": lambda wanted: len(calls) >= wanted})
        return _json({"requests": [call.as_json() for call in calls], **self._state()}, status=status)

    async def hold(self, _: Request) -> Response:
        self.vendor.hold()
        return _json(self._state())

    async def release(self, _: Request) -> Response:
        self.vendor.release()
        return _json(self._state())

    def _state(self) -> dict[str, Any]:
        return {"in_flight": self.vendor.in_flight, "held": self.vendor.is_held}

    async def _wait(self, request: Request, conditions: dict[str, Callable[[int], bool]]) -> int:
        """200 once every condition asked for holds, 504 when `timeout` (seconds, default 10) came first."""
        query = request.query_params
        try:
            wanted = [(conditions[name], int(value)) for name, value in query.items() if name != "timeout"]
            timeout_seconds = min(float(query.get("timeout", 10)), _LONGEST_WAIT_SECONDS)
        except (KeyError, ValueError):
            return 400
        held = await self.vendor.wait_until(
            lambda: all(condition(number) for condition, number in wanted), timeout_seconds=timeout_seconds
        )
        return 200 if held else 504


class _Spoilt(Response):
    """Answers past ASGI, on the connection itself, and returns once that has ended."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        await deliver(self._answer, scope["extensions"][CONNECTION_EXTENSION])
        while (await receive())["type"] != "http.disconnect":
            pass


def _response(answer: Answer) -> Response:
    if answer.delivery is not Delivery.WHOLE:
        return _Spoilt(answer)
    return Response(answer.body, status_code=answer.status, headers=answer.headers())


def _json(content: dict[str, Any], *, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status_code=status, media_type="application/json")


async def _watch(call: Call, request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    call.caller_gone.set()
