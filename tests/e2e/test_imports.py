"""The example apps know of Safelight what everybody may: its HTTP API, through its client."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PLUG_INS = ("acme_provider",)
"""Providers run inside of Safelight, and are made of other parts of it."""


def test_apps_import_nothing_of_safelight_but_its_client() -> None:
    files = [path for path in EXAMPLES.rglob("*.py") if path.relative_to(EXAMPLES).parts[0] not in PLUG_INS]
    assert files
    others = {
        f"{path.relative_to(EXAMPLES)}: {name}"
        for path in files
        for name in _imported(path)
        if name.partition(".")[0] == "safelight" and not f"{name}.".startswith("safelight.client.")
    }
    assert others == set()


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
