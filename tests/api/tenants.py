"""Two accounts in one installation, every route of the application, and what can be asked of each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any
from uuid import uuid4

import asyncpg
import httpx2
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from PIL import Image

from safelight.domain.ids import new_endpoint_id, new_job_id, new_key_id, new_schedule_id
from tests.api.conftest import image, job

CANARY = "canary-of-the-first-account"
"""In everything that the first account says: no other account is ever shown it."""

SHARED = frozenset({"/v1/recipes/{name}", "/openai/v1/models/{model}", "/openai/v1/models/{model:path}"})
"""What all accounts see alike."""

UNKNOWN: Mapping[str, str] = {
    "job_id": new_job_id(),
    "image_id": "no-such-image",
    "output": "no-such-output",
    "webhook_id": new_endpoint_id(),
    "delivery_id": f"msg_{uuid4().hex}",
    "schedule_id": new_schedule_id(),
    "key_id": new_key_id(),
    "name": "no-such-name",
    "account_id": "no-such-account",
    "model": "no-such-model",
    "upload_id": "upl_" + new_job_id().removeprefix("job_"),
}
"""By what a route calls it in its path: an id like the real ones, that nothing has."""

BODIES: Mapping[tuple[str, str], dict[str, Any]] = {
    ("PUT", "/v1/styles/{name}"): {"prefix": "mine"},
    ("PATCH", "/v1/schedules/{schedule_id}"): {"enabled": False},
    ("PATCH", "/v1/webhooks/{webhook_id}"): {"description": "mine"},
    ("POST", "/v1/jobs/{job_id}/retry"): {"prompt_overrides": {"one": "mine"}},
}
"""What is sent where an empty object is not enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    method: str
    path: str

    @property
    def parameters(self) -> list[str]:
        return re.findall(r"{(\w+)(?::\w+)?}", self.path)

    def address(self, ids: Mapping[str, str]) -> str:
        return re.sub(r"{(\w+)(?::\w+)?}", lambda found: ids[found[1]], self.path)

    def body(self) -> dict[str, Any] | None:
        return BODIES.get((self.method, self.path), {}) if self.method in ("POST", "PUT", "PATCH") else None


MAKES = (Route(method="PUT", path="/v1/styles/{name}"),)
"""What is not there it makes, under the name that it is given."""


@dataclass(kw_only=True)
class Belongings:
    """What the first account has, by what routes call it."""

    ids: dict[str, str] = field(default_factory=dict)


def routes_of(app: FastAPI) -> Iterator[Route]:
    """Every route that the application answers, however it was put together."""
    for each in iter_route_contexts(app.routes):
        for method in sorted((getattr(each, "methods", None) or set()) - {"HEAD", "OPTIONS"}):
            yield Route(method=method, path=each.path)  # pyright: ignore[reportArgumentType]


async def furnish(client: httpx2.AsyncClient, pool: asyncpg.Pool, *, account: str) -> Belongings:
    """One of everything that an account can have. `client` calls as the account itself."""
    words = {"metadata": {"case": CANARY}, "storage_prefix": CANARY}
    images = [image("one", prompt=f"{CANARY} in a picture"), image("two", size="64x64")]
    made = await _made(client, "/v1/jobs", job(images=images, **words), headers={"Idempotency-Key": CANARY})
    hook = await _made(client, "/v1/webhooks", {"url": f"https://hooks.example/{CANARY}", "description": CANARY})
    message = await _made(client, f"/v1/webhooks/{hook['id']}/test", None)
    plan = {"name": CANARY, "cron": "0 18 * * *", "timezone": "Europe/Berlin", "job": job(**words)}
    schedule = await _made(client, "/v1/schedules", plan)
    await _made(client, f"/v1/schedules/{schedule['id']}/run", None)
    style = await client.put(f"/v1/styles/{CANARY}", json={"prefix": CANARY})
    assert style.status_code == 201, style.text
    key_id = await pool.fetchval("SELECT max(id) FROM api_keys WHERE account = $1", account)
    ids = {
        "job_id": made["id"],
        "image_id": "one",
        "output": "card",
        "webhook_id": hook["id"],
        "delivery_id": message["id"],
        "schedule_id": schedule["id"],
        "key_id": key_id,
        "name": CANARY,
        "account_id": account,
    }
    picture = BytesIO()
    Image.new("RGB", (8, 8), "teal").save(picture, "PNG")
    uploaded = await client.post("/v1/uploads", files={"file": (f"{CANARY}.png", picture.getvalue(), "image/png")})
    assert uploaded.is_success, uploaded.text
    ids["upload_id"] = uploaded.json()["id"]
    return Belongings(ids=ids)


async def _made(client: httpx2.AsyncClient, path: str, body: Any, **more: Any) -> dict[str, Any]:
    answer = await client.post(path, json=body, **more) if body is not None else await client.post(path, **more)
    assert answer.is_success, answer.text
    return answer.json()


async def everything_of(pool: asyncpg.Pool, account: str) -> dict[str, str]:
    """What the database holds of an account, table by table, found by the column that names it."""
    tables = await pool.fetch(
        "SELECT table_name FROM information_schema.columns"
        " WHERE table_schema = 'safelight' AND column_name = 'account' ORDER BY 1"
    )
    found = {}
    for name in [row["table_name"] for row in tables]:
        rows = await pool.fetchval(
            f"SELECT coalesce(jsonb_agg(to_jsonb(t) - 'last_used_at' ORDER BY to_jsonb(t)::text), '[]')::text"
            f" FROM {name} AS t WHERE account = $1",
            account,
        )
        found[name] = rows
    found["images"] = await pool.fetchval(
        "SELECT jsonb_agg(to_jsonb(i) ORDER BY i.row_id)::text FROM images AS i JOIN jobs AS j ON j.id = i.job_id"
        " WHERE j.account = $1",
        account,
    )
    return found
