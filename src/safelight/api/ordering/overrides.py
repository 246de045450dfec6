"""Prompts that a retry brings along, checked against the models that are to read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from safelight.api.dependencies import ApiDependencies
from safelight.api.edge.faults import refused
from safelight.api.edge.pointer import pointer
from safelight.api.edge.problems import RequestFault
from safelight.db.statements import load
from safelight.domain.ids import JobId
from safelight.domain.recipe import MAX_PROMPT_CODE_POINTS
from safelight.engine.orders.catalog import Catalog
from safelight.providers.provider import UnknownModel

_SQL = load("read")


async def require_fitting_prompts(
    deps: ApiDependencies, job_id: JobId, *, account: str | None, prompts: Mapping[str, str]
) -> None:
    """Each prompt is short enough for its image's model. Raises InvalidRequest (`prompt-too-long`) with every one that
    is not; images that the job does not have, and models that are gone, are not this function's to judge."""
    if not prompts:
        return
    async with deps.pool.acquire(timeout=deps.acquire_seconds) as conn:
        rows = await conn.fetch(_SQL.models_of_images, job_id, account, list(prompts))
    asked = {row["id"]: row for row in rows}
    faults = [
        RequestFault(pointer("prompt_overrides", image_id), why, "prompt-too-long")
        for image_id, prompt in prompts.items()
        if image_id in asked and (why := _why_too_long(deps.catalog, asked[image_id], len(prompt))) is not None
    ]
    if faults:
        raise refused(faults)


def _why_too_long(catalog: Catalog, image: Mapping[str, Any], chars: int) -> str | None:
    most = _most_chars(catalog, image["provider"], image["model"])
    if most is None or chars + image["style_chars"] <= most:
        return None
    with_style = f", of which the image's style takes {image['style_chars']}" if image["style_chars"] else ""
    return f"A prompt for `{image['model']}` has at most {most} characters{with_style}."


def _most_chars(catalog: Catalog, provider: str, model: str) -> int | None:
    configured = catalog.providers.get(provider)
    try:
        most = configured.provider.capabilities(model).prompt_max_chars if configured else None
    except UnknownModel:
        return None
    return min(most, MAX_PROMPT_CODE_POINTS) if most is not None else None
