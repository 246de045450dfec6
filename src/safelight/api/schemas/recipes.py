"""Recipes: how subjects become prompts."""

from __future__ import annotations

from typing import Any

from safelight.api.schemas.base import Answer


class RecipeGroup(Answer):
    name: str
    required_fields: list[str]
    """That every subject must have, beside its `id`."""
    optional_fields: list[str]
    """That the prompt uses where a subject has them."""
    defaults: dict[str, Any]
    """Options of its images, weaker than those of a request; `style` may be among them."""
    prompt: str
    """The template; `{{ name }}` is replaced by the subject's field of that name."""


class Recipe(Answer):
    name: str
    description: str
    groups: list[RecipeGroup]
    """In order of importance, which is the order of work."""
    example: dict[str, list[dict[str, Any]]]
    """`subjects` that a job may be made of."""


class Recipes(Answer):
    recipes: list[Recipe]
    """By name."""
