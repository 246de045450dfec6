"""`safelight accounts`: who pays, what they have, and what may be bought for them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote
from uuid import uuid4

import typer

from safelight.cli.complaint import Complaint
from safelight.cli.jobs import AsJson, Url, print_json, run_with_client

if TYPE_CHECKING:
    from rich.console import Console

    from safelight.client import SafelightClient

Name = Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account's name.")]

accounts = typer.Typer(help="Look at accounts, pay into them, and say what they may spend.", no_args_is_help=True)


@accounts.command("list")
def list_accounts(as_json: AsJson = False, url: Url = None) -> None:
    """Every account, with its balance and what its budget leaves today."""

    async def command(client: SafelightClient, console: Console) -> int:
        found = await _pages(client, "/v1/accounts", "accounts", limit=None)
        if as_json:
            print_json({"accounts": found})
            return 0
        from safelight.cli.tables import table

        listed = table("account", "billing", "available", "held", "budget left today", "weight", whole=("account",))
        for each in found:
            available, held = _balance(each)
            left = f"{each['budget']['left_usd']} USD" if each["budget"] else ""
            listed.add_row(each["id"], each["billing"], available, held, left, str(each["weight"]))
        console.print(listed)
        return 0

    run_with_client(command, url)


@accounts.command("show")
def show_account(name: Name, as_json: AsJson = False, url: Url = None) -> None:
    """One account."""

    async def command(client: SafelightClient, console: Console) -> int:
        _print((await client.call("GET", _path(name), may_repeat=True)).json(), console, as_json=as_json)
        return 0

    run_with_client(command, url)


@accounts.command("top-up")
def top_up(
    name: Name,
    amount: Annotated[str, typer.Argument(metavar="AMOUNT", help="`100` credits, or `25.00usd`.")],
    reason: Annotated[str | None, typer.Option(help="What it was for, such as an invoice's number.")] = None,
    adjust: Annotated[
        bool, typer.Option("--adjust", help="An adjustment: needs a reason; an amount below 0, after `--`, takes back.")
    ] = False,
    key: Annotated[str | None, typer.Option(help="Sent again with the same key, it is entered once.")] = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Pay into an account: credits or dollars, as it is billed."""
    body: dict[str, Any] = {"kind": "adjustment" if adjust else "top_up", **_amount(amount)}
    if reason is not None:
        body["reason"] = reason

    async def command(client: SafelightClient, console: Console) -> int:
        headers = {"idempotency-key": key or uuid4().hex}
        answer = await client.call("POST", f"{_path(name)}/credits", may_repeat=True, json=body, headers=headers)
        entry = answer.json()
        if as_json:
            print_json(entry)
        else:
            console.print(f"{name} has {_after(entry)}", soft_wrap=True)
        return 0

    run_with_client(command, url)


@accounts.command("ledger")
def show_ledger(
    name: Name,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="The newest so many entries.")] = 50,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """The account's statement, newest first."""

    async def command(client: SafelightClient, console: Console) -> int:
        entries = await _pages(client, f"{_path(name)}/ledger", "entries", limit=limit)
        if as_json:
            print_json({"entries": entries})
            return 0
        from safelight.cli.tables import table

        statement = table("at", "entry", "amount", "available after", "for")
        for each in entries:
            amount = str(each["credits"]) if "credits" in each else f"{each['amount_usd']} USD"
            sign = "+" if each["credit"] == "available" else "-" if each["debit"] == "available" else " "
            what = f"{each['job']} {each['image']}" if each["job"] else each["reason"] or ""
            statement.add_row(each["at"][:19], each["kind"], f"{sign}{amount}", _after(each), what)
        console.print(statement)
        return 0

    run_with_client(command, url)


