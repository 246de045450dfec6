"""The app's own HTTP API."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, File, Header, Path, Request, UploadFile
from starlette.responses import JSONResponse

from examples.storyboard.asked import Capsule, Generate, Name
from examples.storyboard.board import storyboard
from examples.storyboard.problems import Problem, from_safelight
from examples.storyboard.shown import shown
from examples.storyboard.store import Entry, Store
from examples.storyboard.studio import Studio
from safelight.client import ApiProblem, SafelightClient, Unreachable

T = TypeVar("T")

IdempotencyKey = Annotated[str | None, Header(pattern=r"^[!-~]{1,200}$")]
StyleName = Annotated[str, Path(pattern=r"^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$")]
_MOST_UPLOAD_BYTES = 20_000_000


def api_routes(studio: Studio, store: Store, client: SafelightClient) -> APIRouter:
    router = APIRouter(prefix="/api", dependencies=[Depends(_require_own_page)])

    def view(entry: Entry) -> dict[str, Any]:
        return shown(entry, base_url=client.base_url)

    @router.post("/images/generate", status_code=202)
    async def generate(asked: Generate, idempotency_key: IdempotencyKey = None) -> JSONResponse:
        """A job's id, before any picture is made. The same request under the same key is answered with the same job."""
        if None not in (idempotency_key, asked.idempotency_key) and idempotency_key != asked.idempotency_key:
            raise Problem(422, "idempotency-key-mismatch", "The header and the body name different idempotency keys.")
        entry, is_known = await studio.order(asked, key=idempotency_key or asked.idempotency_key)
        headers = {"location": f"/api/images/jobs/{entry.id}"}
        if is_known:
            headers["idempotency-replayed"] = "true"
        return JSONResponse(view(entry), status_code=202, headers=headers)

    @router.get("/images/jobs/{job_id}")
    async def job(job_id: str) -> dict[str, Any]:
        return view(await studio.fresh(job_id))

    @router.post("/images/jobs/{job_id}/cancel")
    async def cancel(job_id: str) -> dict[str, Any]:
        return view(await studio.cancel(job_id))

    @router.post("/images/jobs/{job_id}/retry")
    async def retry(job_id: str) -> dict[str, Any]:
        return view(await studio.retry(job_id))

    @router.post("/images/uploads", status_code=201)
    async def upload(file: Annotated[UploadFile, File()]) -> dict[str, Any]:
        """A picture to work from, or a mask: its id goes into a `source`, a `mask` or `references`."""
        picture = await file.read(_MOST_UPLOAD_BYTES + 1)
        if len(picture) > _MOST_UPLOAD_BYTES:
            raise Problem(413, "payload-too-large", "A picture has at most 20 MB.")
        kept = await _asked(client.upload(picture))
        return {"upload": kept.id, "width": kept.width_px, "height": kept.height_px, "can_be_mask": kept.has_alpha}

    @router.get("/projects/{project}/branches/{branch}/master-assets")
    async def master_assets(project: Name, branch: Name) -> dict[str, Any]:
        """The branch's jobs that belong to no shot, newest first."""
        entries = await studio.all_fresh(await store.of_branch(project, branch))
        return {"jobs": [view(each) for each in entries]}

    @router.get("/projects/{project}/branches/{branch}/scenes/{scene}")
    async def scene_board(project: Name, branch: Name, scene: Name) -> dict[str, Any]:
        entries = await studio.all_fresh(await store.of_scene(project, branch, scene))
        return {"shots": storyboard(entries, base_url=client.base_url)}

    @router.get("/projects/{project}/branches/{branch}/scenes/{scene}/shots/{shot}/jobs")
    async def shot_jobs(project: Name, branch: Name, scene: Name, shot: Name) -> dict[str, Any]:
        """All of a shot's jobs, newest first."""
        entries = await studio.all_fresh(await store.of_scene(project, branch, scene, shot))
        return {"jobs": [view(each) for each in entries]}

    @router.get("/styles")
    async def styles() -> dict[str, Any]:
        """All visual style capsules that a job may name."""
        return (await _asked(client.call("GET", "/v1/styles", may_repeat=True))).json()

    @router.put("/styles/{name}")
    async def put_style(name: StyleName, capsule: Capsule) -> dict[str, Any]:
        """The capsule says this from now on; jobs that were ordered keep the words that they were ordered with."""
        words = capsule.model_dump(exclude_none=True)
        return (await _asked(client.call("PUT", f"/v1/styles/{name}", may_repeat=True, json=words))).json()

    return router


def _require_own_page(request: Request) -> None:
    """Any site may make a browser send a request to an address of its choice: from there nothing is changed."""
    origin = request.headers.get("origin")
    is_change = request.method not in ("GET", "HEAD")
    if is_change and origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise Problem(403, "foreign-page", "Another site's page may not do this.")


async def _asked(call: Coroutine[Any, Any, T]) -> T:
    """Safelight's answer. Raises Problem."""
    try:
        return await call
    except ApiProblem as problem:
        raise from_safelight(problem) from problem
    except Unreachable as error:
        raise Problem(503, "unavailable", "Safelight does not answer. Ask again in a moment.") from error
