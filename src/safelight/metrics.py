"""What this process measures of itself, and how figures are written down for Prometheus.

An instrument costs about a microsecond. No label ever holds what a caller chose: no account, job, image, prompt or
address; routes are named by their templates. What is true of the installation is read from its database instead
(`engine.figures.scrape`), so that every process says the same.
"""

from __future__ import annotations

import asyncio
import errno
import platform
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from importlib.metadata import version

import prometheus_client
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

prometheus_client.disable_created_metrics()  # a second series for each one, of which nobody asks

log = structlog.get_logger(__name__)


class Kind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """What a family of series is called and means. A counter's name is without its `_total`."""

    name: str
    kind: Kind
    text: str
    labels: tuple[str, ...] = ()

    @property
    def series(self) -> str:
        """As Prometheus stores it; of a histogram, without `_bucket`, `_sum` or `_count`."""
        return f"{self.name}_total" if self.kind is Kind.COUNTER else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """How many took at most so many seconds, by bound, and how long all took together. The last bound is infinity."""

    buckets: Sequence[tuple[float, int]]
    sum_seconds: float


HTTP_REQUESTS = Metric(
    name="safelight_http_requests",
    kind=Kind.COUNTER,
    labels=("method", "route", "status"),
    text="Requests that were answered. `route` is its template; `none` where no route was found, or none was asked.",
)
HTTP_SECONDS = Metric(
    name="safelight_http_request_duration_seconds",
    kind=Kind.HISTOGRAM,
    labels=("method", "route"),
    text="From a request's head until its answer's last byte was handed over; an event stream counts while it is open.",
)
SSE_CLIENTS = Metric(name="safelight_sse_clients", kind=Kind.GAUGE, text="Event streams that are open.")
REQUESTS_WAITING = Metric(
    name="safelight_requests_waiting", kind=Kind.GAUGE, text="Requests that are held until something happens."
)
IMAGES_AT_WORK = Metric(
    name="safelight_worker_images", kind=Kind.GAUGE, text="Images that this worker process has in hand."
)
POOL_SIZE = Metric(
    name="safelight_db_pool_connections", kind=Kind.GAUGE, labels=("pool",), text="Connections that are open."
)
POOL_IDLE = Metric(
    name="safelight_db_pool_idle_connections", kind=Kind.GAUGE, labels=("pool",), text="Of them, those nobody uses."
)
POOL_WAITING = Metric(
    name="safelight_db_pool_waiters", kind=Kind.GAUGE, labels=("pool",), text="Who waits for a connection."
)
BUILD = Metric(
    name="safelight_build_info", kind=Kind.GAUGE, labels=("version", "python"), text="What runs here; always 1."
)

OF_PROCESS = (
    HTTP_REQUESTS,
    HTTP_SECONDS,
    SSE_CLIENTS,
    REQUESTS_WAITING,
    IMAGES_AT_WORK,
    POOL_SIZE,
    POOL_IDLE,
    POOL_WAITING,
    BUILD,
)
"""Of the process that is asked, since it was started."""

_MOST_HEAD_BYTES = 65_536
_HEAD_SECONDS = 10.0
_ACCEPT = re.compile(r"^accept: *([^\r\n]*)", re.IGNORECASE | re.MULTILINE)
_HTTP_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

REGISTRY = CollectorRegistry()
http_requests = Counter(HTTP_REQUESTS.name, HTTP_REQUESTS.text, HTTP_REQUESTS.labels, registry=REGISTRY)
http_seconds = Histogram(
    HTTP_SECONDS.name, HTTP_SECONDS.text, HTTP_SECONDS.labels, buckets=_HTTP_BOUNDS, registry=REGISTRY
)
sse_clients = Gauge(SSE_CLIENTS.name, SSE_CLIENTS.text, registry=REGISTRY)
requests_waiting = Gauge(REQUESTS_WAITING.name, REQUESTS_WAITING.text, registry=REGISTRY)
images_at_work = Gauge(IMAGES_AT_WORK.name, IMAGES_AT_WORK.text, registry=REGISTRY)
Gauge(BUILD.name, BUILD.text, BUILD.labels, registry=REGISTRY).labels(
    version("safelight"), platform.python_version()
).set(1)
ProcessCollector(registry=REGISTRY)


def family(metric: Metric, samples: Mapping[tuple[str, ...], float] | Mapping[tuple[str, ...], Distribution]) -> Family:
    """The series of a metric, by the values of its labels."""
    match metric.kind:
        case Kind.COUNTER:
            found = CounterMetricFamily(metric.name, metric.text, labels=metric.labels)
        case Kind.GAUGE:
            found = GaugeMetricFamily(metric.name, metric.text, labels=metric.labels)
        case Kind.HISTOGRAM:
            found = HistogramMetricFamily(metric.name, metric.text, labels=metric.labels)
    for labels, value in samples.items():
        if isinstance(value, Distribution):
            assert isinstance(found, HistogramMetricFamily)
            buckets = [("+Inf" if bound == float("inf") else f"{bound:g}", count) for bound, count in value.buckets]
            found.add_metric(labels, buckets, value.sum_seconds)
        else:
            assert not isinstance(found, HistogramMetricFamily)
            found.add_metric(labels, value)
    return found


def exposition(accept: str, more: Iterable[Family]) -> tuple[bytes, str]:
    """The text and its media type: OpenMetrics for whoever accepts that, else what every Prometheus reads."""
    try:
        encode, media_type = choose_encoder(accept)
    except TypeError:  # it compares versions part by part, and one that is no number with a number
        encode, media_type = choose_encoder("")
    return encode(_Together(lambda: more)), media_type


@asynccontextmanager
async def told_at(bind: str, more: Callable[[], Iterable[Family]], *, ports: int = 1) -> AsyncIterator[int | None]:
    """The figures of this process, and `more`, are told at `host:port`, or at the first of so many ports that is free;
    the answer says at which. Where none is, the log says so and nothing is told: nobody works less for it."""
    host, _, first = bind.rpartition(":")
    server, why = None, ""
    for port in range(int(first), int(first) + ports):
        try:
            server = await asyncio.start_server(partial(_tell, more), host.strip("[]"), port, limit=_MOST_HEAD_BYTES)
            break
        except OSError as error:
            why = type(error).__name__
            if error.errno != errno.EADDRINUSE:
                break
    if server is None:
        log.warning("cannot tell metrics", bind=bind, error=why)
        yield None
        return
    async with server:
        place: int = server.sockets[0].getsockname()[1]
        log.info("metrics of this process", port=place)
        yield place


async def _tell(
    more: Callable[[], Iterable[Family]], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """One answer per connection: enough for whoever comes every few seconds."""
    try:
        async with asyncio.timeout(_HEAD_SECONDS):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            method, _, rest = head.partition(" ")
            is_asked = method == "GET" and rest.partition(" ")[0].partition("?")[0] == "/metrics"
            accept = _ACCEPT.search(head)
            body, kind = exposition(accept[1] if accept else "", more()) if is_asked else (b"", "text/plain")
            status = "200 OK" if is_asked else "404 Not Found"
            lines = (f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}", "Connection: close")
            writer.write("\r\n".join((*lines, "", "")).encode() + body)
            await writer.drain()
    except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return  # whoever asked has gone, or never said what for
    finally:
        writer.close()


class _Together(Collector):
    """The instruments of this process, and what else it has to say."""

    def __init__(self, more: Callable[[], Iterable[Family]]) -> None:
        self._more = more

    def collect(self) -> Iterable[Family]:
        yield from REGISTRY.collect()
        yield from self._more()
