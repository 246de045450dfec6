"""A case's pictures: ordered from Safelight once, kept up to date by what it tells, found again whatever crashed.

The order of things makes it safe. A case is listed as unfinished, then saved, then its record with the request, and
only then is anything ordered; whoever finds a saved case without a job later orders it under the same key, and gets
the same job. The record is the truth; what others read is copied from it (`_publish`), and again if it changed.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from safelight.client import ApiProblem, JobView, SafelightClient, Unreachable

from .case import Case
from .record import EVENTS, Picture, Record, after_event, after_look, status_of, with_pictures_of
from .settings import Settings
from .store import Store, change

log = logging.getLogger(__name__)

UNFINISHED = "unfinished-cases"
LATEST = "latest-case"
_STATUS_TTL_SECONDS = 7 * 86_400
_ABANDONED = timedelta(hours=1)
_CANCEL_SECONDS = 3.0
"""How long who cancels waits for Safelight, where it is not known whether the order has arrived there."""
_OUR_OWN = frozenset({401, 403})
"""Refusals that say nothing of the order: it waits until somebody has set the right key."""
_CANCELED = "The pictures were canceled before they were ordered."


class NoCase(LookupError):
    """There is no case of that id."""


class NotForThisCase(ValueError):
    """A message, rightly signed, that tells of another job than the case's."""


