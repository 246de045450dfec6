"""A new job as somebody writes it: quoted, refused with every fault at its place, and made once."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from safelight.api.app import ApiDependencies
from safelight.api.edge.session import SESSION_COOKIE, Sessions
from safelight.dashboard.pasted import NotRead, case_in, place_of, prompts_in, read_case
from safelight.domain.access import KeyScope
from tests.api.doors import key_for
from tests.dashboard.conftest import Browser, looking

CASE = {"images": [{"id": "key", "prompt": "A brass key"}], "metadata": {"case_id": "one"}}


async def jobs(pool: asyncpg.Pool) -> int:
    return await pool.fetchval("SELECT count(*) FROM jobs")


async def test_prompts_with_their_choices_become_a_job_and_lead_to_its_sheet(browser: Browser, pool: asyncpg.Pool):
    choices: dict[str, Any] = {
        "model": "placeholder placeholder-1",
        "aspect_ratio": "16:9",
        "style": "noir",
        "size": "original",
    }
    text = "A brass key\r\n\r\n  A torn ticket \r\n"
    response = await browser.send("/new", on="/new", text=text, do="submit", key="k1", **choices)
    assert response.url.path.startswith("/dashboard/jobs/job_")
    rows = await pool.fetch("SELECT id, prompt, model, options, style FROM images ORDER BY position")
    assert [row["id"] for row in rows] == ["image-1", "image-2"]
    assert "A torn ticket" in rows[1]["prompt"]
    assert rows[0]["style"]["name"] == "noir"
    assert rows[0]["options"]["aspect_ratio"] == "16:9"
    outputs = await pool.fetchval("SELECT outputs FROM jobs")
    assert [each["name"] for each in outputs] == ["original", "thumbnail"]


async def test_a_quote_says_what_it_costs_and_makes_nothing(browser: Browser, pool: asyncpg.Pool):
    response = await browser.send("/new", on="/new", text="A key\nA knife", do="quote", aspect_ratio="1:1")
    assert "The quote" in response.text
    assert "$0.00" in response.text
    assert "can be submitted" in response.text
    assert "A key\nA knife</textarea>" in response.text
    assert '<option value="1:1" selected>' in response.text
    await browser.send("/new", on="/new", text="A key")
    assert await jobs(pool) == 0


async def test_a_click_too_many_makes_no_second_job_and_another_text_needs_another_key(
    browser: Browser, pool: asyncpg.Pool
):
    first = await browser.send("/new", on="/new", text="A key", do="submit", key="once")
    second = await browser.send("/new", on="/new", text="A key", do="submit", key="once")
    assert (first.url, await jobs(pool)) == (second.url, 1)
    refused = await browser.send("/new", on="/new", status=422, text="Another key", do="submit", key="once")
    assert 'name="key" value="once"' not in refused.text
    assert await jobs(pool) == 1


async def test_every_fault_is_shown_at_its_line(browser: Browser, pool: asyncpg.Pool):
    text = f"A key\n\n{'x' * 101}\nA knife\n{'y' * 102}"
    response = await browser.send("/new", on="/new", status=422, text=text, do="quote", model="picky picky-1")
    assert "<b>Line 3</b>" in response.text
    assert "<b>Line 5</b>" in response.text
    assert "<b>Line 1</b>" not in response.text
    nothing = await browser.send("/new", on="/new", status=422, text=" \n ", do="quote")
    assert "at least one image" in nothing.text
    assert await jobs(pool) == 0


@pytest.mark.parametrize("text", [json.dumps(CASE), '[[images]]\nid = "key"\nprompt = "A brass key"\n'])
async def test_a_whole_case_is_taken_as_json_and_as_toml(browser: Browser, pool: asyncpg.Pool, text: str):
    fields: dict[str, Any] = {"as": "case", "text": text, "do": "submit", "key": "c1"}
    response = await browser.send("/new", on="/new?as=case", **fields)
    assert response.url.path.startswith("/dashboard/jobs/job_")
    assert await pool.fetchval("SELECT id FROM images") == "key"


async def test_faults_of_a_case_name_their_place_and_what_stands_there(browser: Browser):
    case = {"images": [{"id": "a", "prompt": "x", "aspect_ratio": "7:77"}, {"id": "b", "prompt": " "}], "promt": 1}
    response = await browser.send("/new", on="/new?as=case", status=422, **{"as": "case", "text": json.dumps(case)})
    assert "images › 1 (a) › aspect_ratio" in response.text or "images › 2 (b) › prompt" in response.text
    assert "<b>promt</b>" in response.text
    assert "&#34;promt&#34;: 1" in response.text, "the text is still there"


async def test_a_recipe_gives_an_example_to_begin_with(browser: Browser):
    whole: dict[str, Any] = {"as": "case"}
    assert "/new?recipe=mystery-case" in await browser.look("/new", **whole)
    page = await browser.look("/new", recipe="mystery-case")
    assert "A brass key" in page
    await browser.look("/new", status=404, recipe="nobody")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "nothing"),
        ("{", "not valid JSON"),
        ('{"a": 1, "a": 2}', "twice"),
        ('["a", "b"]', "JSON object"),
        ("a = 2026-11-20T06:00:00Z", "quotes"),
        ("a = nan", "quotes"),
        ("A brass key", "neither JSON nor TOML"),
    ],
)
def test_what_is_neither_json_nor_toml_is_said_to_be_so(text: str, why: str):
    with pytest.raises(NotRead, match=why):
        case_in(text)


@pytest.mark.parametrize(
    ("pointer", "name", "value"),
    [
        ("", "The whole", None),
        ("/images/0/prompt", "images › 1 (key) › prompt", '"A brass key"'),
        ("/metadata/case_id", "metadata › case_id", '"one"'),
        ("/images/7/prompt", "images › 7 › prompt", None),
        ("/a~1b", "a/b", None),
    ],
)
def test_a_place_is_named_for_people(pointer: str, name: str, value: str | None):
    place = place_of(pointer, CASE)
    assert (place.name, place.value) == (name, value)


def test_a_line_keeps_its_number_in_the_text():
    prompts = prompts_in("\n\nA key\n\nA knife", {})
    assert place_of("/images/1/prompt", prompts.body(), prompts).name == "Line 5"


async def test_an_admin_makes_jobs_for_others_and_a_balance_is_shown(deps: ApiDependencies, pool: asyncpg.Pool):
    key, _ = await key_for(pool, "default", KeyScope.ADMIN)
    async with looking(replace(deps, may_run_open=False)) as browser:
        browser.client.cookies.set(SESSION_COOKIE, Sessions(deps.vault).issue(key))
        bearer: dict[str, Any] = {"headers": {"Authorization": f"Bearer {key}"}}
        await browser.client.post("/v1/jobs", json={**CASE, "account": "customer"}, **bearer)
        changed = await browser.client.patch("/v1/accounts/customer", json={"billing": "credits"}, **bearer)
        assert changed.status_code == 200, changed.text
        quote = await browser.send("/new", on="/new", text="A key", do="quote", account="customer")
        assert "Balance after it" in quote.text
        refused = await browser.send(
            "/new", on="/new", status=402, text="A key", do="submit", account="customer", key="a1"
        )
        assert "Budget exceeded" in refused.text


@pytest.mark.parametrize(
    "part", ["a", "a ", "'a b'", r'"\""', r'"\\"'], ids=["plain", "spaced", "literal", "text", "slash"]
)
@pytest.mark.parametrize(
    "around",
    [
        "{} = 1",
        'x = {{ b = """a"""", {} = 1 }}',
        "x = {{ b = '''a''''', {} = 1 }}",
        "x = 1\n[{}]",
        "x = 1\n[[{}]]",
        "x = {{ {} = 1 }}",
        '# it\'s """\n{} = 1',
        "x = '''\n#'''\n{} = 1",
        'x = """\\""""\n{} = 1',
    ],
)
def test_a_key_that_would_fill_the_memory_is_refused_before_it_is_read(around: str, part: str):
    with pytest.raises(NotRead, match="more than 32 parts"):
        case_in(around.format(".".join([part] * 20_000)))


