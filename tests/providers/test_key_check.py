"""Is the key good? Asked of the vendor with one free request, and believed only when the vendor says so."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from configs import config

from safelight.providers.checkup import KeyCheckable
from safelight.providers.fal import FalProvider
from safelight.providers.gemini import GeminiProvider
from safelight.providers.key_check import KeyNotChecked
from safelight.providers.openai import OpenAIProvider
from safelight.providers.placeholder import PlaceholderProvider
from safelight.providers.replicate import ReplicateProvider
from safelight.testing import Delivery, Reply, ScriptedVendor

KEY = "canary-key-0123456789"
CHECKABLE = {
    GeminiProvider: ("", "/v1/models?pageSize=1", ("x-goog-api-key", KEY)),
    OpenAIProvider: ("/v1", "/v1/models", ("authorization", f"Bearer {KEY}")),
    ReplicateProvider: ("", "/v1/account", ("authorization", f"Bearer {KEY}")),
}

Kind = type[GeminiProvider] | type[OpenAIProvider] | type[ReplicateProvider]

every_kind = pytest.mark.parametrize("kind", CHECKABLE)


@pytest.fixture
async def vendor() -> AsyncIterator[ScriptedVendor]:
    async with ScriptedVendor(lambda _: Reply.json({})) as vendor:
        yield vendor


async def asked(kind: Kind, vendor: ScriptedVendor) -> str | None:
    path, _, _ = CHECKABLE[kind]
    provider = kind.from_config("mine", config(api_key=KEY, base_url=vendor.url + path))
    assert isinstance(provider, KeyCheckable)
    try:
        return await provider.check_key()
    finally:
        await provider.aclose()


@every_kind
async def test_a_key_is_good_when_the_vendor_shows_what_only_its_owner_sees(kind: Kind, vendor: ScriptedVendor) -> None:
    assert await asked(kind, vendor) is None

    [request] = vendor.requests
    _, target, (header, value) = CHECKABLE[kind]
    assert (request.method, request.target, request.headers[header]) == ("GET", target, value)
    assert KEY not in request.target


@every_kind
@pytest.mark.parametrize("status", [401, 403])
async def test_a_key_that_is_turned_away_is_bad(kind: Kind, status: int, vendor: ScriptedVendor) -> None:
    vendor.script = lambda _: Reply.json({"detail": f"no {KEY}"}, status=status)

    assert await asked(kind, vendor) == f"the vendor answers HTTP {status}"


async def test_gemini_says_bad_key_with_a_400_and_a_word(vendor: ScriptedVendor) -> None:
    vendor.script = lambda _: Reply.json({"error": {"details": [{"reason": "API_KEY_INVALID"}]}}, status=400)
    assert await asked(GeminiProvider, vendor) == "the vendor answers API_KEY_INVALID (HTTP 400)"

    vendor.script = lambda _: Reply.json({"error": {"status": "FAILED_PRECONDITION"}}, status=400)
    with pytest.raises(KeyNotChecked):
        await asked(GeminiProvider, vendor)


@every_kind
@pytest.mark.parametrize(
    "reply",
    [
        Reply(status=404, body=b"{}"),
        Reply(status=429, body=b"{}"),
        Reply(status=500, body=b"{}"),
        Reply(body=b"<p>Log in to this network", media_type="text/html"),
        Reply(body=b"[]"),
        Reply(delivery=Delivery.CUT),
    ],
    ids=["404", "429", "500", "a page", "no object", "cut"],
)
async def test_any_other_answer_says_nothing_about_the_key(kind: Kind, reply: Reply, vendor: ScriptedVendor) -> None:
    vendor.script = lambda _: reply

    with pytest.raises(KeyNotChecked) as caught:
        await asked(kind, vendor)
    assert KEY not in str(caught.value)
    assert len(vendor.requests) == 1


@every_kind
async def test_a_redirect_does_not_take_the_key_elsewhere(kind: Kind, vendor: ScriptedVendor) -> None:
    async with ScriptedVendor(lambda _: Reply.json({})) as elsewhere:
        vendor.script = lambda _: Reply(status=307, headers={"location": f"{elsewhere.url}/v1/models"})

        with pytest.raises(KeyNotChecked):
            await asked(kind, vendor)
        assert elsewhere.connections == 0


async def test_fal_has_no_free_way_and_the_placeholder_no_key() -> None:
    fal = FalProvider.from_config("fal", config(api_key=KEY))

    assert not isinstance(fal, KeyCheckable)
    assert not isinstance(PlaceholderProvider(), KeyCheckable)
    await fal.aclose()