class Pictures:
    """Several processes may do all of this at once for the same case. Methods that name a case raise NoCase."""

    def __init__(self, store: Store, safelight: SafelightClient, settings: Settings) -> None:
        self._store = store
        self._safelight = safelight
        self._settings = settings

    async def save(self, case: Case) -> Case:
        """The case is kept, and will have pictures; if there was one of its id, that one is returned."""
        await change(self._store, UNFINISHED, lambda known: {case.id: case.created_at.isoformat()} | (known or {}))
        created = await self._store.swap(_case_key(case.id), None, case.model_dump_json(by_alias=True))
        if not created:
            return await self.case(case.id)
        this = {"id": case.id, "createdAt": case.created_at.isoformat()}
        await change(self._store, LATEST, lambda old: max(old or this, this, key=lambda each: each["createdAt"]))
        await self._record(case.id)
        await self._publish(case.id)
        return case

    async def case(self, case_id: str) -> Case:
        raw = await self._store.get(_case_key(case_id))
        if raw is None:
            raise NoCase(case_id)
        return Case.model_validate_json(raw)

    async def latest(self) -> Case:
        raw = await self._store.get(LATEST)
        if raw is None:
            raise NoCase("latest")
        return await self.case(json.loads(raw)["id"])

    async def status(self, case_id: str) -> dict[str, Any]:
        """How far the pictures are; for a week from what is kept for everybody, then from the record."""
        raw = await self._store.get(_status_key(case_id))
        if raw is not None:
            return json.loads(raw)
        return status_of(await self.case(case_id), await self._record(case_id))

    async def order(self, case_id: str) -> None:
        """Safelight has the job, once, however often this is called; or has refused it, and the record says why.

        Raises Unreachable, and ApiProblem for what may pass; the sweep tries again.
        """
        await self._record(case_id)
        record = await self._change(case_id, _begun)
        if record.job_id is not None or record.problem is not None:
            return
        try:
            submitted = await self._safelight.submit(record.request, idempotency_key=record.key)
        except ApiProblem as problem:
            if problem.is_retryable or problem.status in _OUR_OWN:
                raise
            log.error("case %s: Safelight refused the order: %s", case_id, problem)
            refusal = {"problem": str(problem), "state": "failed", "completed_at": datetime.now(UTC)}
            await self._change(case_id, lambda old: old.model_copy(update=refusal))
            return
        log.info("case %s: job %s%s", case_id, submitted.job.id, ", as before" if submitted.replayed else "")
        record = await self._change(case_id, lambda old: self._seen(old, submitted.job))
        await self._end_if_unwanted(case_id, record)

    async def order_again(self, case_id: str) -> None:
        """Pictures that are missing are on their way: ordered, or tried again, unless they are already. Raises
        Unreachable and ApiProblem."""
        record = await self._record(case_id)
        if record.is_unwanted:
            record = await self._change(case_id, lambda old: old.model_copy(update={"is_unwanted": False}))
        if record.job_id is None:
            if record.problem is not None:  # what was refused may be set right by now
                renewed = self._new_record(await self.case(case_id))
                await self._change(case_id, lambda old: renewed if old.problem is not None else old)
            await self.order(case_id)
        elif record.state in ("partial", "failed", "canceled"):
            job = await self._safelight.retry(record.job_id)
            await self._change(case_id, lambda old: self._seen(old, job))

    async def cancel(self, case_id: str) -> None:
        """Nothing more is begun for the case; what was ordered already may still come. Where nobody knows whether it
        was ordered, that is found out first: now, or by the sweep. Raises Unreachable and ApiProblem."""
        await self._record(case_id)
        record = await self._change(case_id, _unwanted)
        if record.job_id is not None:
            await self._end(case_id, record.job_id)
        elif record.problem is None:
            try:
                async with asyncio.timeout(_CANCEL_SECONDS):
                    await self.order(case_id)
            except (Unreachable, ApiProblem, TimeoutError) as error:
                log.warning("case %s is canceled as soon as Safelight answers: %r", case_id, error)

    async def hear(self, case_id: str, event: Mapping[str, Any]) -> None:
        """The case is as the event tells; nothing is changed by one that comes again, or too late.

        Raises NotForThisCase, and Unreachable and ApiProblem where Safelight had to be asked.
        """
        record = await self._record(case_id)
        job_id = event["data"].get("job_id")
        if record.job_id is None:
            # It was ordered, and the answer is still on its way, or was lost with the process that waited for it.
            if not isinstance(job_id, str) or not await self._is_ours(job_id, case_id):
                raise NotForThisCase(case_id)
        elif record.job_id != job_id:
            raise NotForThisCase(case_id)
        heard = {"job_id": job_id, "heard_at": datetime.now(UTC)}
        base_url = self._settings.safelight_url
        record = await self._change(
            case_id, lambda old: after_event(old, event, base_url=base_url).model_copy(update=heard)
        )
        if record.has_ended and not record.is_settled:
            await self.look(case_id)  # something was not told: messages are given up when nobody takes them for long
        await self._end_if_unwanted(case_id, record)

    async def look(self, case_id: str) -> None:
        """The case is as Safelight shows its job. Raises Unreachable and ApiProblem."""
        record = await self._record(case_id)
        if record.job_id is not None:
            job = await self._safelight.job(record.job_id)
            await self._change(case_id, lambda old: self._seen(old, job))

    async def sweep(self, *, silence_seconds: float) -> None:
        """What was lost is found: cases that were saved and not ordered, and jobs of which nothing was heard for that
        long. One that cannot be helped now does not hold up the others."""
        now = datetime.now(UTC)
        known = json.loads(await self._store.get(UNFINISHED) or "{}")
        for case_id, created_at in known.items():
            try:
                await self._recover(case_id, silent_since=now - timedelta(seconds=silence_seconds))
            except NoCase:
                if datetime.fromisoformat(created_at) < now - _ABANDONED:  # its process died before it was saved
                    await self._list(case_id, is_finished=True)
            except (Unreachable, ApiProblem) as error:
                log.warning("case %s: %s", case_id, error)

    async def _recover(self, case_id: str, *, silent_since: datetime) -> None:
        record = await self._record(case_id)
        if record.job_id is None:
            await self.order(case_id)
        elif record.is_unwanted:
            await self._end_if_unwanted(case_id, record)
        elif not record.is_settled and record.heard_at <= silent_since:
            await self.look(case_id)
        await self._publish(case_id)

    async def _end_if_unwanted(self, case_id: str, record: Record) -> None:
        if record.is_unwanted and record.job_id is not None and not record.has_ended:
            await self._end(case_id, record.job_id)

    async def _end(self, case_id: str, job_id: str) -> None:
        job = await self._safelight.cancel(job_id)
        await self._change(case_id, lambda old: self._seen(old, job).model_copy(update={"is_unwanted": False}))

    async def _is_ours(self, job_id: str, case_id: str) -> bool:
        try:
            job = await self._safelight.job(job_id)
        except ApiProblem as problem:
            if problem.is_retryable:
                raise
            return False
        return job.document["metadata"].get("case_id") == case_id

    def _seen(self, record: Record, job: JobView) -> Record:
        seen = {"job_id": job.id, "problem": None, "heard_at": datetime.now(UTC)}
        return after_look(record, job.document, base_url=self._settings.safelight_url).model_copy(update=seen)

    async def _change(self, case_id: str, edit: Callable[[Record], Record]) -> Record:
        """The record after the edit, and everything that is read told of it."""

        def edited(old: dict[str, Any] | None) -> dict[str, Any]:
            if old is None:
                raise NoCase(case_id)
            return edit(Record.model_validate(old)).model_dump(mode="json", by_alias=True)

        record = Record.model_validate(await change(self._store, _job_key(case_id), edited))
        await self._publish(case_id)
        return record

    async def _publish(self, case_id: str) -> None:
        """What others read is as the record says, also when others change it at the same time: then both see to it that
        the newest is what stays."""
        while True:
            raw = await self._store.get(_job_key(case_id))
            if raw is None:
                raise NoCase(case_id)
            record = Record.model_validate_json(raw)
            case = Case.model_validate(
                await change(self._store, _case_key(case_id), lambda old, record=record: with_pictures_of(old, record))
            )
            simple = "ready" if record.state == "completed" else record.state
            await self._store.put(f"case:{case_id}:image-status", simple)
            status = json.dumps(status_of(case, record))
            await self._store.put(_status_key(case_id), status, ttl_seconds=_STATUS_TTL_SECONDS)
            await self._list(case_id, is_finished=record.is_settled)
            if await self._store.get(_job_key(case_id)) == raw:
                return

    async def _list(self, case_id: str, *, is_finished: bool) -> None:
        def edit(known: dict[str, str] | None) -> dict[str, str]:
            others = {each: at for each, at in (known or {}).items() if each != case_id}
            if is_finished:
                return others
            return others | {case_id: (known or {}).get(case_id, datetime.now(UTC).isoformat())}

        await change(self._store, UNFINISHED, edit)

    async def _record(self, case_id: str) -> Record:
        """The case's record; its first one, if whoever saved the case has not come to it."""
        raw = await self._store.get(_job_key(case_id))
        if raw is None:
            first = self._new_record(await self.case(case_id)).model_dump_json(by_alias=True)
            await self._store.swap(_job_key(case_id), None, first)
            raw = await self._store.get(_job_key(case_id))
        if raw is None:
            raise NoCase(case_id)
        return Record.model_validate_json(raw)

    def _new_record(self, case: Case) -> Record:
        request = self._request(case)
        named = [subject["id"] for group in request["subjects"].values() for subject in group]
        now = datetime.now(UTC)
        return Record(
            key=case.id,
            request=request,
            pictures=dict.fromkeys(named, Picture()),
            started_at=now,
            heard_at=now,
        )

    def _request(self, case: Case) -> dict[str, Any]:
        """The body of `POST /v1/jobs`: what the player needs first comes first."""
        person = {"name", "age", "gender", "occupation", "appearance"}
        return {
            "recipe": "mystery-case",
            "subjects": {
                "locations": [
                    {"id": f"location-{n}", "name": each.name, "description": each.description}
                    for n, each in enumerate(case.locations)
                ],
                "suspects": [
                    {"id": f"suspect-{n}", **each.model_dump(include=person)} for n, each in enumerate(case.suspects)
                ],
                "evidence": [
                    {"id": f"evidence-{n}", "name": each.name, "description": each.description}
                    for n, each in enumerate(case.evidence)
                ],
            },
            "defaults": {"provider": self._settings.image_provider} if self._settings.image_provider else {},
            "outputs": [
                {"name": "card", "width": 640, "height": 640, "fit": "inside", "format": "jpeg", "quality": 80}
            ],
            "storage_prefix": f"armchair-sleuths/{case.id}",
            "visibility": "link",  # the addresses go into the case, and have to last as long as it does
            "deadline_seconds": self._settings.image_deadline_seconds,
            "on_deadline": "continue",
            "webhook": {
                "url": f"{self._settings.app_url}/api/webhook/image-progress?case={case.id}",
                "events": list(EVENTS),
            },
            "metadata": {"case_id": case.id},
        }


def _begun(record: Record) -> Record:
    """It may have arrived from now on, unless it was canceled before."""
    return record if record.job_id or record.problem else record.model_copy(update={"is_sent": True})


def _unwanted(record: Record) -> Record:
    """It is never ordered, if it was not. If it may have been, its job is canceled once that is known."""
    if record.job_id or record.problem:
        return record
    if record.is_sent:
        return record.model_copy(update={"is_unwanted": True})
    end = {"problem": _CANCELED, "state": "canceled", "completed_at": datetime.now(UTC)}
    return record.model_copy(update=end)


def _case_key(case_id: str) -> str:
    return f"case:{case_id}"


def _job_key(case_id: str) -> str:
    return f"case:{case_id}:image-job"


def _status_key(case_id: str) -> str:
    return f"image-generation-status:{case_id}"
