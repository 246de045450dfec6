"""Spans: what the work on a request or an image consists of, and how long each part took.

What they are called and what may be said of them is here and nowhere else: ids, names, numbers and words of our own,
never a prompt, an address, a key or a message. Nothing is recorded until `recording` says where to, and OpenTelemetry
is not even loaded; a trace that a caller began is handed on all the same.

The span under way is kept beside OpenTelemetry's own context, so that no library finds it there and tells a vendor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, Token
from enum import Enum, StrEnum, auto
from types import TracebackType
from typing import Protocol

from safelight.tracing.context import TraceContext


class SpanName(StrEnum):
    """A request's own span is called by its method and its route, such as `POST /v1/jobs`."""

    SCHEDULE = "schedule"
    """A schedule's time has come, until its job is there."""
    IMAGE = "image"
    """An image in one worker's hands, from its claim until it is settled or let go."""
    COMMIT = "commit"
    """The attempt's row, before anything is sent."""
    PROVIDER_SUBMIT = "provider.submit"
    """The call that costs money."""
    PROVIDER_POLL = "provider.poll"
    """One question after a vendor's job, the fetching of its picture included."""
    STAGE = "stage"
    RENDER = "render"
    """A picture's decoding, and the making of its outputs."""
    RECEIVE = "receive"
    """The receipt's transaction."""
    STORE = "store"
    SETTLE = "settle"
    """The transaction that says how the image goes on, or that it has ended."""
    WEBHOOK = "webhook"
    """One attempt at a message."""


class Attribute(StrEnum):
    """What may be said of a span."""

    METHOD = "http.request.method"
    ROUTE = "http.route"
    HTTP_STATUS = "http.response.status_code"
    REQUEST_ID = "safelight.request_id"
    JOB_ID = "safelight.job_id"
    IMAGE_ID = "safelight.image_id"
    PROVIDER = "safelight.provider"
    MODEL = "safelight.model"
    ATTEMPT = "safelight.attempt"
    OUTCOME = "safelight.outcome"
    ERROR_KIND = "safelight.error_kind"
    COST_MICROUSD = "safelight.cost_microusd"
    SCHEDULE_ID = "safelight.schedule_id"
    ENDPOINT_ID = "safelight.endpoint_id"
    DELIVERY_ID = "safelight.delivery_id"
    EVENT_TYPE = "safelight.event_type"


Attributes = Mapping[Attribute, str | int | None]
"""A value that is None is not known, and is left out."""


class Kind(Enum):
    """Which side of a call a span is, in OpenTelemetry's words."""

    INTERNAL = auto()
    SERVER = auto()
    CLIENT = auto()
    CONSUMER = auto()


class Recorded(Protocol):
    """A span that is being recorded."""

    @property
    def context(self) -> TraceContext | None: ...

    def rename(self, name: str) -> None: ...

    def note(self, attributes: Attributes) -> None: ...

    def fail(self, error_type: str) -> None: ...

    def end(self) -> None: ...


class Recorder(Protocol):
    """Begins spans. None of its calls waits for anything."""

    def start(
        self, name: str, *, kind: Kind, parent: TraceContext | None, is_remote: bool, attributes: Attributes
    ) -> Recorded: ...


class Span:
    """A part of the work, for as long as a `with` block; `context` is None outside of any trace.

    What ends it by an exception is said by its type alone.
    """

    __slots__ = ("_name", "_outer", "_recorded", "_token", "context")

    def __init__(self, name: str, outer: Span | None, recorded: Recorded | None, context: TraceContext | None) -> None:
        self._name = name
        self._outer = outer
        self._recorded = recorded
        self._token: Token[Span | None] | None = None
        self.context = context

    @classmethod
    def none(cls) -> Span:
        """Of what is in no trace, with all that it consists of."""
        return cls("", None, None, None)

    def __enter__(self) -> Span:
        self._token = _current.set(self)
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None
    ) -> None:
        assert self._token is not None, "it was entered"
        _current.reset(self._token)
        if self._recorded is not None:
            if error_type is not None:
                self._recorded.fail(error_type.__qualname__)
            self._recorded.end()

    def rename(self, name: str) -> None:
        if self._recorded is not None:
            self._recorded.rename(name)

    def note(self, attributes: Attributes) -> None:
        if self._recorded is not None:
            self._recorded.note(attributes)

    def fail(self, error_type: str) -> None:
        """It went wrong, by a word for how."""
        if self._recorded is not None:
            self._recorded.fail(error_type)

    def within(self, name: SpanName) -> Span | None:
        """The span of that name that this one is a part of, in this process; perhaps itself."""
        span: Span | None = self
        while span is not None and span._name != name:
            span = span._outer
        return span

    @property
    def log_fields(self) -> dict[str, str]:
        """What log lines say of it."""
        return self.context.log_fields if self.context is not None else {}


_NOTHING: Attributes = {}
_current: ContextVar[Span | None] = ContextVar("safelight_span", default=None)
_recorder: Recorder | None = None


def span(
    name: str,
    *,
    kind: Kind = Kind.INTERNAL,
    parent: TraceContext | None = None,
    attributes: Attributes = _NOTHING,
) -> Span:
    """A span that begins now: under `parent`, which is somewhere else, or under the one that is under way here."""
    outer = _current.get()
    above = parent or (outer.context if outer is not None else None)
    if _recorder is None:
        return Span(name, outer, None, above)
    recorded = _recorder.start(name, kind=kind, parent=above, is_remote=parent is not None, attributes=attributes)
    return Span(name, outer, recorded, recorded.context)


def note(attributes: Attributes, *, on: SpanName) -> None:
    """Says something of the span of that name that is under way here, if there is one."""
    current = _current.get()
    found = current.within(on) if current is not None else None
    if found is not None:
        found.note(attributes)


def current_context() -> TraceContext | None:
    """Where what happens now belongs."""
    current = _current.get()
    return current.context if current is not None else None


@contextmanager
def recording(recorder: Recorder) -> Iterator[None]:
    """Spans that begin within the block are recorded, in the whole process."""
    global _recorder
    before, _recorder = _recorder, recorder
    try:
        yield
    finally:
        _recorder = before
