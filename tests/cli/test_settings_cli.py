"""Settings that cannot be meant: one line that names the setting and not what it says, and nothing is started."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from safelight.cli.complaint import read_settings
from safelight.settings import Settings
from tests.cli.conftest import Safelight

COMMANDS = (["jobs", "list"], ["doctor"], ["api"], ["worker"], ["serve"], ["db", "migrate"], ["keys", "list"])


async def complaints(safelight: Safelight, *commands: list[str], code: int = os.EX_CONFIG) -> set[str]:
    """What they say, each in one line, and no more than that."""
    found = await asyncio.gather(*(safelight(*words) for words in commands))
    assert [(said.code, said.out, said.err.count("\n")) for said in found] == [(code, "", 1)] * len(found), found
    return {said.err.removeprefix("safelight: ").rstrip("\n") for said in found}


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("LOG_LEVEL", "hunter2", "setting log_level: must be `debug`, `info`, `warning` or `error`"),
        (
            "PROVIDERS",
            '{"hunter2":',
            "a variable SAFELIGHT_… holds no JSON, as lists and tables are written: error parsing value for field "
            '"providers" from source "EnvSettingsSource"',
        ),
        ("URL", "http://[::1", "setting url: must be `http://host:port` or `https://host`"),
        ("URL", "http://host:port", "setting url: must be `http://host:port` or `https://host`"),
        ("PUBLIC_URL", "pics.example", "setting public_url: must be `http://host:port` or `https://host`"),
        ("API_KEY", "sl_…", "setting api_key: has a space or a character beyond ASCII in it"),
        ("RUN_LIMIT_SECONDS", "inf", "setting run_limit_seconds: Input should be a finite number"),
        ("IMAGE_RETENTION_DAYS", "1e300", "setting image_retention_days: Input should be less than or equal to 36500"),
        ("ALERTS__EVERY_SECONDS", "nan", "setting alerts.every_seconds: Input should be a finite number"),
        ("DEFAULT_PROVIDER", "nobody", "default_provider `nobody` is not configured"),
        ("CONFIG", "none.toml", "SAFELIGHT_CONFIG names `none.toml`, and there is no such file"),
        ("CONFIG", ".", "SAFELIGHT_CONFIG names `.`, and there is no such file"),
    ],
)
async def test_a_variable_that_says_nothing_sensible_is_named_by_every_command(
    variable: str, value: str, complaint: str, safelight: Safelight, environment: dict[str, str]
) -> None:
    environment[f"SAFELIGHT_{variable}"] = value
    assert await complaints(safelight, *COMMANDS) == {complaint}


async def test_an_address_that_is_none_is_wrong_usage(safelight: Safelight) -> None:
    for words in (["jobs", "list"], ["generate", "case.json", "-o", "out"]):
        said = await safelight(*words, "--url", "http://[::1")
        assert (said.code, said.out) == (2, "")
        assert "must be `http://host:port`" in said.err
        assert "Traceback" not in said.err


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("max_queued_image = 5\n", "setting max_queued_image: there is no such setting"),
        ("[provider.gemini]\nkind = 'hunter2'\n", "setting provider: there is no such setting"),
        ("bind = hunter2\n", "safelight.toml: Invalid value (at line 1, column 8)"),
    ],
)
async def test_a_line_of_the_file_that_sets_nothing_is_named_by_every_command(
    text: str, complaint: str, safelight: Safelight, tmp_path: Path
) -> None:
    (tmp_path / "safelight.toml").write_text(text)
    assert await complaints(safelight, *COMMANDS) == {complaint}


async def test_a_file_that_cannot_be_looked_for_is_named(safelight: Safelight, environment: dict[str, str]) -> None:
    environment["SAFELIGHT_CONFIG"] = "long" * 100
    [complaint] = await complaints(safelight, *COMMANDS)
    assert complaint.startswith("longlong")
    assert "File name too long" in complaint


def test_the_file_may_be_named_from_the_home_of_its_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SAFELIGHT_CONFIG", "~/safelight.toml")
    (tmp_path / "safelight.toml").write_text("slots = 3\n")
    assert read_settings().slots == 3


async def test_a_home_that_is_no_folder_is_named(
    safelight: Safelight, environment: dict[str, str], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.write_text("")
    (tmp_path / "case.json").write_text('{"images": [{"id": "a", "prompt": "A brass key"}]}')
    alone = (["serve"], ["api"], ["worker"], ["db", "migrate"], ["keys", "list"], ["demo", "--home", "home"])
    for complaint in await complaints(safelight, *alone, code=1):
        assert complaint.startswith(f"`{home}")
        assert "cannot be used: " in complaint
    said = await safelight("generate", "case.json", "-o", "out")
    assert (said.code, said.err) == (1, f"safelight: `{home}/logs` cannot be used: Not a directory\n")


async def test_an_allowance_that_is_none_is_named_by_whoever_goes_by_it(
    safelight: Safelight, environment: dict[str, str]
) -> None:
    environment["SAFELIGHT_EGRESS_ALLOW"] = "everything"
    [complaint] = await complaints(safelight, ["doctor"], ["providers", "check"], ["api"])
    assert complaint.startswith("egress_allow: `everything` is no scheme://network:port")


@pytest.mark.parametrize("content", [b"name = 'x'\n", b"name = '\xff'\n", b"name = hunter2\n"])
async def test_a_recipe_that_is_none_is_named(content: bytes, safelight: Safelight, tmp_path: Path) -> None:
    recipe = tmp_path / "home" / "recipes" / "bad.toml"
    recipe.parent.mkdir(parents=True)
    recipe.write_bytes(content)
    [complaint] = await complaints(safelight, ["api"])
    assert complaint.startswith(f"`{recipe}` is no recipe.")


def test_any_number_of_images_may_wait_where_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAFELIGHT_MAX_QUEUED_IMAGES", "null")
    assert Settings().max_queued_images is None
    monkeypatch.delenv("SAFELIGHT_MAX_QUEUED_IMAGES")
    (tmp_path / "safelight.toml").write_text('max_queued_images = "null"\n')
    assert Settings().max_queued_images is None
