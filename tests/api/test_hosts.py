"""By which names the service may be called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from safelight.settings import Settings
from safelight.wiring.parts import own_hosts
from tests.api.conftest import Serve


@pytest.mark.parametrize("host", ["127.0.0.1:1", "LOCALHOST:8420", "[::1]:8420", "Pictures.example", "localhost"])
async def test_a_name_that_is_ours_is_let_in_on_whatever_port(serve_with: Serve, host: str):
    async with serve_with(allowed_hosts={"localhost", "127.0.0.1", "::1", "pictures.Example"}) as client:
        assert (await client.get("/v1/jobs", headers={"Host": host})).status_code == 200


async def test_an_operator_may_let_every_name_in(serve_with: Serve):
    async with serve_with(allowed_hosts={"*"}) as client:
        assert (await client.get("/v1/jobs", headers={"Host": "whatever.example"})).status_code == 200


@pytest.mark.parametrize(
    ("changed", "hosts"),
    [
        ({}, {"127.0.0.1"}),
        ({"bind": "[::1]:9000"}, {"::1"}),
        ({"public_url": "https://Pictures.example:8443/safelight"}, {"127.0.0.1", "pictures.example"}),
        ({"allowed_hosts": "a.example, b.example,"}, {"127.0.0.1", "a.example", "b.example"}),
        ({"allowed_hosts": ["c.example"]}, {"127.0.0.1", "c.example"}),
    ],
)
def test_an_installation_knows_the_names_that_its_settings_give_it(
    tmp_path: Path, changed: dict[str, Any], hosts: set[str]
):
    assert own_hosts(Settings(home=tmp_path, **changed)) == hosts


def test_names_come_from_the_environment_separated_by_commas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SAFELIGHT_ALLOWED_HOSTS", "a.example,b.example")

    assert Settings(home=tmp_path).allowed_hosts == {"a.example", "b.example"}
