"""What a provider of remote jobs does besides: its jobs outlive the process that bought them."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest

from safelight.domain.errors import Billed, ErrorKind, Scope
from safelight.providers.provider import (
    ImageRequest,
    ImageResult,
    PollFailed,
    ProviderError,
    RemoteCancellation,
    RemoteHandle,
    RemoteProvider,
    StillRunning,
)
from safelight.testing.stage import Case, Harness, Stage, begun, png
from safelight.testing.vendor import Delivery, Reply, ScriptedVendor

_PAGE = b"<!doctype html><title>Welcome</title>"
_UNTOLD = {
    "cut": Reply(delivery=Delivery.CUT),
    "half": Reply(body=b'{"some": "json"}' * 1000, delivery=Delivery.HALF),
    "page": Reply(body=_PAGE, media_type="text/html"),
    "nothing": Reply(body=b"{}"),
    "500": Reply(status=500, body=b"{}"),
    "502": Reply(status=502, body=_PAGE, media_type="text/html"),
    "503": Reply(status=503),
}
"""Answers that do not say how a job stands."""

_REMOTE: dict[type[Harness], bool] = {}


class RemoteJobTests(Harness):
    @pytest.mark.asyncio
    async def test_a_handle_survives_being_written_down(self) -> None:
        async with self._accepted() as (_, handle):
            assert handle.remote_id
            assert RemoteHandle.from_json(json.loads(json.dumps(handle.as_json()))) == handle
            assert self.key not in json.dumps(handle.as_json()), "the key is in the handle"

    @pytest.mark.asyncio
    async def test_another_process_gets_the_picture(self) -> None:
        async with self._accepted() as (stage, handle):
            result = await stage.polled(handle, self.request())
        assert isinstance(result, ImageResult)
        assert result.data == png()

    @pytest.mark.asyncio
    async def test_a_job_of_a_model_that_is_listed_no_more_still_brings_its_picture(self) -> None:
        """It was bought before the model went, and is paid for."""
        async with self._accepted() as (stage, handle):
            result = await stage.polled(handle, self.request(model=self.unknown_model))
        assert isinstance(result, ImageResult)
        assert result.data == png()

    @pytest.mark.asyncio
    async def test_asking_after_a_job_buys_nothing(self) -> None:
        async with self._accepted() as (stage, handle):
            bought = stage.vendor.requests[0]
            await stage.polled(handle, self.request())
            asked = stage.vendor.requests[1:]
        assert asked, "the picture came without a question"
        assert all((each.method, each.path) != (bought.method, bought.path) for each in asked), "it was bought again"

    @pytest.mark.asyncio
    async def test_a_job_that_runs_is_still_running(self) -> None:
        async with self._accepted(Case.RUNNING) as (stage, handle):
            assert isinstance(await stage.remote.poll(handle, self.request()), StillRunning)

    @pytest.mark.asyncio
    @pytest.mark.parametrize("answer", _UNTOLD)
    async def test_an_answer_that_does_not_tell_is_asked_for_again(self, answer: str) -> None:
        """PollFailed leaves the job alone; a ProviderError would end it, and a picture that is paid for be lost."""
        async with self._accepted() as (stage, handle):
            stage.always = _UNTOLD[answer]
            await _poll_failed(stage, handle, self.request())
            stage.always = None
            assert isinstance(await stage.polled(handle, self.request()), ImageResult)

    @pytest.mark.asyncio
    async def test_a_rate_limit_on_a_question_is_no_end(self) -> None:
        async with self._accepted() as (stage, handle):
            stage.case = Case.RATE_LIMIT
            failure = await _poll_failed(stage, handle, self.request())
        assert failure.kind is ErrorKind.RATE_LIMIT
        assert failure.retry_after_seconds == self.retry_after_seconds

    @pytest.mark.asyncio
    async def test_a_key_that_went_bad_is_no_end(self) -> None:
        async with self._accepted() as (stage, handle):
            stage.case = Case.BAD_KEY
            failure = await _poll_failed(stage, handle, self.request())
        assert (failure.kind, failure.scope) == (ErrorKind.AUTH_ERROR, Scope.ACCOUNT)

    @pytest.mark.asyncio
    @pytest.mark.parametrize("case", [Case.BAD_KEY, Case.SERVER_ERROR])
    async def test_a_failed_question_tells_neither_key_nor_prompt(self, case: Case) -> None:
        async with self._accepted() as (stage, handle):
            stage.case, stage.words = case, f"key {self.key} may not ask for '{self.prompt}'"
            failure = await _poll_failed(stage, handle, self.request())
        for text in (failure.message, repr(failure), *traceback.format_exception(failure)):
            assert self.key not in text, "the key was told"
            assert self.prompt not in text, "the prompt was told"

    @pytest.mark.asyncio
    async def test_a_question_that_is_given_up_closes_its_connection(self) -> None:
        async with self._accepted() as (stage, handle):
            stage.always = Reply(delivery=Delivery.NEVER)
            async with begun(stage.remote.poll(handle, self.request())) as [question]:
                await stage.until(lambda: len(stage.vendor.requests) == 2)
                question.cancel()
                await asyncio.wait([question], timeout=self.patience_seconds)
                assert question.cancelled(), "the cancellation was swallowed"
                await stage.until(lambda: stage.vendor.hung_up == 1)

    # The picture

    @pytest.mark.asyncio
    async def test_a_picture_that_cannot_be_had_now_is_asked_for_again(self) -> None:
        async with self._accepted() as (stage, handle):
            stage.file = Reply(status=503)
            try:
                answer = await stage.remote.poll(handle, self.request())
            except PollFailed:
                stage.file = None
                answer = await stage.polled(handle, self.request())
            assert isinstance(answer, ImageResult)

    @pytest.mark.asyncio
    async def test_a_picture_that_is_gone_was_paid_for(self) -> None:
        async with self._accepted() as (stage, handle):
            stage.file = Reply(status=404)
            ended = await _ended(stage.polled(handle, self.request()))
            if stage.elsewhere.requests:
                assert isinstance(ended, ProviderError), f"a 404 became a {type(ended).__name__}"
                assert ended.billed is not Billed.NO

    # The key

    @pytest.mark.asyncio
    async def test_the_key_stays_with_the_vendor(self) -> None:
        async with self._accepted() as (stage, handle):
            await stage.polled(handle, self.request())
            self._check_keyless(stage.elsewhere)

    @pytest.mark.asyncio
    async def test_a_handle_that_leads_elsewhere_does_not_take_the_key_there(self) -> None:
        async with self._accepted() as (stage, handle):
            strange = replace(handle, urls={name: _moved(url, stage) for name, url in handle.urls.items()})
            for ask in (stage.remote.poll(strange, self.request()), stage.remote.cancel(strange)):
                await _ended(ask)
            self._check_keyless(stage.elsewhere)

    @pytest.mark.asyncio
    async def test_a_redirect_does_not_take_the_key_elsewhere(self) -> None:
        async with self._accepted() as (stage, handle):
            for status in (301, 302, 307, 308):
                stage.always = Reply(status=status, headers={"location": f"{stage.elsewhere.url}/"})
                await _ended(stage.remote.poll(handle, self.request()))
                await _ended(stage.remote.cancel(handle))
            assert stage.elsewhere.requests == []

    # Stopping

    @pytest.mark.asyncio
    async def test_a_job_can_be_asked_to_stop_by_another_process(self) -> None:
        async with self._accepted(Case.RUNNING) as (stage, handle):
            answer = await stage.remote.cancel(handle)
        assert answer in (RemoteCancellation.REQUESTED, RemoteCancellation.UNSUPPORTED)

    @pytest.mark.asyncio
    async def test_a_stop_that_is_not_answered_raises_nothing_but_poll_failed(self) -> None:
        async with self._accepted(Case.RUNNING) as (stage, handle):
            for reply in _UNTOLD.values():
                stage.always = reply
                ended = await _ended(stage.remote.cancel(handle))
                assert isinstance(ended, PollFailed | RemoteCancellation)

    # Helpers

    @asynccontextmanager
    async def _accepted(self, case: Case = Case.SUCCESS) -> AsyncIterator[tuple[Stage, RemoteHandle]]:
        """A job, and a provider that has not bought it."""
        if not await _is_remote(type(self)):
            pytest.skip("this vendor answers with the picture")
        async with self.stage(case) as stage:
            handle = await stage.submit(self.request())
            assert isinstance(handle, RemoteHandle), "a RemoteProvider answers a purchase with a RemoteHandle"
            await stage.provider.aclose()
            stage.provider = self.built(stage.vendor.url)
            yield stage, handle

    def _check_keyless(self, host: ScriptedVendor) -> None:
        assert not any(request.holds(self.key) for request in host.requests), "the key was sent to another host"


async def _is_remote(suite: type[Harness]) -> bool:
    """Found out once: building a provider can take longer than a test."""
    if suite not in _REMOTE:
        async with suite().stage() as stage:
            _REMOTE[suite] = isinstance(stage.provider, RemoteProvider)
    return _REMOTE[suite]


async def _poll_failed(stage: Stage, handle: RemoteHandle, request: ImageRequest) -> PollFailed:
    try:
        answer = await stage.remote.poll(handle, request)
    except PollFailed as failure:
        return failure
    except ProviderError as error:
        raise AssertionError(f"`poll` ended the job with ProviderError {error.code}; raise PollFailed") from error
    raise AssertionError(f"`poll` is to raise PollFailed here; it returned {type(answer).__name__}")


async def _ended(question: Coroutine[Any, Any, Any]) -> Any:
    """However it ended, within what may end it."""
    try:
        return await question
    except (PollFailed, ProviderError) as error:
        return error


def _moved(url: str, stage: Stage) -> str:
    """The same place on another host."""
    parts = urlsplit(url)
    return url.replace(f"{parts.scheme}://{parts.netloc}", stage.elsewhere.url, 1)
