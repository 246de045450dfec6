"""What a provider does with a call: one request, one outcome, and the truth about what it may have cost."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import traceback
from typing import Any

import pytest

from safelight.domain.errors import Billed, ErrorKind, Scope
from safelight.net.billable import CallNotSent
from safelight.providers.provider import (
    Capabilities,
    ImageInput,
    ImageRequest,
    ImageResult,
    InputRole,
    ProviderError,
    Refusal,
    RemoteHandle,
)
from safelight.testing.declared import check_cost
from safelight.testing.stage import Case, Harness, Stage, begun, mask_png, may_have_cost, png
from safelight.testing.vendor import Delivery, Reply

_PAGE = b"<!doctype html><title>Welcome</title><p>This is not the API that you are looking for.</p>"
_AWKWARD_BODIES = (
    b"",
    b"null",
    b"[]",
    b"{}",
    b'"words"',
    b"7",
    b'{"data": 7, "error": [1], "status": {}}',
    b"\xff\xfe",
)
_AWKWARD_STATUSES = {
    "successes": (200, 202, 204),
    "redirects": (302, 307),
    "client errors": (400, 401, 402, 403, 404, 408, 409, 418, 422, 429),
    "server errors": (500, 502, 503, 504, 529),
}
_OPTIONS = (
    "aspect_ratio",
    "size",
    "size and aspect_ratio",
    "quality",
    "seed",
    "negative_prompt",
    "references",
    "mask",
    "mask without a reference",
    "prompt",
)
_FAULTS = (Case.RATE_LIMIT, Case.BAD_KEY, Case.SERVER_ERROR)


class CallTests(Harness):
    # A call that goes well

    @pytest.mark.asyncio
    async def test_a_call_is_one_request(self) -> None:
        async with self.stage() as stage:
            answer = await stage.submit(self.request(**self.options))
            assert not isinstance(answer, Refusal), f"the success was taken for a refusal: {answer.code}"
            assert len(stage.vendor.requests) == (0 if self.is_local else 1)

    @pytest.mark.asyncio
    async def test_the_request_leaves_through_the_billable_client(self) -> None:
        """Else the engine takes a call whose answer is lost for one that was never sent, and buys again."""
        self._needs_a_vendor()
        async with self.stage() as stage:
            await stage.submit(self.request())
            assert stage.call is not None
            assert stage.call.has_left, "send it with a client of safelight.net.billable.billable_client"

    @pytest.mark.asyncio
    async def test_not_a_byte_leaves_after_the_deadline(self) -> None:
        self._needs_a_vendor()
        async with self.stage() as stage:
            with pytest.raises(CallNotSent):
                await stage.submit(self.request(), within_seconds=0.0)
            assert stage.vendor.requests == []

    @pytest.mark.asyncio
    async def test_a_success_is_a_picture(self) -> None:
        async with self.stage() as stage:
            result = await stage.bought(self.request(**self.options))
        assert isinstance(result, ImageResult)
        assert isinstance(result.data, bytes)
        assert result.data
        assert "/" in result.claimed_mime
        json.dumps(dict(result.usage))

    @pytest.mark.asyncio
    async def test_the_cost_is_an_amount_within_the_estimate_or_unknown(self) -> None:
        for options in ({}, self.options):
            async with self.stage() as stage:
                request = self.request(**options)
                estimate = stage.provider.estimate(request)
                result = await stage.bought(request)
            assert isinstance(result, ImageResult)
            check_cost(result.cost, is_free=self.is_free)
            if estimate.microusd is not None and result.cost.microusd is not None:
                assert result.cost.microusd <= estimate.microusd, "the estimate is an upper bound"

    @pytest.mark.asyncio
    async def test_the_prompt_reaches_the_vendor(self) -> None:
        self._needs_a_vendor()
        one, other = await self._asked(), await self._asked(prompt="A green lamp")
        assert one != other

    @pytest.mark.asyncio
    async def test_every_option_reaches_the_vendor(self) -> None:
        self._needs_a_vendor()
        plain = await self._asked()
        dropped = [name for name, value in self.options.items() if await self._asked(**{name: value}) == plain]
        assert dropped == [], "these options make no difference to the request that is sent"

    @pytest.mark.asyncio
    async def test_every_picture_that_goes_in_reaches_the_vendor(self) -> None:
        self._needs_a_vendor()
        async with self.stage() as stage:
            can = stage.provider.capabilities(self.model)
        if not can.max_references:
            pytest.skip("the model takes no pictures")
        inputs = [_reference(n) for n in range(min(can.max_references, 3))]
        inputs += [_mask()] if can.mask else []
        asked = [await self._asked(inputs=tuple(inputs[:count])) for count in range(len(inputs) + 1)]
        assert all(asked[n] != asked[n + 1] for n in range(len(inputs))), "a picture more makes no difference"
        if can.max_references > 1:
            inputs[:2] = inputs[1::-1]
            assert await self._asked(inputs=tuple(inputs)) != asked[-1], "their order makes no difference"

    @pytest.mark.asyncio
    async def test_two_calls_at_once_do_not_wait_for_each_other(self) -> None:
        async with self.stage() as stage:
            stage.vendor.hold()
            async with begun(stage.submit(self.request()), stage.submit(self.request())) as calls:
                if not self.is_local:
                    await stage.until(lambda: len(stage.vendor.requests) == 2)
                stage.vendor.release()
                answers = await asyncio.gather(*calls)
        assert not any(isinstance(answer, Refusal) for answer in answers)

    @pytest.mark.asyncio
    async def test_it_can_be_closed_twice(self) -> None:
        async with self.stage() as stage:
            await stage.submit(self.request())
            await stage.provider.aclose()
            await stage.provider.aclose()

    # What is not sent

    @pytest.mark.asyncio
    @pytest.mark.parametrize("option", _OPTIONS)
    async def test_what_the_model_cannot_do_is_refused_unsent(self, option: str) -> None:
        """A vendor would drop an option that it lacks, and charge."""
        async with self.stage() as stage:
            asked = _beyond(stage.provider.capabilities(self.model), option)
            if asked is None:
                pytest.skip("the model can do whatever is asked of this")
            error = await stage.refused_unsent(self.request(**asked))
        assert (error.kind, error.billed) == (ErrorKind.PERMANENT, Billed.NO)

    @pytest.mark.asyncio
    async def test_a_model_that_nobody_knows_is_refused_unsent(self) -> None:
        async with self.stage() as stage:
            error = await stage.refused_unsent(self.request(model=self.unknown_model))
        assert (error.kind, error.billed) == (ErrorKind.PERMANENT, Billed.NO)

    @pytest.mark.asyncio
    async def test_a_retired_model_is_refused_unsent(self) -> None:
        if self.retired_model is None:
            pytest.skip("no model of this provider is retired")
        async with self.stage() as stage:
            error = await stage.refused_unsent(self.request(model=self.retired_model))
        assert (error.kind, error.billed) == (ErrorKind.PERMANENT, Billed.NO)

    # A vendor that says no

    @pytest.mark.asyncio
    async def test_a_refusal_is_a_result(self) -> None:
        self._needs_a_vendor()
        if not self.can_refuse:
            pytest.skip("this vendor never refuses")
        async with self.stage(Case.REFUSAL) as stage:
            refusal = await stage.bought(self.request())
        assert isinstance(refusal, Refusal), "what the vendor's policy refuses is a result, not a fault"
        assert refusal.code
        if refusal.billed is Billed.NO:
            assert refusal.cost.microusd == 0
        else:
            check_cost(refusal.cost, is_free=self.is_free)

    @pytest.mark.asyncio
    async def test_a_rate_limit_is_unbilled_and_says_how_long(self) -> None:
        self._needs_a_vendor()
        error, _ = await self._fault(Case.RATE_LIMIT)
        assert (error.kind, error.billed) == (ErrorKind.RATE_LIMIT, Billed.NO)
        assert error.retry_after_seconds == self.retry_after_seconds

    @pytest.mark.asyncio
    async def test_a_bad_key_is_a_fault_of_the_account(self) -> None:
        self._needs_a_vendor()
        error, _ = await self._fault(Case.BAD_KEY)
        assert (error.kind, error.scope, error.billed) == (ErrorKind.AUTH_ERROR, Scope.ACCOUNT, Billed.NO)

    @pytest.mark.asyncio
    async def test_a_server_error_may_have_cost(self) -> None:
        self._needs_a_vendor()
        error, _ = await self._fault(Case.SERVER_ERROR)
        assert error.kind in (ErrorKind.TEMPORARY, ErrorKind.TIMEOUT)
        assert may_have_cost(error), "that it is unbilled is proven by nothing but the vendor's policy"

    @pytest.mark.asyncio
    @pytest.mark.parametrize("case", _FAULTS)
    async def test_a_failure_is_not_repeated(self, case: Case) -> None:
        """Retries are the engine's: it knows what was paid for."""
        self._needs_a_vendor()
        _, stage = await self._fault(case)
        assert len(stage.vendor.requests) == 1

    # A vendor that breaks off

    @pytest.mark.asyncio
    async def test_a_refused_connection_cost_nothing(self) -> None:
        self._needs_a_vendor()
        with socket.create_server(("127.0.0.1", 0)) as closed:
            url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        async with self.stage() as stage:
            nobody = self.built(url)
            await stage.provider.aclose()
            stage.provider = nobody
            error = await stage.failed(self.request())
        assert error.billed is Billed.NO
        assert error.kind is ErrorKind.TEMPORARY

    @pytest.mark.asyncio
    @pytest.mark.parametrize("delivery", [Delivery.CUT, Delivery.HALF])
    async def test_an_answer_that_breaks_off_may_have_cost(self, delivery: Delivery) -> None:
        self._needs_a_vendor()
        async with self.stage(always=Reply(body=b'{"some": "json"}' * 1000, delivery=delivery)) as stage:
            error = await stage.failed(self.request())
            assert len(stage.vendor.requests) == 1, "it was sent again"
            assert error.billed is Billed.UNKNOWN

    @pytest.mark.asyncio
    async def test_an_answer_that_cannot_be_read_may_have_cost(self) -> None:
        self._needs_a_vendor()
        async with self.stage(always=Reply(body=_PAGE, media_type="text/html")) as stage:
            error = await stage.failed(self.request())
            assert len(stage.vendor.requests) == 1, "it was sent again"
            assert error.billed is not Billed.NO

    @pytest.mark.asyncio
    @pytest.mark.parametrize("statuses", _AWKWARD_STATUSES)
    async def test_no_answer_raises_anything_but_a_provider_error(self, statuses: str) -> None:
        self._needs_a_vendor()
        async with self.stage() as stage:
            for status in _AWKWARD_STATUSES[statuses]:
                for body in (*_AWKWARD_BODIES, _PAGE) if status != 204 else (b"",):
                    # A redirect leads to another host, which must not see the request.
                    headers = {"location": f"{stage.elsewhere.url}/"} if 300 <= status < 400 else {}
                    stage.always = Reply(status=status, body=body, headers=headers)
                    answer = await _outcome(stage, self.request())
                    shown = f"HTTP {status} with {body!r}"
                    assert len(stage.vendor.requests) == 1, f"{shown} made it send again"
                    assert isinstance(answer, ProviderError | Refusal), f"{shown} became a {type(answer).__name__}"
                    if isinstance(answer, ProviderError) and not 400 <= status < 500:
                        assert may_have_cost(answer), f"{shown} does not prove that the call is unbilled"
                    stage.vendor.requests.clear()
            assert stage.elsewhere.requests == []

    @pytest.mark.asyncio
    async def test_cancelling_the_task_closes_the_connection(self) -> None:
        """Else a call that was given up may still answer, and be charged."""
        self._needs_a_vendor()
        async with self.stage(always=Reply(delivery=Delivery.NEVER)) as stage:
            async with begun(stage.submit(self.request())) as [call]:
                await stage.until(lambda: bool(stage.vendor.requests))
                call.cancel()
                await asyncio.wait([call], timeout=self.patience_seconds)
                assert call.cancelled(), "the cancellation was swallowed"
                await stage.until(lambda: stage.vendor.hung_up == 1)
            assert len(stage.vendor.requests) == 1

    # What is said about it

    @pytest.mark.asyncio
    @pytest.mark.parametrize("case", _FAULTS)
    async def test_an_error_tells_neither_key_nor_prompt(self, case: Case, caplog: pytest.LogCaptureFixture) -> None:
        self._needs_a_vendor()
        echo = f"key {self.key} may not ask for '{self.prompt}'"
        with caplog.at_level(logging.INFO):
            error, _ = await self._fault(case, words=echo)
        told = [
            error.message,
            repr(error),
            str(error),
            error.code,
            str(error.request_id),
            json.dumps(dict(error.usage)),
        ]
        self._check_discreet([*told, *traceback.format_exception(error), *_logged(caplog)])

    @pytest.mark.asyncio
    async def test_a_connection_error_tells_neither_key_nor_prompt(self, caplog: pytest.LogCaptureFixture) -> None:
        self._needs_a_vendor()
        echo = f"<p>key {self.key} may not ask for {self.prompt}".encode()
        for reply in (Reply(body=echo, media_type="text/html"), Reply(delivery=Delivery.CUT)):
            with caplog.at_level(logging.INFO):
                async with self.stage(always=reply) as stage:
                    error = await stage.failed(self.request())
            self._check_discreet([error.message, *traceback.format_exception(error), *_logged(caplog)])

    @pytest.mark.asyncio
    async def test_what_comes_back_tells_neither_key_nor_prompt(self) -> None:
        echo = f"key {self.key} may not ask for '{self.prompt}'"
        async with self.stage() as stage:
            told = [repr(stage.provider), str(stage.provider)]
            answer = await stage.submit(self.request())
            told += [repr(answer), json.dumps(answer.as_json()) if isinstance(answer, RemoteHandle) else ""]
            if self.can_refuse and not self.is_local:
                stage.case, stage.words = Case.REFUSAL, echo
                told.append(repr(await stage.bought(self.request())))
        self._check_discreet(told)

    # Helpers

    def _needs_a_vendor(self) -> None:
        if self.is_local:
            pytest.skip("this provider has no vendor to talk to")

    async def _fault(self, case: Case, *, words: str = "the vendor's own words") -> tuple[ProviderError, Stage]:
        async with self.stage(case, words=words) as stage:
            return await stage.failed(self.request()), stage

    async def _asked(self, **changes: Any) -> tuple[str, str, bytes]:
        """What the request for this asks the vendor for."""
        async with self.stage() as stage:
            await stage.submit(self.request(**changes))
            return stage.vendor.requests[0].asked

    def _check_discreet(self, told: list[str]) -> None:
        for text in told:
            assert self.key not in text, "the key was told"
            assert self.prompt not in text, "the prompt was told"


