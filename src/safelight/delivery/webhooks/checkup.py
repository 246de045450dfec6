"""Whether the secrets of webhooks can be opened with the key that this host has."""

from __future__ import annotations

from collections.abc import Iterable

import asyncpg

from safelight.db.pool import connect
from safelight.db.statements import load
from safelight.delivery.webhooks.vault import CannotOpen, Vault
from safelight.domain.checkup import Check, Verdict

AREA = "work"

_SQL = load("webhooks")
_NAMED = 3


async def secrets_check(dsn: str, vault: Vault | None) -> Check | None:
    """`vault` None: there is no key. None when there is nothing to open. Reads only; raises what asyncpg raises."""
    conn = await connect(dsn, application_name="safelight doctor", timeout_seconds=5)
    try:
        rows = await conn.fetch(_SQL.sealed_secrets)
    finally:
        conn.terminate()
    if not rows:
        return None
    sealed = [_whose(row) for row in rows if vault is None or not _opens(vault, row["ciphertexts"])]
    if not sealed:
        found = f"{len(rows)} can be opened with the secret key"
        return Check(area=AREA, name="webhook secrets", verdict=Verdict.OK, found=found)
    more = f" and {len(sealed) - _NAMED} more" if len(sealed) > _NAMED else ""
    key = "there is no secret key here" if vault is None else "sealed under another key than the one here"
    return Check(
        area=AREA,
        name="webhook secrets",
        verdict=Verdict.PROBLEM,
        found=f"{len(sealed)} of {len(rows)} cannot be opened, {key}: {', '.join(sealed[:_NAMED])}{more}",
        meaning="Their messages wait. Nothing else depends on it but signed links and sessions, which are made anew.",
        remedy="Put the key of before back (secret.key, SAFELIGHT_SECRET_KEY); if it is lost, rotate these secrets.",
    )


def _opens(vault: Vault, ciphertexts: Iterable[bytes]) -> bool:
    try:
        vault.open_any(ciphertexts)
    except CannotOpen:
        return False
    return True


def _whose(row: asyncpg.Record) -> str:
    return row["endpoint_id"] or f"`default` of {row['account']}"
