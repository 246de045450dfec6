"""What is asked of the renderer, and what comes back."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

MAX_SIDE_PX = 8192

Fit = Literal["cover", "contain", "inside"]
Format = Literal["jpeg", "webp", "png", "avif"]
Reason = Literal["not-an-image", "truncated", "too-large", "unsupported-format", "animated"]

MIME: Mapping[Format, str] = {
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "png": "image/png",
    "avif": "image/avif",
}
DEFAULT_QUALITY: Mapping[Format, int | None] = {"jpeg": 80, "webp": 80, "png": None, "avif": 50}
"""About the same to the eye; each format has a scale of its own, and PNG, which is lossless, has none."""

_FITS = ("cover", "contain", "inside")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendition:
    """One output that is made from a picture.

    `cover` fills the box exactly and cuts what stands over, half on either side. `contain` shows all of the picture
    in a box of exactly this size, in its middle: the rest is transparent, or white where the format cannot be.
    `inside` shows all of it and is no larger than the box, nor than the picture. None of them distorts, except that
    a side is at least 1 px.

    `quality` is 1..100 on the format's own scale, and None exactly where the format is lossless.

    With `keeps_original`, a file that is of this format and of the size that would come out is the output itself, byte
    for byte, with whatever metadata it holds.
    """

    name: str
    width_px: int
    height_px: int
    fit: Fit = "cover"
    format: Format = "jpeg"
    quality: int | None = 80
    keeps_original: bool = False

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("a rendition has a name")
        for side_px in (self.width_px, self.height_px):
            if not 1 <= side_px <= MAX_SIDE_PX:
                raise ValueError(f"`{self.name}`: {side_px} px is outside of 1..{MAX_SIDE_PX}")
        if self.fit not in _FITS:
            raise ValueError(f"`{self.name}`: fit `{self.fit}` is not supported")
        if self.format not in MIME:
            raise ValueError(f"`{self.name}`: format `{self.format}` is not supported")
        if DEFAULT_QUALITY[self.format] is None:
            if self.quality is not None:
                raise ValueError(f"`{self.name}`: {self.format} has no quality")
        elif self.quality is None or not 1 <= self.quality <= 100:
            raise ValueError(f"`{self.name}`: quality {self.quality} is outside of 1..100")


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """The output that is the vendor's file, byte for byte, with whatever metadata it holds."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """Bytes that decode to the last row. Width and height are those of the picture as it is shown."""

    mime: str
    width_px: int
    height_px: int
    frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A finished output. One that was made is in sRGB and holds no metadata of any kind; a file that was kept is as it
    came."""

    name: str
    data: bytes = field(repr=False)
    width_px: int
    height_px: int
    format: Format
    mime: str
    sha256: str

    @property
    def extension(self) -> str:
        return "jpg" if self.format == "jpeg" else self.format


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaned:
    """A picture that was decoded and written anew, upright and in sRGB: PNG or JPEG, without metadata of any kind.
    `has_alpha`: something in it is transparent."""

    data: bytes = field(repr=False)
    width_px: int
    height_px: int
    format: Format
    mime: str
    sha256: str
    has_alpha: bool

    @property
    def extension(self) -> str:
        return "jpg" if self.format == "jpeg" else self.format


def wanted_output(fields: Mapping[str, Any]) -> Rendition | Original:
    """An output as the job's row holds it. Raises ValueError or TypeError for one that cannot be made."""
    if fields["format"] == "original":
        return Original(name=fields["name"])
    return Rendition(**fields)


def kept(original: Original, data: bytes, verified: Verified) -> Rendered:
    """The file itself as an output: its type is what its bytes were found to be, whatever the vendor called it."""
    format_: Format = next(each for each in MIME if MIME[each] == verified.mime)
    return Rendered(
        name=original.name,
        data=data,
        width_px=verified.width_px,
        height_px=verified.height_px,
        format=format_,
        mime=verified.mime,
        sha256=hashlib.sha256(data).hexdigest(),
    )


class NotAnImage(Exception):
    """These bytes will never be a picture of ours: asking again cannot help.

    `truncated` stands for every file that begins as an image and cannot be decoded to its end.
    """

    def __init__(self, code: Reason, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code: Reason = code
        self.message = message

    @property
    def is_of_its_kind(self) -> bool:
        """Whether it is a whole picture of a kind that is not taken: whoever made it will make the next one so, too."""
        return self.code in ("too-large", "unsupported-format", "animated")


class ChildDied(Exception):
    """The rendering process crashed, hit a limit or ran out of time. Trying again may help, once."""


class NoChild(ChildDied):
    """There is no rendering process to be had now: nothing is known of the picture."""
