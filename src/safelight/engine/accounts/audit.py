"""Whether the customers' books balance. Reads only."""

from __future__ import annotations

from collections import Counter

import asyncpg

from safelight.db.statements import load
from safelight.domain.checkup import Check, Verdict

_SQL = load("ledger")


async def disagreements(conn: asyncpg.Connection | asyncpg.Pool) -> Counter[str]:
    """How many balances, holds and days of budgets are not what their entries, images and calls say."""
    return Counter(row["what"] for row in await conn.fetch(_SQL.disagreements))


async def books_check(conn: asyncpg.Connection, *, area: str) -> Check | None:
    """None for an installation that bills nobody."""
    row = await conn.fetchrow(_SQL.open_holds)
    assert row is not None
    found = await disagreements(conn)
    if found:
        told = ", ".join(f"{count} × {what}" for what, count in sorted(found.items()))
        return Check(
            area=area,
            name="ledger",
            verdict=Verdict.PROBLEM,
            found=f"the books do not balance: {told}",
            meaning="Somebody has changed rows by hand, or restored only some of the tables.",
            remedy="What `ledger` and `attempts` say is right: correct `balances`, `holds` or `account_days` by it.",
        )
    if not row["accounts"] and not row["open"]:
        return None
    open_holds = f"{row['open']} holds open, {row['uncertain']} of them for images of unknown outcome"
    return Check(area=area, name="ledger", verdict=Verdict.OK, found=f"the books balance; {open_holds}")
