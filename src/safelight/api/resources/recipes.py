"""Recipes: what a job may be made of by naming subjects alone."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from safelight.api import schemas
from safelight.api.access import READS
from safelight.api.dependencies import ApiDependencies
from safelight.api.edge.openapi import problems
from safelight.domain.errors import NotFound
from safelight.domain.recipe import Recipe, example_subjects

NoQuery = Annotated[schemas.NoQuery, Query()]


def recipe_routes(deps: ApiDependencies) -> APIRouter:
    router = APIRouter(prefix="/v1/recipes", tags=["recipes"], dependencies=[READS])

    @router.get("", responses=problems(422))
    async def list_recipes(_: NoQuery) -> schemas.Recipes:
        """Every recipe: those that come with Safelight, and those in its home."""
        return schemas.Recipes(recipes=[_shown(deps.recipes[name]) for name in sorted(deps.recipes)])

    @router.get("/{name}", responses=problems(404, 422))
    async def get_recipe(name: str, _: NoQuery) -> schemas.Recipe:
        """Its groups in order, what each subject needs, and subjects to begin with."""
        recipe = deps.recipes.get(name)
        if recipe is None:
            raise NotFound("There is no such recipe.")
        return _shown(recipe)

    return router


def _shown(recipe: Recipe) -> schemas.Recipe:
    return schemas.Recipe(
        name=recipe.name,
        description=recipe.description,
        groups=[
            schemas.RecipeGroup(
                name=group.name,
                required_fields=[field for field in group.required_fields if field != "id"],
                optional_fields=list(group.optional_fields),
                defaults=dict(group.options),
                prompt=group.prompt.strip(),
            )
            for group in recipe.groups
        ],
        example=example_subjects(recipe),
    )
