"""The sandbox's front desk: from an HTTP request to a planned call, and from its answer back to the caller."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from safelight.sandbox.faults import Fault, Plan, UnknownDirective, path_directives, prompt_directives
from safelight.sandbox.protocol import Asked, Order, Rejected, Wire
from safelight.sandbox.spoiling import spoilt
from safelight.sandbox.vendor import Call, Vendor, Visit, sha256
from safelight.sandbox.wire import CUT, Answer, Delivery, deliver

_Asked = TypeVar("_Asked", bound=Asked)

CONNECTION_EXTENSION = "safelight.sandbox.connection"
"""ASGI scope extension: the connection's `asyncio.Transport`; `server` provides it."""

Endpoint = Callable[[Request], Awaitable[Response]]
Read = Callable[[Request, Call], Awaitable[Order]]
"""Checks the key, fills in the call's `model`, and returns what is asked for. Raises Rejected."""

_ON_THE_WAY = frozenset({Fault.CUT, Fault.RESET, Fault.HTML})
"""What an outage does to requests that are not for a picture, besides answering with an error."""


@dataclass(frozen=True, slots=True)
class Desk:
    vendor: Vendor

    def sale(self, wire: Wire, read: Read) -> Endpoint:
        """A route where the caller waits for the picture: one call, one answer, one line on the bill."""

        async def endpoint(request: Request) -> Response:
            call = self.seen(wire, request)
            try:
                order, plan = await self.planned(wire, request, call, read)
            except Rejected as rejected:
                return respond(self.vendor.reject(call, rejected))
            except ClientDisconnect:
                return respond(CUT)
            task = self.vendor.serve(call, order, plan)
            async with self.watched(call, request):
                # Waits for the task without owning it: a handler that is cancelled leaves the generation running.
                await asyncio.wait([task])
            return respond(CUT if task.cancelled() else task.result())

        return endpoint

    def visit(self, wire: Wire, answer: Callable[[Request], Awaitable[Answer]]) -> Endpoint:
        """A route that costs nothing and is on no bill: a list of models, a look at a job. Outages apply to it."""

        async def endpoint(request: Request) -> Response:
            given = await self.outage_answer(wire, request)
            if given is None:
                try:
                    given = await answer(request)
                except Rejected as rejected:
                    given = rejected.answer
                except ClientDisconnect:
                    given = CUT
            status = None if given.delivery in (Delivery.NOTHING, Delivery.RESET) else given.status
            self.vendor.note_visit(
                Visit(
                    at=datetime.now(UTC),
                    vendor=wire.name,
                    method=request.method,
                    host=request.url.hostname or "",
                    path=request.url.path,
                    had_key=key_of(request) is not None,
                    status=status,
                )
            )
            return respond(given)

        return endpoint

    def seen(self, wire: Wire, request: Request) -> Call:
        """The call of a request that may cost something; to be ended by `Vendor.end`, `reject` or `serve`."""
        return self.vendor.see(vendor=wire.name, path=request.url.path, key=key_of(request))

    async def planned(
        self, wire: Wire, request: Request, call: Call, read: Callable[[Request, Call], Awaitable[_Asked]]
    ) -> tuple[_Asked, Plan]:
        """What is asked for, and what happens to it. Raises Rejected and ClientDisconnect."""
        order = await read(request, call)
        call.prompt_sha256 = sha256(order.prompt)
        scenario = scenario_of(request)
        try:
            directives = path_directives(scenario) + prompt_directives(order.prompt)
            return order, self.vendor.plan(call, scenario=scenario, directives=directives)
        except UnknownDirective as unknown:
            raise wire.invalid(str(unknown)) from None

    async def outage_answer(self, wire: Wire, request: Request, *, model: str = "") -> Answer | None:
        """What a request that costs nothing gets while its vendor is out; None when nothing is in its way."""
        if not (outage := self.vendor.outages.get(wire.name)):
            return None
        if outage.fault is Fault.HANG:
            with suppress(TimeoutError):
                await asyncio.wait_for(gone(request), outage.seconds)
            return CUT
        if outage.fault in _ON_THE_WAY:
            return spoilt(Answer(), outage)
        return wire.error(outage, model=model)

    @asynccontextmanager
    async def watched(self, call: Call, request: Request) -> AsyncIterator[None]:
        """Inside, `call.caller_gone` is set the moment the caller hangs up. The body must have been read."""

        async def watch() -> None:
            await gone(request)
            call.caller_gone.set()

        task = asyncio.create_task(watch(), name=f"sandbox caller {call.number}")
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


class ServedWire(Wire, Protocol):
    """A vendor with what it is asked through."""

    def routes(self, desk: Desk) -> Sequence[Route]:
        """Their paths are those behind `/{name}`; each is served behind every scenario too."""
        ...


def respond(answer: Answer) -> Response:
    if answer.delivery is not Delivery.WHOLE:
        return _Spoilt(answer)
    return Response(answer.body, status_code=answer.status, headers=answer.headers())


def scenario_of(request: Request) -> str:
    return request.path_params.get("scenario", "")


def key_of(request: Request, *schemes: str) -> str | None:
    """The bare key of an `Authorization` header in one of the schemes, written small.

    Without any, of whichever header a vendor's key may be in.
    """
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if schemes:
        return key.strip() or None if scheme.lower() in schemes else None
    return request.headers.get("x-goog-api-key") or key.strip() or None


def origin_of(request: Request) -> str:
    """`http://127.0.0.1:8421`: what files' addresses begin with."""
    return str(request.base_url).rstrip("/")


async def gone(request: Request) -> None:
    """Returns when the caller has hung up. The body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


class _Spoilt(Response):
    """Answers past ASGI, on the connection itself, and returns once that has ended."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        await deliver(self._answer, scope["extensions"][CONNECTION_EXTENSION])
        while (await receive())["type"] != "http.disconnect":
            pass
