"""Whether something may be posted to an address: what only its resolver can say."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from safelight.api.edge.problems import RequestFault
from safelight.api.schemas.webhooks import MAX_URL_CHARS, NewJobWebhook
from safelight.domain.order import WebhookOrder
from safelight.net.egress import Unresolvable
from safelight.net.fetch import FetchRefused

CheckUrl = Callable[[str], Awaitable[None]]
"""Returns for an address that may be asked now; raises FetchRefused, and Unresolvable where a host leads nowhere."""


async def url_faults(holder: Any, check: CheckUrl, *, pointer: str) -> list[RequestFault]:
    """What is wrong with the `url` of an object. What is wrong about its form, its schema says."""
    url = holder.get("url") if isinstance(holder, dict) else None
    if not isinstance(url, str) or len(url) > MAX_URL_CHARS:
        return []
    try:
        await check(url)
    except FetchRefused as refusal:
        return [RequestFault(pointer, f"Nothing is posted to this address: {refusal}.", "url-not-allowed")]
    except Unresolvable as failure:
        return [RequestFault(pointer, f"Nothing can be posted to this address: {failure}.", "url-unresolvable")]
    return []


def webhook_order(webhook: NewJobWebhook | None) -> WebhookOrder | None:
    if webhook is None:
        return None
    return WebhookOrder(
        url=webhook.url, events=None if webhook.events is None else tuple(dict.fromkeys(webhook.events))
    )
