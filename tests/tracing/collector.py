"""A collector on loopback that understands OTLP over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from tests.delivery.receiver import Receiver, receiving, status


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """As it was sent. `process` is what its resource says of who sent it."""

    name: str
    process: str
    service: str
    trace_id: str
    span_id: str
    parent_id: str
    said: dict[str, str]


class Collector:
    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    @property
    def url(self) -> str:
        return self._receiver.url("")

    @property
    def raw(self) -> bytes:
        return b"".join(message.body for message in self._receiver.messages)

    @property
    def spans(self) -> list[Span]:
        return [span for message in self._receiver.of("/v1/traces") for span in _read(message.body)]

    async def has(self, *names: str) -> None:
        """Returns when it was sent spans of all these names."""
        await self._receiver.until(lambda: set(names) <= {span.name for span in self.spans})


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    async with receiving() as receiver:
        receiver.answer = status(200)
        yield Collector(receiver)


def _read(body: bytes) -> Iterator[Span]:
    for sent in ExportTraceServiceRequest.FromString(body).resource_spans:
        resource = _said(sent.resource.attributes)
        for scope in sent.scope_spans:
            for span in scope.spans:
                yield Span(
                    name=span.name,
                    process=resource["safelight.process"],
                    service=resource["service.name"],
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    said=_said(span.attributes),
                )


def _said(attributes: object) -> dict[str, str]:
    pairs: list[KeyValue] = list(attributes)  # pyright: ignore[reportArgumentType]
    return {each.key: each.value.string_value or str(each.value.int_value) for each in pairs}
