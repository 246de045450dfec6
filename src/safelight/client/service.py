"""The service's calls as methods, for programs that run an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar
from urllib.parse import quote
from uuid import uuid4

import httpx2

from safelight.client.album import Album
from safelight.client.archive import save_archive
from safelight.client.errors import NotRead, not_understood, retry_after_seconds_of
from safelight.client.stream import follow_events
from safelight.client.transport import Transport
from safelight.client.views import (
    Event,
    FeedPage,
    JobView,
    Quote,
    Submitted,
    Upload,
    feed_page,
    job_view,
    quote_view,
    upload_view,
)
from safelight.client.watch import watch_job

T = TypeVar("T")

_FEED_WAIT_SECONDS = 30


class SafelightClient:
    """Talks to one service.

    What may be repeated safely is repeated for `patience_seconds` over broken connections and what may pass;
    a connection refused before the service ever answered is final. A stream on which nothing comes for
    `silence_seconds`, not even the service's signs of life, is taken for broken.

    `api_key` is the `sl_…` that it calls with; a service that runs open needs none.

    Every method raises Unreachable, and ApiProblem for an answer that is not a success: Unauthenticated when the key is
    missing or not good, Forbidden when it may not do this.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        timeout_seconds: float = 30.0,
        patience_seconds: float = 15.0,
        silence_seconds: float = 45.0,
    ) -> None:
        self._transport = Transport(
            base_url,
            api_key=api_key,
            timeout_seconds=timeout_seconds,
            patience_seconds=patience_seconds,
            silence_seconds=silence_seconds,
        )
        self.base_url = self._transport.base_url

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._transport.aclose()

    async def submit(self, body: Mapping[str, Any], *, idempotency_key: str | None = None) -> Submitted:
        """The job exists, once, however often the request was repeated. A missing key is made up."""
        headers = {"idempotency-key": idempotency_key or uuid4().hex}
        response = await self.call("POST", "/v1/jobs", may_repeat=True, json=body, headers=headers)
        return Submitted(job=_read(job_view, response), replayed=response.headers.get("idempotency-replayed") == "true")

    async def quote(self, body: Mapping[str, Any]) -> Quote:
        """What the job would cost and how long it may take; nothing is created."""
        response = await self.call("POST", "/v1/jobs", may_repeat=True, json=body, params={"dry_run": "true"})
        return _read(quote_view, response)

    async def upload(self, picture: Path | bytes, *, account: str | None = None) -> Upload:
        """The picture is kept, to make others from: name its `id` as a reference. Sent again, it is the same upload.
        An admin's key may upload for another `account`. Raises NotRead when the file cannot be read."""
        try:
            data = picture if isinstance(picture, bytes) else await asyncio.to_thread(picture.read_bytes)
        except OSError as error:
            raise NotRead(f"{picture}: {error.strerror or type(error).__name__}") from error
        files = {"file": ("picture", data)}
        asked = _given({"account": account})
        response = await self.call("POST", "/v1/uploads", may_repeat=True, files=files, params=asked)
        return _read(upload_view, response)

    async def job(self, job_id: str) -> JobView:
        return _read(job_view, await self._get(_job_path(job_id)))

    async def jobs(
        self,
        *,
        status: str | Sequence[str] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        filters: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """One page of the history, newest first, as the service gives it. `filters` are any others that it has."""
        asked = {"status": status, "limit": limit, "cursor": cursor, **(filters or {})}
        return _read(_document, await self._get("/v1/jobs", params=_given(asked)))

    async def images(
        self,
        *,
        status: str | Sequence[str] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        filters: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """One page of single images across jobs, asked for like `jobs`."""
        asked = {"status": status, "limit": limit, "cursor": cursor, **(filters or {})}
        return _read(_document, await self._get("/v1/images", params=_given(asked)))

    async def attempts(
        self, job_id: str, *, image: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> dict[str, Any]:
        """One page of the calls that were made for the job, or for one of its images, as the service gives it."""
        asked = _given({"image": image, "limit": limit, "cursor": cursor})
        return _read(_document, await self._get(f"{_job_path(job_id)}/attempts", params=asked))

    async def stats(
        self,
        *,
        since: str | None = None,
        until: str | None = None,
        account: str | None = None,
        group_by: str | None = None,
        time_zone: str | None = None,
    ) -> dict[str, Any]:
        """What has become of the jobs created from `since` until before `until`, as the service gives it. Times are in
        ISO 8601 with their offset from UTC; without them it is the last 30 days."""
        asked = {"from": since, "to": until, "account": account, "group_by": group_by, "time_zone": time_zone}
        return _read(_document, await self._get("/v1/stats", params=_given(asked)))

    async def cancel(self, job_id: str, *, mode: str = "finish", images: Sequence[str] | None = None) -> JobView:
        body: dict[str, Any] = {"mode": mode} | ({"images": list(images)} if images else {})
        return _read(job_view, await self.call("POST", f"{_job_path(job_id)}/cancel", json=body))

    async def retry(
        self, job_id: str, *, only: Collection[str] | None = None, images: Sequence[str] | None = None
    ) -> JobView:
        """The images without a picture are queued again, in a new run of the same job."""
        body = ({"only": list(only)} if only else {}) | ({"images": list(images)} if images else {})
        return _read(job_view, await self.call("POST", f"{_job_path(job_id)}/retry", json=body))

    async def remove(self, job_id: str) -> JobView:
        """What is left of the job: its pictures, prompts and metadata are gone for good. It must have ended."""
        return _read(job_view, await self.call("DELETE", _job_path(job_id), may_repeat=True))

    async def queue(self, change: Literal["pause", "resume"] | None = None) -> dict[str, Any]:
        """The backlog, after pausing or resuming it if so asked."""
        response = await (self.call("POST", f"/v1/queue/{change}") if change else self._get("/v1/queue"))
        return _read(_document, response)

    async def picture(self, job_id: str, image_id: str, output: str | None = None) -> bytes:
        """The bytes of a completed image; without a name, of the first of its outputs."""
        path = f"{_job_path(job_id)}/images/{quote(image_id, safe='')}"
        return (await self._get(f"{path}/{quote(output, safe='')}" if output else path)).content

    async def download(self, job_id: str, folder: Path) -> tuple[Path, ...]:
        """The files of all images completed by now, `{folder}/{group}/{id}.{ext}`, in the order of the job.

        Each is there whole or not at all, and is what the job says by its SHA-256; one that is there already is not
        fetched again. Raises NotSaved when the folder cannot be written, a picture arrived damaged, or one was removed
        from the service and is not there yet.
        """
        return await Album(client=self, folder=folder).save_new(await self.job(job_id))

    async def archive(self, job_id: str, path: Path, *, output: str | None = None) -> Path:
        """All pictures of the job by now in one ZIP file, with `manifest.json`; without a name, in the first of its
        outputs. The file is there whole or not at all. Raises NotSaved when it cannot be written."""
        asked = f"?output={quote(output, safe='')}" if output else ""
        await save_archive(self._transport, f"{_job_path(job_id)}/archive{asked}", path)
        return path

    def events(self, job_id: str, *, after: int | None = None) -> AsyncIterator[Event]:
        """What happens to the job, until it has ended and all of it was told.

        With `after` every later event, once and in order; without it first a `snapshot`, whose data is the job. Broken
        lines and restarts are made up for; only when nothing has come for `patience_seconds` of trying, it raises. A
        `reset` says that events after that one are not kept any more, or are unknown; a `snapshot` follows.
        `job.progress` is told on the way, and has no `seq`. Raises NoStream when something on the way passes none on.
        """
        return follow_events(self._transport, f"{_job_path(job_id)}/events", after=after)

    async def account_events(
        self, *, after: str | None = None, limit: int | None = None, follow: bool = False
    ) -> AsyncIterator[FeedPage]:
        """What happened to all jobs, page by page, after a cursor or from the oldest event that is kept.

        It ends with what there is by now; with `follow` it does not, and waits for more.
        """
        wait_seconds = _FEED_WAIT_SECONDS if follow else None
        while True:
            asked = _given({"after": after, "limit": limit, "wait": wait_seconds})
            held_seconds = float(wait_seconds or 0)
            response = await self._get("/v1/events", params=asked, held_seconds=held_seconds)
            page = _read(feed_page, response)
            if page.events:
                yield page
            elif not follow:
                return
            elif (pause_seconds := retry_after_seconds_of(response)) is not None:
                await asyncio.sleep(pause_seconds)  # it cannot hold one more request
            after = page.next_cursor

    async def watch(self, job_id: str, *, interval_seconds: float = 0.25) -> AsyncIterator[JobView]:
        """The job as it is, then again after each change; the last one has ended.

        It rides on the job's stream; where there is none, it looks every `interval_seconds`.
        """
        etag: str | None = None

        async def look() -> JobView | None:
            nonlocal etag
            response = await self._get(_job_path(job_id), headers={"if-none-match": etag} if etag else {})
            if response.status_code == httpx2.codes.NOT_MODIFIED:
                return None
            etag = response.headers.get("etag")
            return _read(job_view, response)

        def listen(after: int | None) -> AsyncIterator[Event]:
            return self.events(job_id, after=after)

        async for job in watch_job(look, listen, interval_seconds=interval_seconds):
            yield job

    async def wait(self, job_id: str) -> JobView:
        """The job once it has ended, however long that takes; `asyncio.timeout` sets a limit."""
        async for job in self.watch(job_id):
            if job.has_ended:
                return job
        raise AssertionError("a watch ends with a job that has ended")

    async def call(
        self, method: str, path: str, *, may_repeat: bool = False, held_seconds: float = 0.0, **request: Any
    ) -> httpx2.Response:
        """The answer to any call of the API; `may_repeat` says that sending it twice does no harm.

        The service may hold it back for `held_seconds` beyond the usual.
        """
        return await self._transport.send(method, path, may_repeat=may_repeat, held_seconds=held_seconds, **request)

    async def is_up(self) -> bool:
        """Whether something answers there; not whether it is ready."""
        return await self._transport.is_up()

    async def _get(self, path: str, **request: Any) -> httpx2.Response:
        return await self.call("GET", path, may_repeat=True, **request)


def _read(view: Callable[[dict[str, Any]], T], response: httpx2.Response) -> T:
    """Raises ApiProblem for an answer that is none of the service's."""
    try:
        return view(_document(response.json()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise not_understood(response) from error


def _document(answer: Any) -> dict[str, Any]:
    if not isinstance(answer, dict):
        raise TypeError("no object")
    return answer


def _job_path(job_id: str) -> str:
    return f"/v1/jobs/{quote(job_id, safe='')}"


def _given(asked: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in asked.items() if value is not None}