@accounts.command("set")
def set_account(
    name: Name,
    billing: Annotated[str | None, typer.Option(help="`none`, `credits` or `usd`.")] = None,
    daily_budget: Annotated[
        str | None, typer.Option(metavar="USD", help="What calls may cost on a day; `none` lifts it.")
    ] = None,
    weight: Annotated[int | None, typer.Option(help="Its share of what runs, 1 to 100.")] = None,
    max_concurrency: Annotated[
        str | None, typer.Option(metavar="N", help="Its images that are made at once; `none` lifts it.")
    ] = None,
    max_queued: Annotated[
        str | None, typer.Option(metavar="N", help="Its images that may wait; `none` lifts it.")
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Change an account, or make one. What is not named stays as it is."""
    change: dict[str, Any] = {}
    if billing is not None:
        change["billing"] = billing
    if weight is not None:
        change["weight"] = weight
    if max_concurrency is not None:
        change["max_concurrency"] = None if max_concurrency == "none" else _whole(max_concurrency)
    if max_queued is not None:
        change["max_queued"] = None if max_queued == "none" else _whole(max_queued)
    if daily_budget is not None and daily_budget != "none":  # refused by itself, it would leave the rest done
        _require_dollars(daily_budget)
    if not change and daily_budget is None:
        raise Complaint("nothing to change: name at least one option")

    async def command(client: SafelightClient, console: Console) -> int:
        account: dict[str, Any] = {}
        if change:
            account = (await client.call("PATCH", _path(name), may_repeat=True, json=change)).json()
        if daily_budget is not None:
            budget = {"daily_usd": None if daily_budget == "none" else daily_budget}
            account = (await client.call("PUT", f"{_path(name)}/budget", may_repeat=True, json=budget)).json()
        _print(account, console, as_json=as_json)
        return 0

    run_with_client(command, url)


async def _pages(client: SafelightClient, path: str, field: str, *, limit: int | None) -> list[dict[str, Any]]:
    """All of a list, or its first `limit`."""
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while limit is None or len(found) < limit:
        asked: dict[str, Any] = {"limit": min(100, limit - len(found)) if limit is not None else 100}
        if cursor is not None:
            asked["cursor"] = cursor
        page = (await client.call("GET", path, may_repeat=True, params=asked)).json()
        found += page[field]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    return found


def _print(account: dict[str, Any], console: Console, *, as_json: bool) -> None:
    if as_json:
        print_json(account)
        return
    console.print(f"{account['id']} · billing {account['billing']}", style="bold", soft_wrap=True)
    if account["balance"]:
        available, held = _balance(account)
        console.print(f"available {available}, held {held}", soft_wrap=True)
    if budget := account["budget"]:
        told = f"budget {budget['daily_usd']} USD a day: {budget['spent_usd']} spent, {budget['held_usd']} held"
        console.print(f"{told}, {budget['left_usd']} left on {budget['day']}", soft_wrap=True)
    most = account["max_concurrency"]
    console.print(f"weight {account['weight']}, at most {most or 'any number of'} images at once", soft_wrap=True)


def _balance(account: dict[str, Any]) -> tuple[str, str]:
    balance = account["balance"]
    if not balance:
        return "", ""
    if "credits_available" in balance:
        return f"{balance['credits_available']} credits", f"{balance['credits_held']}"
    return f"{balance['available_usd']} USD", balance["held_usd"]


def _after(entry: dict[str, Any]) -> str:
    return f"{entry['credits_available']} credits" if "credits_available" in entry else f"{entry['available_usd']} USD"


def _amount(text: str) -> dict[str, Any]:
    written = text.strip().lower()
    return {"usd": written.removesuffix("usd").strip()} if written.endswith("usd") else {"credits": _whole(written)}


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise Complaint(f"`{text}` is not a whole number; dollars are written `25.00usd`") from None


def _require_dollars(text: str) -> None:
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,6})?", text):
        raise Complaint(f"`{text}` is no amount of dollars; it is written `25.00`")


def _path(name: str) -> str:
    return f"/v1/accounts/{quote(name, safe='')}"
