"""A scene as a storyboard: its shots in order, each with its newest start frame and end frame."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from examples.storyboard.shown import shown
from examples.storyboard.store import Entry

KINDS = ("start_frame", "end_frame", "inpaint")


def storyboard(entries: Iterable[Entry], *, base_url: str) -> list[dict[str, Any]]:
    """`entries` are the scene's jobs, newest first.

    Of each kind a shot has the newest job's frame: its `job`, and the `images` of that kind; None when there is none.
    An end frame's job may have made its start frame, too, and then is the job of both.
    """
    shots: dict[str, dict[str, Any]] = {}
    for job in (shown(each, base_url=base_url) for each in entries):
        shot = shots.setdefault(job["shot_id"], {"shot_id": job["shot_id"], **dict.fromkeys(KINDS)})
        for kind in KINDS:
            images = [each for each in job["images"] if each["id"].startswith(f"{kind}_")]
            if shot[kind] is None and (images or job["job_type"] == kind):
                shot[kind] = {"job": job, "images": images}
    return sorted(shots.values(), key=lambda shot: _natural(shot["shot_id"]))


def _natural(name: str) -> list[tuple[int, str]]:
    """So that shot 10 comes after shot 9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
