"""What happens to a job of this app: promised, handed over, kept up to date, canceled, tried again.

The order of things is what makes it safe. A job is saved before Safelight hears of it, and sent under its own id as the
idempotency key: whatever dies in between, the sweep sends it again, and it is still one job and paid for once. News are
noted before the webhook is answered, and the copy is read from Safelight after it. So nothing here has to happen
exactly once.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Coroutine, Iterable, Sequence
from hashlib import sha256
from typing import Any
from uuid import uuid4

from examples.storyboard.asked import Generate, Source
from examples.storyboard.plan import FRAME, job_body
from examples.storyboard.problems import Problem, from_safelight, is_passing
from examples.storyboard.settings import Settings
from examples.storyboard.shown import COMPLETED
from examples.storyboard.store import Entry, State, Store
from safelight.client import ApiProblem, JobView, SafelightClient, Unreachable

_log = logging.getLogger("storyboard")

_LOOK_SECONDS = 2.0
"""How long who reads waits for Safelight before the copy is shown as it is."""
_SETTLE_SECONDS = 30.0
"""A job that is being made is asked after this often, even when no news of it come."""
_MOST_LOOKS = 5
_AT_ONCE = 8
"""Jobs that are asked after side by side."""


class Studio:
    def __init__(self, store: Store, client: SafelightClient, settings: Settings) -> None:
        self._store = store
        self._client = client
        self._settings = settings
        self._tasks: dict[str, asyncio.Task[None]] = {}
        """By what they do; nothing is done twice at once."""

    async def close(self) -> None:
        """What is under way is dropped: the sweep of the next start picks it up."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def order(self, asked: Generate, *, key: str | None) -> tuple[Entry, bool]:
        """The job is promised, and whether it had been before under this key.

        Safelight has it already, if it is quick; else it gets it after this has returned. Raises Problem when the
        request cannot be met: nothing is promised then.
        """
        request = asked.model_dump(mode="json", exclude={"idempotency_key"})
        fingerprint = sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
        job_id = f"gen_{uuid4().hex}"
        found = await self._store.under(key) if key is not None else None
        if found is None:
            request = await self._with_pictures_named(asked, request)
            found = await self._store.save(job_id, request, key=key, fingerprint=fingerprint)
        if found.fingerprint != fingerprint:
            raise Problem(409, "idempotency-key-reused", "This idempotency key belongs to another request.")
        if found.state in (State.SAVED, State.SENDING):
            await asyncio.wait([self._begin_hand_over(found.id)], timeout=self._settings.answer_seconds)
            found = await self._store.get(found.id)
        if found is None:
            raise Problem(409, "idempotency-in-progress", "The same request is just being refused. Send it again.")
        is_known = found.id != job_id
        if found.state is State.REFUSED and not is_known:
            await self._store.forget(job_id)
            raise Problem.of_refusal(found.refusal or {})
        return found, is_known

    async def fresh(self, job_id: str, *, within_seconds: float = _LOOK_SECONDS) -> Entry:
        """The job as it is, or as it was last seen when Safelight does not say. Raises Problem (404)."""
        [entry] = await self.all_fresh([await self._get(job_id)], within_seconds=within_seconds)
        return entry

    async def all_fresh(self, entries: Sequence[Entry], *, within_seconds: float = _LOOK_SECONDS) -> list[Entry]:
        """The same jobs, asked after where there is news, or there might be and no webhook came."""
        before = time.time() - self._settings.fresh_seconds
        stale = [each for each in entries if each.has_news or (each.is_live and each.seen_at < before)]
        asked = [self._begin_refresh(each) for each in stale if each.safelight_id is not None]
        if not asked:
            return list(entries)
        await asyncio.wait(asked, timeout=within_seconds)
        return [await self._get(each.id) for each in entries]

    async def cancel(self, job_id: str) -> Entry:
        """Nothing more is begun for it; what was sent may still end. Raises Problem."""
        is_canceled = await self._store.cancel_unsent(job_id) or (await self._get(job_id)).state is State.CANCELED
        if not is_canceled:
            entry = await self._handed_over(job_id)
            await self._ask(self._client.cancel(entry.safelight_id or ""))
        return await self._get(job_id)

    async def retry(self, job_id: str) -> Entry:
        """What has no picture is tried again, under the same id. Raises Problem."""
        if await self._store.begin_again(job_id):
            await asyncio.wait([self._begin_hand_over(job_id)], timeout=self._settings.answer_seconds)
        else:
            entry = await self._handed_over(job_id)
            await self._ask(self._client.retry(entry.safelight_id or ""))
        return await self._get(job_id)

    async def heard(self, safelight_id: str, seq: int) -> None:
        """The news are noted; the copy follows soon."""
        await self._store.heard(safelight_id, seq)
        entry = await self._store.of_safelight(safelight_id)
        if entry is not None and entry.has_news:
            self._begin_refresh(entry)

    async def sweep_for_ever(self) -> None:
        """Whatever was left undone is done, now and every `sweep_seconds`: after a crash, while Safelight was away, for
        news that never came."""
        while True:
            try:
                left = await self._store.unfinished(seen_before=time.time() - _SETTLE_SECONDS)
                await self._heal(left)
            except Exception:
                _log.exception("the sweep stumbled")
            await asyncio.sleep(self._settings.sweep_seconds)

    async def _heal(self, left: Iterable[Entry]) -> None:
        one_of_few = asyncio.Semaphore(_AT_ONCE)

        async def heal(entry: Entry) -> None:
            async with one_of_few:
                is_sent = entry.safelight_id is not None
                await asyncio.wait([self._begin_refresh(entry) if is_sent else self._begin_hand_over(entry.id)])

        await asyncio.gather(*(heal(each) for each in left))

    async def _hand_over(self, job_id: str) -> None:
        """Safelight has the job, or refused it, or is not there: then it stays for the sweep."""
        entry = await self._get(job_id)
        try:
            if entry.state is State.SAVED:
                await self._store.will_send(job_id, await self._body_of(entry))
                entry = await self._get(job_id)
            if entry.state is not State.SENDING or entry.body is None:
                return
            job = (await self._client.submit(entry.body, idempotency_key=job_id)).job
        except Unreachable as error:
            _log.warning("job %s waits: %s", job_id, error)
        except ApiProblem as problem:
            if is_passing(problem):
                _log.warning("job %s waits: %s", job_id, problem)
            else:
                await self._store.refused(job_id, from_safelight(problem).as_refusal())
        else:
            await self._store.submitted(job_id, dict(job.document), is_live=not job.has_ended)

    async def _body_of(self, entry: Entry) -> dict[str, Any]:
        """What is sent to Safelight. The pictures that it is made from are uploaded: the same bytes are one upload."""
        asked = Generate.model_validate(entry.request)
        references = [await self._upload_of(each) for each in asked.sources]
        mask = asked.mask.upload if asked.mask is not None else None
        return job_body(asked, job_id=entry.id, references=references, mask=mask, settings=self._settings)

    async def _upload_of(self, source: Source) -> str:
        if source.upload is not None:
            return source.upload
        entry = await self._get(source.job_id or "")
        picture = await self._client.picture(entry.safelight_id or "", source.image_id or "", FRAME)
        return (await self._client.upload(picture)).id

    async def _with_pictures_named(self, asked: Generate, request: dict[str, Any]) -> dict[str, Any]:
        """The request, once every job that it works from has its picture; with that picture's id. Raises Problem."""
        sources = zip(asked.sources, _sources_in(request), strict=True)
        of_jobs = [(source, named) for source, named in sources if source.job_id is not None]
        entries = [await self._get(source.job_id or "") for source, _ in of_jobs]
        # All at once, for whoever asked waits for this only as long as for one of them.
        entries = await self.all_fresh(entries, within_seconds=self._settings.answer_seconds)
        for (source, named), entry in zip(of_jobs, entries, strict=True):
            named["image_id"] = _picture_in(entry, source)
        return request

    async def _refresh(self, safelight_id: str) -> None:
        """The copy is up to date with all news, also with those that come while Safelight is asked."""
        try:
            for _ in range(_MOST_LOOKS):
                await self._keep(await self._client.job(safelight_id))
                entry = await self._store.of_safelight(safelight_id)
                if entry is None or not entry.has_news:
                    return
        except (Unreachable, ApiProblem) as error:
            _log.warning("job %s cannot be asked after: %s", safelight_id, error)

    async def _handed_over(self, job_id: str) -> Entry:
        """The job, once Safelight has it. Raises Problem."""
        entry = await self._get(job_id)
        if entry.state in (State.SAVED, State.SENDING):
            await self._begin_hand_over(job_id)
            entry = await self._get(job_id)
        match entry.state:
            case State.SUBMITTED:
                return entry
            case State.REFUSED | State.CANCELED:
                raise Problem(409, "job-has-ended", "The job has ended.")
            case State.SAVED | State.SENDING:
                raise Problem(503, "unavailable", "Safelight does not answer. Ask again in a moment.")

    async def _ask(self, call: Coroutine[Any, Any, JobView]) -> None:
        """The call was made, and the copy shows what came of it. Raises Problem."""
        try:
            await self._keep(await call)
        except ApiProblem as problem:
            raise from_safelight(problem) from problem
        except Unreachable as error:
            raise Problem(503, "unavailable", "Safelight does not answer. Ask again in a moment.") from error

    async def _keep(self, job: JobView) -> None:
        await self._store.saw(dict(job.document), is_live=not job.has_ended)

    async def _get(self, job_id: str) -> Entry:
        entry = await self._store.get(job_id)
        if entry is None:
            raise Problem(404, "not-found", "There is no such job.")
        return entry

    def _begin_hand_over(self, job_id: str) -> asyncio.Task[None]:
        return self._begin(job_id, self._hand_over(job_id))

    def _begin_refresh(self, entry: Entry) -> asyncio.Task[None]:
        assert entry.safelight_id is not None
        return self._begin(entry.safelight_id, self._refresh(entry.safelight_id))

    def _begin(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """The work goes on whoever waits for it, and is under way at most once."""
        if (running := self._tasks.get(name)) is not None:
            work.close()
            return running
        task = self._tasks[name] = asyncio.create_task(work, name=name)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task.get_name()]
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("%s went wrong", task.get_name(), exc_info=error)


def _picture_in(entry: Entry, source: Source) -> str:
    """The source's picture, by its id. Raises Problem."""
    images: list[dict[str, Any]] = (entry.document or {}).get("images", [])
    wanted = [each for each in images if source.image_id in (None, each["id"])]
    if not wanted and entry.document is not None:
        raise Problem(404, "not-found", f"Job `{entry.id}` has no image `{source.image_id}`.")
    pictured = next((each["id"] for each in wanted if each["status"] == COMPLETED), None)
    if pictured is None:
        raise Problem(409, "picture-not-ready", f"Job `{entry.id}` has no such picture yet.")
    return pictured


def _sources_in(request: dict[str, Any]) -> list[dict[str, Any]]:
    """As `Generate.sources`, in the request as it is kept."""
    first = request["source"] or (request["start_frame"] or {}).get("source")
    return [*([first] if first else []), *request["references"]]
