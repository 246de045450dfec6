"""What the routes work with, and on whose behalf."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field

import asyncpg

from safelight.api.edge.gate import LOOPBACK_HOSTS
from safelight.api.ordering.webhook import CheckUrl
from safelight.delivery.webhooks.vault import Vault
from safelight.domain.credits import Billing, CreditPrices
from safelight.domain.recipe import Recipe
from safelight.engine.accounts.uploads import UPLOAD_DAYS, Cleaner
from safelight.engine.orders.catalog import Catalog
from safelight.engine.orders.depth import QueueDepth
from safelight.engine.queue.admission import Admission
from safelight.storage.blob_store import BlobStore


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiDependencies:
    """`pool` gives jsonb as Python values. Nobody runs `admission` here: it is only nudged.

    `public_url` goes before every link; without it links are absolute paths. `ready` returns when the service can
    answer requests, and raises when it cannot. `body_seconds` is the time a request's body may take to arrive,
    `acquire_seconds` the time that one waits for a free connection. `allowed_hosts` are the names that clients may call
    the service by, `*` any; `max_waiting` is how many requests may wait for a job at a time, `max_streams` how many may
    stream its events, `requests_per_minute` how many requests a minute one caller may make, None: any number. `vault`
    seals webhooks' secrets, and `check_url` says whether an address that a caller names may be asked. A worker is alive
    `lease_seconds` after its last sign. Forecasts go by a backlog that was looked at `traffic_seconds` ago at most, and
    by calls as they were `history_seconds` ago. `may_run_open`: only this machine reaches the service, which needs no
    keys until the first one is made. `require_idempotency_key`: a submit without one is refused. A request in OpenAI's
    form waits `openai_wait_seconds` for its pictures, and may call a model by one of `openai_aliases`, which lead to
    what it is called here. `renderer` decodes what is uploaded, at most `max_uploads` at a time; uploads are kept for
    `upload_retention_days`. Signed links are good for `url_expiry_seconds` by `clock`, in seconds since 1970; with
    `redirect_downloads` pictures come from the storage itself where it can. A job is removed `image_retention_days`
    after its end, None: never. `depth` says how much may wait. With `metrics` figures are told to whoever asks, which
    are `scrape_fresh_seconds` old at most; an image is stuck that has stood still for `stuck_seconds`.
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
    renderer: Cleaner
    body_seconds: float = 30.0
    acquire_seconds: float = 5.0
    allowed_hosts: Collection[str] = LOOPBACK_HOSTS
    max_waiting: int = 1000
    max_streams: int = 2000
    requests_per_minute: int | None = None
    lease_seconds: float = 15.0
    traffic_seconds: float = 2.0
    history_seconds: float = 5.0
    account_billing: Billing = Billing.NONE
    credit_prices: CreditPrices = field(default_factory=CreditPrices)
    depth: QueueDepth = field(default_factory=QueueDepth)
    max_uploads: int = 16
    upload_retention_days: float = UPLOAD_DAYS
    may_run_open: bool = False
    require_idempotency_key: bool = False
    url_expiry_seconds: int = 3600
    redirect_downloads: bool = False
    image_retention_days: float | None = None
    clock: Callable[[], float] = time.time
    openai_wait_seconds: float = 550.0
    openai_aliases: Mapping[str, str] = field(default_factory=dict[str, str])
    metrics: bool = True
    stuck_seconds: float = 600.0
    scrape_fresh_seconds: float = 5.0
