"""What a refusal tells its caller, beyond its kind."""

from __future__ import annotations

import httpx2
import pytest

from tests.api.bad_request import CARD
from tests.api.conftest import image, job
from tests.api.problems import pointers, refusal


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; charset=UTF-8"])
async def test_json_in_utf8_is_accepted_however_its_type_is_spelt(client: httpx2.AsyncClient, content_type: str):
    body = b'{"images": [{"id": "one", "prompt": "caf\xc3\xa9"}]}'

    response = await client.post("/v1/jobs", content=body, headers={"Content-Type": content_type})

    assert response.status_code == 202


async def test_all_faults_of_a_request_are_listed_at_once(client: httpx2.AsyncClient):
    body = {
        "recipe": "mystery-case",
        "subjects": {"evidence": [{"id": "e", "name": "A key"}]},
        "images": [image("e1", count=0), image("e2", aspect_ratio="17:1"), image("e3"), image("e3")],
        "defaults": {"seed": -1},
        "outputs": [{**CARD, "format": "svg"}],
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


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/v1/jobs", {"GET", "POST"}),
        ("PUT", "/v1/jobs/job_1", {"DELETE", "GET"}),
        ("GET", "/v1/jobs/job_1/cancel", {"POST"}),
        ("POST", "/healthz", {"GET"}),
        ("OPTIONS", "/v1/webhooks/deliveries", {"GET"}),
        ("PUT", "/v1/webhooks/whe_1", {"GET", "PATCH", "DELETE"}),
        ("TRACE", "/v1/jobs", {"GET", "POST"}),
    ],
)
async def test_a_wrong_method_is_told_which_ones_are_right(
    client: httpx2.AsyncClient, method: str, path: str, allowed: set[str]
):
    response = await client.request(method, path)

    refusal(response, 405, "method-not-allowed")
    assert set(response.headers["allow"].split(", ")) == allowed
