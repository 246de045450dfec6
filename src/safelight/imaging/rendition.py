"""What is asked of the renderer, and what comes back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

MAX_SIDE_PX = 8192

Reason = Literal["not-an-image", "truncated", "too-large", "unsupported-format", "animated"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendition:
    """One output of a picture. `cover` fills the box exactly and cuts what stands over, half a side."""

    name: str
    width_px: int
    height_px: int
    fit: Literal["cover"] = "cover"
    format: Literal["jpeg"] = "jpeg"
    quality: int = 80

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("a rendition has a name")
        for side_px in (self.width_px, self.height_px):
            if not 1 <= side_px <= MAX_SIDE_PX:
                raise ValueError(f"`{self.name}`: {side_px} px is outside of 1..{MAX_SIDE_PX}")
        if not 1 <= self.quality <= 100:
            raise ValueError(f"`{self.name}`: quality {self.quality} is outside of 1..100")
        if self.fit != "cover":
            raise ValueError(f"`{self.name}`: fit `{self.fit}` is not supported")
        if self.format != "jpeg":
            raise ValueError(f"`{self.name}`: format `{self.format}` is not supported")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """Bytes that decode to the last row. Width and height are those of the picture as it is shown."""

    mime: str
    width_px: int
    height_px: int
    frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A finished output: sRGB, no metadata of any kind."""

    name: str
    data: bytes = field(repr=False)
    width_px: int
    height_px: int
    format: str
    mime: str
    sha256: str


class NotAnImage(Exception):
    """These bytes will never be a picture of ours: asking again cannot help.

    `truncated` stands for every file that begins as an image and cannot be decoded to its end.
    """

    def __init__(self, code: Reason, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code: Reason = code
        self.message = message


class ChildDied(Exception):
    """The rendering process crashed, hit a limit or ran out of time. Trying again may help, once."""
