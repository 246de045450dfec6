"""The API of the tests of the API, and the engine of those of the engine."""

from __future__ import annotations

from tests.api.conftest import client, deps, queue, renderer
from tests.engine.conftest import sandbox, settings

__all__ = ["client", "deps", "queue", "renderer", "sandbox", "settings"]
