"""Puts alerts together from the settings: what is looked at, and who is told."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import asyncpg
from pydantic import SecretStr

from safelight.delivery.notices import AlertsExtraMissing, Notifier, Services, require_extra
from safelight.engine.orders.catalog import Catalog
from safelight.engine.upkeep.stuck import Bounds
from safelight.engine.watch.alert_figures import Looks
from safelight.engine.watch.alerts import AlertWatch
from safelight.providers.registry import InvalidConfiguration
from safelight.settings import Settings


def services_of(settings: Settings) -> Services:
    alerts = settings.alerts
    by_rule = {rule.value: _plain(each.urls) for rule, each in alerts.rules.items() if each.urls is not None}
    return Services(everything=_plain(alerts.urls), critical=_plain(alerts.critical_urls), by_rule=by_rule)


def alerts_of(settings: Settings, pool: asyncpg.Pool, catalog: Catalog) -> Coroutine[Any, Any, None]:
    """What looks at the rules, in every process, and sends what there is to tell where somebody is to be told. Raises
    InvalidConfiguration where that takes what is not installed."""
    notifier = notifier_of(settings, pool)
    bounds = Bounds(max_concurrency=catalog.max_concurrency(), requests_per_minute=catalog.requests_per_minute())
    looks = Looks(bounds, lease_seconds=settings.lease_seconds)
    if notifier is None:
        return AlertWatch(pool, looks, settings.alerts.policy()).run()
    return _both(AlertWatch(pool, looks, settings.alerts.policy(), told=notifier.wake), notifier)


def notifier_of(settings: Settings, pool: asyncpg.Pool) -> Notifier | None:
    """None where nobody is to be told. Raises InvalidConfiguration."""
    services = services_of(settings)
    if not services.named:
        return None
    try:
        require_extra()
    except AlertsExtraMissing as error:
        raise InvalidConfiguration(str(error)) from error
    base_url = settings.public_url or settings.url
    return Notifier(pool, services, base_url=base_url, send_seconds=settings.alerts.send_seconds)


async def _both(watch: AlertWatch, notifier: Notifier) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(watch.run())
        tasks.create_task(notifier.run())


def _plain(urls: list[SecretStr] | None) -> list[str]:
    return [url.get_secret_value() for url in urls or ()]
