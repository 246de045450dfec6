from __future__ import annotations

from contextlib import suppress

import psutil


def rendering_children() -> list[psutil.Process]:
    """The living rendering processes of this test process, oldest first."""
    found: list[psutil.Process] = []
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            if "safelight.imaging.child" in child.cmdline() and child.status() != psutil.STATUS_ZOMBIE:
                found.append(child)
    return sorted(found, key=lambda child: (child.create_time(), child.pid))
