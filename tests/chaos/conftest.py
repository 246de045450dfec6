from __future__ import annotations

from tests.engine.conftest import queue

__all__ = ["queue"]
