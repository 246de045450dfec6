"""Pictures that come along with an order, as far as they matter to what is drawn: by their shape."""

from __future__ import annotations

import base64
import binascii
import io

from PIL import Image

_MEGAPIXEL = 1024 * 1024
_LONGEST_PX = 2048


def file_in(data_uri: str) -> bytes:
    """Raises ValueError for what is said to be no picture."""
    head, _, encoded = data_uri.partition(",")
    if not head.startswith("data:image/") or not head.endswith(";base64"):
        raise ValueError("not a picture in a data: URI")
    try:
        return base64.b64decode(encoded, validate=True)
    except binascii.Error:
        raise ValueError("not a picture") from None


def shape_px(picture: bytes) -> tuple[int, int]:
    """Width and height. Raises ValueError for what is no picture."""
    try:
        return Image.open(io.BytesIO(picture)).size
    except (OSError, Image.DecompressionBombError):
        raise ValueError("not a picture") from None


def of_a_megapixel(width_px: int, height_px: int, *, step_px: int) -> tuple[int, int]:
    """The same shape with about a megapixel, in whole steps; no side is extremely long or short."""
    scale = (_MEGAPIXEL / (width_px * height_px)) ** 0.5
    width, height = (
        min(max(round(side * scale / step_px) * step_px, _LONGEST_PX // 8), _LONGEST_PX)
        for side in (width_px, height_px)
    )
    return width, height