async def _outcome(stage: Stage, request: ImageRequest) -> object:
    try:
        return await stage.submit(request)
    except ProviderError as error:
        return error


def _logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def _reference(shade: int) -> ImageInput:
    return ImageInput(role=InputRole.REFERENCE, mime="image/png", data=png(shade=shade))


def _mask() -> ImageInput:
    return ImageInput(role=InputRole.MASK, mime="image/png", data=mask_png())


def _beyond(can: Capabilities, option: str) -> dict[str, Any] | None:
    """A request's fields that the model cannot serve; None where it serves all."""
    ratio, size = next(iter(sorted(can.aspect_ratios or ())), None), next(iter(sorted(can.sizes or ())), None)
    match option:
        case "aspect_ratio":
            return {"aspect_ratio": "1:1" if can.aspect_ratios is None else "97:89"}
        case "size":
            return {"size": "1x1"} if not can.takes_size("1x1") else None
        case "size and aspect_ratio":
            return {"size": size or "1024x1024", "aspect_ratio": ratio or "1:1"}
        case "quality":
            return {"quality": "no-such-quality"}
        case "seed":
            return None if can.seed else {"seed": 7}
        case "negative_prompt":
            return None if can.negative_prompt else {"negative_prompt": "blur"}
        case "references":
            return {"inputs": tuple(_reference(n) for n in range(can.max_references + 1))}
        case "mask":
            return None if can.mask else {"inputs": (*map(_reference, range(min(can.max_references, 1))), _mask())}
        case "mask without a reference":
            return {"inputs": (_mask(),)}
        case "prompt":
            return {"prompt": "x" * (can.prompt_max_chars + 1)}
        case _:
            raise AssertionError(option)
