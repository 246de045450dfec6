"""The page on operations names every setting and every check, and its generated part is what the code says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from safelight.settings import ProviderSettings, Settings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")

VARIABLES = [
    *(f"SAFELIGHT_{name.upper()}" for name in Settings.model_fields),
    *(f"SAFELIGHT_PROVIDERS__GEMINI__{name.upper()}" for name in ProviderSettings.model_fields),
]


@pytest.mark.parametrize("variable", VARIABLES)
def test_every_setting_has_a_row_with_its_meaning(variable: str) -> None:
    [row] = [line for line in PAGE.splitlines() if f"| `{variable}` |" in line]
    assert len(row.split("|")[4].strip()) > 10


def test_generated_pages_are_current() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/generate_docs.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
