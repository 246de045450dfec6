"""A job as this app's clients see it, in their words: queued, processing, generating, uploading, completed, failed.

Safelight knows more ends than two. What of them is a picture is `completed`, also when others of the job are missing
(`is_partial`); what is none is `failed`, and `error.code` says which it was: `failed`, `refused`, `canceled`, or
`uncertain`, which may have been billed. `safelight_status` has Safelight's own word.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import urljoin

from examples.storyboard.asked import Generate
from examples.storyboard.plan import THUMBNAIL, folder_of
from examples.storyboard.store import Entry, State

COMPLETED = "completed"
ENDED = frozenset({COMPLETED, "partial", "failed", "canceled"})
"""Safelight's jobs that nothing more happens to, unless somebody retries them."""
_UNDER_WAY = ("queued", "processing", "generating", "uploading")
_WORDS = {
    "refused": "The provider's safety policy declined this picture.",
    "canceled": "It was canceled.",
    "uncertain": "Nobody knows what became of it; it may have been billed.",
    "failed": "It could not be made.",
}


def shown(entry: Entry, *, base_url: str) -> dict[str, Any]:
    """The answer of every route that shows a job. `base_url` is Safelight's, for addresses that have no host."""
    document: dict[str, Any] = entry.document or {}
    images = [_image(each, base_url) for each in document.get("images", ())]
    cost: dict[str, Any] = document.get("cost", {})
    first = next((each for each in images if each["status"] == COMPLETED), None)
    asked = Generate.model_validate(entry.request)
    status = status_of(entry)
    return {
        "job_id": entry.id,
        "status": status,
        "safelight_status": document.get("status"),
        "safelight_job_id": entry.safelight_id,
        "is_final": entry.state in (State.REFUSED, State.CANCELED) or document.get("status") in ENDED,
        "is_partial": document.get("status") == "partial",
        "job_type": asked.job_type,
        "project_id": asked.project_id,
        "branch_id": asked.branch_id,
        "scene_id": asked.scene_id,
        "shot_id": asked.shot_id,
        "storage_folder": "/".join(folder_of(asked)),
        "failure_stage": _failure_stage(entry, images),
        "attempt_count": sum(each["attempt_count"] for each in images),
        "retry_count": document.get("retry_count", 0),
        "public_url": first["public_url"] if first else None,
        "progress": document.get("progress", 0),
        "current_step": document.get("current_step"),
        "eta_seconds": document.get("eta_seconds"),
        "estimated_cost": cost.get("estimate_usd"),
        "actual_cost": cost.get("actual_usd"),
        "cost_credits": _credits(cost),
        "error": _error(entry, images),
        "images": images,
        "created_at": entry.created_at,
        "seen_at": entry.seen_at or None,
    }


def status_of(entry: Entry) -> str:
    """`queued` until Safelight has it; then how far those of its images are that have not ended."""
    match entry.state:
        case State.REFUSED | State.CANCELED:
            return "failed"
        case State.SAVED | State.SENDING:
            return "queued"
        case State.SUBMITTED:
            pass
    document = entry.document or {"status": "pending", "images": []}
    if document["status"] in ENDED:
        return COMPLETED if document["status"] in (COMPLETED, "partial") else "failed"
    statuses = {each["status"] for each in document["images"]}
    if len(statuses) == 1 and (only := next(iter(statuses))) in _UNDER_WAY:
        return only
    return "processing" if statuses == {"queued", "processing"} else "generating" if statuses else "queued"


def _image(image: dict[str, Any], base_url: str) -> dict[str, Any]:
    status: str = image["status"]
    outputs: dict[str, Any] = image.get("outputs") or {}
    return {
        "id": image["id"],
        "status": status if status in _UNDER_WAY or status == COMPLETED else "failed",
        "public_url": _absolute(image.get("url"), base_url),
        "thumbnail_url": _absolute((outputs.get(THUMBNAIL) or {}).get("url"), base_url),
        "failure_stage": image.get("failure_stage"),
        "attempt_count": image["attempt_count"],
        "retry_count": image["retry_count"],
        "error": _image_error(image),
    }


def _image_error(image: dict[str, Any]) -> dict[str, Any] | None:
    """`code` is one of the four ends; `kind` and `reason` are Safelight's and the vendor's words for why."""
    code: str = image["status"]
    if code in _UNDER_WAY or code == COMPLETED:
        return None
    error: dict[str, Any] = image.get("error") or {}
    return {
        "code": code,
        "kind": error.get("kind"),
        "reason": error.get("code"),
        "message": error.get("message") or _WORDS[code],
        "retryable": error.get("retryable", True),
        "billed": error.get("billed"),
    }


def _error(entry: Entry, images: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
    """Why the job is not, or not wholly, completed; the first image's without a picture, once the job has ended."""
    if entry.state is State.REFUSED:
        return entry.refusal
    status = "canceled" if entry.state is State.CANCELED else (entry.document or {}).get("status")
    if status == "canceled":
        nothing = {"kind": None, "reason": None, "retryable": True, "billed": None}
        return {"code": "canceled", "message": _WORDS["canceled"], **nothing}
    if status in ("failed", "partial"):
        return next((each["error"] for each in images if each["error"]), None)
    return None


def _failure_stage(entry: Entry, images: Iterable[dict[str, Any]]) -> str | None:
    if entry.state is State.REFUSED:
        return "submitting"
    if (entry.document or {}).get("status") not in ("failed", "partial", "canceled"):
        return None
    return next((each["failure_stage"] for each in images if each["failure_stage"]), None)


def _credits(cost: dict[str, Any]) -> int | None:
    """What the account pays for it, what is still held included. None: it does not pay in credits."""
    if cost.get("credits_captured") is None:
        return None
    return cost["credits_captured"] + cost["credits_held"]


def _absolute(url: str | None, base_url: str) -> str | None:
    return None if url is None else urljoin(f"{base_url}/", url)
