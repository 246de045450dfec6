"""Styles: those that come with Safelight, and the account's own."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ValidationError
from starlette.responses import Response

from safelight.api import schemas
from safelight.api.access import Reads, Submits, acting_for
from safelight.api.dependencies import ApiDependencies
from safelight.api.edge.body import read_object
from safelight.api.edge.etag import condition_of, is_known
from safelight.api.edge.faults import body_faults, refused
from safelight.api.edge.openapi import documented, problems, request_body
from safelight.api.edge.problems import RequestFault
from safelight.domain.ids import IMAGE_ID_PATTERN
from safelight.domain.style import Style
from safelight.engine.accounts.styles import Condition, put_style, remove_style, style_of, styles_of

AccountQuery = Annotated[schemas.AccountQuery, Query()]

_NAME = re.compile(IMAGE_ID_PATTERN)
_ETAG = {"ETag": "Of this version, for `If-None-Match` and `If-Match`."}
_CONDITIONS = [
    {
        "name": name,
        "in": "header",
        "required": False,
        "description": text,
        "schema": {"type": "string"},
    }
    for name, text in (
        ("If-Match", "Change it only while it is the version with this ETag; `*`: while there is one."),
        ("If-None-Match", "`*`: only while there is none of this name."),
    )
]


def style_routes(deps: ApiDependencies) -> APIRouter:
    router = APIRouter(prefix="/v1/styles", tags=["styles"])

    @router.get("", responses=documented(200, schemas.Styles, "All of them.") | problems(422))
    async def list_styles(caller: Reads, query: AccountQuery) -> Response:
        """The styles that a job may name: those that come with Safelight, and the account's own."""
        account = acting_for(caller, query.account)
        found = await styles_of(deps.pool, account=account)
        return _answer(schemas.Styles(styles=[_shown(style) for style in found.values()]))

    @router.get(
        "/{name}",
        responses=documented(200, schemas.Style, "The style.", headers=_ETAG)
        | {304: {"description": "The caller has it already: `If-None-Match` names its ETag."}}
        | problems(404, 422),
    )
    async def get_style(request: Request, caller: Reads, name: str, query: AccountQuery) -> Response:
        """The style of this name as a job would get it: the account's own before one that comes with Safelight."""
        account = acting_for(caller, query.account)
        style = await style_of(deps.pool, _tame(name), account=account)
        if is_known(request, _tag(style)):
            return Response(status_code=304, headers={"ETag": _tag(style), "Cache-Control": "private, no-cache"})
        return _answer(_shown(style), headers={"ETag": _tag(style), "Cache-Control": "private, no-cache"})

    @router.put(
        "/{name}",
        responses=documented(200, schemas.Style, "As it is now.", headers=_ETAG)
        | documented(201, schemas.Style, "The account had none of this name.", headers=_ETAG)
        | problems(400, 408, 409, 412, 413, 415, 422),
        openapi_extra=request_body(schemas.NewStyle, parameters=_CONDITIONS),
    )
    async def save_style(request: Request, caller: Submits, name: str, query: AccountQuery) -> Response:
        """The account's style of this name says this from now on. Jobs that were accepted stay as they are."""
        account = acting_for(caller, query.account)
        document = await read_object(request, within_seconds=deps.body_seconds)
        faults = _name_faults(name)
        try:
            wish = schemas.NewStyle.model_validate(document)
        except ValidationError as error:
            raise refused([*faults, *body_faults(error)]) from None
        if faults:
            raise refused(faults)
        style, is_new = await put_style(
            deps.pool, Style(name=name, **wish.model_dump()), account=account, may_change=_condition(request)
        )
        return _answer(_shown(style), 201 if is_new else 200, {"ETag": _tag(style)})

    @router.delete(
        "/{name}",
        status_code=204,
        responses={204: {"description": "The account has none of this name any more."}} | problems(404, 409, 412, 422),
        openapi_extra={"parameters": _CONDITIONS[:1]},
    )
    async def delete_style(request: Request, caller: Submits, name: str, query: AccountQuery) -> Response:
        """Removes the account's style. One that comes with Safelight under the same name is there again."""
        account = acting_for(caller, query.account)
        await remove_style(deps.pool, _tame(name), account=account, may_change=_condition(request))
        return Response(status_code=204)

    return router


def _condition(request: Request) -> Condition:
    allows = condition_of(request)
    return lambda present: allows(_tag(present) if present is not None else None)


def _tame(name: str) -> str:
    """Something that can be looked for: no style has a name that is no name, and a database takes not every text."""
    return name if _NAME.fullmatch(name) else ""


def _name_faults(name: str) -> list[RequestFault]:
    if _NAME.fullmatch(name):
        return []
    why = "Must be 1 to 64 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends."
    return [RequestFault("name", why, in_query=True)]


def _tag(style: Style) -> str:
    return f'"{style.revision}"'


def _shown(style: Style) -> schemas.Style:
    return schemas.Style(
        name=style.name,
        description=style.description,
        prefix=style.prefix,
        suffix=style.suffix,
        negative_prompt=style.negative_prompt,
        built_in=style.is_built_in,
        version=style.version,
        created_at=style.created_at,
        updated_at=style.updated_at,
    )


def _answer(content: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(
        content.model_dump_json(), status, {"Cache-Control": "no-store", **(headers or {})}, "application/json"
    )
