"""A call that failed leaves nothing of its answer in the worker's memory."""

from __future__ import annotations

import asyncio
import gc
import weakref

import asyncpg

from safelight.domain.errors import Billed, ErrorKind
from safelight.domain.ids import new_worker_id
from safelight.providers.placeholder import PlaceholderProvider
from safelight.providers.provider import ImageRequest, ImageResult, ProviderError
from safelight.settings import Settings
from tests.engine.by_hand import admitted_one, pipeline_of, run
from tests.orders import image


class Answer:
    """What a vendor said, as large as it likes."""


class Unreadable(PlaceholderProvider):
    """Fails as client libraries do, with a future of their own that knows the failure, and the failure the future."""

    answers: weakref.WeakSet[Answer]

    async def submit(self, request: ImageRequest) -> ImageResult:
        try:
            self._read()
        except ValueError:
            raise ProviderError("unreadable", kind=ErrorKind.PERMANENT, billed=Billed.NO, code="NO") from None
        raise AssertionError

    def _read(self) -> None:
        answer = Answer()
        self.answers.add(answer)
        outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        outcome.set_exception(ValueError("unreadable"))
        outcome.result()


async def test_a_failed_call_lets_go_of_the_answer_at_once(
    settings: Settings, pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    worker_id = new_worker_id()
    async with pipeline_of(settings, pool, worker_id) as pipeline:
        provider = Unreadable()
        provider.answers = weakref.WeakSet()
        pipeline.providers = {"placeholder": provider}
        _, hint = await admitted_one(pool, queue, image("a"))
        gc.disable()
        try:
            await run(pipeline, hint)

            assert await pool.fetchval("SELECT error_code FROM attempts") == "NO"
            assert len(provider.answers) == 0, "nothing is left to a collection, which may be far away"
        finally:
            gc.enable()
