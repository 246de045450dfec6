"""The studio's JSON API. It shows what is the visitor's, and passes on what Safelight says no to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import uuid4

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from examples.product_studio.problems import NotThere
from examples.product_studio.standings import shown
from examples.product_studio.visitors import OwnGeneration, TheStudio, Visitor
from examples.product_studio.wishes import Wish

RequestKey = Annotated[str | None, Header(alias="idempotency-key", min_length=1, max_length=200)]
Status = Literal["pending", "processing", "completed", "failed", "cancelled"]

_ONE_PICTURE = {"preview": "image/webp", "full": "image/jpeg"}

api = APIRouter(prefix="/api")


class NewUser(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=80)]


class NewTokens(BaseModel):
    model_config = ConfigDict(extra="forbid")

    tokens: int = Field(ge=1, le=10_000)


class HistoryQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    status: Status | None = None
    style: str | None = None
    model: str | None = None
    limit: int = Field(default=20, ge=1, le=100)
    cursor: str | None = Field(default=None, pattern=r"^gen_[0-9a-f]{28}$")


@api.post("/users", status_code=201)
async def sign_up(studio: TheStudio, wish: NewUser) -> dict[str, Any]:
    """A user with some tokens to begin with, and the token to sign in with, which is shown this once."""
    user, token = await studio.accounts.sign_up(wish.name)
    return {"id": user.id, "name": user.name, "token": token, "tokens": await studio.accounts.balance(user)}


@api.get("/me")
async def me(studio: TheStudio, user: Visitor) -> dict[str, Any]:
    return {"id": user.id, "name": user.name, "tokens": await studio.accounts.balance(user)}


@api.post("/tokens", status_code=201)
async def top_up(studio: TheStudio, user: Visitor, wish: NewTokens, request_key: RequestKey = None) -> dict[str, Any]:
    """More tokens, once for each `Idempotency-Key`. Here a shop would have been paid first."""
    await studio.accounts.top_up(user, wish.tokens, key=request_key or uuid4().hex)
    return {"tokens": await studio.accounts.balance(user)}


@api.get("/ledger")
async def ledger(
    studio: TheStudio, user: Visitor, limit: Annotated[int, Query(ge=1, le=100)] = 20, cursor: str | None = None
) -> dict[str, Any]:
    """Where the visitor's tokens came from and went to."""
    return await studio.accounts.statement(user, limit=limit, cursor=cursor)


@api.post("/quotes")
async def quote(studio: TheStudio, user: Visitor, wish: Wish) -> dict[str, Any]:
    return await studio.quote(user, wish)


@api.post("/generations", status_code=202)
async def order(studio: TheStudio, user: Visitor, wish: Wish, request_key: RequestKey = None) -> JSONResponse:
    """The order's id, at once. The same request under the same `Idempotency-Key` is the same order."""
    generation, is_known = await studio.order(user, wish, request_key=request_key or uuid4().hex)
    headers = {"location": f"/api/generations/{generation.id}"}
    if is_known:
        headers["idempotency-replayed"] = "true"
    return JSONResponse(shown(generation, is_fresh=True), 202, headers)


@api.get("/generations")
async def history(studio: TheStudio, user: Visitor, query: Annotated[HistoryQuery, Query()]) -> dict[str, Any]:
    """The visitor's orders, newest first."""
    filters = query.model_dump(include={"status", "style", "model"})
    found = await studio.store.generations(user.id, before=query.cursor, limit=query.limit + 1, filters=filters)
    page = await studio.look_at(found[: query.limit])
    return {
        "generations": [shown(each, is_fresh=is_fresh) for each, is_fresh in page],
        "next_cursor": page[-1][0].id if len(found) > query.limit else None,
    }


@api.get("/generations/{generation_id}")
async def one(studio: TheStudio, generation: OwnGeneration) -> dict[str, Any]:
    """Where the order stands: its place in line, how long it may still take, its pictures, and its tokens."""
    generation, is_fresh = await studio.look(generation)
    return shown(generation, is_fresh=is_fresh)


@api.post("/generations/{generation_id}/cancel")
async def cancel(studio: TheStudio, generation: OwnGeneration) -> dict[str, Any]:
    return shown(await studio.cancel(generation), is_fresh=True)


@api.post("/generations/{generation_id}/retry", status_code=202)
async def retry(studio: TheStudio, generation: OwnGeneration) -> dict[str, Any]:
    return shown(await studio.retry(generation), is_fresh=True)


@api.get("/generations/{generation_id}/pictures/{image}/{output}")
async def picture(
    studio: TheStudio, generation: OwnGeneration, image: str, output: Literal["preview", "full"]
) -> Response:
    """The picture itself: nobody but its owner sees it, and Safelight need not be reachable from outside."""
    if generation.job_id is None:
        raise NotThere("picture")
    content = await studio.safelight.picture(generation.job_id, image, output)
    return Response(
        content,
        media_type=_ONE_PICTURE[output],
        headers={
            "cache-control": "private, max-age=31536000, immutable",
            "content-disposition": f'inline; filename="{generation.id}-{image}.{_ONE_PICTURE[output][6:]}"',
            "x-content-type-options": "nosniff",
        },
    )


@api.get("/choices")
async def choices(studio: TheStudio, user: Visitor) -> dict[str, Any]:
    """What a form can offer. What goes together is for Safelight to say, when it is ordered."""
    return await choices_of(studio, user.id)


@api.get("/statistics")
async def statistics(
    studio: TheStudio, user: Visitor, days: Annotated[int, Query(ge=1, le=366)] = 30
) -> dict[str, Any]:
    """The visitor's own figures, and which models and styles they order most."""
    return await statistics_of(studio, user.id, days=days)


async def choices_of(studio: TheStudio, user_id: str) -> dict[str, Any]:
    providers = (await studio.safelight.call("GET", "/v1/providers", may_repeat=True)).json()
    styles = (await studio.safelight.call("GET", "/v1/styles", may_repeat=True, params={"account": user_id})).json()
    models = [
        (f"{provider['name']}/{model['id']}", model)
        for provider in providers["providers"]
        for model in provider["models"]
        if model["max_references"] and model["retired_on"] is None
    ]
    return {
        "default_model": providers["default"],
        "models": [name for name, _ in models],
        "aspect_ratios": _in_order(ratio for _, model in models for ratio in model["aspect_ratios"] or ()),
        "qualities": _in_order(quality for _, model in models for quality in model["qualities"] or ()),
        "styles": [{"name": each["name"], "description": each["description"]} for each in styles["styles"]],
    }


async def statistics_of(studio: TheStudio, user_id: str, *, days: int) -> dict[str, Any]:
    since = (datetime.now(UTC) - timedelta(days=days)).isoformat()
    stats = await studio.safelight.stats(since=since, account=user_id)
    total = stats["total"]
    return {
        "days": days,
        "orders": total["jobs"],
        "pictures": total["images"],
        "success_rate": total["success_rate"],
        "refusal_rate": total["refusal_rate"],
        "seconds_until_picture": total["total_seconds"],
        "tokens_spent": total["cost"].get("credits_captured", 0),
        "popular_models": stats["popular"]["models"],
        "popular_styles": stats["popular"]["styles"],
    }


def _in_order(names: Any) -> list[str]:
    """Each once."""
    return list(dict.fromkeys(names))
