"""`GET /v1/recipes`: what a job may be made of by naming subjects."""

from __future__ import annotations

import httpx2

from safelight.domain.recipe import parse_recipe
from tests.api.conftest import Serve
from tests.api.problems import refusal

CARDS = """
name = "cards"
description = "Playing cards"

[[groups]]
name = "fronts"
prompt = '''
The front of {{ name }}{% if mood is defined %}, {{ mood }}{% endif %}.
'''
[groups.defaults]
aspect_ratio = "3:4"
style = "noir"

[[groups]]
name = "backs"
prompt = "The back of {{ name }} for {{ id }}"
[groups.example]
name = "The queen of cups"
"""


async def test_a_recipe_says_what_each_subject_needs_in_the_order_of_work(serve_with: Serve):
    async with serve_with(recipes={"cards": parse_recipe(CARDS, source="cards.toml")}) as client:
        [listed] = (await client.get("/v1/recipes")).json()["recipes"]
        shown = (await client.get("/v1/recipes/cards")).json()

    assert listed == shown
    assert (shown["name"], shown["description"]) == ("cards", "Playing cards")
    front, back = shown["groups"]
    assert front == {
        "name": "fronts",
        "required_fields": ["name"],
        "optional_fields": ["mood"],
        "defaults": {"aspect_ratio": "3:4", "style": "noir"},
        "prompt": "The front of {{ name }}{% if mood is defined %}, {{ mood }}{% endif %}.",
    }
    assert (back["name"], back["required_fields"], back["defaults"]) == ("backs", ["name"], {})
    assert shown["example"] == {
        "fronts": [{"id": "fronts-1", "name": "(name)"}],
        "backs": [{"id": "backs-1", "name": "The queen of cups"}],
    }


async def test_the_example_of_every_recipe_is_a_job(client: httpx2.AsyncClient):
    recipes = (await client.get("/v1/recipes")).json()["recipes"]
    assert "mystery-case" in [recipe["name"] for recipe in recipes]
    for recipe in recipes:
        body = {"recipe": recipe["name"], "subjects": recipe["example"]}
        accepted = await client.post("/v1/jobs", json=body)
        assert accepted.status_code == 202, accepted.text
        assert [each["group"] for each in accepted.json()["images"]] == [group["name"] for group in recipe["groups"]]


async def test_a_recipe_that_does_not_exist_is_not_found(client: httpx2.AsyncClient):
    refusal(await client.get("/v1/recipes/no-such"), 404, "not-found")
