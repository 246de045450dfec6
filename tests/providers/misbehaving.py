"""Providers with one fault each, and the suite run on them: copied to a folder of its own and run there, it fails."""

# The example is on the path where this is run.
# pyright: reportMissingImports=false

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import httpx2
import test_conformance as ours
from acme_provider import MODELS, AcmeProvider
from test_acme_provider import TestAcme as Acme

from safelight.domain.errors import Billed, ErrorKind
from safelight.domain.money import FREE, Cost, CostBasis
from safelight.net.billable import CallNotSent
from safelight.providers.failures import buyable
from safelight.providers.provider import (
    Capabilities,
    ImageProvider,
    ImageRequest,
    ImageResult,
    ProviderError,
    Refusal,
    RemoteHandle,
    StillRunning,
)
from safelight.providers.registry import ProviderConfig
from safelight.providers.replicate import ReplicateProvider


class AcmeSuite(Acme):
    provider: type[AcmeProvider] = AcmeProvider

    def build(self, config: ProviderConfig) -> AcmeProvider:
        return self.provider.from_config("acme", config)


class OwnClient(AcmeProvider):
    def __init__(self, *, api_key: str, base_url: str) -> None:
        super().__init__(api_key=api_key, base_url=base_url)
        self._http = httpx2.AsyncClient(verify=False, follow_redirects=True)


class TestOwnClient(AcmeSuite):
    provider = OwnClient


class SendsTwice(OwnClient):
    async def submit(self, request: ImageRequest) -> ImageResult | Refusal:
        buyable(request, MODELS)
        await self._http.post(self._url, json={})
        return await super().submit(request)


class TestSendsTwice(AcmeSuite):
    provider = SendsTwice


class Retries(OwnClient):
    async def submit(self, request: ImageRequest) -> ImageResult | Refusal:
        try:
            return await super().submit(request)
        except ProviderError as error:
            if error.kind is not ErrorKind.PERMANENT:
                return await super().submit(request)
            raise


class TestRetries(AcmeSuite):
    provider = Retries


class DropsTheSeed(AcmeProvider):
    async def submit(self, request: ImageRequest) -> ImageResult | Refusal:
        buyable(request, MODELS)
        return await super().submit(replace(request, seed=None))


class TestDropsTheSeed(AcmeSuite):
    provider = DropsTheSeed


class DropsWhatItLacks(AcmeProvider):
    async def submit(self, request: ImageRequest) -> ImageResult | Refusal:
        return await super().submit(
            replace(request, model="draw-2", negative_prompt=None, quality=None, size=None, inputs=())
        )


class TestDropsWhatItLacks(AcmeSuite):
    provider = DropsWhatItLacks


class TellsTheKey(AcmeProvider):
    async def submit(self, request: ImageRequest) -> ImageResult | Refusal:
        try:
            return await super().submit(request)
        except ProviderError as error:
            error.message = f"{error.message} ({self._key})"
            raise


class TestTellsTheKey(AcmeSuite):
    provider = TellsTheKey


class TellsThePromptInItsCause(AcmeProvider):
    async def submit(self, request: ImageRequest) -> ImageResult | Refusal:
        try:
            return await super().submit(request)
        except ProviderError as error:
            raise error from ValueError(f"no picture for {request.prompt}")


class TestTellsThePromptInItsCause(AcmeSuite):
    provider = TellsThePromptInItsCause


class ShowsItsKey(AcmeProvider):
    def __repr__(self) -> str:
        return f"ShowsItsKey({self.__dict__})"


class TestShowsItsKey(AcmeSuite):
    provider = ShowsItsKey


class SwallowsCancellation(AcmeProvider):
    async def submit(self, request: ImageRequest) -> ImageResult | Refusal:
        try:
            return await super().submit(request)
        except asyncio.CancelledError:
            raise ProviderError("given up", kind=ErrorKind.TIMEOUT, billed=Billed.UNKNOWN, code="GIVEN_UP") from None


class TestSwallowsCancellation(AcmeSuite):
    provider = SwallowsCancellation


class OutlivesItsTask(AcmeProvider):
    async def submit(self, request: ImageRequest) -> ImageResult | Refusal:
        return await asyncio.shield(asyncio.ensure_future(super().submit(request)))


class TestOutlivesItsTask(AcmeSuite):
    provider = OutlivesItsTask
    patience_seconds = 1.0


class CallsEverythingFree(AcmeProvider):
    async def submit(self, request: ImageRequest) -> ImageResult | Refusal:
        try:
            answer = await super().submit(request)
        except ProviderError as error:
            error.billed, error.unbilled_by_policy = Billed.NO, False
            raise
        return replace(answer, cost=FREE)


class TestCallsEverythingFree(AcmeSuite):
    provider = CallsEverythingFree


class LetsErrorsThrough(AcmeProvider):
    async def submit(self, request: ImageRequest) -> ImageResult | Refusal:
        try:
            return await super().submit(request)
        except ProviderError as error:
            if error.http_status is None and error.kind is not ErrorKind.PERMANENT:
                raise httpx2.ReadError(error.message) from None
            raise


class TestLetsErrorsThrough(AcmeSuite):
    provider = LetsErrorsThrough


class RaisesItsRefusals(AcmeProvider):
    async def submit(self, request: ImageRequest) -> ImageResult | Refusal:
        answer = await super().submit(request)
        if isinstance(answer, Refusal):
            raise ProviderError(answer.message, kind=ErrorKind.SAFETY, billed=Billed.NO, code=answer.code)
        return answer


class TestRaisesItsRefusals(AcmeSuite):
    provider = RaisesItsRefusals


