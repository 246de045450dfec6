"""The page on operations names every setting, vendor and field, and its examples and its generated part hold."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from safelight.alert_settings import AlertRuleSettings, AlertSettings
from safelight.domain.alert_text import SEE
from safelight.domain.alerts import Rule
from safelight.providers.models import InvalidModelData, load_models
from safelight.providers.registry import installed_kinds, load_kind
from safelight.settings import VENDOR_KEYS, ProviderSettings, Settings
from safelight.wiring.parts import catalog_of

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")

VARIABLES = [
    *(f"SAFELIGHT_ALERTS__{name.upper()}" for name in AlertSettings.model_fields),
    *(f"SAFELIGHT_ALERTS__RULES__SUCCESS_RATE__{name.upper()}" for name in AlertRuleSettings.model_fields),
    *(f"SAFELIGHT_{name.upper()}" for name in Settings.model_fields),
    *(f"SAFELIGHT_PROVIDERS__GEMINI__{name.upper()}" for name in ProviderSettings.model_fields),
]

EXAMPLES = [
    tomllib.loads(block)
    for page in (PAGE, (ROOT / "README.md").read_text(encoding="utf-8"))
    for block in re.findall(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
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


@pytest.mark.parametrize("settings", EXAMPLES, ids=lambda settings: ",".join(settings.get("providers", settings)))
async def test_an_example_of_settings_is_one_that_the_service_takes(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAFELIGHT_CONFIG", "none-of-its-own.toml")
    for variable in VENDOR_KEYS.values():
        monkeypatch.setenv(variable, "a-key")
    catalog = catalog_of(Settings(**settings))
    try:
        for each in catalog.providers.values():
            if each.model is not None:
                each.provider.capabilities(each.model)
    finally:
        for each in catalog.providers.values():
            await each.provider.aclose()


def test_every_field_of_a_model_has_a_row_with_its_meaning() -> None:
    with pytest.raises(InvalidModelData) as refused:
        load_models("fal", more={"acme/painter": {"no-such-field": 1}})
    fields = re.findall(r"'(\w+)'", str(refused.value).partition("there are")[2])
    table = PAGE.partition("| field of a model | says |")[2].partition("\n\n")[0]
    assert sorted(re.findall(r"^\| `(\w+)` \| .{10,} \|$", table, re.MULTILINE)) == sorted(fields)


@pytest.mark.parametrize(("kind", "variable"), VENDOR_KEYS.items())
def test_every_vendor_has_a_row_with_its_key_and_its_address(kind: str, variable: str) -> None:
    [row] = [line for line in PAGE.splitlines() if line.startswith(f"| `{kind}` |") and f"| `{variable}` |" in line]
    assert f"`{vars(load_kind(kind, installed_kinds()))['default_base_url']}`" in row


@pytest.mark.parametrize("rule", Rule)
def test_what_an_alert_points_at_is_there(rule: Rule) -> None:
    page, _, anchor = SEE[rule].partition("#")
    headings = re.findall(r"^#+ (.*)$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
    assert anchor in {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
