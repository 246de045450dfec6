"""A small client of Safelight's HTTP API, for programs in Python and for the command line.

async with SafelightClient("http://127.0.0.1:8420") as safelight:
    submitted = await safelight.submit({"images": [{"id": "cover", "prompt": "A brass key"}]})
    job = await safelight.wait(submitted.job.id)
    picture = await safelight.picture(job.id, "cover")
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import quote, urlsplit
from uuid import uuid4

import httpx2

from safelight.domain.errors import Fault, SafelightError
from safelight.domain.lifecycle import TERMINAL_IMAGE_STATUSES, TERMINAL_JOB_STATUSES, ImageStatus, JobStatus

_PASSING = frozenset({502, 503, 504})
"""What a proxy in front of a service that restarts says."""
_FIRST_DELAY_SECONDS, _LONGEST_DELAY_SECONDS = 0.1, 1.0
_FAULTS_SHOWN = 3


class Unreachable(SafelightError):
    """No answer came from `url`: nothing listens there, or the connection broke."""

    slug = "unreachable"

    def __init__(self, url: str, detail: str) -> None:
        super().__init__(detail)
        self.url = url


class ApiProblem(SafelightError):
    """The service answered no; `slug` names the problem type, `errors` the fields at fault.

    `is_retryable`: the same request may succeed later.
    """

    def __init__(
        self,
        *,
        status: int,
        slug: str,
        detail: str,
        errors: tuple[Fault, ...] = (),
        is_retryable: bool = False,
    ) -> None:
        super().__init__(detail, slug=slug)
        self.status = status
        self.errors = errors
        self.is_retryable = is_retryable

    def __str__(self) -> str:
        shown = [f"{each.pointer} {each.detail}" for each in self.errors[:_FAULTS_SHOWN]]
        if len(self.errors) > _FAULTS_SHOWN:
            shown.append(f"and {len(self.errors) - _FAULTS_SHOWN} more")
        return f"{self.detail} ({'; '.join(shown)})" if shown else self.detail


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputView:
    """One stored rendition, as the job describes it."""

    name: str
    format: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageView:
    """One image as last seen. `error` says in words why it has no picture; None while that is open."""

    id: str
    group: str
    status: ImageStatus
    attempt_count: int
    cost_usd: str | None
    error: str | None
    outputs: tuple[OutputView, ...]

    @property
    def has_ended(self) -> bool:
        return self.status in TERMINAL_IMAGE_STATUSES


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """One job as last seen; `document` is the answer with every field. Amounts are decimal US dollars."""

    id: str
    status: JobStatus
    run: int
    current_step: str
    images: tuple[ImageView, ...]
    actual_usd: str | None
    uncertain_usd: str | None
    document: Mapping[str, Any] = field(repr=False)

    @property
    def has_ended(self) -> bool:
        return self.status in TERMINAL_JOB_STATUSES

    @property
    def completed(self) -> tuple[ImageView, ...]:
        return tuple(image for image in self.images if image.status is ImageStatus.COMPLETED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """`replayed`: the idempotency key had been used for this request before; this is the job it made then."""

    job: JobView
    replayed: bool


class SafelightClient:
    """Talks to one service.

    What may be repeated safely is repeated for `patience_seconds` over broken connections and what may pass;
    a connection refused before the service ever answered is final.

    Every method raises Unreachable, and ApiProblem for an answer that is not a success.
    """

    def __init__(self, base_url: str, *, timeout_seconds: float = 30.0, patience_seconds: float = 15.0) -> None:
        self.base_url = base_url.rstrip("/")
        self._patience_seconds = patience_seconds
        self._has_answered = False
        self._http = httpx2.AsyncClient(
            base_url=self.base_url,
            timeout=timeout_seconds,
            follow_redirects=True,
            trust_env=not _is_loopback(self.base_url),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._http.aclose()

    async def submit(self, body: Mapping[str, Any], *, idempotency_key: str | None = None) -> Submitted:
        """The job exists, once, however often the request was repeated. A missing key is made up."""
        headers = {"idempotency-key": idempotency_key or uuid4().hex}
        response = await self._send("POST", "/v1/jobs", may_repeat=True, json=body, headers=headers)
        return Submitted(job=_job(response.json()), replayed=response.headers.get("idempotency-replayed") == "true")

    async def job(self, job_id: str) -> JobView:
        return _job((await self._get(_job_path(job_id))).json())

    async def jobs(
        self, *, status: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> dict[str, Any]:
        """One page of the history, newest first, as the service gives it."""
        asked = {"status": status, "limit": limit, "cursor": cursor}
        given = {name: value for name, value in asked.items() if value is not None}
        return (await self._get("/v1/jobs", params=given)).json()

    async def cancel(self, job_id: str, *, mode: str = "finish", images: Sequence[str] | None = None) -> JobView:
        body: dict[str, Any] = {"mode": mode} | ({"images": list(images)} if images else {})
        return _job((await self._send("POST", f"{_job_path(job_id)}/cancel", json=body)).json())

    async def retry(
        self, job_id: str, *, only: Collection[str] | None = None, images: Sequence[str] | None = None
    ) -> JobView:
        """The images without a picture are queued again, in a new run of the same job."""
        body = ({"only": list(only)} if only else {}) | ({"images": list(images)} if images else {})
        return _job((await self._send("POST", f"{_job_path(job_id)}/retry", json=body)).json())

    async def queue(self, change: Literal["pause", "resume"] | None = None) -> dict[str, Any]:
        """The backlog, after pausing or resuming it if so asked."""
        response = await (self._send("POST", f"/v1/queue/{change}") if change else self._get("/v1/queue"))
        return response.json()

    async def picture(self, job_id: str, image_id: str, output: str | None = None) -> bytes:
        """The bytes of a completed image; without a name, of the first of its outputs."""
        path = f"{_job_path(job_id)}/images/{quote(image_id, safe='')}"
        return (await self._get(f"{path}/{quote(output, safe='')}" if output else path)).content

    async def watch(self, job_id: str, *, interval_seconds: float = 0.25) -> AsyncIterator[JobView]:
        """The job as it is, then again after each change; the last one has ended."""
        seen, etag = None, None
        while True:
            response = await self._get(_job_path(job_id), headers={"if-none-match": etag} if etag else {})
            if response.status_code != httpx2.codes.NOT_MODIFIED:
                etag = response.headers.get("etag")
                job = _job(response.json())
                if job != seen:
                    seen = job
                    yield job
                if job.has_ended:
                    return
            await asyncio.sleep(interval_seconds)

    async def wait(self, job_id: str) -> JobView:
        """The job once it has ended, however long that takes; `asyncio.timeout` sets a limit."""
        async for job in self.watch(job_id):
            if job.has_ended:
                return job
        raise AssertionError("a watch ends with a job that has ended")

    async def call(self, method: str, path: str, *, may_repeat: bool = False, **request: Any) -> httpx2.Response:
        """The answer to any call of the API; `may_repeat` says that sending it twice does no harm."""
        return await self._send(method, path, may_repeat=may_repeat, **request)

    async def is_up(self) -> bool:
        """Whether something answers there; not whether it is ready."""
        try:
            await self._http.get("/healthz")
        except httpx2.TransportError:
            return False
        return True

    async def _get(self, path: str, **request: Any) -> httpx2.Response:
        return await self._send("GET", path, may_repeat=True, **request)

    async def _send(self, method: str, path: str, *, may_repeat: bool = False, **request: Any) -> httpx2.Response:
        ends_at = time.monotonic() + self._patience_seconds
        delay_seconds = _FIRST_DELAY_SECONDS
        while True:
            try:
                response = await self._http.request(method, path, **request)
            except httpx2.TransportError as error:
                final = isinstance(error, httpx2.ConnectError) and not self._has_answered
                if final or not may_repeat or time.monotonic() + delay_seconds > ends_at:
                    raise Unreachable(self.base_url, _said(error, self.base_url)) from error
            else:
                self._has_answered = True
                if response.is_success or response.status_code == httpx2.codes.NOT_MODIFIED:
                    return response
                problem = _problem(response)
                if not (problem.is_retryable and may_repeat) or time.monotonic() + delay_seconds > ends_at:
                    raise problem
            await asyncio.sleep(delay_seconds)
            delay_seconds = min(2 * delay_seconds, _LONGEST_DELAY_SECONDS)


def _said(error: httpx2.TransportError, url: str) -> str:
    if isinstance(error, httpx2.ConnectError):
        return f"nothing answers at {url}; start it with `safelight serve`"
    return f"no answer from {url} ({type(error).__name__})"


def _problem(response: httpx2.Response) -> ApiProblem:
    status = response.status_code
    if response.headers.get("content-type", "").partition(";")[0] != "application/problem+json":
        return ApiProblem(
            status=status,
            slug=f"http-{status}",
            detail=f"HTTP {status} from {response.url}",
            is_retryable=status in _PASSING,
        )
    problem: dict[str, Any] = response.json()
    return ApiProblem(
        status=status,
        slug=str(problem.get("type", "")).rpartition("/")[2],
        detail=str(problem.get("detail") or problem.get("title") or f"HTTP {status}"),
        errors=tuple(
            Fault(str(each.get("pointer") or each.get("parameter") or ""), str(each.get("detail", "")))
            for each in problem.get("errors", ())
        ),
        is_retryable=bool(problem.get("retryable")),
    )


def _job(document: dict[str, Any]) -> JobView:
    cost: dict[str, Any] = document.get("cost") or {}
    return JobView(
        id=document["id"],
        status=JobStatus(document["status"]),
        run=document["run"],
        current_step=document["current_step"],
        images=tuple(_image(each) for each in document["images"]),
        actual_usd=cost.get("actual_usd"),
        uncertain_usd=cost.get("uncertain_usd"),
        document=document,
    )


def _image(document: dict[str, Any]) -> ImageView:
    error: dict[str, Any] | None = document.get("error")
    return ImageView(
        id=document["id"],
        group=document["group"],
        status=ImageStatus(document["status"]),
        attempt_count=document.get("attempt_count", 0),
        cost_usd=document.get("cost_usd"),
        error=f"{error['kind']} {error['code']}: {error['message']}" if error else None,
        outputs=tuple(
            OutputView(name=name, format=each["format"], sha256=each["sha256"])
            for name, each in (document.get("outputs") or {}).items()
        ),
    )


def _job_path(job_id: str) -> str:
    return f"/v1/jobs/{quote(job_id, safe='')}"


def _is_loopback(url: str) -> bool:
    """A proxy for the outside world does not reach this machine's own addresses."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
