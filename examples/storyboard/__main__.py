"""`python -m examples.storyboard`: the app, until it is told to stop."""

from __future__ import annotations

import logging

import uvicorn

from examples.storyboard.app import create_app
from examples.storyboard.settings import Settings


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    settings = Settings()
    uvicorn.run(create_app(settings), host=settings.bind_host, port=settings.port, access_log=False, log_config=None)


if __name__ == "__main__":
    main()
