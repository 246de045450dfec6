"""What is secret, or a caller's own words, is nowhere but where it belongs, whatever goes wrong.

A service with an API, a worker and a vendor that fails in many ways is fed words that exist only once; then everything
that it has written is searched for them: logs, problems, and every column of every table.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import asyncpg
import httpx2

from safelight.domain.ids import JobId
from safelight.sandbox.server import RunningSandbox
from tests.api.doors import bearer, key_for
from tests.crash.processes import api, started
from tests.orders import ended, until

PROMPT, PROVIDER_KEY, URL = "canary-prompt-7f31", "canary-vendor-key-92b4", "canary-url-token-5d08"
LOGGED = ("worker started", "request failed")
KEPT = {
    PROMPT: {"images.prompt", "images.alternate_prompt", "images.original_prompt", "schedules.job"},
    URL: {"webhook_endpoints.url", "schedules.job"},
}
"""Where the caller's own words are kept, because they are needed there."""

FAULTS = (
    *("500 x2", "refuse IMAGE_SAFETY", "refuse-prompt", "html", "garbage"),
    *("cut", "short-body", "bad-key x1", "429 0 x1"),
)


async def test_secrets_and_prompts_are_in_no_log_no_problem_and_no_column_but_their_own(
    database: str, pool: asyncpg.Pool, tmp_path: Path, sandbox: RunningSandbox
) -> None:
    settings = {
        "database_url": database,
        "home": tmp_path,
        "log_level": "debug",
        "egress_allow": "http://127.0.0.0/8:*",
        "providers__gemini__kind": "gemini",
        "providers__gemini__base_url": sandbox.gemini_url(),
        "providers__gemini__model": "gemini-3.1-flash-lite-image",
        "providers__gemini__api_key": PROVIDER_KEY,
        "lease_seconds": 2,
        "grace_seconds": 0.3,
        "sweep_seconds": 0.3,
        "admission_seconds": 0.1,
        "dequeue_seconds": 0.2,
        "retry_unit_seconds": 0.05,
        "probe_seconds": 0.2,
    }
    key, _ = await key_for(pool, "acme")
    log = tmp_path / "all.log"
    async with api(log=log, **settings) as client, started("worker", log=log, **settings):
        client.headers.update(bearer(key))
        hook = {"url": f"{sandbox.url('openai')}/none?token={URL}"}
        secret = (await client.post("/v1/webhooks", json=hook)).json()["secret"]
        secrets = [PROMPT, PROVIDER_KEY, URL, key, key.rpartition("_")[2], secret, secret.removeprefix("whsec_")]

        accepted = await client.post("/v1/jobs", json=troubled())
        assert accepted.status_code == 202, accepted.text
        job_id = accepted.json()["id"]
        await ended(pool, JobId(job_id), seconds=60)
        said = [(await client.get(f"/v1/jobs/{job_id}")).text, *[each.text for each in await refused(client, key)]]
        events = await client.get(f"/v1/jobs/{job_id}/events", headers={"Accept": "application/json"})
        feed = await client.get("/v1/events")
        said += [events.text, feed.text]
        await pool.execute("ALTER TABLE styles RENAME TO styles_gone")
        broken = await client.post("/v1/jobs", json=troubled() | {"style": PROMPT})
        await pool.execute("ALTER TABLE styles_gone RENAME TO styles")
        assert broken.status_code == 500
        said.append(broken.text)
        await until(pool, "SELECT true FROM deliveries WHERE attempt_count > 0 LIMIT 1")

    logged = log.read_text()
    assert [word for word in LOGGED if word not in logged] == [], logged
    for canary in secrets:
        assert canary not in logged, "in a log"
        assert not any(canary in text for text in said), "in an answer"
    found = await columns_with(pool, secrets)
    for canary, places in found.items():
        assert places <= KEPT.get(canary, set()), canary
    assert found[PROMPT], "the search finds what is there"
    assert found[URL]


def troubled() -> dict[str, Any]:
    images = [
        {"id": f"img-{n}", "prompt": f"{PROMPT} [[sandbox: {fault}]]", "alternate_prompt": f"{PROMPT} otherwise"}
        for n, fault in enumerate(FAULTS)
    ]
    defaults = {"provider": "gemini", "timeout_seconds": 2, "max_attempts": 2, "max_rebuys": 0}
    return {"images": images, "defaults": defaults, "deadline_seconds": 20, "on_deadline": "fail"}


async def refused(client: httpx2.AsyncClient, key: str) -> list[httpx2.Response]:
    """Requests that are wrong in many ways, with all of it in them."""
    image = {"id": "one", "prompt": PROMPT}
    as_json = {"Content-Type": "application/json"}
    answers = [
        await client.post("/v1/jobs", content=b'{"prompt": "' + PROMPT.encode(), headers=as_json),
        await client.post("/v1/jobs", json={"images": [image | {"promt": PROMPT, "size": "1x1"}]}),
        await client.post("/v1/jobs", json={"images": [image | {"prompt": PROMPT + "\x00"}]}),
        await client.post("/v1/jobs", json={"images": [image | {"prompt": PROMPT * 5000}]}),
        await client.post("/v1/jobs", json={"images": [image], "webhook": {"url": f"http://10.0.0.1/?token={URL}"}}),
        await client.post("/v1/webhooks", json={"url": f"ftp://example.com/?token={URL}"}),
        await client.get("/v1/jobs", params={"api_key": key}),
        await client.get("/v1/jobs", headers=bearer(key[:-1] + "!")),
        await client.get("/v1/keys"),
        await client.post("/v1/jobs", content=PROMPT.encode(), headers={"Content-Type": "text/plain"}),
    ]
    assert [each.status_code for each in answers if each.status_code < 400] == []
    return answers


async def columns_with(pool: asyncpg.Pool, texts: Sequence[str]) -> dict[str, set[str]]:
    """Every `table.column` that holds one of the texts, in whatever type that can."""
    tables = await pool.fetch(
        "SELECT table_name FROM information_schema.tables"
        " WHERE table_schema = 'safelight' AND table_type = 'BASE TABLE'"
    )
    assert len(tables) > 10
    found: dict[str, set[str]] = {text: set() for text in texts}
    for (table,) in tables:
        rows = await pool.fetch(
            "SELECT DISTINCT sought.text, field.key"
            f' FROM "{table}" AS t, jsonb_each_text(to_jsonb(t)) AS field,'
            " unnest($1::text[], $2::text[]) AS sought (text, hex)"
            " WHERE position(sought.text IN field.value) > 0 OR position(sought.hex IN field.value) > 0",
            texts,
            [text.encode().hex() for text in texts],
        )
        for text, column in rows:
            found[text].add(f"{table}.{column}")
    return found
