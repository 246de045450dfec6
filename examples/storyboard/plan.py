"""The job that Safelight is asked for: pure, so that the same request is the same job whenever it is sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from examples.storyboard.asked import Generate, JobType
from examples.storyboard.settings import Settings

FRAME, THUMBNAIL = "frame", "thumbnail"
OUTPUTS: list[dict[str, Any]] = [
    # The whole picture as a PNG; `inside` never enlarges, so the box is only a limit.
    {"name": FRAME, "width": 4096, "height": 4096, "fit": "inside", "format": "png"},
    {"name": THUMBNAIL, "width": 480, "height": 480, "fit": "inside", "format": "webp"},
]
START_FRAME_ID = "start_frame_1"
MASTER_ASSETS = "master-assets"
EVENTS = [
    "job.started",
    "image.completed",
    "image.failed",
    "image.refused",
    "image.uncertain",
    "image.canceled",
    "job.retried",
    "job.completed",
    "job.partial",
    "job.failed",
    "job.canceled",
]


def job_body(
    asked: Generate, *, job_id: str, references: Sequence[str], settings: Settings, mask: str | None = None
) -> dict[str, Any]:
    """`references` are uploads, one for each of the request's sources and in their order; `mask` is one, too."""
    prefix, group = folder_of(asked)
    images = [{"group": group, **image} for image in _images(asked, references, mask)]
    body: dict[str, Any] = {
        "images": images,
        "defaults": _defaults(asked, settings),
        "outputs": OUTPUTS,
        "storage_prefix": prefix,
        "visibility": "link",  # frames are shown on pages, by their addresses
        "metadata": _metadata(asked, job_id),
    }
    if asked.style is not None:
        body["style"] = asked.style
    if settings.webhook_url is not None:
        body["webhook"] = {"url": settings.webhook_url, "events": EVENTS}
    return body


def folder_of(asked: Generate) -> tuple[str, str]:
    """Where the pictures are stored: the job's `storage_prefix`, and below it the images' `group`."""
    branch = f"project_{asked.project_id}/branch_{asked.branch_id}"
    if asked.scene_id is None:
        return branch, MASTER_ASSETS
    return f"{branch}/scene_{asked.scene_id}", f"shot_{asked.shot_id}"


def _images(asked: Generate, references: Sequence[str], mask: str | None) -> list[dict[str, Any]]:
    """Variations are images of their own: one that is refused takes nothing from the others."""
    made_from: list[dict[str, Any]] = [{"upload": each} for each in references]
    first: list[dict[str, Any]] = []
    if asked.start_frame is not None and asked.start_frame.prompt is not None:
        first = [{"id": START_FRAME_ID, "prompt": asked.start_frame.prompt, "references": made_from}]
        made_from = [{"image": START_FRAME_ID, "role": "start_frame"}, *made_from]
    more: dict[str, Any] = {"references": made_from} | ({"mask": {"upload": mask}} if mask is not None else {})
    prompts = [prompt for prompt in asked.prompts for _ in range(asked.n)]
    return first + [
        {"id": f"{asked.job_type}_{number}", "prompt": prompt, **more} for number, prompt in enumerate(prompts, start=1)
    ]


def _defaults(asked: Generate, settings: Settings) -> dict[str, str]:
    provider, model, ratio = asked.provider, asked.model, asked.aspect_ratio
    match asked.job_type:
        case JobType.INPAINT:
            if provider is None:
                provider, model = settings.inpaint_provider, model or settings.inpaint_model
        case JobType.MASTER_ASSET:
            ratio = ratio or "1:1"
        case JobType.START_FRAME | JobType.END_FRAME:
            ratio = ratio or "16:9"
    named = {"provider": provider, "model": model, "aspect_ratio": ratio}
    return {name: value for name, value in named.items() if value is not None}


def _metadata(asked: Generate, job_id: str) -> dict[str, str]:
    """For people who look at Safelight's history: which job of ours it is, and where it belongs."""
    named = {
        "storyboard_job": job_id,
        "job_type": asked.job_type.value,
        "project": asked.project_id,
        "branch": asked.branch_id,
        "scene": asked.scene_id,
        "shot": asked.shot_id,
    }
    return {name: value for name, value in named.items() if value is not None}
