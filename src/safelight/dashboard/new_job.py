"""A new job: prompts with a few choices, or a whole case; quoted first, or submitted at once."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from starlette.datastructures import FormData
from starlette.responses import Response
from starlette.routing import Route

from safelight.dashboard.inside import Refused
from safelight.dashboard.pasted import NotRead, Prompts, place_of, prompts_in, read_case
from safelight.dashboard.visit import Pages, Visit

_CHOICES = ("model", "aspect_ratio", "style", "size", "account")
_KEY_CHARACTERS = 64
_RATIO = re.compile(r"[1-9]\d*:[1-9]\d*", re.ASCII)
_USED_UP = ("/problems/idempotency-key-reused",)


def new_job_routes(pages: Pages) -> list[Route]:
    return [
        pages.route("/new", _show),
        pages.route("/new", _take, methods=("POST",)),
    ]


async def _show(visit: Visit) -> Response:
    """`as=case` for a whole case, which `recipe` begins with an example of."""
    if not visit.may("submit"):
        detail = "Your key may read and nothing else. To make a job, sign in with one that has the scope `submit`."
        return visit.page("problem.html", status=403, problem={"title": "Nothing to submit with", "detail": detail})
    asked = visit.request.query_params
    is_case = asked.get("as") == "case" or "recipe" in asked
    text = await _example(visit, asked["recipe"]) if "recipe" in asked else ""
    return await _page(visit, is_case=is_case, text=text)


async def _take(visit: Visit) -> Response:
    form = await visit.form()
    is_case = form.get("as") == "case"
    text, key = str(form.get("text", "")), str(form.get("key", ""))[:_KEY_CHARACTERS]
    choices = {name: str(form.get(name, "")).strip() for name in _CHOICES}
    prompts = None if is_case else prompts_in(text, choices)
    kept: dict[str, Any] = {"is_case": is_case, "text": text, "choices": choices, "key": key}
    try:
        body = await read_case(text) if prompts is None else prompts.body()
    except NotRead as why:
        return await _page(visit, **kept, status=422, problem={"title": "This cannot be read", "detail": str(why)})
    try:
        if _is_quote(form):
            quote = await visit.send("POST", "/v1/jobs", body, dry_run="true")
            return await _page(visit, **kept, quote=quote)
        headers = {"Idempotency-Key": key} if key.isascii() and key.isalnum() else {}
        answer = await visit.ask("POST", "/v1/jobs", body=body, headers=headers)
        return visit.go_to(f"/jobs/{answer.json()['id']}")
    except Refused as refused:
        if refused.status in (401, 403):
            raise
        if refused.problem.get("type") in _USED_UP:
            kept["key"] = uuid4().hex
        return await _page(
            visit,
            **kept,
            status=refused.status,
            problem={**refused.problem, "errors": []},
            faults=_faults(refused.problem, body, prompts),
        )


def _is_quote(form: FormData) -> bool:
    """Nothing is ordered by whoever did not press that button."""
    return form.get("do") != "submit"


def _faults(problem: Mapping[str, Any], body: Mapping[str, Any], prompts: Prompts | None) -> list[dict[str, Any]]:
    return [
        {"place": place_of(each.get("pointer") or "", body, prompts), "detail": each["detail"]}
        for each in problem.get("errors", ())
    ]


async def _page(
    visit: Visit,
    *,
    is_case: bool,
    text: str,
    status: int = 200,
    choices: Mapping[str, str] | None = None,
    key: str = "",
    quote: Mapping[str, Any] | None = None,
    problem: Mapping[str, Any] | None = None,
    faults: list[dict[str, Any]] | None = None,
) -> Response:
    offers: dict[str, Any] = {}
    if is_case:
        offers["recipes"] = (await visit.get("/v1/recipes"))["recipes"]
    else:
        known = await visit.get("/v1/providers")
        offers |= {"providers": known["providers"], "default_provider": known["default"]}
        offers["styles"] = (await visit.get("/v1/styles"))["styles"]
        offers["ratios"] = _ratios(known["providers"])
    return visit.page(
        "job_new.html",
        status=status,
        is_case=is_case,
        text=text,
        choices=choices or {},
        key=key or uuid4().hex,
        quote=quote,
        problem=problem,
        faults=faults or [],
        **offers,
    )


def _ratios(providers: list[dict[str, Any]]) -> list[str]:
    """That any model takes, from tall to wide."""
    models = [model for provider in providers for model in provider["models"]]
    found = {ratio for model in models for ratio in model["aspect_ratios"] or () if _RATIO.fullmatch(ratio)}
    return sorted(found, key=lambda ratio: int(ratio.split(":")[0]) / int(ratio.split(":")[1]))


async def _example(visit: Visit, name: str) -> str:
    """A case of a recipe, to begin with. Raises Refused for a recipe that is not there."""
    for recipe in (await visit.get("/v1/recipes"))["recipes"]:
        if recipe["name"] == name:
            return json.dumps({"recipe": name, "subjects": recipe["example"]}, indent=2, ensure_ascii=False)
    raise Refused(404, {"title": "There is no such recipe"})
