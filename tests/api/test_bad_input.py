"""Every way to ask wrongly: the answer is a problem of its own kind, and nothing is created."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import httpx2
import pytest

from tests.api.conftest import Serve, image, job
from tests.api.problems import pointers, refusal

JSON = {"Content-Type": "application/json"}


async def nothing_was_created(pool: asyncpg.Pool) -> bool:
    return await pool.fetchval("SELECT NOT EXISTS (SELECT FROM jobs)")


BODIES: list[tuple[bytes, int, str]] = [
    (b"", 400, "malformed-json"),
    (b'{"images": [', 400, "malformed-json"),
    (b'{"images": NaN}', 400, "malformed-json"),
    (b'{"deadline_seconds": 1e999}', 400, "malformed-json"),
    (b"[" * 100_000, 400, "malformed-json"),
    (b'{"deadline_seconds": ' + b"1" * 5000 + b"}", 400, "malformed-json"),
    (b'\xef\xbb\xbf{"images": []}', 400, "malformed-json"),
    ('{"images": []}'.encode("utf-16"), 400, "malformed-json"),
    (b'{"images": [], "images": []}', 400, "duplicate-key"),
    (b'{"images": [{"id": "a", "prompt": "x\\ud800"}]}', 422, "invalid-text"),
    (b'{"images": [{"id": "a", "prompt": "x\\u0000"}]}', 422, "invalid-text"),
    (b'{"metadata": {"a": "x\\u0007"}}', 422, "invalid-text"),
    (b"[]", 422, "validation-error"),
    (b'"job"', 422, "validation-error"),
    (b"null", 422, "validation-error"),
]


async def test_a_body_that_is_no_json_object_is_refused(
    client: httpx2.AsyncClient, pool: asyncpg.Pool, subtests: pytest.Subtests
):
    for body, status, slug in BODIES:
        with subtests.test(body=body[:40]):
            refusal(await client.post("/v1/jobs", content=body, headers=JSON), status, slug)

    assert await nothing_was_created(pool)


@pytest.mark.parametrize(
    ("headers", "slug"),
    [
        ({}, "unsupported-media-type"),
        ({"Content-Type": "text/plain"}, "unsupported-media-type"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, "unsupported-media-type"),
        ({"Content-Type": "application/json; charset=utf-16"}, "unsupported-media-type"),
        ({**JSON, "Content-Encoding": "gzip"}, "unsupported-encoding"),
    ],
)
async def test_a_body_of_another_kind_is_refused(client: httpx2.AsyncClient, headers: dict[str, str], slug: str):
    refusal(await client.post("/v1/jobs", content=b"{}", headers=headers), 415, slug)


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; charset=UTF-8"])
async def test_json_in_utf8_is_accepted_however_its_type_is_spelt(client: httpx2.AsyncClient, content_type: str):
    body = b'{"images": [{"id": "one", "prompt": "caf\xc3\xa9"}]}'

    response = await client.post("/v1/jobs", content=body, headers={"Content-Type": content_type})

    assert response.status_code == 202


async def test_a_body_over_eight_megabytes_is_refused_with_and_without_a_declared_length(
    client: httpx2.AsyncClient,
):
    async def chunks():
        for _ in range(90):
            yield b" " * 100_000

    refusal(await client.post("/v1/jobs", content=b" " * 9_000_000, headers=JSON), 413, "payload-too-large")
    refusal(await client.post("/v1/jobs", content=chunks(), headers=JSON), 413, "payload-too-large")


async def test_a_body_that_does_not_arrive_in_time_is_given_up(serve_with: Serve):
    async with serve_with(body_seconds=0.2) as client:
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        writer.write(b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
        writer.write(b"Content-Length: 50\r\n\r\n{")
        async with asyncio.timeout(10):
            answer = await reader.read()  # until the server closes, which it has to
        writer.close()

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"/problems/request-timeout"' in answer


IMAGE_FAULTS: list[tuple[dict[str, Any], str, str]] = [
    ({"promt": "x"}, "unknown-field", "promt"),
    ({"references": []}, "unknown-field", "references"),
    ({"prompt": None}, "validation-error", "prompt"),
    ({"prompt": ""}, "validation-error", "prompt"),
    ({"prompt": " \n\t"}, "validation-error", "prompt"),
    ({"prompt": "\u200b\ufeff\u2060 \u3164"}, "validation-error", "prompt"),
    ({"prompt": 7}, "validation-error", "prompt"),
    ({"prompt": "x" * 32_001}, "prompt-too-long", "prompt"),
    ({"prompt": "x" * 101, "provider": "picky", "model": "picky-1"}, "prompt-too-long", "prompt"),
    *(({"count": bad}, "validation-error", "count") for bad in (0, -1, 11, 1.5, "1", True, None)),
    ({"size": "1024x1024", "aspect_ratio": "1:1"}, "unsupported-size", "size"),
    ({"size": "3x3"}, "unsupported-size", "size"),
    ({"aspect_ratio": "17:1"}, "unsupported-size", "aspect_ratio"),
    ({"size": "64x64", "provider": "picky", "model": "picky-1"}, "unsupported-size", "size"),
    *(({"seed": bad}, "validation-error", "seed") for bad in (-1, 2**63, 10**30, 1.0, "1", True)),
    ({"model": "dall-e-9"}, "unknown-model", "model"),
    ({"provider": "nobody"}, "unknown-model", "provider"),
    ({"provider": "picky", "model": "placeholder-1"}, "unknown-model", "model"),
    ({"provider": "picky", "model": "picky-1", "seed": 1}, "unsupported-option", "seed"),
    ({"negative_prompt": "blur"}, "unsupported-option", "negative_prompt"),
    ({"negative_prompt": "\u200b"}, "validation-error", "negative_prompt"),
    *(({"id": bad}, "validation-error", "id") for bad in ("", "../x", "a/b", "a b", "-a", "a.", "a" * 65, "é", 1)),
    ({"id": "a" * 63, "count": 2}, "validation-error", "id"),
    ({"group": "../x"}, "validation-error", "group"),
    *(({"timeout_seconds": bad}, "validation-error", "timeout_seconds") for bad in (0, -1, 3601, "60")),
    *(({"max_attempts": bad}, "validation-error", "max_attempts") for bad in (0, 11, 1.5)),
    ({"max_rebuys": -1}, "validation-error", "max_rebuys"),
    ({"on_uncertain": "ask"}, "validation-error", "on_uncertain"),
]


async def test_one_bad_image_among_good_ones_refuses_the_job(
    client: httpx2.AsyncClient, pool: asyncpg.Pool, subtests: pytest.Subtests
):
    for fields, slug, field in IMAGE_FAULTS:
        body = job(images=[image("good"), {**image("bad"), **fields}, image("fine")])
        with subtests.test(fields=str(fields)[:80]):
            problem = refusal(await client.post("/v1/jobs", json=body), 422, slug)
            assert pointers(problem) == [f"/images/1/{field}"]

    assert await nothing_was_created(pool)


CARD = {"name": "card", "width": 64, "height": 64}
JOB_FAULTS: list[tuple[dict[str, Any], str, str]] = [
    ({"priority": "high"}, "unknown-field", "/priority"),
    ({"webhook": {}}, "unknown-field", "/webhook"),
    ({"defaults": {"quality": "high"}}, "unknown-field", "/defaults/quality"),
    ({"images": []}, "validation-error", ""),
    ({"images": None}, "validation-error", "/images"),
    ({"images": {}}, "validation-error", "/images"),
    ({"images": ["x"]}, "validation-error", "/images/0"),
    ({"images": [{"id": "a"}]}, "validation-error", "/images/0/prompt"),
    ({"images": [image("a"), image("a")]}, "validation-error", "/images/1/id"),
    ({"images": [image("a-1"), image("a", count=3)]}, "validation-error", "/images/1/id"),
    ({"images": [image(f"i{n}") for n in range(501)]}, "validation-error", "/images"),
    ({"images": [image(f"i{n}", count=10) for n in range(51)]}, "validation-error", "/images"),
    ({"recipe": "no-such-recipe"}, "validation-error", "/recipe"),
    ({"subjects": {"evidence": []}}, "validation-error", "/subjects"),
    ({"recipe": "mystery-case", "subjects": {"evidence": [7]}}, "validation-error", "/subjects/evidence/0"),
    (
        {"recipe": "mystery-case", "subjects": {"evidence": [{"id": "e", "name": "A key"}]}},
        "validation-error",
        "/subjects/evidence/0/description",
    ),
    ({"defaults": {"model": "picky-0", "provider": "picky"}}, "unknown-model", "/defaults/model"),
    ({"defaults": {"provider": "picky"}}, "unknown-model", "/defaults/model"),
    ({"defaults": {"aspect_ratio": "17:1"}}, "unsupported-size", "/defaults/aspect_ratio"),
    ({"defaults": {"negative_prompt": "blur"}}, "unsupported-option", "/defaults/negative_prompt"),
    *(({"outputs": [{**CARD, "width": bad}]}, "unsupported-size", "/outputs/0/width") for bad in (0, -1, 99_999)),
    *(({"outputs": [{**CARD, "height": bad}]}, "unsupported-size", "/outputs/0/height") for bad in (0, -1, 99_999)),
    ({"outputs": [{**CARD, "width": "64"}]}, "validation-error", "/outputs/0/width"),
    ({"outputs": [{**CARD, "width": 8000, "height": 8000}]}, "unsupported-size", "/outputs"),
    ({"outputs": [{**CARD, "fit": "contain"}]}, "unsupported-size", "/outputs/0/fit"),
    *(({"outputs": [{**CARD, "format": bad}]}, "unsupported-format", "/outputs/0/format") for bad in ("svg", "png")),
    ({"outputs": [{**CARD, "quality": 101}]}, "validation-error", "/outputs/0/quality"),
    ({"outputs": [CARD, CARD]}, "validation-error", "/outputs/1/name"),
    ({"outputs": []}, "validation-error", "/outputs"),
    *(
        ({"storage_prefix": bad}, "validation-error", "/storage_prefix")
        for bad in ("", "/a", "a/", "a//b", "../a", "a/../b", "a b", "é", "x" * 601, ".safelight-parts/x", 7)
    ),
    *(({"deadline_seconds": bad}, "validation-error", "/deadline_seconds") for bad in (0, 86_401, "60", None, True)),
    ({"on_deadline": "panic"}, "validation-error", "/on_deadline"),
    ({"metadata": {f"k{n}": "v" for n in range(17)}}, "validation-error", "/metadata"),
    ({"metadata": {"a": "v" * 513}}, "validation-error", "/metadata/a"),
    ({"metadata": {"__proto__": "v"}}, "validation-error", "/metadata/__proto__"),
    ({"metadata": {"a": {"b": "c"}}}, "validation-error", "/metadata/a"),
    ({"metadata": {"a": 1}}, "validation-error", "/metadata/a"),
]


async def test_a_bad_field_of_the_job_refuses_it(
    client: httpx2.AsyncClient, pool: asyncpg.Pool, subtests: pytest.Subtests
):
    for fields, slug, pointer in JOB_FAULTS:
        with subtests.test(fields=str(fields)[:80]):
            problem = refusal(await client.post("/v1/jobs", json=job(**fields)), 422, slug)
            assert pointers(problem) == [pointer]

    assert await nothing_was_created(pool)


async def test_all_faults_of_a_request_are_listed_at_once(client: httpx2.AsyncClient):
    body = {
        "recipe": "mystery-case",
        "subjects": {"evidence": [{"id": "e", "name": "A key"}]},
        "images": [image("e1", count=0), image("e2", aspect_ratio="17:1"), image("e3"), image("e3")],
        "defaults": {"seed": -1},
        "outputs": [{**CARD, "format": "png"}],
        "metadata": {"__proto__": "x"},
        "storage_prefix": "../up",
    }

    problem = refusal(await client.post("/v1/jobs", json=body), 422, "validation-error")

    assert sorted(pointers(problem)) == [
        "/defaults/seed",
        "/images/0/count",
        "/images/1/aspect_ratio",
        "/images/3/id",
        "/metadata/__proto__",
        "/outputs/0/format",
        "/storage_prefix",
        "/subjects/evidence/0/description",
    ]
    assert len({each["type"] for each in problem["errors"]}) == 3


async def test_a_fault_that_all_images_share_is_listed_once(client: httpx2.AsyncClient):
    body = job(images=[image(f"i{n}") for n in range(20)], defaults={"size": "3x3"})

    problem = refusal(await client.post("/v1/jobs", json=body), 422, "unsupported-size")

    assert pointers(problem) == ["/defaults/size"]


async def test_a_misspelt_field_names_the_problem_though_others_follow_from_it(client: httpx2.AsyncClient):
    body = {"images": [{"id": "one", "promt": "A brass key"}]}

    problem = refusal(await client.post("/v1/jobs", json=body), 422, "unknown-field")

    assert sorted(pointers(problem)) == ["/images/0/prompt", "/images/0/promt"]


async def test_a_retired_model_is_refused_with_its_day(client: httpx2.AsyncClient):
    body = job(defaults={"provider": "picky", "model": "picky-0"})

    problem = refusal(await client.post("/v1/jobs", json=body), 422, "unknown-model")

    assert "2026-10-02" in problem["detail"]


async def test_a_prompt_is_never_quoted_back(client: httpx2.AsyncClient):
    canary = "CANARY-brass-key"
    body = job(images=[image(prompt=canary * 3000, negative_prompt=canary), image("b", prompt=[canary])])

    response = await client.post("/v1/jobs", json=body)

    assert response.status_code == 422
    assert canary not in response.text


async def test_a_bad_parameter_of_the_history_is_refused(client: httpx2.AsyncClient, subtests: pytest.Subtests):
    for name, value in [
        *(("limit", bad) for bad in ("0", "-1", "101", "1001", "x", "", "1.5")),
        ("status", "running"),
        ("cursor", "a" * 201),
    ]:
        with subtests.test(name=name, value=value[:20]):
            problem = refusal(await client.get("/v1/jobs", params={name: value}), 422, "validation-error")
            assert [each["parameter"] for each in problem["errors"]] == [name]


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/jobs?account=x"), ("POST", "/v1/jobs?dry_run=true"), ("GET", "/v1/jobs/job_x?wait=20")],
)
async def test_a_parameter_that_does_not_exist_is_refused_rather_than_ignored(
    client: httpx2.AsyncClient, pool: asyncpg.Pool, method: str, path: str
):
    body = job() if method == "POST" else None

    refusal(await client.request(method, path, json=body), 422, "unknown-field")

    assert await nothing_was_created(pool)


@pytest.mark.parametrize("key", ["", "a b", "k" * 256, b"k\xe9"], ids=lambda key: repr(key[:10]))
async def test_an_idempotency_key_that_is_none_is_refused(
    client: httpx2.AsyncClient, pool: asyncpg.Pool, key: str | bytes
):
    raw = key.encode() if isinstance(key, str) else key

    response = await client.post("/v1/jobs", json=job(), headers=[(b"Idempotency-Key", raw)])

    refusal(response, 400, "invalid-idempotency-key")
    assert await nothing_was_created(pool)


async def test_two_idempotency_keys_are_refused(client: httpx2.AsyncClient):
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]

    refusal(await client.post("/v1/jobs", json=job(), headers=headers), 400, "invalid-idempotency-key")


NOWHERE = [
    "/nowhere",
    "/v1",
    "/v1/jobs/",
    "/v1/jobs/job_1",
    "/v1/jobs/job_01JD0000000000000000000000",
    "/v1/jobs/..%2f..%2fetc",
    "/v1/jobs/%00",
    "/v1/jobs/%ff",
    "/v1/jobs/" + "a" * 10_000,
    "/v1/jobs/job_01JD0000000000000000000000/images/one",
    "/v1/jobs/job_01JD0000000000000000000000/images/%00",
    "/v1/jobs/job_01JD0000000000000000000000/images/one/%00",
    "/v1/jobs/job_01JD0000000000000000000000/events",
    "/problems/nonsense",
]


async def test_what_does_not_exist_is_not_found(client: httpx2.AsyncClient, subtests: pytest.Subtests):
    for path in NOWHERE:
        with subtests.test(path=path[:60]):
            refusal(await client.get(path), 404, "not-found")


async def test_a_job_that_does_not_exist_cannot_be_changed(client: httpx2.AsyncClient):
    for action in ("cancel", "retry"):
        for job_id in ("job_1", "job_01JD0000000000000000000000", "%00"):
            refusal(await client.post(f"/v1/jobs/{job_id}/{action}"), 404, "not-found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/v1/jobs", {"GET", "POST"}),
        ("PUT", "/v1/jobs/job_1", {"GET"}),
        ("GET", "/v1/jobs/job_1/cancel", {"POST"}),
        ("POST", "/healthz", {"GET"}),
        ("TRACE", "/v1/jobs", {"GET", "POST"}),
    ],
)
async def test_a_wrong_method_is_told_which_ones_are_right(
    client: httpx2.AsyncClient, method: str, path: str, allowed: set[str]
):
    response = await client.request(method, path)

    refusal(response, 405, "method-not-allowed")
    assert set(response.headers["allow"].split(", ")) == allowed


WRONG_CHANGES: list[tuple[str, dict[str, Any], str]] = [
    ("cancel", {"mode": "now"}, "/mode"),
    ("cancel", {"images": []}, "/images"),
    ("cancel", {"images": ["../x"]}, "/images/0"),
    ("retry", {"only": ["completed"]}, "/only/0"),
    ("retry", {"images": "all"}, "/images"),
    ("retry", {"prompt_overrides": {"one": " "}}, "/prompt_overrides/one"),
    ("retry", {"prompt_overrides": {"a b": "x"}}, "/prompt_overrides/a b"),
]


async def test_a_bad_cancel_or_retry_is_refused_with_its_fault(client: httpx2.AsyncClient, subtests: pytest.Subtests):
    for action, body, pointer in WRONG_CHANGES:
        with subtests.test(action=action, body=body):
            response = await client.post(f"/v1/jobs/job_01JD0000000000000000000000/{action}", json=body)
            assert pointers(refusal(response, 422, "validation-error")) == [pointer]
