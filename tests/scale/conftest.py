from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.scale.outside_server import OutsideServer, running_outside_server


@pytest.fixture(scope="module")
def outside_server() -> Iterator[OutsideServer]:
    with running_outside_server() as server:
        yield server
