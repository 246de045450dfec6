"""What a provider says about itself before anything is bought."""

from __future__ import annotations

import re
from datetime import date

import pytest

from safelight.domain.money import Cost
from safelight.providers.provider import Capabilities, RemoteProvider, UnknownModel
from safelight.testing.stage import Harness

_RATIO = re.compile(r"[1-9]\d{0,2}:[1-9]\d{0,2}", re.ASCII)
_SIZE = re.compile(r"[1-9]\d{0,4}x[1-9]\d{0,4}", re.ASCII)


class DeclarationTests(Harness):
    @pytest.mark.asyncio
    async def test_the_sample_model_is_for_sale(self) -> None:
        async with self.stage() as stage:
            can = stage.provider.capabilities(self.model)
        assert isinstance(can, Capabilities)
        assert can.retired_on is None, "choose a sample model that can be bought"
        assert len(self.prompt) <= can.prompt_max_chars

    @pytest.mark.asyncio
    async def test_capabilities_agree_with_themselves(self) -> None:
        async with self.stage() as stage:
            can = stage.provider.capabilities(self.model)
            assert stage.provider.capabilities(self.model) == can, "asked twice, they differ"
            is_remote = isinstance(stage.provider, RemoteProvider)
        for name in ("aspect_ratios", "sizes", "qualities"):
            values = getattr(can, name)
            assert values is None or values, f"`{name}` is None when the model takes none, not empty"
        assert all(_RATIO.fullmatch(ratio) for ratio in can.aspect_ratios or ())
        assert all(_SIZE.fullmatch(size) and can.takes_size(size) for size in can.sizes or ())
        assert 0 < can.timeout_seconds <= 3600
        assert can.prompt_max_chars > 0
        assert can.max_references >= 0
        assert can.max_references or not can.mask, "a mask belongs to a reference picture, and the model takes none"
        assert can.remote_job == is_remote, "`remote_job` is true for a RemoteProvider, and for no other"

    @pytest.mark.asyncio
    async def test_the_sample_options_are_among_the_capabilities(self) -> None:
        async with self.stage() as stage:
            can = stage.provider.capabilities(self.model)
        request = self.request(**self.options)
        assert request.aspect_ratio is None or request.aspect_ratio in (can.aspect_ratios or ())
        assert request.size is None or can.takes_size(request.size)
        assert request.quality is None or request.quality in (can.qualities or ())
        assert request.seed is None or can.seed
        assert request.negative_prompt is None or can.negative_prompt

    @pytest.mark.asyncio
    async def test_the_models_are_listed(self) -> None:
        async with self.stage() as stage:
            models = list(stage.provider.models())
            known = [stage.provider.capabilities(model) for model in models]
        assert self.model in models
        assert len(set(models)) == len(models)
        for can in known:
            assert can.retired_on is None or date.fromisoformat(can.retired_on)

    @pytest.mark.asyncio
    async def test_a_model_that_nobody_knows_is_unknown(self) -> None:
        async with self.stage() as stage:
            with pytest.raises(UnknownModel):
                stage.provider.capabilities(self.unknown_model)
            with pytest.raises(UnknownModel):
                stage.provider.estimate(self.request(model=self.unknown_model))

    @pytest.mark.asyncio
    async def test_a_retired_model_says_since_when(self) -> None:
        if self.retired_model is None:
            pytest.skip("no model of this provider is retired")
        async with self.stage() as stage:
            retired_on = stage.provider.capabilities(self.retired_model).retired_on
        assert retired_on is not None
        date.fromisoformat(retired_on)

    @pytest.mark.asyncio
    async def test_the_estimate_is_an_amount_or_unknown(self) -> None:
        async with self.stage() as stage:
            for options in ({}, self.options):
                check_cost(stage.provider.estimate(self.request(**options)), is_free=self.is_free)

    @pytest.mark.asyncio
    async def test_nothing_is_contacted_before_the_first_call(self) -> None:
        async with self.stage() as stage:
            stage.provider.capabilities(self.model)
            stage.provider.estimate(self.request(**self.options))
            await stage.provider.aclose()
            assert (stage.vendor.connections, stage.elsewhere.connections) == (0, 0)


def check_cost(cost: Cost, *, is_free: bool) -> None:
    """Whole micro-dollars or unknown, and 0 only where a picture costs nothing."""
    assert isinstance(cost, Cost)
    if cost.microusd is None:
        return
    assert type(cost.microusd) is int, "an amount is a whole number of micro-dollars"
    assert (cost.microusd == 0) == is_free, "0 is for a picture that costs nothing; an amount nobody knows is unknown"
