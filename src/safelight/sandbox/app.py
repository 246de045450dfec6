"""The sandbox's routes: the vendors' wires, the files, the bill, the requests seen, and the controls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from safelight.sandbox.bill import Bill
from safelight.sandbox.config import SandboxConfig
from safelight.sandbox.desk import Desk, ServedWire, key_of, respond
from safelight.sandbox.fal import FalWire
from safelight.sandbox.faults import ASIDES, UnknownDirective, parse_directive, parse_fault_rates
from safelight.sandbox.gemini import GeminiWire
from safelight.sandbox.openai import OpenAIWire
from safelight.sandbox.replicate import ReplicateWire
from safelight.sandbox.vendor import Vendor

_LONGEST_WAIT_SECONDS = 300.0


def all_wires() -> tuple[ServedWire, ...]:
    """Every vendor there is, each new and without any calls or jobs."""
    return (GeminiWire(), OpenAIWire(), ReplicateWire(), FalWire())


def create_app(config: SandboxConfig, *, bill_path: Path, wires: Sequence[ServedWire] | None = None) -> Starlette:
    """The app, with its `Vendor` in `app.state.vendor`; `wires` None is all of them.

    Served by anything but this package's server it cannot spoil connections: those calls are answered with 500.
    Raises ValueError when the file at `bill_path` is not a bill, and for a fault rate its vendor cannot have.
    """
    served = all_wires() if wires is None else wires
    bill = Bill(bill_path)
    try:
        vendor = Vendor(config, bill, served)
    except UnknownDirective:
        bill.close()
        raise
    desk, controls = Desk(vendor), _Controls(vendor)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        vendor.close()
        bill.close()

    app = Starlette(
        routes=[
            Route("/bill", controls.show_bill),
            Route("/requests", controls.show_requests),
            Route("/control/hold", controls.hold, methods=["POST"]),
            Route("/control/release", controls.release, methods=["POST"]),
            Route("/control/faults", controls.set_fault_rates, methods=["POST"]),
            Route("/control/outage", controls.set_outage, methods=["POST"]),
            Route("/files/{name}", controls.send_file),
            *(route for wire in served for route in _routes(wire, desk)),
        ],
        lifespan=lifespan,
    )
    app.state.vendor = vendor
    return app


def _routes(wire: ServedWire, desk: Desk) -> list[Route]:
    """The vendor's own behind its name, with and without a scenario before it."""
    return [
        Route(f"{start}/{wire.name}{route.path}", route.endpoint, methods=list(route.methods or ()))
        for route in wire.routes(desk)
        for start in ("", "/{scenario:path}")
    ]


class _Senseless(ValueError):
    """A control that nobody could obey; the message says why."""


