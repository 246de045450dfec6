"""Orders: kept, sent, looked at, canceled, tried again.

An order is in the store before Safelight hears of it, with the very body that will be sent, under a key of its own. So
whatever breaks in between, sending it once more makes one job and holds its tokens once. Once it has a job, what
Safelight says of that is the truth, and the store a memory of the last look.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

from examples.product_studio.accounts import Accounts
from examples.product_studio.problems import NotThere, Problem, is_refusal, passed_on
from examples.product_studio.standings import Tokens, standing_of, status_of, tokens_of
from examples.product_studio.store import Generation, Store, User, new_generation
from examples.product_studio.wishes import Wish, job_of
from safelight.client import ApiProblem, JobView, SafelightClient, Unreachable

_LOOKS_AT_ONCE = 5
_LOOK_SECONDS = 3.0
"""How long somebody who looks waits for Safelight, for all orders together; then they see what was last seen."""
_ANSWER_SECONDS = 3.0
"""How long somebody who orders waits for Safelight; then the order is kept, and sent by the sweep."""

log = logging.getLogger("product_studio")


@dataclass(slots=True, kw_only=True)
class Studio:
    """Methods raise Problem for what the user can be told, and Unreachable or ApiProblem as the client does."""

    safelight: SafelightClient
    store: Store
    accounts: Accounts
    own_url: str
    _locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = field(default_factory=WeakValueDictionary)
    """Per user and request key, so that a request, its repetition and the sweep do not send the same order at once."""
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def quote(self, user: User, wish: Wish) -> dict[str, Any]:
        """What the order would cost in tokens, and how long it may take; nothing is ordered."""
        quote = await self.safelight.quote(self._job(user, wish, "gen_quote"))
        return {
            "tokens": quote.document["credits_held"],
            "balance_after": quote.balance_after,
            "is_affordable": quote.affordable,
            "estimated_seconds": quote.p50_seconds,
            "estimated_seconds_p90": quote.p90_seconds,
        }

    async def order(self, user: User, wish: Wish, *, request_key: str) -> tuple[Generation, bool]:
        """The order, and whether it had been made before under the same key.

        When Safelight does not answer it is kept all the same, and sent by the sweep. What Safelight refuses was never
        ordered, and has not used up its key. Raises Problem.
        """
        wanted = wish.model_dump()
        async with self._lock(user.id, request_key):
            known = await self.store.generation_of_key(user.id, request_key)
            if known is not None:
                if dict(known.wish) != wanted:
                    raise Problem(422, "idempotency-key-reused", "This key was used for another order.")
                return known, True
            generation = new_generation(user.id, request_key, wanted, body_of=lambda own: self._job(user, wish, own))
            await self.store.add_generation(generation)
            try:
                async with asyncio.timeout(_ANSWER_SECONDS):
                    await self._send(generation)
            except (Unreachable, ApiProblem, TimeoutError) as error:
                if isinstance(error, ApiProblem) and is_refusal(error):
                    await self.store.forget(generation.id)
                    raise passed_on(error) from error
                log.warning("order %s is kept, and not sent yet: %s", generation.id, error)
            return await self._again(generation), False

    async def look(self, generation: Generation) -> tuple[Generation, bool]:
        """The order as it stands, and whether that is fresh: without Safelight it is what was last seen."""
        [seen] = await self.look_at([generation])
        return seen

    async def look_at(self, generations: list[Generation]) -> list[tuple[Generation, bool]]:
        """The same for several, in their order."""
        places = asyncio.Semaphore(_LOOKS_AT_ONCE)

        async def one(generation: Generation) -> tuple[Generation, bool]:
            try:
                async with asyncio.timeout(_LOOK_SECONDS), places:
                    return await self._looked(generation)
            except (Unreachable, ApiProblem, TimeoutError) as error:
                log.warning("order %s is shown as it was last seen: %r", generation.id, error)
                return generation, False

        return await asyncio.gather(*map(one, generations))

    async def cancel(self, generation: Generation) -> Generation:
        """Pictures that are not made yet are not made, and their tokens come back; one that was begun may still come.

        Safelight may have heard of an order that the studio thinks it has not sent: so it is sent first, which makes
        sure of its job, and canceled then.
        """
        async with self._lock(generation.user_id, generation.request_key):
            generation = await self._again(generation)
            if generation.job_id is None:
                if not generation.is_open:
                    raise Problem(409, "job-ended", "This order has ended.")
                generation = await self._sent_now(generation)
            assert generation.job_id is not None
            await self._note(generation, await self.safelight.cancel(generation.job_id))
            return await self._again(generation)

    async def retry(self, generation: Generation) -> Generation:
        """What has no picture is tried again, for which tokens are held anew. Raises Problem, with 402 if they do not
        suffice, and then nothing has changed."""
        async with self._lock(generation.user_id, generation.request_key):
            generation = await self._again(generation)
            if generation.job_id is None:
                await self.store.reopen(generation.id)
                return await self._sent_now(await self._again(generation))
            await self._note(generation, await self.safelight.retry(generation.job_id))
            return await self._again(generation)

    async def heard(self, generation: Generation, seq: int) -> None:
        """Something has happened to it, which will be looked at soon; that this was heard survives a crash."""
        await self.store.told(generation.id, seq)
        self._news.set()

    async def keep(self, *, sweep_seconds: float) -> None:
        """Sends what was not sent and looks at what may have moved: when a webhook says so, and every `sweep_seconds`
        for what no webhook has told. Until it is canceled."""
        is_sweep = True
        while True:
            self._news.clear()
            try:
                for generation in await self.store.unfinished(only_told=not is_sweep):
                    await self._mend(generation)
            except Unreachable as error:
                log.warning("Safelight cannot be asked, later again: %s", error)
            except Exception:
                log.exception("the sweep failed, later again")
            is_sweep = True
            with suppress(TimeoutError):
                async with asyncio.timeout(sweep_seconds):
                    await self._news.wait()
                    is_sweep = False

    async def _looked(self, generation: Generation) -> tuple[Generation, bool]:
        if not generation.is_stale or generation.job_id is None:
            return generation, generation.job_id is not None or not generation.is_open
        await self._note(generation, await self.safelight.job(generation.job_id))
        return await self._again(generation), True

    async def _mend(self, generation: Generation) -> None:
        async with self._lock(generation.user_id, generation.request_key):
            current = await self.store.generation(generation.id)
            if current is None:
                return
            try:
                if current.job_id is not None:
                    await self._note(current, await self.safelight.job(current.job_id))
                elif current.is_open:
                    await self._sent_now(current)
            except Problem as refusal:
                log.info("order %s was refused: %s", current.id, refusal)
            except ApiProblem as problem:
                log.warning("order %s, later again: %s", current.id, problem)

    async def _sent_now(self, generation: Generation) -> Generation:
        """With its job. Raises Problem when it is refused, and has noted that."""
        try:
            await self._send(generation)
        except ApiProblem as error:
            if not is_refusal(error):
                raise
            problem = passed_on(error)
            await self.store.refused(generation.id, problem.body)
            raise problem from error
        return await self._again(generation)

    async def _send(self, generation: Generation) -> None:
        submitted = await self.safelight.submit(json.loads(generation.body), idempotency_key=generation.id)
        await self.store.sent(generation.id, submitted.job.id)
        try:
            await self._note(generation, submitted.job)
        except (Unreachable, ApiProblem) as error:
            log.warning("order %s was sent, and will be looked at later: %s", generation.id, error)

    async def _note(self, generation: Generation, job: JobView) -> None:
        """How its job stands is remembered. The ledger is read only when something has happened since."""
        seq = job.document["seq"]
        known = (generation.standing or {}).get("tokens")
        if known is not None and generation.seq == seq and not job.has_ended:
            tokens = Tokens(**known)
        else:
            tokens = tokens_of([each async for each in self.accounts.entries_for(generation.user_id, job.id)])
        await self.store.looked(
            generation.id,
            status=status_of(job),
            seq=seq,
            standing=standing_of(job, tokens, scenes=generation.wish["scenes"]),
            is_settled=job.has_ended and tokens.are_settled,
        )

    async def _again(self, generation: Generation) -> Generation:
        found = await self.store.generation(generation.id)
        if found is None:
            raise NotThere("order")
        return found

    def _job(self, user: User, wish: Wish, generation_id: str) -> dict[str, Any]:
        hook_url = f"{self.own_url}/hooks/safelight/{generation_id}"
        return job_of(wish, account=user.id, generation_id=generation_id, hook_url=hook_url)

    def _lock(self, user_id: str, request_key: str) -> asyncio.Lock:
        return self._locks.setdefault((user_id, request_key), asyncio.Lock())


@asynccontextmanager
async def kept(studio: Studio, *, sweep_seconds: float) -> AsyncIterator[None]:
    """The studio sweeps and listens while this is open."""
    task = asyncio.create_task(studio.keep(sweep_seconds=sweep_seconds))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
