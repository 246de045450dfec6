from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import httpx2
import pytest
from structlog.testing import capture_logs

from safelight.api.edge.problems import PROBLEMS
from safelight.api.schemas import Problem
from safelight.storage.blob_store import BlobInfo
from tests.api.conftest import Serve, job
from tests.api.problems import refusal


async def test_a_live_process_is_healthy_and_one_with_a_database_is_ready(client: httpx2.AsyncClient):
    for path in ("/healthz", "/readyz"):
        response = await client.get(path)
        assert (response.status_code, response.json()) == (200, {"status": "ok"})


async def test_without_its_database_the_service_lives_and_is_not_ready(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    await pool.close()

    assert (await client.get("/healthz")).status_code == 200
    for response in (
        await client.get("/readyz"),
        await client.get("/v1/jobs"),
        await client.post("/v1/jobs", json=job()),
        await client.get("/v1/jobs/job_01JD0000000000000000000000"),
    ):
        problem = refusal(response, 503, "unavailable")
        assert problem["retryable"]
        assert response.headers["retry-after"] == "2"


async def test_a_database_that_ends_every_session_is_unavailable_and_then_there_again(
    client: httpx2.AsyncClient, pool: asyncpg.Pool
):
    async with pool.acquire() as conn:
        await conn.execute("CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS"
                           " 'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END'")  # fmt: skip
        await conn.execute("CREATE TRIGGER fail BEFORE INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION fail()")

    refusal(await client.post("/v1/jobs", json=job()), 503, "unavailable")

    await pool.execute("DROP TRIGGER fail ON jobs")
    assert (await client.post("/v1/jobs", json=job())).status_code == 202


async def test_a_database_that_does_not_answer_in_two_seconds_is_not_ready(serve_with: Serve):
    async with serve_with(ready=asyncio.Event().wait) as client:
        refusal(await client.get("/readyz"), 503, "unavailable")


async def test_a_request_waits_only_so_long_for_a_free_connection(serve_with: Serve, pool: asyncpg.Pool):
    async with AsyncExitStack() as held, serve_with(acquire_seconds=0.1) as client:
        for _ in range(pool.get_max_size()):
            await held.enter_async_context(pool.acquire())

        for path in ("", "/images/one", "/events"):
            response = await client.get(f"/v1/jobs/job_01JD0000000000000000000000{path}")
            refusal(response, 503, "unavailable")


@pytest.mark.parametrize("error", [asyncpg.InternalClientError("cannot switch to state 12"), ConnectionResetError()])
async def test_a_connection_that_is_lost_at_any_moment_is_unavailable(serve_with: Serve, error: Exception):
    async def cut_off() -> None:
        raise error

    async with serve_with(ready=cut_off) as client:
        refusal(await client.get("/readyz"), 503, "unavailable")


async def test_our_own_mistake_is_an_internal_error_that_quotes_nothing(serve_with: Serve):
    async def broken() -> None:
        raise ValueError("CANARY-prompt")

    with capture_logs() as logs:
        async with serve_with(ready=broken) as client:
            response = await client.get("/readyz?key=CANARY")
            assert (await client.get("/healthz")).status_code == 200

    problem = refusal(response, 500, "internal-error")
    assert "CANARY" not in response.text
    failed = [entry for entry in logs if entry["event"] == "request failed"]
    assert [entry["error"] for entry in failed] == ["ValueError"]
    assert failed[0]["places"][-1].endswith(" broken")
    assert "CANARY" not in str(logs)
    assert problem["instance"] == "/readyz"


async def test_a_storage_that_fails_is_unavailable(serve_with: Serve, client: httpx2.AsyncClient, pool: asyncpg.Pool):
    accepted = (await client.post("/v1/jobs", json=job())).json()
    await pool.execute("UPDATE images SET status = 'completed'")
    await pool.execute(
        "INSERT INTO renditions SELECT row_id, 'card', 'k', 'jpeg', 'image/jpeg', 1, 1, 1, 'x' FROM images"
    )

    async with serve_with(blobs=DeadStore()) as later:
        refusal(await later.get(f"{accepted['urls']['self']}/images/one"), 503, "unavailable")
        refusal(await later.get(f"{accepted['urls']['self']}?inline=card"), 503, "unavailable")
        assert (await later.get(accepted["urls"]["self"])).status_code == 200


class DeadStore:
    """A store whose disk is gone."""

    async def put(self, key: str, data: bytes, *, content_type: str) -> None:
        raise OSError("no disk")

    async def get(self, key: str) -> bytes:
        raise OSError("no disk")

    async def read(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        raise OSError("no disk")

    async def head(self, key: str) -> BlobInfo | None:
        raise OSError("no disk")

    async def delete(self, key: str) -> None:
        raise OSError("no disk")


async def test_every_kind_of_problem_has_a_page_that_explains_it(client: httpx2.AsyncClient):
    for slug, kind in PROBLEMS.items():
        response = await client.get(f"/problems/{slug}")
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/plain; charset=utf-8"
        assert response.text.startswith(f"{kind.title} ({kind.status})")


async def test_every_answer_has_a_request_id_of_its_own_and_names_no_server(client: httpx2.AsyncClient):
    answers = [await client.get(path) for path in ("/healthz", "/healthz", "/nowhere", "/openapi.json")]

    ids = [answer.headers["x-request-id"] for answer in answers]
    assert len(set(ids)) == 4
    assert all("server" not in answer.headers for answer in answers)


async def test_no_other_origin_is_let_in(client: httpx2.AsyncClient):
    response = await client.get("/v1/jobs", headers={"Origin": "https://elsewhere.example"})

    assert not [name for name in response.headers if name.startswith("access-control-")]


WITHOUT_BODY = {
    "/v1/queue/pause",
    "/v1/queue/resume",
    "/v1/schedules/{schedule_id}/run",
    "/v1/webhooks/deliveries/{delivery_id}/redeliver",
    "/v1/webhooks/{webhook_id}/test",
}


async def test_the_openapi_document_describes_every_request_answer_and_problem(client: httpx2.AsyncClient):
    document = (await client.get("/openapi.json")).json()

    assert document["openapi"].startswith("3.1")
    operations = {
        (path, method): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert set(operations) == {
        ("/api/metrics/image-generation", "get"),
        ("/metrics", "get"),
        ("/v1/jobs", "get"),
        ("/v1/jobs", "post"),
        ("/v1/jobs/{job_id}", "get"),
        ("/v1/jobs/{job_id}/cancel", "post"),
        ("/v1/jobs/{job_id}/retry", "post"),
        ("/v1/jobs/{job_id}/events", "get"),
        ("/v1/events", "get"),
        ("/v1/jobs/{job_id}/images/{image_id}", "get"),
        ("/v1/jobs/{job_id}/images/{image_id}/{output}", "get"),
        ("/v1/keys", "get"),
        ("/v1/keys", "post"),
        ("/v1/keys/{key_id}", "delete"),
        ("/v1/queue", "get"),
        ("/v1/queue/pause", "post"),
        ("/v1/queue/resume", "post"),
        ("/v1/providers", "get"),
        ("/v1/recipes", "get"),
        ("/v1/recipes/{name}", "get"),
        ("/v1/schedules", "get"),
        ("/v1/schedules", "post"),
        ("/v1/schedules/{schedule_id}", "get"),
        ("/v1/schedules/{schedule_id}", "patch"),
        ("/v1/schedules/{schedule_id}", "delete"),
        ("/v1/schedules/{schedule_id}/run", "post"),
        ("/v1/schedules/{schedule_id}/runs", "get"),
        ("/v1/styles", "get"),
        ("/v1/styles/{name}", "get"),
        ("/v1/styles/{name}", "put"),
        ("/v1/styles/{name}", "delete"),
        ("/v1/uploads", "post"),
        ("/v1/uploads/{upload_id}", "get"),
        ("/v1/uploads/{upload_id}", "delete"),
        ("/v1/uploads/{upload_id}/content", "get"),
        ("/v1/webhooks", "get"),
        ("/v1/webhooks", "post"),
        ("/v1/webhooks/deliveries", "get"),
        ("/v1/webhooks/deliveries/{delivery_id}", "get"),
        ("/v1/webhooks/deliveries/{delivery_id}/redeliver", "post"),
        ("/v1/webhooks/{webhook_id}", "get"),
        ("/v1/webhooks/{webhook_id}", "patch"),
        ("/v1/webhooks/{webhook_id}", "delete"),
        ("/v1/webhooks/{webhook_id}/test", "post"),
        ("/v1/webhooks/{webhook_id}/rotate-secret", "post"),
        ("/openai/v1/images/generations", "post"),
        ("/openai/v1/images/edits", "post"),
        ("/openai/v1/models", "get"),
        ("/openai/v1/models/{model}", "get"),
        ("/healthz", "get"),
        ("/readyz", "get"),
        ("/problems/{slug}", "get"),
        ("/v1/images", "get"),
        ("/v1/stats", "get"),
        ("/v1/accounts", "get"),
        ("/v1/accounts/{account_id}", "get"),
        ("/v1/accounts/{account_id}", "patch"),
        ("/v1/accounts/{account_id}/budget", "put"),
        ("/v1/accounts/{account_id}/credits", "post"),
        ("/v1/accounts/{account_id}/ledger", "get"),
        ("/v1/jobs/{job_id}", "delete"),
        ("/v1/jobs/{job_id}/archive", "get"),
        ("/v1/jobs/{job_id}/attempts", "get"),
        ("/v1/alerts", "get"),
    }
    for (path, method), operation in operations.items():
        for status, answer in operation["responses"].items():
            if int(status) >= 400:
                form = "json" if path.startswith("/openai/") else "problem+json"
                assert list(answer["content"]) == [f"application/{form}"], (path, method, status)
        if method == "post" and path not in WITHOUT_BODY and path != "/v1/uploads":
            assert "$ref" in operation["requestBody"]["content"]["application/json"]["schema"]
    schemas = document["components"]["schemas"]
    assert all(name in schemas for name in _references(document))
    assert "HTTPValidationError" not in schemas
    assert schemas["NewImage"]["additionalProperties"] is False
    assert schemas["NewImage"]["required"] == ["id", "prompt"]
    of_budgets = {"remaining_micros", "remaining_credits"}
    assert set(schemas["Problem"]["required"]) == Problem.model_fields.keys() - of_budgets
    parameters = {each["name"]: each for each in operations["/v1/jobs", "post"]["parameters"]}
    assert parameters.keys() == {"dry_run", "Idempotency-Key", "Prefer"}
    assert (parameters["Idempotency-Key"]["in"], parameters["Idempotency-Key"]["required"]) == ("header", False)
    of_stats = {each["name"] for each in operations["/v1/stats", "get"]["parameters"]}
    assert of_stats == {"from", "to", "account", "group_by", "time_zone", "format"}
    for path in ("/v1/jobs", "/v1/images", "/v1/stats"):
        assert operations[path, "get"]["responses"]["200"]["content"].keys() == {"application/json", "text/csv"}


def _references(value: Any) -> set[str]:
    if isinstance(value, dict):
        here = {value["$ref"].removeprefix("#/components/schemas/")} if "$ref" in value else set()
        return here.union(*map(_references, value.values()))
    return set().union(*map(_references, value)) if isinstance(value, list) else set()


async def test_the_documentation_page_is_served(client: httpx2.AsyncClient):
    response = await client.get("/docs")

    assert response.status_code == 200
    assert "/openapi.json" in response.text
