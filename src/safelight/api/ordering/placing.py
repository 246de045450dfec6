"""A request's order, with what only a resolver and the database can say of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import asyncpg

from safelight.api.ordering.given import input_faults
from safelight.api.ordering.order import place_order
from safelight.api.ordering.webhook import CheckUrl, url_faults
from safelight.domain.order import JobOrder
from safelight.domain.recipe import Recipe
from safelight.engine.accounts.styles import styles_for
from safelight.engine.orders.catalog import Catalog


async def placed(
    document: Mapping[str, Any],
    *,
    account: str,
    idempotency_key: str | None,
    pool: asyncpg.Pool,
    catalog: Catalog,
    recipes: Mapping[str, Recipe],
    check_url: CheckUrl,
) -> JobOrder:
    """Ready to be submitted. Raises InvalidRequest that lists every fault."""
    return place_order(
        document,
        account=account,
        idempotency_key=idempotency_key,
        catalog=catalog,
        recipes=recipes,
        styles=await styles_for(pool, document, account=account, recipes=recipes),
        known_faults=[
            *await url_faults(document.get("webhook"), check_url, pointer="/webhook/url"),
            *await input_faults(document, pool=pool, account=account, check_url=check_url),
        ],
    )
