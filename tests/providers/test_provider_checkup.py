from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
from configs import config

from safelight.domain.checkup import Check, Verdict
from safelight.providers.checkup import Account, provider_checks
from safelight.settings import VENDOR_KEYS

MODEL = "gemini-3.1-flash-lite-image"


class Listener:
    """Counts connections, and the bytes that came over them."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.closed = asyncio.Event()
        self.url = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heard.append(await reader.read())
        writer.close()
        self.closed.set()


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    listener = Listener()
    server = await asyncio.start_server(listener.answer, "127.0.0.1", 0)
    listener.url = f"http://user:secret@127.0.0.1:{server.sockets[0].getsockname()[1]}/gemini"
    async with server:
        yield listener


@pytest.fixture
def nobody() -> str:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        return f"http://127.0.0.1:{closed.getsockname()[1]}"


async def checked(
    kind: str = "gemini", *, model: str | None = MODEL, base_url: str | None = None, api_key: str | None = "hunter2"
) -> list[Check]:
    checks = await provider_checks(
        [Account(name="mine", kind=kind, model=model, config=config(base_url=base_url, api_key=api_key))]
    )
    assert "hunter2" not in repr(checks)
    return checks


async def test_a_provider_is_reached_without_a_byte(listener: Listener) -> None:
    [check] = await checked(base_url=listener.url)
    assert check.verdict is Verdict.OK
    assert MODEL in check.found
    assert "secret" not in check.found
    async with asyncio.timeout(20):
        await listener.closed.wait()
    assert listener.heard == [b""]


async def test_an_address_where_nobody_listens_is_a_problem(nobody: str) -> None:
    [check] = await checked(base_url=nobody)
    assert (check.name, check.verdict) == ("mine address", Verdict.PROBLEM)
    assert "cannot be reached" in check.found


@pytest.mark.parametrize(
    ("model", "why"),
    [("gemini-99", "is not in the model data"), ("gemini-2.5-flash-image", "switched `gemini-2.5-flash-image` off")],
)
async def test_a_model_that_cannot_be_bought_is_a_problem(model: str, why: str, listener: Listener) -> None:
    [check] = await checked(model=model, base_url=listener.url)
    assert (check.name, check.verdict) == ("mine model", Verdict.PROBLEM)
    assert why in check.found


async def test_a_kind_that_is_not_installed_is_a_problem() -> None:
    [check] = await checked("daguerre")
    assert check.verdict is Verdict.PROBLEM
    assert "fal, gemini, openai, placeholder, replicate" in check.remedy


@pytest.mark.parametrize(("kind", "variable"), VENDOR_KEYS.items())
async def test_a_missing_key_is_a_problem_that_names_where_it_is_looked_for(kind: str, variable: str) -> None:
    [check] = await checked(kind, api_key=None)
    assert check.found.endswith(f"needs an API key: set its `api_key`, or {variable}")


async def test_the_placeholder_needs_no_network_and_no_model_of_its_own() -> None:
    [check] = await checked("placeholder", model=None, api_key=None)
    assert check.verdict is Verdict.OK
    assert check.found == "kind `placeholder`, each request names its model, needs no network"
