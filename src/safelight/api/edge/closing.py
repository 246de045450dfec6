"""The end of the service: set once, when its server is told to stop."""

from __future__ import annotations

import asyncio

from fastapi import FastAPI


def closing_of(app: FastAPI) -> asyncio.Event:
    """From its setting on, nobody waits for anything, and new requests are sent away."""
    closing: asyncio.Event | None = getattr(app.state, "closing", None)
    if closing is None:
        closing = app.state.closing = asyncio.Event()
    return closing
