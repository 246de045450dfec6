"""One request for pictures, from its acceptance to its answer: the job that it is, the wait, and what is then said."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from safelight.api.dependencies import ApiDependencies
from safelight.api.edge.idempotency import REPLAYED
from safelight.api.following.waiting import JobWatch
from safelight.api.openai.asked import OUTPUT, Asked, in_its_words, job_body, model_of
from safelight.api.openai.errors import error_answer
from safelight.api.openai.failed import failed_answer
from safelight.api.openai.models import Named
from safelight.api.openai.pictures import HandedOver, pictures_body
from safelight.api.openai.repeats import JUST_ENDED_SECONDS, KEPT_READY_SECONDS, Earlier, Way, key_after, way_of
from safelight.api.ordering.given import input_faults
from safelight.api.ordering.order import place_order
from safelight.api.schemas.openai import ImageGeneration
from safelight.db.pool import TRANSIENT
from safelight.db.statements import load
from safelight.delivery.links import Links
from safelight.domain.errors import Conflict, InvalidRequest
from safelight.domain.ids import JobId
from safelight.domain.lifecycle import ImageStatus
from safelight.domain.order import JobOrder
from safelight.engine.orders.control import retry
from safelight.engine.orders.submit import Accepted, submit

JOB_HEADER = "X-Safelight-Job"

_SQL, _SUBMIT = load("openai"), load("submit")
_ASK_AGAIN_SECONDS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A request that is sound in itself. `fingerprint` is that of everything it says; `repeats` is how often its client
    has sent it before, and `key` what its user calls it by."""

    account: str
    key: str | None
    repeats: int
    fingerprint: str
    request: ImageGeneration
    asked: Asked


Inputs = Callable[[], Awaitable[Mapping[str, Any]]]
"""Keeps the pictures that a request brings, and says how its job names them. Asked only when a job is made of it."""


class Desk:
    def __init__(self, deps: ApiDependencies, watch: JobWatch, links: Links) -> None:
        self._deps = deps
        self._links = links
        self._watch = watch

    async def accept(self, order: Order, inputs: Inputs | None = None) -> Accepted:
        """The job that this request is; one, however many processes are asked at once.

        Raises InvalidRequest for a key of another request, and for what cannot be ordered.
        """
        if order.key is not None:
            accepted = await self._under_key(order, order.key, inputs)
        else:
            accepted = await self._by_its_words(order, inputs)
        self._deps.admission.nudge()
        return accepted

    async def answer(self, http: Request, order: Order, accepted: Accepted) -> Response:
        """What there is to say once the job has ended; or after the longest wait, that it has not. A client that goes
        changes nothing for the job. Raises as `pictures_body` does."""
        headers = {JOB_HEADER: accepted.job_id, "Cache-Control": "no-store"}
        if accepted.replayed:
            headers[REPLAYED] = "true"
        if not await self._has_ended(http, accepted.job_id):
            return _not_yet(headers)
        images = await self._deps.pool.fetch(_SQL.ended_images, accepted.job_id, OUTPUT)
        if not any(image["status"] == ImageStatus.COMPLETED for image in images):
            return failed_answer(images, headers=headers)
        links = replace(self._links, public_url=self._links.public_url or str(http.base_url))
        body = await pictures_body(
            images,
            order.asked,
            job_id=accepted.job_id,
            blobs=self._deps.blobs,
            address=lambda image_id: links.image(accepted.job_id, image_id, OUTPUT, account=order.account),
        )

        async def once_taken() -> None:
            with suppress(
                *TRANSIENT
            ):  # then the next one who asks is given the same pictures: nothing is bought for it
                await self._deps.pool.execute(_SQL.hand_over, accepted.job_id)

        return HandedOver(body, headers, once_taken=once_taken)

    async def _by_its_words(self, order: Order, inputs: Inputs | None) -> Accepted:
        model = order.asked.model if isinstance(order.asked.model, Named) else None
        row = await self._deps.pool.fetchrow(
            _SQL.latest_of_request,
            order.account,
            order.fingerprint,
            JUST_ENDED_SECONDS,
            KEPT_READY_SECONDS,
            model.provider if model is not None else None,
            model.model if model is not None else None,
        )
        earlier = Earlier.from_row(row) if row is not None else None
        if earlier is not None:
            way = way_of(earlier, is_repeat=order.repeats > 0)
            if way is Way.RUN_AGAIN:
                await self._run_again(earlier, order.account)
            if way is not Way.NEW:
                return Accepted(JobId(earlier.job_id), replayed=True)
        return await self._submit(order, key_after(earlier, order.fingerprint), inputs)

    async def _under_key(self, order: Order, key: str, inputs: Inputs | None) -> Accepted:
        """What was accepted once under a key is never refused under it, whatever has been configured since."""
        row = await self._deps.pool.fetchrow(_SUBMIT.job_of_key, order.account, key)
        if row is None:
            return await self._submit(order, key, inputs)
        if row["request_fingerprint"] != order.fingerprint:
            raise InvalidRequest(
                "This Idempotency-Key was used for a different request.", slug="idempotency-key-reused"
            )
        return Accepted(JobId(row["id"]), replayed=True)

    async def _submit(self, order: Order, key: str, inputs: Inputs | None) -> Accepted:
        return await submit(
            self._deps.pool,
            await self._job(order, key, inputs),
            run_limit_seconds=self._deps.run_limit_seconds,
            prices=self._deps.credit_prices,
            account_billing=self._deps.account_billing,
            depth=self._deps.depth,
        )

    async def _job(self, order: Order, key: str, inputs: Inputs | None) -> JobOrder:
        model = model_of(order.asked)
        body = job_body(
            order.request,
            order.asked,
            model,
            wait_seconds=self._deps.openai_wait_seconds,
            inputs=await inputs() if inputs is not None else {},
        )
        try:
            job = place_order(
                body,
                account=order.account,
                idempotency_key=key,
                catalog=self._deps.catalog,
                recipes=self._deps.recipes,
                known_faults=await input_faults(
                    body, pool=self._deps.pool, account=order.account, check_url=self._deps.check_url
                ),
            )
        except InvalidRequest as refusal:
            raise in_its_words(refusal) from None
        # A file that is of the format and the size that were asked for is better than one made of it.
        outputs = tuple({**output, "keeps_original": True} for output in job.outputs)
        return replace(job, body_fingerprint=order.fingerprint, outputs=outputs)

    async def _run_again(self, earlier: Earlier, account: str) -> None:
        """The job's next run has begun, perhaps by somebody else's request."""
        with suppress(Conflict):
            await retry(
                self._deps.pool,
                JobId(earlier.job_id),
                account=account,
                run_limit_seconds=self._deps.run_limit_seconds,
                prices=self._deps.credit_prices,
            )

    async def _has_ended(self, http: Request, job_id: str) -> bool:
        """False when the time is over, the client has gone, or too many wait already."""
        state = await self._deps.pool.fetchrow(_SQL.state, job_id)
        if state is None or not state["is_live"]:
            return True
        await self._watch.wait(http, job_id, seq=state["seq"], seconds=self._deps.openai_wait_seconds)
        state = await self._deps.pool.fetchrow(_SQL.state, job_id)
        return state is None or not state["is_live"]


def _not_yet(headers: Mapping[str, str]) -> Response:
    message = "The pictures are still being made. Send the same request again: it goes on waiting for them."
    more = {**headers, "Retry-After": str(_ASK_AGAIN_SECONDS)}
    return error_answer(503, "still_running", message, kind="server_error", may_repeat=True, headers=more)
