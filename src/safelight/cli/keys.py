"""`safelight keys`: made, listed and revoked in the database itself, so that the first one needs no service.

Whoever may read the settings and reach the database is trusted with this; over the API it takes an admin's key.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from safelight.cli.complaint import Complaint
from safelight.cli.jobs import AsJson

if TYPE_CHECKING:
    import asyncpg

    from safelight.engine.accounts.keys import Key
    from safelight.settings import Settings

keys = typer.Typer(help="Make, list and revoke API keys, in the database itself.", no_args_is_help=True)


@keys.command()
def create(
    account: Annotated[str, typer.Option(help="Whose key it is.")] = "default",
    scope: Annotated[
        list[str] | None, typer.Option(help="read, submit or admin; may be repeated. Default: read and submit.")
    ] = None,
    admin: Annotated[bool, typer.Option("--admin", help="May do everything, for every account.")] = False,
    name: Annotated[str | None, typer.Option(help="In your own words, to tell keys apart.")] = None,
    days: Annotated[float | None, typer.Option(min=0.001, max=36_500, help="Refused after so many days.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key. It is printed now and never again."""
    scopes = ["admin"] if admin else scope or ["read", "submit"]

    async def command(pool: asyncpg.Pool, settings: Settings) -> int:
        from datetime import timedelta

        from pydantic import ValidationError

        from safelight.api.schemas import NewKey
        from safelight.domain.access import KeyScope
        from safelight.domain.credits import Billing
        from safelight.engine.accounts.keys import create_key

        try:
            NewKey.model_validate({"account": account, "name": name, "scopes": scopes})
        except ValidationError as error:
            first = error.errors()[0]
            raise Complaint(f"{first['loc'][0]}: {first['msg']}") from None
        now = await pool.fetchval("SELECT safelight.now()")
        made, key = await create_key(
            pool,
            account=account,
            scopes=[KeyScope(each) for each in scopes],
            name=name,
            expires_at=now + timedelta(days=days) if days is not None else None,
            billing=Billing(settings.account_billing),
        )
        if as_json:
            print(json.dumps({**_document(made), "key": key}, indent=2, ensure_ascii=False))
            return 0
        print(key)
        words = f"{made.id} · {made.account} · {', '.join(each.value for each in made.scopes)} · shown this once"
        typer.echo(words, err=True)
        return 0

    _run(command)


@keys.command("list")
def list_keys(
    account: Annotated[str | None, typer.Option(help="Only keys of this account.")] = None,
    as_json: AsJson = False,
) -> None:
    """Every key, newest first, without the keys themselves."""

    async def command(pool: asyncpg.Pool, _: Settings) -> int:
        from safelight.engine.accounts.keys import keys_page

        found: list[Key] = []
        while page := await keys_page(pool, account=account, before=found[-1].id if found else None, limit=_PAGE):
            found += page
        if as_json:
            print(json.dumps({"keys": [_document(each) for each in found]}, indent=2, ensure_ascii=False))
            return 0
        from rich.console import Console

        from safelight.cli.tables import table

        listed = table("key", "account", "scopes", "name", "last used", "", whole=("key",))
        for each in found:
            scopes = " ".join(scope.value for scope in each.scopes)
            listed.add_row(each.id, each.account, scopes, each.name or "", _time(each.last_used_at), _state(each))
        Console(markup=False, highlight=False).print(listed)
        return 0

    _run(command)


@keys.command()
def revoke(key_id: Annotated[str, typer.Argument(metavar="KEY", help="The key's id, `key_…`.")]) -> None:
    """Refuse a key from now on: within five seconds in every process."""

    async def command(pool: asyncpg.Pool, _: Settings) -> int:
        from safelight.engine.accounts.keys import revoke_key

        await revoke_key(pool, key_id)
        print(f"{key_id} is revoked")
        return 0

    _run(command)


_PAGE = 1000


def _run(command: Callable[[asyncpg.Pool, Settings], Awaitable[int]]) -> None:
    """With the database of the settings, the embedded one included; one that was not running is stopped again."""
    from safelight.cli.complaint import exit_code, read_settings
    from safelight.cli.running import run
    from safelight.logs import configure_logging

    async def connected() -> int:
        from safelight.db.pool import close_pool, open_pool
        from safelight.db.provide import provide_database

        settings = read_settings()
        configure_logging(level="warning", as_json=settings.log_json)
        database = await provide_database(settings.database_url, home=settings.home)
        try:
            pool = await open_pool(database.dsn, min_size=1, max_size=1, application_name="safelight keys")
            try:
                return await command(pool, settings)
            finally:
                await close_pool(pool)
        finally:
            await database.stop()

    try:
        code = exit_code(lambda: run(connected()))
    except OSError as error:
        raise Complaint(f"the database does not answer: {error}") from error
    except KeyboardInterrupt:
        code = 130
    raise typer.Exit(code)


def _document(key: Key) -> dict[str, Any]:
    times = ("created_at", "expires_at", "revoked_at", "last_used_at")
    return {
        "id": key.id,
        "account": key.account,
        "name": key.name,
        "scopes": [each.value for each in key.scopes],
        **{name: moment.isoformat() if (moment := getattr(key, name)) is not None else None for name in times},
    }


def _state(key: Key) -> str:
    if key.revoked_at is not None:
        return f"revoked {_time(key.revoked_at)}"
    return f"until {_time(key.expires_at)}" if key.expires_at is not None else ""


def _time(moment: Any) -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if moment is not None else ""
