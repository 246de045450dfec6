"""Records spans by OpenTelemetry's API. Loading this module loads that, so only who records does."""

from __future__ import annotations

from opentelemetry.context import Context
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TracerProvider,
    TraceState,
    set_span_in_context,
)

from safelight import __version__
from safelight.tracing.context import TraceContext
from safelight.tracing.spans import Attributes, Kind

_KINDS = {
    Kind.INTERNAL: SpanKind.INTERNAL,
    Kind.SERVER: SpanKind.SERVER,
    Kind.CLIENT: SpanKind.CLIENT,
    Kind.CONSUMER: SpanKind.CONSUMER,
}


class OpenTelemetryRecorder:
    """Begins spans with a provider, which decides which are sampled and where they go."""

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("safelight", __version__)

    def start(
        self, name: str, *, kind: Kind, parent: TraceContext | None, is_remote: bool, attributes: Attributes
    ) -> _Recorded:
        context = Context()
        if parent is not None:
            context = set_span_in_context(NonRecordingSpan(_span_context(parent, is_remote=is_remote)), context)
        return _Recorded(
            self._tracer.start_span(name, context=context, kind=_KINDS[kind], attributes=_known(attributes))
        )


class _Recorded:
    __slots__ = ("_span", "context")

    def __init__(self, span: Span) -> None:
        self._span = span
        self.context = _trace_context(span.get_span_context())

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def note(self, attributes: Attributes) -> None:
        self._span.set_attributes(_known(attributes))

    def fail(self, error_type: str) -> None:
        self._span.set_attribute("error.type", error_type)
        self._span.set_status(Status(StatusCode.ERROR))

    def end(self) -> None:
        self._span.end()


def _known(attributes: Attributes) -> dict[str, str | int]:
    return {name.value: value for name, value in attributes.items() if value is not None}


def _span_context(of: TraceContext, *, is_remote: bool) -> SpanContext:
    state = TraceState.from_header([of.state]) if of.state else None
    return SpanContext(int(of.trace_id, 16), int(of.span_id, 16), is_remote, TraceFlags(of.flags), state)


def _trace_context(of: SpanContext) -> TraceContext | None:
    if not of.is_valid:
        return None
    state = of.trace_state.to_header() if of.trace_state else ""
    return TraceContext(f"{of.trace_id:032x}", f"{of.span_id:016x}", int(of.trace_flags), state)
