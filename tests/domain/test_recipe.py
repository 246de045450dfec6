"""Recipes: whose text is code, whose is data, and what is said about subjects that do not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.domain.recipe import (
    MAX_PROMPT_CODE_POINTS,
    Recipe,
    RecipeError,
    RecipeImage,
    example_subjects,
    load_recipes,
    parse_recipe,
    render_recipe,
)

CASE = Path(__file__).parents[2] / "examples" / "cases" / "the-drowned-orchestra.json"

RECIPE = """
name = "inventory"

[[groups]]
name = "places"
prompt = "A place: {{ name }}."

[groups.defaults]
aspect_ratio = "16:9"

[[groups]]
name = "things"
prompt = "A thing: {{ name }}, {{ description }}."
"""


def recipe_of(prompt: str) -> Recipe:
    return parse_recipe(f"name = 'one'\n[[groups]]\nname = 'things'\nprompt = '''{prompt}'''", source="test")


def prompt_of(prompt: str, **fields: Any) -> str:
    [image] = render_recipe(recipe_of(prompt), {"things": [{"id": "thing-1", **fields}]})
    return image.prompt


def faults_of(recipe: Recipe, subjects: Any) -> dict[str, str]:
    with pytest.raises(RecipeError) as caught:
        render_recipe(recipe, subjects)
    return {fault.pointer: fault.detail for fault in caught.value.faults}


def render_or_faults(recipe: Recipe, subjects: Any) -> list[RecipeImage] | RecipeError:
    try:
        return render_recipe(recipe, subjects)
    except RecipeError as error:
        return error


def faults_of_file(toml_text: str) -> dict[str, str]:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(toml_text, source="folder/mine.toml")
    assert "folder/mine.toml" in str(caught.value)
    return {fault.pointer: fault.detail for fault in caught.value.faults}


def test_images_come_in_the_recipes_order_of_groups_then_in_the_order_given():
    subjects = {
        "things": [
            {"id": "t-2", "name": "Key", "description": "bent"},
            {"id": "t-1", "name": "Cup", "description": 1},
        ],
        "places": [{"id": "p-1", "name": "Attic"}],
    }
    assert render_recipe(parse_recipe(RECIPE, source="test"), subjects) == [
        RecipeImage(
            id="p-1",
            group="places",
            prompt="A place: Attic.",
            options={"aspect_ratio": "16:9"},
            pointer="/subjects/places/0",
        ),
        RecipeImage(id="t-2", group="things", prompt="A thing: Key, bent.", options={}, pointer="/subjects/things/0"),
        RecipeImage(id="t-1", group="things", prompt="A thing: Cup, 1.", options={}, pointer="/subjects/things/1"),
    ]


def test_a_group_without_subjects_has_no_images():
    assert render_recipe(parse_recipe(RECIPE, source="test"), {}) == []


@given(name=st.text())
def test_whatever_a_subject_says_is_printed_as_it_is(name: str):
    assert prompt_of("<{{ name }}>", name=name) == f"<{name}>"


@pytest.mark.parametrize(
    "hostile",
    [
        "{{ 7 * 7 }}",
        "{% for x in range(9) %}{{ x }}{% endfor %}",
        "{# hidden #}",
        "{{ ''.__class__.__mro__ }}",
        "}}{{ id }}{{",
        "{% raw %}",
        "%(name)s {name} $name",
        "<script>&amp;</script>",
    ],
)
def test_template_code_in_a_subject_is_text(hostile: str):
    assert (
        prompt_of("The {{ name }}: {{ description }}", name=hostile, description=hostile) == f"The {hostile}: {hostile}"
    )


def test_a_template_sees_the_fields_of_its_own_subject_and_nothing_else():
    recipe = recipe_of("{{ name }} {{ clue }}")
    subjects = {"things": [{"id": "a", "name": "Key", "clue": "x"}, {"id": "b", "name": "Cup"}]}
    assert list(faults_of(recipe, subjects)) == ["/subjects/things/1/clue"]


@pytest.mark.parametrize("name", ["range", "dict", "lipsum", "cycler", "namespace", "loop"])
def test_the_template_languages_own_names_are_fields_like_any_other(name: str):
    prompt = "{{ " + name + " }}"
    assert list(faults_of(recipe_of(prompt), {"things": [{"id": "a"}]})) == [f"/subjects/things/0/{name}"]
    assert prompt_of(prompt, **{name: "Key"}) == "Key"


def test_a_template_cannot_reach_pythons_insides():
    faults = faults_of(recipe_of("{{ name.__class__.__mro__ }}"), {"things": [{"id": "a", "name": "Key"}]})
    assert "unsafe" in faults["/subjects/things/0"]


def test_a_missing_field_is_named_and_so_is_every_other_fault():
    subjects = {
        "things": [
            {"id": "t-1", "name": "Key"},
            "not an object",
            {"name": "Cup", "description": "chipped"},
            {"id": "t-1", "name": None, "description": ["a"]},
            {"id": "../etc", "name": True, "description": {}},
        ],
        "rooms": [],
        "a/b~c": [],
        "places": {"id": "p-1"},
    }
    faults = faults_of(parse_recipe(RECIPE, source="test"), subjects)
    assert list(faults) == [
        "/subjects/places",
        "/subjects/things/0/description",
        "/subjects/things/1",
        "/subjects/things/2/id",
        "/subjects/things/3/id",
        "/subjects/things/3/name",
        "/subjects/things/3/description",
        "/subjects/things/4/id",
        "/subjects/things/4/name",
        "/subjects/things/4/description",
        "/subjects/rooms",
        "/subjects/a~1b~0c",
    ]
    assert faults["/subjects/things/0/description"] == "is required: the prompt of group `things` uses it"
    assert faults["/subjects/things/3/id"] == "`t-1` is the id of /subjects/things/0 already"
    assert faults["/subjects/rooms"] == "recipe `inventory` has no such group; it has `places`, `things`"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
subject_like = st.dictionaries(st.sampled_from(["id", "name", "description", "extra"]), json_values)


@given(
    subjects=st.dictionaries(
        st.sampled_from(["places", "things", "rooms"]), st.lists(subject_like, max_size=3) | json_values
    )
)
def test_any_json_is_either_rendered_or_answered_with_faults_that_point_into_it(subjects: dict[str, Any]):
    outcome = render_or_faults(parse_recipe(RECIPE, source="test"), subjects)
    if isinstance(outcome, RecipeError):
        assert outcome.faults
        assert all(fault.pointer.startswith("/subjects/") and fault.detail for fault in outcome.faults)
    else:
        assert len({image.id for image in outcome}) == sum(len(given) for given in subjects.values())


def test_a_guarded_field_is_optional():
    prompt = "{{ name }}{% if age is defined %}, {{ age }}{% endif %}{{ note | default('') }}"
    assert prompt_of(prompt, name="Ada") == "Ada"
    assert prompt_of(prompt, name="Ada", age=41.5, note="!") == "Ada, 41.5!"


def test_a_field_that_is_guarded_in_one_place_and_printed_in_another_is_never_silently_empty():
    recipe = recipe_of("{% if age is defined %}Aged {{ age }}. {% endif %}A portrait at {{ age }}.")
    faults = faults_of(recipe, {"things": [{"id": "s-1"}]})
    assert list(faults) == ["/subjects/things/0"]
    assert "'age' is undefined" in faults["/subjects/things/0"]


def test_a_prompt_is_trimmed_and_its_inner_lines_are_kept():
    assert prompt_of("\n  {{ name }}\n\n{{ description }}  \n", name="Key", description="Bent") == "Key\n\nBent"


def test_a_prompt_has_at_most_the_length_that_any_prompt_may_have():
    recipe = recipe_of("{{ name }}")
    longest = "é" * MAX_PROMPT_CODE_POINTS
    assert prompt_of("{{ name }}", name=longest) == longest
    faults = faults_of(recipe, {"things": [{"id": "a", "name": longest + "é"}]})
    assert faults == {"/subjects/things/0": "its prompt passes 32,000 characters"}


def test_a_prompt_that_comes_out_empty_is_a_fault():
    assert list(faults_of(recipe_of("{{ name }}"), {"things": [{"id": "a", "name": " \n"}]})) == ["/subjects/things/0"]


def test_a_calculation_that_a_value_does_not_allow_is_a_fault_of_that_subject():
    faults = faults_of(recipe_of("{{ 100 / age }}"), {"things": [{"id": "a", "age": 0}, {"id": "b", "age": "x"}]})
    assert list(faults) == ["/subjects/things/0", "/subjects/things/1"]


def test_a_recipe_file_is_told_all_its_faults():
    faults = faults_of_file(
        """
        name = "my recipe"
        colour = "red"

        [[groups]]
        name = "things"
        prompt = "{{ name"
        [groups.defaults]
        outputs = ["card"]

        [[groups]]
        name = "things"
        promt = "A {{ name }}"

        [[groups]]
        name = "places"
        prompt = "{% include 'other' %}"
        """
    )
    assert list(faults) == [
        "/colour",
        "/name",
        "/groups/0/defaults",
        "/groups/0/prompt",
        "/groups/1/promt",
        "/groups/1/prompt",
        "/groups/2/prompt",
        "/groups/1/name",
    ]


@pytest.mark.parametrize("text", ["", "name = 'x'", "name = 'x'\ngroups = []", "name = 'x'\ngroups = [1]"])
def test_a_recipe_has_at_least_one_group(text: str):
    assert "/groups" in faults_of_file(text)


def test_a_file_that_is_not_toml_is_no_recipe():
    assert "not TOML" in faults_of_file("{]")[""]


def test_a_folders_recipe_of_the_same_name_wins_over_the_built_in_one(tmp_path: Path):
    mine, absent = tmp_path / "recipes", tmp_path / "absent"
    mine.mkdir()
    (mine / "noir.toml").write_text(RECIPE.replace("inventory", "mystery-case"))
    (mine / "things.toml").write_text(RECIPE)
    (mine / "notes.txt").write_text("not a recipe")
    recipes = load_recipes(absent, mine)
    assert set(recipes) == {"mystery-case", "inventory"}
    assert [group.name for group in recipes["mystery-case"].groups] == ["places", "things"]
    assert [group.name for group in load_recipes()["mystery-case"].groups] == [
        "locations",
        "suspects",
        "evidence",
    ]


def test_two_recipes_of_one_name_in_one_folder_are_refused(tmp_path: Path):
    (tmp_path / "a.toml").write_text(RECIPE)
    (tmp_path / "b.toml").write_text(RECIPE)
    with pytest.raises(RecipeError, match=r"b\.toml"):
        load_recipes(tmp_path)


def test_the_mystery_case_asks_for_what_a_detective_needs():
    recipe = load_recipes()["mystery-case"]
    subjects = {
        "evidence": [{"id": "ev-1", "name": "A brass key", "description": "Bent, oily"}],
        "suspects": [
            {
                "id": "sus-1",
                "name": "Ada Vane",
                "age": 41,
                "gender": "female",
                "appearance": "Silver streak in black hair",
                "occupation": "archivist",
            }
        ],
        "locations": [{"id": "loc-1", "name": "The library", "description": "Dust, green lamps"}],
    }
    location, suspect, evidence = (image.prompt for image in render_recipe(recipe, subjects))
    for prompt, words in [
        (
            location,
            ["The library", "Dust, green lamps", "film noir", "dramatic", "atmospheric", "empty of people"],
        ),
        (
            suspect,
            ["Ada Vane", "41", "female", "Silver streak", "archivist", "front-facing", "neutral background"],
        ),
        (
            evidence,
            [
                "A brass key",
                "Bent, oily",
                "forensic quality",
                "clear in detail",
                "neutral",
                "no text",
                "no hands",
            ],
        ),
    ]:
        assert [word for word in words if word.lower() not in prompt.lower()] == []


def test_the_example_case_is_fourteen_images_of_the_built_in_recipe():
    case = json.loads(CASE.read_text(encoding="utf-8"))
    images = render_recipe(load_recipes()[case["recipe"]], case["subjects"])
    assert [image.group for image in images] == ["locations"] * 4 + ["evidence"] * 10
    assert len({image.prompt for image in images}) == 14
    assert max(len(subject["name"]) for group in case["subjects"].values() for subject in group) <= 60
    assert case["metadata"]["case_id"] == CASE.stem


def test_an_example_of_a_group_has_to_fit_its_prompt():
    text = "name = 'a'\n[[groups]]\nname = 'g'\nprompt = '{{ name }}{{ id }}'\n[groups.example]\n"
    assert parse_recipe(text + "name = 'x'", source="a.toml").groups[0].example == {"name": "x"}
    assert list(faults_of_file(text + "nmae = 'x'")) == ["/groups/0/example/name"]
    assert list(faults_of_file(text + "name = [1]")) == ["/groups/0/example/name"]
    assert list(faults_of_file(text + "name = 'x'\nid = 'y'")) == ["/groups/0/example"]


def test_fields_that_a_prompt_guards_are_optional_and_the_others_required():
    group = recipe_of("{{ a }}{{ b | default('x') }}{% if c is defined %}{{ c }}{% endif %}{{ d }}").groups[0]
    assert (group.required_fields, group.optional_fields) == (("a", "d"), ("b", "c"))


def test_every_group_of_a_recipe_has_a_subject_to_begin_with():
    recipe = parse_recipe(RECIPE, source="test")
    subjects = example_subjects(recipe)
    assert subjects["things"] == [{"id": "things-1", "name": "(name)", "description": "(description)"}]
    assert [image.id for image in render_recipe(recipe, subjects)] == ["places-1", "things-1"]
