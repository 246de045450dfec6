"""How many histories are tried: 200 by default, and with `--hypothesis-profile=many` as many as its name says."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("more", max_examples=2_000)
settings.register_profile("many", max_examples=20_000)
