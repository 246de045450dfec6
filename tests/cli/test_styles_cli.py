"""`safelight styles` and `safelight recipes` as processes of their own, against the real API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from safelight.api.app import ApiDependencies
from tests.api import conftest as api
from tests.cli.conftest import Safelight

queue, deps, renderer = api.queue, api.deps, api.renderer

INK = """
name = "ink"
description = "Pen and ink"
prefix = "An ink drawing."
suffix = '''
Fine lines,
no colour.
'''
"""


@pytest.fixture
async def url(deps: ApiDependencies) -> AsyncIterator[str]:
    async with api.serving(deps) as client:
        yield str(client.base_url).rstrip("/")


async def test_a_file_becomes_a_style_that_is_shown_listed_and_removed(safelight: Safelight, url: str, tmp_path: Path):
    (tmp_path / "ink.toml").write_text(INK)
    said = await safelight("styles", "set", "ink.toml", url=url)
    assert (said.code, said.out) == (0, "ink · version 1\n"), said.err

    listed, shown, as_json = await asyncio.gather(
        safelight("styles", "list", url=url),
        safelight("styles", "show", "ink", url=url),
        safelight("styles", "show", "noir", "--json", url=url),
    )
    assert "Pen and ink" in listed.out
    assert "built in" in listed.out
    assert "prefix\nAn ink drawing.\n\nsuffix\nFine lines,\nno colour.\n" in shown.out
    assert json.loads(as_json.out)["built_in"] is True

    gone, kept = await asyncio.gather(
        safelight("styles", "remove", "ink", url=url), safelight("styles", "remove", "noir", url=url)
    )
    assert (gone.code, gone.out) == (0, "ink is gone\n")
    assert (kept.code, kept.err) == (1, "safelight: `noir` comes with Safelight: it cannot be deleted.\n")


async def test_a_file_that_is_no_style_is_refused_in_one_line(safelight: Safelight, url: str, tmp_path: Path):
    (tmp_path / "nameless.toml").write_text('prefix = "x"')
    (tmp_path / "wrong.toml").write_text('name = "wrong"\nprefx = "x"')

    nameless, wrong = await asyncio.gather(
        safelight("styles", "set", "nameless.toml", url=url), safelight("styles", "set", "wrong.toml", url=url)
    )
    assert (nameless.code, nameless.err) == (1, "safelight: nameless.toml: the style has no `name`\n")
    assert wrong.code == 1
    assert "/prefx" in wrong.err


async def test_recipes_are_listed_and_shown_with_a_job_to_begin_with(safelight: Safelight, url: str):
    listed, shown, as_json = await asyncio.gather(
        safelight("recipes", "list", url=url),
        safelight("recipes", "show", "mystery-case", url=url),
        safelight("recipes", "show", "mystery-case", "--json", url=url),
    )
    assert "locations, suspects, evidence" in listed.out
    assert "suspects · each needs id, name, age, gender, occupation, appearance" in shown.out
    example = json.loads(shown.out.partition("a job to begin with\n")[2])
    assert example == {"recipe": "mystery-case", "subjects": json.loads(as_json.out)["example"]}
