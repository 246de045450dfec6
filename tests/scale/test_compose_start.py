"""What compose.yaml has run inside of its containers, run here against a server that is as empty as theirs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest
import yaml

from safelight.db.keys import has_keys
from safelight.settings import child_environment
from tests.scale.outside_server import OutsideServer

ROOT = Path(__file__).parents[2]
PASSWORD = "it's a pass$word"


@pytest.mark.slow
async def test_the_role_is_made_that_may_do_nothing_else_and_setup_makes_one_key_however_often_it_runs(
    outside_server: OutsideServer, tmp_path: Path
) -> None:
    server = outside_server
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
    [script] = compose["services"]["setup"]["command"]
    entrypoint = compose["services"]["setup"]["entrypoint"]
    address = {"PGHOST": "127.0.0.1", "PGPORT": str(server.port), "PGPASSWORD": server.superuser_password}
    path = os.pathsep.join([str(Path(sys.executable).parent), str(server.bin_path), "/usr/bin", "/bin"])
    made = ran([str(ROOT / "deploy/compose/role.sh")], PATH=path, SAFELIGHT_DATABASE_PASSWORD=PASSWORD, **address)
    assert made.returncode == 0, made.stderr

    login = {"host": "127.0.0.1", "port": server.port, "user": "safelight", "database": "safelight"}
    connection = await asyncpg.connect(**login, password=PASSWORD)
    rights = "SELECT rolsuper OR rolcreatedb OR rolcreaterole FROM pg_roles WHERE rolname = current_user"
    assert await connection.fetchval(rights) is False

    quoted = "it%27s%20a%20pass%24word"
    dsn = f"postgresql://safelight:{quoted}@127.0.0.1:{server.port}/safelight"
    settings = child_environment({"database_url": dsn, "home": tmp_path}) | {"PATH": path}
    first, second = (ran([*entrypoint, script.replace("$$", "$")], **settings) for _ in range(2))
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert [line[:3] for line in first.stdout.splitlines()].count("sl_") == 1, "the key is printed"
    assert "sl_" not in second.stdout
    assert await has_keys(dsn)
    assert await connection.fetchval("SELECT count(*) FROM safelight.api_keys") == 1
    await connection.close()


def ran(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=False)
