"""Lays the pictures of a folder out on one sheet: `contact_sheet.py demo-output docs/images/demo.jpg`."""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

_COLUMNS = 7
_SIDE_PX = 150
_GAP_PX = 6
_PAPER = (18, 16, 16)


def contact_sheet(folder: Path, sheet: Path) -> None:
    """Every `{group}/{id}.jpg` in the order of its name, seven in a row."""
    pictures = sorted(folder.glob("*/*.jpg"), key=lambda path: (path.parent.name != "locations", path))
    rows = -(-len(pictures) // _COLUMNS)
    step = _SIDE_PX + _GAP_PX
    paper = Image.new("RGB", (_COLUMNS * step + _GAP_PX, rows * step + _GAP_PX), _PAPER)
    for n, path in enumerate(pictures):
        with Image.open(path) as picture:
            small = picture.resize((_SIDE_PX, _SIDE_PX), Image.Resampling.LANCZOS)
        paper.paste(small, (_GAP_PX + n % _COLUMNS * step, _GAP_PX + n // _COLUMNS * step))
    sheet.parent.mkdir(parents=True, exist_ok=True)
    paper.save(sheet, quality=82, optimize=True)


if __name__ == "__main__":
    contact_sheet(Path(sys.argv[1]), Path(sys.argv[2]))
