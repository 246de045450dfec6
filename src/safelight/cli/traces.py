"""Whether a process sends traces, and what stands in the way when it is to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog

from safelight.cli.complaint import Misconfigured
from safelight.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_PROTOCOL = "http/protobuf"

log = structlog.get_logger(__name__)


@asynccontextmanager
async def traced(settings: Settings, process: str) -> AsyncIterator[None]:
    """The process's traces are sent while the block lasts, if they are wanted.

    Raises Misconfigured where our own settings ask for what there is not. Where only OpenTelemetry's variables do,
    which may be set for everything on a machine, that is logged, and the process goes on without.
    """
    provider = _provider(settings, process) if settings.sends_traces else None
    if provider is None:
        yield
        return
    from safelight.tracing.export import exporting

    async with exporting(provider):
        yield


def _provider(settings: Settings, process: str) -> TracerProvider | None:
    try:
        if settings.traces_protocol != _PROTOCOL:
            raise Misconfigured(f"traces are sent as `{_PROTOCOL}` alone; OTEL_EXPORTER_OTLP_PROTOCOL names another")
        return _built(process)
    except Misconfigured as reason:
        if settings.traces:
            raise
        log.warning("no traces are sent", why=str(reason))
        return None


def _built(process: str) -> TracerProvider:
    try:
        from safelight.tracing.export import provider_of
    except ImportError as error:
        raise Misconfigured("traces need an extra: `pip install 'safelight[otel]'`") from error
    try:
        return provider_of(process)
    except ValueError as error:
        raise Misconfigured(f"one of OpenTelemetry's variables cannot be read: {error}") from error
