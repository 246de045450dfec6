"""Links in webhooks are signed when the message is sent, anew for each attempt, once the installation has keys."""

from __future__ import annotations

import time
from urllib.parse import parse_qsl, urlsplit

import asyncpg

from safelight.delivery.links import Links
from safelight.domain.events import EventType
from safelight.domain.signing import Claim, Signer, is_link
from tests.api.doors import key_for
from tests.delivery.receiver import Receiver, receiving
from tests.delivery.stage import ACCOUNT, courier, endpoint, happen, job, nothing_waits

PICTURE = EventType.IMAGE_COMPLETED


async def told(pool: asyncpg.Pool, receiver: Receiver, links: Links) -> list[str]:
    async with courier(pool, links=links):
        await nothing_waits(pool)
    shown = [each.document["data"]["image_url"] for each in receiver.messages if each.type == PICTURE]
    receiver.messages.clear()
    return shown


async def test_links_in_webhooks_are_plain_without_keys_signed_with_them_and_lasting_where_that_was_ordered(
    pool: asyncpg.Pool,
):
    signer = Signer([bytes(32)], expiry_seconds=3600)
    links = Links("https://images.example", signer)
    async with receiving() as receiver:
        await endpoint(pool, receiver.url(), PICTURE)
        job_id = await job(pool)
        await happen(pool, job_id, PICTURE, image_id="one")
        path = f"/v1/jobs/{job_id}/images/one"
        assert await told(pool, receiver, links) == [f"https://images.example{path}"]

        await key_for(pool, ACCOUNT)
        await happen(pool, job_id, PICTURE, image_id="one")
        [signed] = await told(pool, receiver, links)
        parts = dict(parse_qsl(urlsplit(signed).query))
        claim = Claim(expires_at=parts["expires"], key_id=parts["key"], signature=parts["signature"])
        assert signer.is_good(claim, path, account=ACCOUNT)
        assert int(parts["expires"]) > time.time() + 2900

        await pool.execute("UPDATE jobs SET link_key = $1", bytes(32))
        await happen(pool, job_id, PICTURE, image_id="one")
        [lasting] = await told(pool, receiver, links)
        assert is_link(dict(parse_qsl(urlsplit(lasting).query))["link"], bytes(32), path)
