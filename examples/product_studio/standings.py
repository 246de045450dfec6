"""How an order stands, in the studio's words: Safelight's job and the tokens that moved for it, put together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from examples.product_studio.store import Generation
from safelight.client import JobView

_JOB = {
    "pending": "pending",
    "generating": "processing",
    "canceling": "processing",
    "completed": "completed",
    "partial": "completed",
    "failed": "failed",
    "canceled": "cancelled",
}
_IMAGE = {
    "queued": "pending",
    "processing": "processing",
    "generating": "processing",
    "uploading": "processing",
    "canceled": "cancelled",
}
"""Others are called here what they are there."""

_NOT_SENT = {
    "progress": 0,
    "current_step": None,
    "queue_position": None,
    "estimated_seconds": None,
    "estimated_seconds_p90": None,
    "made_by": [],
    "ended_at": None,
    "pictures": [],
}
_NO_TOKENS = {"held": 0, "spent": 0, "returned": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Of one order, in all its runs: `held` ever, of which `spent` and `returned`; the rest is held still."""

    held: int
    spent: int
    returned: int

    @property
    def are_settled(self) -> bool:
        return self.held == self.spent + self.returned


def tokens_of(entries: Iterable[Mapping[str, Any]]) -> Tokens:
    """From what the ledger has for the order's job."""
    sums = {"hold": 0, "capture": 0, "release": 0}
    for entry in entries:
        sums[entry["kind"]] += entry["credits"]
    return Tokens(held=sums["hold"], spent=sums["capture"], returned=sums["release"])


def in_words(tokens: Mapping[str, int]) -> str:
    """`12 tokens held, 9 spent, 3 returned`."""
    held, spent, returned = (tokens[name] for name in ("held", "spent", "returned"))
    parts = [f"{held} {'token' if held == 1 else 'tokens'} held"]
    parts += [f"{amount} {word}" for amount, word in ((spent, "spent"), (returned, "returned")) if amount]
    return ", ".join(parts)


def status_of(job: JobView) -> str:
    return _JOB[job.status.value]


def standing_of(job: JobView, tokens: Tokens, *, scenes: list[str]) -> dict[str, Any]:
    """What is shown of the order, and remembered; links to pictures are made when it is shown."""
    document = job.document
    images: list[dict[str, Any]] = document["images"]
    return {
        "progress": document["progress"],
        "current_step": document["current_step"],
        "queue_position": document.get("queue_position"),
        "estimated_seconds": document.get("eta_seconds"),
        "estimated_seconds_p90": document.get("eta_p90_seconds"),
        "tokens": {"held": tokens.held, "spent": tokens.spent, "returned": tokens.returned},
        "made_by": sorted({f"{each['provider']}/{each['model']}" for each in images}),
        "ended_at": document["completed_at"],
        "pictures": [
            {
                "image": each["id"],
                "scene": scene,
                "status": _IMAGE.get(each["status"], each["status"]),
                "why": (each.get("error") or {}).get("message"),
            }
            for each, scene in zip(images, scenes, strict=True)
        ],
    }


def shown(generation: Generation, *, is_fresh: bool) -> dict[str, Any]:
    """The order as its user sees it. `is_fresh`: Safelight was asked just now, or there is nothing new to hear."""
    standing = dict(generation.standing or _NOT_SENT)
    tokens = standing.setdefault("tokens", _NO_TOKENS)
    pictures = [_linked(generation.id, each) for each in standing["pictures"]]
    delivered = sum(each["status"] == "completed" for each in pictures)
    return {
        **standing,
        "id": generation.id,
        "status": generation.status,
        "is_partial": generation.status == "completed" and delivered < len(pictures),
        "current_step": standing["current_step"] or _why_not_sent(generation),
        "delivered": delivered,
        "ordered": len(generation.wish["scenes"]),
        "pictures": pictures,
        "tokens_in_words": in_words(tokens),
        "can_cancel": generation.is_open,
        "can_retry": not generation.is_open and (generation.job_id is None or delivered < len(pictures)),
        "problem": generation.problem,
        "wish": generation.wish,
        "created_at": generation.created_at,
        "is_fresh": is_fresh,
    }


def _linked(generation_id: str, picture: Mapping[str, Any]) -> dict[str, Any]:
    if picture["status"] != "completed":
        return {**picture, "preview": None, "full": None}
    address = f"/api/generations/{generation_id}/pictures/{picture['image']}"
    return {**picture, "preview": f"{address}/preview", "full": f"{address}/full"}


def _why_not_sent(generation: Generation) -> str:
    if generation.problem is not None:
        return str(generation.problem["detail"])
    return "Kept safe; it is sent as soon as the pictures' service answers."
