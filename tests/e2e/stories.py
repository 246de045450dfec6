"""Cases for the game whose pictures go well, and ill."""

from __future__ import annotations

from typing import Any


def _story(title: str, *marks: str) -> dict[str, Any]:
    """One location, one suspect, and a piece of evidence for each of the marks, which script the vendor."""
    return {
        "title": title,
        "premise": "Somebody has eaten the last plum.",
        "solution": "The cat.",
        "locations": [{"name": f"The larder of {title}", "description": "Shelves, a window left ajar."}],
        "suspects": [
            {
                "name": f"Aunt {title}",
                "age": 61,
                "gender": "female",
                "occupation": "beekeeper",
                "appearance": "Straw hat, a stain on the cuff.",
                "statement": "I was with the bees.",
            }
        ],
        "evidence": [
            {"name": f"Stone {n} of {title}", "description": f"A plum stone. {mark}".strip()}
            for n, mark in enumerate(marks)
        ],
    }


STORIES = {
    "plain": _story("plain", "", ""),
    "flawed": _story(
        "flawed",
        "[[sandbox: refuse IMAGE_SAFETY x1]]",
        "",
        "[[sandbox: refuse-prompt PROHIBITED_CONTENT x1]]",
        "[[sandbox: no-image x3]]",
        "[[sandbox: text-only x1]]",
        *[""] * 7,
    ),
}
