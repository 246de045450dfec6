"""Styles as rows of an account, over those that come with Safelight: its own wins over one of the same name."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg

from safelight.db.pool import ACQUIRE_SECONDS
from safelight.db.statements import load
from safelight.domain.errors import Conflict, NotFound, SafelightError
from safelight.domain.style import Style, built_in_styles, mentions_style

if TYPE_CHECKING:
    from safelight.domain.recipe import Recipe  # and with it what fills in templates

MAX_STYLES = 100
"""Of one account. A job that has a style reads all of them. Chosen."""

Condition = Callable[[Style | None], bool]
"""Whether a change may be made of what is there now: the style that a request would get, None for none."""

_SQL = load("styles")


async def styles_for(
    pool: asyncpg.Pool, document: Mapping[str, Any], *, account: str, recipes: Mapping[str, Recipe]
) -> Mapping[str, Style]:
    """The styles that a job's body may name. The database is not asked when it names none."""
    return await styles_of(pool, account=account) if mentions_style(document, recipes) else built_in_styles()


async def styles_of(pool: asyncpg.Pool, *, account: str) -> Mapping[str, Style]:
    """All that the account can use, by name and in its order."""
    async with pool.acquire(timeout=ACQUIRE_SECONDS) as conn:
        rows = await conn.fetch(_SQL.styles_of_account, account)
    found = {**built_in_styles(), **{row["name"]: Style(**row) for row in rows}}
    return {name: found[name] for name in sorted(found)}


async def style_of(pool: asyncpg.Pool, name: str, *, account: str) -> Style:
    """Raises NotFound."""
    async with pool.acquire(timeout=ACQUIRE_SECONDS) as conn:
        style = await _own(conn, name, account) or built_in_styles().get(name)
    if style is None:
        raise _unknown()
    return style


async def put_style(pool: asyncpg.Pool, style: Style, *, account: str, may_change: Condition) -> tuple[Style, bool]:
    """The account's style of that name says this, and whether it had none before. The same words again change nothing.

    Raises SafelightError (`precondition-failed`), and Conflict (`too-many-styles`) for one too many.
    """
    async with _changing(pool, account) as conn:
        own = await _own(conn, style.name, account)
        _require(may_change, own or built_in_styles().get(style.name))
        if own is not None and own.words == style.words:
            return own, False
        if own is not None:
            row = await conn.fetchrow(_SQL.replace_style, account, style.name, *style.words, own.version)
        else:
            if await conn.fetchval(_SQL.count_styles, account) >= MAX_STYLES:
                raise Conflict(f"An account has at most {MAX_STYLES} styles.", slug="too-many-styles")
            row = await conn.fetchrow(_SQL.insert_style, account, style.name, *style.words)
        assert row is not None, "changes come one at a time"
        return Style(**row), own is None


async def remove_style(pool: asyncpg.Pool, name: str, *, account: str, may_change: Condition) -> None:
    """The account has no style of its own of that name any more; one that came with Safelight shows again.

    Raises NotFound, Conflict (`built-in-style`) when there is only that, and SafelightError (`precondition-failed`).
    """
    async with _changing(pool, account) as conn:
        own = await _own(conn, name, account)
        if own is None and name in built_in_styles():
            raise Conflict(f"`{name}` comes with Safelight: it cannot be deleted.", slug="built-in-style")
        if own is None:
            raise _unknown()
        _require(may_change, own)
        await conn.execute(_SQL.delete_style, account, name, own.version)


@asynccontextmanager
async def _changing(pool: asyncpg.Pool, account: str) -> AsyncIterator[Any]:
    async with pool.acquire(timeout=ACQUIRE_SECONDS) as conn, conn.transaction():
        await conn.execute(_SQL.lock_styles, account)
        yield conn


async def _own(conn: Any, name: str, account: str) -> Style | None:
    row = await conn.fetchrow(_SQL.style, account, name)
    return Style(**row) if row is not None else None


def _require(may_change: Condition, present: Style | None) -> None:
    if not may_change(present):
        raise SafelightError("The style is not, or no longer, what the request expects.", slug="precondition-failed")


def _unknown() -> NotFound:
    return NotFound("There is no such style.")
