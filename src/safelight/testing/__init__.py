"""For authors of providers: a suite of tests that says whether the engine can rely on yours.

Needs `pip install pytest pytest-asyncio`, which Safelight itself does without. See docs/write-a-provider.md.
"""

from __future__ import annotations

try:
    import pytest
    import pytest_asyncio as pytest_asyncio
except ModuleNotFoundError as missing:
    raise ImportError("safelight.testing needs two packages more: pip install pytest pytest-asyncio") from missing

for _part in ("calls", "declared", "jobs", "stage"):
    pytest.register_assert_rewrite(f"{__name__}.{_part}")  # so that a failed check shows the values it compared

from safelight.testing.conformance import ProviderConformance  # noqa: E402
from safelight.testing.stage import Case, Scene  # noqa: E402
from safelight.testing.vendor import Delivery, Reply, ScriptedVendor, SeenRequest  # noqa: E402

__all__ = ["Case", "Delivery", "ProviderConformance", "Reply", "Scene", "ScriptedVendor", "SeenRequest"]
