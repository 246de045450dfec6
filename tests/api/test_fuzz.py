"""Requests that nobody thought of: whatever comes, the answer is a job or a problem, and never our mistake."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import httpx2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api import wire
from tests.api.conftest import image
from tests.api.problems import refusal

FULL: dict[str, Any] = {
    "recipe": "mystery-case",
    "subjects": {"evidence": [{"id": "ev-1", "name": "A key", "description": "Bent"}]},
    "images": [image("a", group="g", count=2, seed=7), image("b", size="64x64", timeout_seconds=5.0, max_rebuys=0)],
    "defaults": {"provider": "placeholder", "max_attempts": 2, "on_uncertain": "hold"},
    "outputs": [{"name": "card", "width": 64, "height": 64, "fit": "cover", "format": "jpeg", "quality": 80}],
    "style": "noir",
    "storage_prefix": "project/scene",
    "deadline_seconds": 300.0,
    "on_deadline": "continue",
    "metadata": {"case": "1"},
}
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([-1, 0, 2**31, 2**53 + 1, 2**63, 2**64, 10**40, -(10**40)])
    | st.floats(allow_nan=True, allow_infinity=True)
    | st.text(max_size=20)
    | st.sampled_from(["", " ", "\x00", "\ud800", "../x", "a" * 70, "x" * 33_000, "__proto__", "1:1", "64x64"])
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)
FUZZED = settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


@st.composite
def changed(draw: st.DrawFn) -> bytes:
    """The full request, with some values replaced, removed, doubled or added."""
    document: Any = json.loads(json.dumps(FULL))
    for _ in range(draw(st.integers(1, 4))):
        place = document
        while True:
            keys: list[Any] = sorted(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            inner = place[key]
            if isinstance(inner, dict | list) and inner and draw(st.booleans()):
                place = inner
                continue
            match draw(st.sampled_from(["replace", "remove", "add"])):
                case "replace":
                    place[key] = draw(VALUES)
                case "remove":
                    del place[key]
                case _ if isinstance(place, dict):
                    place[draw(st.text(max_size=8) | st.sampled_from(sorted(FULL)))] = draw(VALUES)
                case _:
                    place.append(draw(st.sampled_from(place) | VALUES))
            break
    return json.dumps(document, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")


@st.composite
def garbled(draw: st.DrawFn) -> bytes:
    """The full request, or a changed one, with some of its bytes replaced, removed or doubled."""
    body = bytearray(draw(changed()))
    for _ in range(draw(st.integers(1, 5))):
        start = draw(st.integers(0, len(body)))
        end = start + draw(st.integers(0, 8))
        body[start:end] = draw(
            st.binary(max_size=4)
            | st.just(bytes(body[start:end]) * 2)
            | st.sampled_from([b"[" * 500, b"\\u0000", b'"'])
        )
    return bytes(body)


def an_answer_is_a_job_or_a_problem(response: httpx2.Response) -> None:
    assert response.status_code < 500, response.text
    if response.status_code >= 400:
        slug = response.json()["type"].removeprefix("/problems/")
        refusal(response, response.status_code, slug)


@FUZZED
@given(body=changed() | garbled())
async def test_no_body_is_our_mistake(client: httpx2.AsyncClient, body: bytes):
    response = await client.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})

    an_answer_is_a_job_or_a_problem(response)


NAMES = st.sampled_from(["status", "limit", "cursor", "group", "created_after", "metadata.a", "metadata.", "wait"])
QUERIES = st.lists(st.tuples(NAMES | st.text(max_size=8), st.text(max_size=20) | st.integers().map(str)), max_size=4)


@FUZZED
@given(pairs=QUERIES, path=st.sampled_from(["", "/job_01JD0000000000000000000000", "/x/events"]) | st.text(max_size=12))
async def test_no_address_is_our_mistake(client: httpx2.AsyncClient, pairs: list[tuple[str, str]], path: str):
    query = "&".join(f"{escaped(name)}={escaped(value)}" for name, value in pairs)
    place = path if path.startswith(("/job_", "/x/")) or not path else "/" + escaped(path)

    an_answer_is_a_job_or_a_problem(await wire.exchange(client, wire.request("GET", f"/v1/jobs{place}?{query}")))


def escaped(text: str) -> str:
    return quote(text.encode("utf-8", "surrogatepass"), safe="")
