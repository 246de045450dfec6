"""API keys, for those who administer them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from starlette.responses import Response

from safelight.api import schemas
from safelight.api.access import ADMINISTERS
from safelight.api.cursor import page_cursor, page_position
from safelight.api.dependencies import ApiDependencies
from safelight.api.edge.body import read_object
from safelight.api.edge.faults import validated
from safelight.api.edge.openapi import documented, problems, request_body
from safelight.domain.access import KeyScope
from safelight.engine.accounts.keyring import Keyring
from safelight.engine.accounts.keys import Key, create_key, keys_page, revoke_key

NoQuery = Annotated[schemas.NoQuery, Query()]


def key_routes(deps: ApiDependencies, keyring: Keyring) -> APIRouter:
    router = APIRouter(prefix="/v1/keys", tags=["keys"], dependencies=[ADMINISTERS])

    @router.post(
        "",
        status_code=201,
        responses=documented(201, schemas.CreatedKey, "Created; the key is shown now only.")
        | problems(400, 408, 413, 415, 422),
        openapi_extra=request_body(schemas.NewKey),
    )
    async def make_key(request: Request, _: NoQuery) -> Response:
        """A key of its own for an account. With the first one a service that ran open needs keys, within seconds."""
        wish = validated(schemas.NewKey, await read_object(request, within_seconds=deps.body_seconds))
        made, key = await create_key(
            deps.pool,
            account=wish.account,
            scopes=[KeyScope(scope) for scope in wish.scopes],
            name=wish.name,
            expires_at=wish.expires_at,
            billing=deps.account_billing,
        )
        keyring.forget()
        return _answer(schemas.CreatedKey(**_shown(made).model_dump(), key=key), 201)

    @router.get("", responses=documented(200, schemas.KeyPage, "A page.") | problems(400, 422))
    async def list_keys(query: Annotated[schemas.KeyQuery, Query()]) -> Response:
        """Keys of one account or of all, newest first, the revoked ones too."""
        of_list = ("keys", query.account or "")
        before = page_position(query.cursor, *of_list) if query.cursor is not None else None
        found = await keys_page(deps.pool, account=query.account, before=before, limit=query.limit + 1)
        page = found[: query.limit]
        following = page_cursor(page[-1].id, *of_list) if len(found) > query.limit else None
        return _answer(schemas.KeyPage(keys=[_shown(each) for each in page], next_cursor=following))

    @router.delete("/{key_id}", status_code=204, responses={204: {"description": "Revoked."}} | problems(404, 422))
    async def delete_key(key_id: str, _: NoQuery) -> Response:
        """Revokes a key: it is refused at once here, and within five seconds by every process. It stays in the list."""
        await revoke_key(deps.pool, key_id)
        keyring.forget(key_id)
        return Response(status_code=204)

    return router


def _shown(key: Key) -> schemas.Key:
    return schemas.Key(**{**asdict(key), "scopes": [scope.value for scope in key.scopes]})


def _answer(content: BaseModel, status: int = 200) -> Response:
    """Nobody keeps a copy: a key is for its caller alone."""
    return Response(content.model_dump_json(), status, {"Cache-Control": "no-store"}, "application/json")
