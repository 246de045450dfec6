"""A vendor that answers at once with one and the same picture: a plug-in, found on the path of a measured installation.

With it, what takes time is Safelight.
"""

from __future__ import annotations

import struct
import zlib
from typing import Self

from safelight.domain.money import FREE, Cost
from safelight.providers.failures import buyable
from safelight.providers.models import Model, ModelTable
from safelight.providers.provider import Capabilities, ImageProvider, ImageRequest, ImageResult
from safelight.providers.registry import ProviderConfig

MODEL = "instant-1"
SIDE_PX = 64

_CAPABILITIES = Capabilities(
    aspect_ratios=None,
    sizes=frozenset({f"{SIDE_PX}x{SIDE_PX}"}),
    seed=False,
    negative_prompt=False,
    timeout_seconds=30.0,
)
_TABLE = ModelTable(
    vendor="instant",
    version="1",
    unbilled_statuses=frozenset(),
    models={MODEL: Model(id=MODEL, capabilities=_CAPABILITIES, price=None)},
)


class InstantProvider(ImageProvider):
    @classmethod
    def from_config(cls, name: str, config: ProviderConfig) -> Self:  # noqa: ARG003 - there is nothing to set
        return cls()

    def models(self) -> tuple[str, ...]:
        return (MODEL,)

    def capabilities(self, model: str) -> Capabilities:
        return _TABLE.find(model).capabilities

    def estimate(self, request: ImageRequest) -> Cost:  # noqa: ARG002 - it is free
        return FREE

    async def submit(self, request: ImageRequest) -> ImageResult:
        buyable(request, _TABLE)
        return ImageResult(
            data=_PICTURE, claimed_mime="image/png", cost=FREE, request_id=request.attempt_key, model_version=MODEL
        )

    async def aclose(self) -> None:
        return


def _png(side_px: int) -> bytes:
    """A teal square; made by hand, so that the worker loads no library for it."""
    rows = zlib.compress((b"\0" + bytes((0, 128, 128)) * side_px) * side_px)
    header = struct.pack("!IIBBBBB", side_px, side_px, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", rows) + _chunk(b"IEND", b"")


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack("!I", len(body)) + name + body + struct.pack("!I", zlib.crc32(name + body))


_PICTURE = _png(SIDE_PX)
