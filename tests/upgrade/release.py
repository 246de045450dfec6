"""The last release: which one that was, its code where the history is at hand, and a database that it made."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from safelight.db.placement import wheel_binaries

ROOT = Path(__file__).parents[2]

VERSION = "0.1.0"
COMMIT = "439471d93e3576e167da9cdf2ed92349d84216c1"
"""What was released, where the tag `v0.1.0` is not at hand."""

MADE = Path(__file__).parent / f"release-{VERSION}"
"""What `scripts/make_release_database.py` made with it."""

AFTERWARDS = "10 minutes"
"""How long after the release stopped the new one starts, by the database's clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inherited:
    """A database that the last release left behind: `jobs` by the state that they are for."""

    dsn: str
    migration: int
    secret_key: str
    endpoint: str
    jobs: dict[str, str]


@asynccontextmanager
async def inherited(postgres: str, *, home: Path) -> AsyncIterator[Inherited]:
    """As the last release left it, ten minutes ago by its own clock; its folders are in `home`."""
    said = json.loads((MADE / "release.json").read_text(encoding="utf-8"))
    name = f"test_{uuid4().hex}"
    server = await asyncpg.connect(postgres)
    try:
        await server.execute(f"CREATE DATABASE {name}")
        dsn = postgres.replace("@/postgres?", f"@/{name}?")
        load(dsn, MADE / "database.sql")
        connection = await asyncpg.connect(dsn)
        await connection.execute(
            f"UPDATE safelight.installation SET clock_shift = $1 - clock_timestamp() + interval '{AFTERWARDS}'",
            datetime.fromisoformat(said.pop("made_at")),
        )
        await connection.close()
        shutil.copytree(MADE / "home", home, dirs_exist_ok=True)
        yield Inherited(dsn=dsn, **said)
        await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await server.close()


def load(dsn: str, file: Path) -> None:
    """What pg_dump wrote as text is in the database, all of it."""
    command: list[Any] = [wheel_binaries() / "psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"]
    done = subprocess.run(
        [*command, "--single-transaction", f"--file={file}", f"--dbname={dsn}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def source(folder: Path) -> Path:
    """The release's own source tree, in this folder. Skips the test where the history does not go back so far."""
    for name in (f"v{VERSION}", COMMIT):
        archive = subprocess.run(
            ["git", "archive", name, "src", "pyproject.toml", "examples"], cwd=ROOT, capture_output=True, check=False
        )
        if archive.returncode == 0:
            folder.mkdir()
            subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
            return folder
    pytest.skip(f"this is no checkout with the history of release {VERSION}: `git fetch --unshallow --tags`")