@dataclass(frozen=True, slots=True)
class _Controls:
    vendor: Vendor

    async def show_bill(self, request: Request) -> Response:
        """`?vendor=` shows and counts that vendor's lines alone."""
        vendor = self.vendor
        try:
            name = self._vendor_asked(request)
            bill = vendor.bill
            status = await self._wait(
                request,
                {
                    "wait_in_flight": lambda wanted: self._in_flight(name) >= wanted,
                    "wait_charged": lambda wanted: bill.charged_calls_of(name) >= wanted,
                    "wait_ended": lambda wanted: len(bill.calls_of(name)) >= wanted,
                    "wait_idle": lambda _: self._in_flight(name) == 0,
                },
            )
        except _Senseless as error:
            return _complaint(error)
        return _json(
            {
                "calls": bill.calls_of(name),
                "charged_calls": bill.charged_calls_of(name),
                "total_microusd": bill.total_microusd_of(name),
                **self._state(name),
            },
            status=status,
        )

    async def show_requests(self, request: Request) -> Response:
        """Calls are what may cost something; visits and fetches do not, and come in lists of their own."""
        vendor = self.vendor
        try:
            name = self._vendor_asked(request)
            status = await self._wait(
                request,
                {
                    "wait_seen": lambda wanted: sum(name in (None, call.vendor) for call in vendor.calls) >= wanted,
                    "wait_visits": lambda wanted: sum(name in (None, v.vendor) for v in vendor.visits) >= wanted,
                },
            )
        except _Senseless as error:
            return _complaint(error)
        return _json(
            {
                "requests": [call.as_json() for call in vendor.calls if name in (None, call.vendor)],
                "visits": [visit.as_json() for visit in vendor.visits if name in (None, visit.vendor)],
                "fetches": [fetch.as_json() for fetch in vendor.files.fetches],
                **self._state(name),
            },
            status=status,
        )

    async def send_file(self, request: Request) -> Response:
        had_key = key_of(request) is not None
        answer = self.vendor.files.fetch(request.path_params["name"], had_key=had_key)
        self.vendor.announce()
        return respond(answer)

    async def hold(self, _: Request) -> Response:
        self.vendor.hold()
        return _json(self._state(None))

    async def release(self, _: Request) -> Response:
        self.vendor.release()
        return _json(self._state(None))

    async def set_fault_rates(self, request: Request) -> Response:
        """`{"rates": "429=0.1,500=0.05", "vendor": "openai"}`; without a vendor it is for all of them."""
        try:
            asked = await _asked(request, {"rates", "vendor"})
            vendor = asked.get("vendor")
            self.vendor.set_fault_rates(
                parse_fault_rates(_text(asked, "rates")), vendor=None if vendor is None else _text(asked, "vendor")
            )
        except ValueError as error:
            return _complaint(error)
        rates = {
            name: ",".join(f"{each.directive}={each.rate:g}" for each in of_vendor)
            for name, of_vendor in self.vendor.fault_rates.items()
        }
        return _json({"rates": rates})

    async def set_outage(self, request: Request) -> Response:
        """`{"vendor": "openai", "fault": "503"}`, or any other directive without a count; null ends the outage."""
        try:
            asked = await _asked(request, {"vendor", "fault"})
            directive = None if asked["fault"] is None else parse_directive(_text(asked, "fault"))
            if directive and (directive.limit is not None or directive.fault in ASIDES):
                raise _Senseless(f"an outage is not counted, and none of {', '.join(sorted(ASIDES))}")
            self.vendor.set_outage(_text(asked, "vendor"), directive)
        except KeyError:
            return _complaint(_Senseless("`fault` is missing; null ends an outage"))
        except ValueError as error:
            return _complaint(error)
        return _json({"outages": {name: str(outage) for name, outage in self.vendor.outages.items()}})

    def _state(self, vendor: str | None) -> dict[str, Any]:
        return {"in_flight": self._in_flight(vendor), "held": self.vendor.is_held}

    def _in_flight(self, vendor: str | None) -> int:
        return self.vendor.in_flight if vendor is None else self.vendor.in_flight_at(vendor)

    def _vendor_asked(self, request: Request) -> str | None:
        name = request.query_params.get("vendor")
        try:
            return None if name is None else self.vendor.wire(name).name
        except UnknownDirective as unknown:
            raise _Senseless(str(unknown)) from None

    async def _wait(self, request: Request, conditions: dict[str, Callable[[int], bool]]) -> int:
        """200 once every condition asked for holds, 504 when `timeout` (seconds, default 10) came first.

        Raises _Senseless.
        """
        query = {name: value for name, value in request.query_params.items() if name != "vendor"}
        try:
            wanted = [(conditions[name], int(value)) for name, value in query.items() if name != "timeout"]
            timeout_seconds = min(float(query.get("timeout", 10)), _LONGEST_WAIT_SECONDS)
        except (KeyError, ValueError):
            raise _Senseless(f"use {', '.join(conditions)} with a number, and timeout in seconds") from None
        held = await self.vendor.wait_until(
            lambda: all(condition(number) for condition, number in wanted), timeout_seconds=timeout_seconds
        )
        return 200 if held else 504


async def _asked(request: Request, known: set[str]) -> dict[str, Any]:
    try:
        asked = orjson.loads(await request.body())
    except orjson.JSONDecodeError:
        raise _Senseless("not JSON") from None
    if not isinstance(asked, dict) or not asked.keys() <= known:
        raise _Senseless(f"expected an object of {', '.join(sorted(known))}")
    return asked


def _text(asked: dict[str, Any], name: str) -> str:
    if not isinstance(asked.get(name), str):
        raise _Senseless(f"`{name}` is not a text")
    return asked[name]


def _complaint(error: ValueError) -> Response:
    return _json({"error": str(error)}, status=400)


def _json(content: dict[str, Any], *, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status_code=status, media_type="application/json")
