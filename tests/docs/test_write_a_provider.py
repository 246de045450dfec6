"""The provider of the page is the one in examples/, it is as short as the page says, and it works as a plug-in."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from safelight.net.egress import EgressGuard
from safelight.providers.registry import ProviderConfig, installed_kinds, load_kind

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "write-a-provider.md").read_text(encoding="utf-8")
EXAMPLE = ROOT / "examples" / "acme_provider"
PROJECT = tomllib.loads((EXAMPLE / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder for packages with the example in it, as an installer leaves it."""
    site = tmp_path / "site"
    name = f"{PROJECT['name'].replace('-', '_')}-{PROJECT['version']}.dist-info"
    (site / name).mkdir(parents=True)
    (site / name / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {PROJECT['name']}\nVersion: 1.0\n")
    [(group, entries)] = PROJECT["entry-points"].items()
    lines = [f"{kind} = {target}" for kind, target in entries.items()]
    (site / name / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines, ""]))
    shutil.copy(EXAMPLE / "acme_provider.py", site)
    return site


@pytest.mark.parametrize("file", ["acme_provider.py", "test_acme_provider.py"])
def test_the_page_shows_the_file_as_it_is(file: str) -> None:
    shown = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)

    assert (EXAMPLE / file).read_text(encoding="utf-8") in shown


def test_the_page_shows_the_entry_point_of_the_example() -> None:
    [(group, entries)] = PROJECT["entry-points"].items()
    lines = [f'{kind} = "{target}"' for kind, target in entries.items()]

    assert "\n".join([f'[project.entry-points."{group}"]', *lines]) in PAGE


def test_a_whole_provider_is_less_than_sixty_lines() -> None:
    assert len((EXAMPLE / "acme_provider.py").read_text(encoding="utf-8").splitlines()) < 60


@pytest.fixture
def not_imported() -> Iterator[None]:
    """Neither by a test before nor by this one for those after it."""
    sys.modules.pop("acme_provider", None)
    yield
    sys.modules.pop("acme_provider", None)


@pytest.mark.usefixtures("not_imported")
async def test_the_installed_example_is_a_kind_like_ours(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(site))
    config = ProviderConfig(api_key="canary-key", fetch=EgressGuard(()).fetch)

    provider = load_kind("acme", installed_kinds()).from_config("mine", config)

    assert type(provider).__name__ == "AcmeProvider"
    assert list(provider.models()) == ["draw-2", "draw-1"]
    await provider.aclose()


def test_the_command_line_knows_the_installed_example(site: Path, tmp_path: Path) -> None:
    settings = {"KIND": "acme", "MODEL": "draw-2", "API_KEY": "canary-key"}
    said = run(
        [sys.executable, "-m", "safelight", "providers", "list"],
        folder=tmp_path,
        path=(ROOT / "src", site),
        **{f"SAFELIGHT_PROVIDERS__MINE__{name}": value for name, value in settings.items()},
        SAFELIGHT_HOME=str(tmp_path / "home"),
    )

    assert said.returncode == 0, said.stderr
    assert "mine (default) · kind acme · default model draw-2" in said.stdout
    assert re.search(r"draw-2 +at most \$0\.020 a picture", said.stdout)
    assert re.search(r"draw-1 +switched off on 2026-03-31", said.stdout)


def test_the_example_passes_the_conformance_suite_with_its_own_configuration(site: Path, tmp_path: Path) -> None:
    """Strict about warnings, as pytest runs where nothing of ours is configured."""
    folder = tmp_path / "acme"
    folder.mkdir()
    for file in ("test_acme_provider.py", "pyproject.toml"):
        shutil.copy(EXAMPLE / file, folder)

    ran = run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"],
        folder=folder,
        path=(ROOT / "src", site),
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    passed = re.search(r"(\d+) passed, (\d+) skipped", ran.stdout)
    assert passed, ran.stdout
    assert int(passed[1]) > 40


def run(
    command: list[str], *, folder: Path, path: tuple[Path, ...], **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env={
            "PATH": os.defpath,
            "PYTHONPATH": os.pathsep.join(map(str, path)),
            "PYTHONDONTWRITEBYTECODE": "1",
            "COLUMNS": "120",
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )
