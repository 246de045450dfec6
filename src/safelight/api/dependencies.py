"""What the routes work with, and on whose behalf."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass

import asyncpg

from safelight.api.edge.gate import LOOPBACK_HOSTS
from safelight.api.ordering.webhook import CheckUrl
from safelight.delivery.webhooks.vault import Vault
from safelight.domain.recipe import Recipe
from safelight.engine.admission import Admission
from safelight.engine.catalog import Catalog
from safelight.storage.blob_store import BlobStore


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiDependencies:
    """`pool` gives jsonb as Python values. Nobody runs `admission` here: it is only nudged.

    `public_url` goes before every link; without it links are absolute paths. `ready` returns when the service can
    answer requests, and raises when it cannot. `body_seconds` is the time a request's body may take to arrive,
    `acquire_seconds` the time that one waits for a free connection. `allowed_hosts` are the names that clients may call
    the service by, `*` any; `max_waiting` is how many requests may wait for a job at a time, `max_streams` how many may
    stream its events. `vault` seals webhooks' secrets, and `check_url` says whether an address that a caller names may
    be asked. A worker is alive `lease_seconds` after its last sign. Forecasts go by a backlog that was looked at
    `traffic_seconds` ago at most, and by calls as they were `history_seconds` ago.
    """

    pool: asyncpg.Pool
    admission: Admission
    catalog: Catalog
    recipes: Mapping[str, Recipe]
    blobs: BlobStore
    run_limit_seconds: float
    public_url: str | None
    ready: Callable[[], Awaitable[object]]
    vault: Vault
    check_url: CheckUrl
    body_seconds: float = 30.0
    acquire_seconds: float = 5.0
    allowed_hosts: Collection[str] = LOOPBACK_HOSTS
    max_waiting: int = 1000
    max_streams: int = 2000
    lease_seconds: float = 15.0
    traffic_seconds: float = 2.0
    history_seconds: float = 5.0
