"""The storyboard as a page. It looks again every two seconds, while anything on it moves."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from starlette.responses import HTMLResponse

from examples.storyboard.asked import Name
from examples.storyboard.board import storyboard
from examples.storyboard.store import Store
from examples.storyboard.studio import Studio
from safelight.client import ApiProblem, SafelightClient, Unreachable

_log = logging.getLogger("storyboard")

_FOLDER = Path(__file__).parent
STATIC = _FOLDER / "static"
_HEADERS = {
    # Pictures come from Safelight or its storage; everything else from here.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " img-src http: https:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


def page_routes(studio: Studio, store: Store, client: SafelightClient) -> APIRouter:
    router = APIRouter(include_in_schema=False)
    pages = Environment(
        loader=FileSystemLoader(_FOLDER / "templates"), autoescape=select_autoescape(), undefined=StrictUndefined
    )

    def page(name: str, **values: Any) -> HTMLResponse:
        return HTMLResponse(pages.get_template(name).render(values), headers=_HEADERS)

    @router.get("/")
    async def scenes() -> HTMLResponse:
        return page("scenes.html", scenes=await store.scenes())

    @router.get("/projects/{project}/branches/{branch}/scenes/{scene}")
    async def scene_page(request: Request, project: Name, branch: Name, scene: Name) -> HTMLResponse:
        """The whole page; with `?part=grid` only what changes on it."""
        entries = await studio.all_fresh(await store.of_scene(project, branch, scene))
        shots = storyboard(entries, base_url=client.base_url)
        if request.query_params.get("part") == "grid":
            return page("grid.html", shots=shots)
        return page(
            "scene.html", shots=shots, project=project, branch=branch, scene=scene, styles=await _style_names(client)
        )

    return router


async def _style_names(client: SafelightClient) -> list[str]:
    """None, when Safelight is away: the page shows what is known all the same."""
    try:
        found = (await client.call("GET", "/v1/styles")).json()["styles"]
    except (ApiProblem, Unreachable) as error:
        _log.warning("the styles cannot be listed: %s", error)
        return []
    return [each["name"] for each in found]
