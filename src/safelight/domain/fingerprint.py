"""Digests by which two requests are the same request."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson


def fingerprint(value: Any) -> str:
    """SHA-256 (hex) of a JSON value: object order does not count, array order does."""
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()
