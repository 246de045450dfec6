"""`python -m examples.armchair_sleuths`: the game's server, set up by its environment (see `settings`)."""

from __future__ import annotations

import logging

import uvicorn

from .settings import Settings
from .web import create_app

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    settings = Settings()  # pyright: ignore[reportCallIssue] - the environment gives what is required
    uvicorn.run(create_app(settings), host=settings.host, port=settings.port, log_level="warning")
