"""Cases come into being: on request, every day at midnight, and none of them without its pictures."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from datetime import UTC, datetime, time, timedelta
from typing import Any

from safelight.client import ApiProblem, Unreachable

from .case import Case, id_of_day, id_of_request
from .pictures import NoCase, Pictures
from .settings import Settings
from .telling import load_model_library, tell_case

log = logging.getLogger(__name__)

_LOOK_SECONDS = 60.0


class Game:
    """`start` and `aclose` go around everything else."""

    def __init__(self, pictures: Pictures, settings: Settings) -> None:
        self.pictures = pictures
        self._settings = settings
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        if self._settings.gemini_api_key is not None:
            self._begin(load_model_library())
        if self._settings.sweep_seconds:
            self._begin(self._sweep_now_and_then())
        if self._settings.daily:
            self._begin(self._keep_daily())

    async def aclose(self) -> None:
        """What was begun is broken off; the next start's sweep goes on with it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def create(self, *, key: str | None = None) -> tuple[Case, bool]:
        """A case, saved, with its pictures on their way, and whether it is new: the same `key` brings the same case."""
        return await self._create(id_of_request(key), date=None, seconds=self._settings.telling_seconds)

    async def daily(self) -> tuple[Case, bool]:
        """Today's case, by UTC, and whether it was made just now. However often it is called, there is one a day."""
        today = datetime.now(UTC).date().isoformat()
        return await self._create(id_of_day(today), date=today, seconds=self._settings.daily_telling_seconds)

    async def today(self) -> Case:
        """Raises NoCase."""
        return await self.pictures.case(id_of_day(datetime.now(UTC).date().isoformat()))

    async def _create(self, case_id: str, *, date: str | None, seconds: float) -> tuple[Case, bool]:
        try:
            return await self.pictures.case(case_id), False
        except NoCase:
            case = await tell_case(self._settings, case_id=case_id, date=date, seconds=seconds)
        saved = await self.pictures.save(case)
        self._begin(self._order(case_id))
        return saved, saved.created_at == case.created_at

    async def _order(self, case_id: str) -> None:
        try:
            await self.pictures.order(case_id)
        except (Unreachable, ApiProblem) as error:  # the sweep tries again
            log.warning("case %s is saved, its pictures are not ordered yet: %s", case_id, error)

    async def _sweep_now_and_then(self) -> None:
        silence_seconds = 0.0  # after a start nobody knows what was missed
        while True:
            try:
                await self.pictures.sweep(silence_seconds=silence_seconds)
                silence_seconds = self._settings.silence_seconds
            except Exception:
                log.exception("the sweep failed")
            await asyncio.sleep(self._settings.sweep_seconds)

    async def _keep_daily(self) -> None:
        """Looks every minute, for a clock may be set, or a machine asleep at midnight."""
        while True:
            try:
                await self.daily()
            except Exception:
                log.exception("today's case could not be made")
            now = datetime.now(UTC)
            midnight = datetime.combine(now.date() + timedelta(days=1), time(tzinfo=UTC))
            await asyncio.sleep(min((midnight - now).total_seconds(), _LOOK_SECONDS))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
