"""`python -m examples.product_studio` serves the studio on 127.0.0.1."""

from __future__ import annotations

import logging

import uvicorn

from examples.product_studio.app import create_app
from examples.product_studio.settings import Settings


def main() -> None:
    settings = Settings()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # each request's address, at INFO
    uvicorn.run(create_app(settings), host="127.0.0.1", port=settings.port, access_log=False)


if __name__ == "__main__":
    main()
