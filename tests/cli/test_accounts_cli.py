"""`safelight accounts` as a process of its own, against the real API."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from safelight.api.app import ApiDependencies
from tests.api import conftest as api
from tests.cli.conftest import Safelight

queue, deps, renderer = api.queue, api.deps, api.renderer


@pytest.fixture
async def url(deps: ApiDependencies) -> AsyncIterator[str]:
    async with api.serving(deps) as client:
        yield str(client.base_url).rstrip("/")


async def test_an_account_is_set_paid_into_and_shown(safelight: Safelight, url: str) -> None:
    said = await safelight("accounts", "set", "user_42", "--billing", "usd", "--daily-budget", "5", url=url)
    assert said.code == 0, said.err
    assert "budget 5.000 USD a day: 0.000 spent, 0.000 held, 5.000 left" in said.out
    said = await safelight("accounts", "top-up", "user_42", "25.00usd", "--reason", "invoice 7", "--key", "i7", url=url)
    assert (said.code, said.out) == (0, "user_42 has 25.000 USD\n"), said.err
    again = await safelight(
        "accounts", "top-up", "user_42", "25.00usd", "--reason", "invoice 7", "--key", "i7", "--json", url=url
    )
    assert json.loads(again.out)["available_usd"] == "25.000"
    listed = await safelight("accounts", "list", url=url)
    assert "25.000 USD" in listed.out
    ledger = await safelight("accounts", "ledger", "user_42", url=url)
    assert "top_up" in ledger.out
    assert "invoice 7" in ledger.out


async def test_what_cannot_be_paid_in_is_refused_in_one_line(safelight: Safelight, url: str) -> None:
    said = await safelight("accounts", "top-up", "user_42", "many", url=url)
    assert (said.code, said.err) == (1, "safelight: `many` is not a whole number; dollars are written `25.00usd`\n")
    said = await safelight("accounts", "top-up", "user_42", "5", url=url)
    assert (said.code, said.err) == (1, "safelight: Account `user_42` is not billed.\n")


async def test_a_terminal_of_eighty_columns_cuts_no_sum_off(
    safelight: Safelight, url: str, environment: dict[str, str]
) -> None:
    environment["COLUMNS"] = "80"
    name = "the-account-of-a-studio-with-a-long-name-and-of-all-its-customers"[:64]
    await safelight("accounts", "set", name, "--billing", "usd", "--daily-budget", "1234567.891", url=url)
    await safelight("accounts", "top-up", name, "7654321.123456usd", "--reason", "a" * 70, url=url)
    listed = await safelight("accounts", "list", url=url)
    ledger = await safelight("accounts", "ledger", name, url=url)
    stats = await safelight("stats", url=url)
    for table in (listed, ledger, stats):
        assert table.out
        assert "…" not in table.out, table.out
    assert name in listed.out
    assert "7654321.123456" in ledger.out.replace("\n", "")
    assert "$0.000" in stats.out


async def test_a_budget_that_is_none_leaves_the_account_as_it_was(safelight: Safelight, url: str) -> None:
    await safelight("accounts", "set", "user_42", "--weight", "2", url=url)
    said = await safelight("accounts", "set", "user_42", "--weight", "9", "--daily-budget", "5 USD", url=url)
    assert (said.code, said.err) == (1, "safelight: `5 USD` is no amount of dollars; it is written `25.00`\n")
    shown = json.loads((await safelight("accounts", "show", "user_42", "--json", url=url)).out)
    assert (shown["weight"], shown["budget"]) == (2, None)
