"""Prompts that a retry brings along, checked against the models that are to read them."""

from __future__ import annotations

from collections.abc import Mapping

from safelight.api.dependencies import ApiDependencies
from safelight.api.edge.faults import refused
from safelight.api.edge.pointer import pointer
from safelight.api.edge.problems import RequestFault
from safelight.db.statements import load
from safelight.domain.ids import JobId
from safelight.engine.catalog import Catalog
from safelight.providers.provider import UnknownModel

_SQL = load("read")


async def require_fitting_prompts(
    deps: ApiDependencies, job_id: JobId, *, account: str, prompts: Mapping[str, str]
) -> None:
    """Each prompt is short enough for its image's model. Raises InvalidRequest (`prompt-too-long`) with every one that
    is not; images that the job does not have, and models that are gone, are not this function's to judge."""
    if not prompts:
        return
    async with deps.pool.acquire(timeout=deps.acquire_seconds) as conn:
        rows = await conn.fetch(_SQL.models_of_images, job_id, account, list(prompts))
    models = {row["id"]: (row["provider"], row["model"]) for row in rows}
    faults = [
        RequestFault(
            pointer("prompt_overrides", image_id),
            f"A prompt for `{models[image_id][1]}` has at most {most} characters.",
            "prompt-too-long",
        )
        for image_id, prompt in prompts.items()
        if image_id in models and (most := _most_chars(deps.catalog, *models[image_id])) and len(prompt) > most
    ]
    if faults:
        raise refused(faults)


def _most_chars(catalog: Catalog, provider: str, model: str) -> int | None:
    configured = catalog.providers.get(provider)
    try:
        return configured.provider.capabilities(model).prompt_max_chars if configured else None
    except UnknownModel:
        return None
