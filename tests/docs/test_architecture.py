"""The map is right: every file and function that the documentation names is there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
REFERENCE = re.compile(r"`(src/[\w/]+\.py)` · `([\w.]+)`")
PATH = re.compile(r"`((?:src|tests|docs|scripts|examples)/[\w/.-]+)`")
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)")

architecture = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
references = REFERENCE.findall(architecture)


def test_every_step_of_the_way_names_its_function():
    way = architecture.partition("## The way of one image")[2].partition("\n## ")[0]
    steps = [line for line in way.splitlines() if re.match(r"\| \d+ \|", line)]
    assert [int(line.split("|")[1]) for line in steps] == list(range(1, len(steps) + 1))
    assert len(steps) >= 15
    assert [line for line in steps if len(REFERENCE.findall(line)) != 1] == []


@pytest.mark.parametrize(("file", "name"), references)
def test_a_function_that_the_map_names_is_defined_there(file: str, name: str):
    assert name in functions_in(ROOT / file)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names_exist(page: Path):
    text = page.read_text(encoding="utf-8")
    named = {ROOT / path for path in PATH.findall(text)} | {page.parent / path for path in LINK.findall(text)}
    assert sorted(str(path.relative_to(ROOT)) for path in named if not path.exists()) == []


@cache
def functions_in(path: Path) -> frozenset[str]:
    """Functions as `name`, methods as `Class.name`."""
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            methods = [n for n in node.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
            found |= {f"{node.name}.{method.name}" for method in methods}
    return frozenset(found)
