"""What an application does itself with a picture that it has paid for, where its queue handles none: looks, and keeps.

All peers do it by this one module. When `keep` returns, the bytes and a receipt are on the medium under their names:
each is written to a file besides, synced and renamed, and the folder is synced once for both. The look is Pillow's, to
the last row and in the process itself: less than Safelight does, which decodes in a sandboxed child.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from PIL import Image


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """`picture` is what the provider answers with, at once. Images with numbers below `removes_from` keep their files,
    so that somebody else can look at them. All methods block."""

    folder: Path
    picture: bytes
    removes_from: int

    def provider(self) -> bytes:
        return self.picture

    def keep(self, image: int, content: bytes) -> str:
        """The picture's name, once it and its receipt would survive a power cut. Raises OSError or SyntaxError for
        what is no whole picture."""
        with Image.open(io.BytesIO(content)) as opened:
            opened.load()
            receipt = {
                "image": image,
                "format": opened.format,
                "size": opened.size,
                "bytes": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
                "received_at": datetime.now(UTC).isoformat(),
            }
        files = {picture_name(image): content, receipt_name(image): json.dumps(receipt).encode()}
        for name, data in files.items():
            _write(self._part(name), data)
        for name in files:  # the receipt last: where it is, the picture is
            self._part(name).rename(self.folder / name)
        _sync_folder(self.folder)
        return picture_name(image)

    def remove(self, image: int) -> None:
        """Both files are gone, as when they have been handed on. Nothing is synced: what comes back can be removed
        again."""
        if image < self.removes_from:
            return
        (self.folder / receipt_name(image)).unlink(missing_ok=True)
        (self.folder / picture_name(image)).unlink(missing_ok=True)

    def _part(self, name: str) -> Path:
        return self.folder / f"{name}.part"


def picture_name(image: int) -> str:
    return f"{image}.png"


def receipt_name(image: int) -> str:
    return f"{image}.json"


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
