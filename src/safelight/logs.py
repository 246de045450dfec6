"""Structured logs on standard error: one line per event, ids and digests only; no prompt, no key, no query string."""

from __future__ import annotations

import logging
import sys
import traceback

import structlog

_HTTP_CLIENTS = ("httpx2", "httpcore2", "httpx", "httpcore", "urllib3")
_NOISY = (*_HTTP_CLIENTS, "pgqueuer", "google_genai", "uvicorn.access", "asyncio")
_SILENT = (
    "asyncpg.pool",  # tells each try to reconnect, with a traceback
    "opentelemetry.exporter",  # tells each try to send; we say it once a minute
    "opentelemetry.sdk._shared_internal",  # the same of its queue
)


def configure_logging(*, level: str, as_json: bool) -> None:
    """Afterwards structlog and the standard library write to standard error in one form.

    HTTP libraries log whole URLs at INFO, so they speak only from WARNING on; PgQueuer's own chatter likewise.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.ExceptionRenderer(_told),
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for silent in _SILENT:
        logging.getLogger(silent).setLevel(logging.CRITICAL)
    for noisy in _NOISY:
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
    logging.getLogger("asyncio").addFilter(_keep_what_happened)
    logging.getLogger("opentelemetry.util.re").addFilter(_keep_the_words)


def _keep_what_happened(record: logging.LogRecord) -> bool:
    """asyncio says below its first line what a task's exception says, and in it what a callback was called with."""
    what = record.getMessage().partition("\n")[0]
    record.msg = what.partition("(")[0] if what.startswith("Exception in callback") else what
    record.args = ()
    return True


def _keep_the_words(record: logging.LogRecord) -> bool:
    """OpenTelemetry quotes the headers for a collector that it cannot read, and with them somebody's key."""
    record.msg, record.args = str(record.msg).replace(": %s", ""), ()
    return True


def _told(exc_info: structlog.typing.ExcInfo) -> str:
    """Where it happened, and what kind of error it was, with those that led to it first. Not its own words: the
    database's quote the row that it refused, prompt and all. Nor what variables held."""
    parts: list[str] = []
    error: BaseException | None = exc_info[1]
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        kind = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
        parts.append("".join(traceback.format_tb(error.__traceback__)) + kind)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n\n".join(reversed(parts))
