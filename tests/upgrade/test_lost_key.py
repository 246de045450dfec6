"""The secret key is lost: what docs/operations.md says of it is what happens, and what it advises mends it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest

from safelight.delivery.webhooks.checkup import secrets_check
from safelight.delivery.webhooks.vault import KEY_FILE, Vault, new_key, vault_found
from safelight.domain.checkup import Verdict
from tests.crash.processes import api, ran, started
from tests.delivery.receiver import Receiver, receiving
from tests.orders import until
from tests.upgrade.page import table


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


def settings_of(home: Path, database: str) -> dict[str, Any]:
    return {
        "home": home,
        "database_url": database,
        "secret_key": None,
        "placeholder": 1,
        "default_provider": "placeholder",
        "egress_allow": "http://127.0.0.0/8:*",
        "min_free_bytes": 0,
    }


async def order(client: httpx2.AsyncClient) -> str:
    image = {"id": "one", "prompt": "A lost key", "size": "64x64"}
    return (await client.post("/v1/jobs", json={"images": [image]})).raise_for_status().json()["id"]


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_without_its_key_nothing_is_lost_but_secrets_and_rotating_them_sends_what_waited(
    database: str, pool: asyncpg.Pool, receiver: Receiver, tmp_path: Path
) -> None:
    settings, log = settings_of(tmp_path, database), tmp_path / "log"
    async with api(log=log, **settings) as client:
        hook = {"url": receiver.url(), "events": ["job.completed"]}
        endpoint = (await client.post("/v1/webhooks", json=hook)).raise_for_status().json()
        assert (await doctor(settings))["verdict"] == "ok"
    (tmp_path / KEY_FILE).unlink()
    assert "no secret key here" in (await doctor(settings))["found"]
    assert not (tmp_path / KEY_FILE).exists(), "the doctor makes nothing"

    async with api(log=log, **settings) as client, started("worker", log=log, **settings):
        job_id = await order(client)
        await until(pool, "SELECT status = 'completed' FROM jobs WHERE id = $1", job_id)
        await until(pool, "SELECT attempt_count > 0 OR error IS NOT NULL FROM deliveries WHERE job_id = $1", job_id)
        assert receiver.messages == []
        examined = await doctor(settings)
        assert examined["verdict"] == "problem"
        assert (
            f"1 of 1 cannot be opened, sealed under another key than the one here: {endpoint['id']}"
            in examined["found"]
        )
        assert "rotate" in examined["remedy"]

        rotated = await client.post(f"/v1/webhooks/{endpoint['id']}/rotate-secret", json={"overlap_seconds": 0})
        await receiver.until(lambda: len(receiver.messages) == 1, seconds=90)

        assert receiver.messages[0].verified(rotated.raise_for_status().json()["secret"])
        assert (await doctor(settings))["verdict"] == "ok"


async def doctor(settings: dict[str, Any]) -> dict[str, Any]:
    """What it says of the secrets."""
    import json

    checks = json.loads((await ran("doctor", "--json", **settings)).out)["checks"]
    [found] = [check for check in checks if check["name"] == "webhook secrets"]
    return found


async def test_of_several_keys_any_may_be_the_one_and_none_is_made_by_looking(
    database: str, pool: asyncpg.Pool, tmp_path: Path
) -> None:
    old, new = new_key(), new_key()
    assert await secrets_check(database, None) is None
    for number in range(5):
        await pool.execute(
            "INSERT INTO webhook_secrets (account, ciphertext, created_at) VALUES ($1, $2, safelight.now())",
            f"account-{number}",
            Vault([old]).seal("whsec_x"),
        )

    both = await secrets_check(database, vault_found(tmp_path, f"{new},{old}"))
    assert both is not None
    assert (both.verdict, both.found) == (Verdict.OK, "5 can be opened with the secret key")
    other = await secrets_check(database, vault_found(tmp_path, new))
    assert other is not None
    assert other.verdict is Verdict.PROBLEM
    assert "`default` of account-0" in other.found
    assert other.found.endswith("and 2 more")
    assert "whsec" not in repr(other)
    assert vault_found(tmp_path, None) is None
    assert list(tmp_path.iterdir()) == []


def test_the_page_names_all_that_depends_on_the_key() -> None:
    said = table("Losing the secret key", "sealed under the old one:")

    assert list(said) == [
        "secrets of webhooks",
        "sessions of the dashboard",
        "signed links",
        "jobs, pictures, API keys, accounts",
    ]
    assert "*webhook secrets*" in said["secrets of webhooks"]
