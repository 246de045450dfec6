"""Stylesheets, scripts and icons: a few files that come with the package, under addresses that change with them."""

from __future__ import annotations

import hashlib
from importlib import resources
from mimetypes import guess_type

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

_FOR_EVER = "public, max-age=31536000, immutable"
_SUFFIXES = (".css", ".js", ".svg")


class Assets:
    """Read once. None is larger than some 60 kB."""

    def __init__(self, prefix: str) -> None:
        folder = resources.files("safelight.dashboard") / "static"
        files = {each.name: each.read_bytes() for each in folder.iterdir() if each.name.endswith(_SUFFIXES)}
        self._files = files
        self._addresses = {
            name: f"{prefix}/{name}?v={hashlib.sha256(data).hexdigest()[:10]}" for name, data in files.items()
        }

    def url(self, name: str) -> str:
        """Raises KeyError for a file that is not there."""
        return self._addresses[name]

    async def serve(self, request: Request) -> Response:
        name = request.path_params["name"]
        data = self._files.get(name)
        if data is None:
            return PlainTextResponse("There is no such file.\n", 404)
        headers = {"Cache-Control": _FOR_EVER, "X-Content-Type-Options": "nosniff"}
        return Response(data, headers=headers, media_type=guess_type(name)[0])