class TakesOneAtATime(AcmeProvider):
    def __init__(self, *, api_key: str, base_url: str) -> None:
        super().__init__(api_key=api_key, base_url=base_url)
        self._lock = asyncio.Lock()

    async def submit(self, request: ImageRequest) -> ImageResult | Refusal:
        async with self._lock:
            return await super().submit(request)


class TestTakesOneAtATime(AcmeSuite):
    provider = TakesOneAtATime
    patience_seconds = 1.0


class ClosesOnce(AcmeProvider):
    _closed = False

    async def aclose(self) -> None:
        assert not self._closed, "closed already"
        self._closed = True
        await super().aclose()


class TestClosesOnce(AcmeSuite):
    provider = ClosesOnce


class EstimatesTooLow(AcmeProvider):
    def estimate(self, request: ImageRequest) -> Cost:
        return replace(super().estimate(request), microusd=19_999)


class TestEstimatesTooLow(AcmeSuite):
    provider = EstimatesTooLow


class EstimatesInDollars(AcmeProvider):
    def estimate(self, request: ImageRequest) -> Cost:
        dollars: Any = 0.02
        return Cost(dollars, CostBasis.ESTIMATE)


class TestEstimatesInDollars(AcmeSuite):
    provider = EstimatesInDollars


class PromisesAMask(AcmeProvider):
    def capabilities(self, model: str) -> Capabilities:
        return replace(super().capabilities(model), mask=True)


class TestPromisesAMask(AcmeSuite):
    provider = PromisesAMask


class KnowsEveryModel(AcmeProvider):
    def capabilities(self, model: str) -> Capabilities:
        return super().capabilities("draw-2")


class TestKnowsEveryModel(AcmeSuite):
    provider = KnowsEveryModel


class ListsNothing(AcmeProvider):
    def models(self) -> tuple[str, ...]:
        return ()


class TestListsNothing(AcmeSuite):
    provider = ListsNothing


class IgnoresTheDeadline(AcmeProvider):
    async def submit(self, request: ImageRequest) -> ImageResult | Refusal:
        try:
            return await super().submit(request)
        except CallNotSent:
            raise ProviderError("late", kind=ErrorKind.TIMEOUT, billed=Billed.UNKNOWN, code="LATE") from None


class TestIgnoresTheDeadline(AcmeSuite):
    provider = IgnoresTheDeadline


# Remote jobs


class ReplicateSuite(ours.TestReplicate):
    provider: type[ReplicateProvider] = ReplicateProvider

    def build(self, config: ProviderConfig) -> ImageProvider:
        return self.provider.from_config("replicate", config)


class RemembersItsJobs(ReplicateProvider):
    _known: Mapping[str, object] = {}

    async def submit(self, request: ImageRequest) -> Refusal | RemoteHandle:
        answer = await super().submit(request)
        if isinstance(answer, RemoteHandle):
            self._known = {answer.remote_id: answer}
        return answer

    async def poll(self, handle: RemoteHandle, request: ImageRequest) -> ImageResult | Refusal | StillRunning:
        return await super().poll(handle, request) if handle.remote_id in self._known else StillRunning()


class TestRemembersItsJobs(ReplicateSuite):
    provider = RemembersItsJobs


class EndsWhatItCannotAsk(ReplicateProvider):
    async def poll(self, handle: RemoteHandle, request: ImageRequest) -> ImageResult | Refusal | StillRunning:
        answer = await self._account.ask("GET", handle.urls["get"], prompt="")
        if answer.status >= 500:
            raise ProviderError("lost", kind=ErrorKind.TEMPORARY, billed=Billed.UNKNOWN, code="LOST")
        return await super().poll(handle, request)


class TestEndsWhatItCannotAsk(ReplicateSuite):
    provider = EndsWhatItCannotAsk


class ForgetsWhatItSold(ReplicateProvider):
    async def poll(self, handle: RemoteHandle, request: ImageRequest) -> ImageResult | Refusal | StillRunning:
        self._models.find(request.model)
        return await super().poll(handle, request)


class TestForgetsWhatItSold(ReplicateSuite):
    provider = ForgetsWhatItSold


class BuysAgain(ReplicateProvider):
    async def poll(self, handle: RemoteHandle, request: ImageRequest) -> ImageResult | Refusal | StillRunning:
        await self.submit(request)
        return await super().poll(handle, request)


class TestBuysAgain(ReplicateSuite):
    provider = BuysAgain


class GoesWhereItIsSent(ReplicateProvider):
    async def poll(self, handle: RemoteHandle, request: ImageRequest) -> ImageResult | Refusal | StillRunning:
        await self._account.ask("GET", handle.urls["get"], prompt="")
        return await super().poll(handle, request)


class TestGoesWhereItIsSent(ReplicateSuite):
    provider = GoesWhereItIsSent


class FetchesWithItsKey(ReplicateProvider):
    async def poll(self, handle: RemoteHandle, request: ImageRequest) -> ImageResult | Refusal | StillRunning:
        answer = await self._account.ask("GET", handle.urls["get"], prompt="")
        for url in (answer.body or {}).get("output") or ():
            await self._account.ask("GET", url, prompt="")
        return await super().poll(handle, request)


class TestFetchesWithItsKey(ReplicateSuite):
    provider = FetchesWithItsKey


class WritesItsKeyDown(ReplicateProvider):
    async def submit(self, request: ImageRequest) -> Refusal | RemoteHandle:
        answer = await super().submit(request)
        return replace(answer, urls={"get": f"{self._account.url('/')}?key={self._account._api_key}"})


class TestWritesItsKeyDown(ReplicateSuite):
    provider = WritesItsKeyDown