@pytest.mark.parametrize(
    "text", ["w." * 100, "w . " * 100, '"' + "w." * 100, "'" + "w." * 100, "1." * 100, "\\" + "1." * 100]
)
def test_points_in_a_text_are_no_parts_of_a_key(text: str):
    written = json.dumps(text)
    lines = [f"# {text}", f"prompt = {written}", f'lines = """\n{written[1:-1]}\n"""', f"[a.{'.'.join('b' * 25)}]"]
    assert case_in("\n".join(lines))["prompt"] == text


@pytest.mark.parametrize(
    "text", ['x = "' + '\\"' * 2_000_000, "x = " + "'\"" * 2_000_000, "x = " + "a" * 4_000_000, '"""\\' * 1_000_000]
)
def test_what_has_no_end_is_looked_through_once(text: str):
    began_at = time.process_time()
    with pytest.raises(NotRead):
        case_in(text)
    assert time.process_time() - began_at < 20.0


async def test_others_go_on_while_a_large_case_is_looked_through():
    reading = asyncio.create_task(read_case("a." * 31 + "b" * 8_000_000))
    latest, longest_seconds = time.process_time(), 0.0
    while not reading.done():
        await asyncio.sleep(0)
        longest_seconds, latest = max(longest_seconds, time.process_time() - latest), time.process_time()
    with pytest.raises(NotRead, match="neither JSON nor TOML"):
        await reading
    assert longest_seconds < 3.0
