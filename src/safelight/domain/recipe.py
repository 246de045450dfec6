"""Recipes: named files that turn subjects (name, description, …) into prompts, one prompt template per group.

    name = "mystery-case"

    [[groups]]
    name = "evidence"
    prompt = "Evidence photograph of {{ name }}. {{ description }}"

    [groups.defaults]
    aspect_ratio = "1:1"

    [groups.example]
    name = "A brass key"
    description = "Bent, oily"

A recipe is written by the operator, a subject by a stranger. Templates are compiled from the recipe's text
alone, in a sandbox without globals; a subject's values are only ever printed, so `{{ … }}` in a description
stays what it is.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeGuard

from jinja2 import StrictUndefined, Template, TemplateError, meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from safelight.domain.errors import Fault
from safelight.domain.ids import IMAGE_ID_PATTERN

MAX_PROMPT_CODE_POINTS = 32_000
"""A rendered prompt is at most this long: the limit of every prompt."""

_NAME = re.compile(IMAGE_ID_PATTERN)
_NAME_RULE = "1 to 64 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends"
_RENDER_FAILURES = (TemplateError, TypeError, ValueError, ArithmeticError, AttributeError, LookupError)


class RecipeError(Exception):
    """A recipe's file or its subjects are wrong; `faults` holds every one that was found.

    Pointers lead into the request body (`/subjects/evidence/0/description`), or into the recipe's file.
    """

    def __init__(self, message: str, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join([message, *(f"  {fault.pointer}: {fault.detail}" for fault in self.faults)]))


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeGroup:
    """One kind of subject. `options` are the defaults of its images, `example` the fields of one.

    Every subject must have all `required_fields`; those that the template guards with `is defined` or `default(…)` are
    its `optional_fields`.
    """

    name: str
    prompt: str
    options: Mapping[str, Any]
    example: Mapping[str, Any]
    required_fields: tuple[str, ...]
    optional_fields: tuple[str, ...]
    template: Template


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """`groups` are in order of importance, which is the order of work."""

    name: str
    description: str
    groups: tuple[RecipeGroup, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeImage:
    """One image to order. `pointer` leads to its subject in the request body, for faults found later."""

    id: str
    group: str
    prompt: str
    options: Mapping[str, Any]
    pointer: str


def render_recipe(recipe: Recipe, subjects: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[RecipeImage]:
    """One image per subject, in the recipe's order of groups, then in the order given.

    Subjects are untrusted: they may hold any JSON value. Fields that the template does not use are allowed.
    Raises RecipeError with every fault, in the same order, those of unknown groups last.
    """
    images: list[RecipeImage] = []
    faults: list[Fault] = []
    pointers_by_id: dict[str, str] = {}
    for group in recipe.groups:
        for pointer, subject in _subjects_of(group.name, subjects.get(group.name, ()), faults):
            found = [
                *_faults_of_id(subject, pointer, pointers_by_id),
                *_faults_of_fields(subject, pointer, group),
            ]
            prompt = None if found else _prompt(group, subject, pointer, found)
            faults += found
            if prompt is not None:
                images.append(
                    RecipeImage(
                        id=subject["id"],
                        group=group.name,
                        prompt=prompt,
                        options=dict(group.options),
                        pointer=pointer,
                    )
                )
    known = [group.name for group in recipe.groups]
    for name in subjects:
        if name not in known:
            detail = f"recipe `{recipe.name}` has no such group; it has {_quoted(known)}"
            faults.append(Fault(_pointer("subjects", name), detail))
    if faults:
        raise RecipeError(f"The subjects do not fit recipe `{recipe.name}`.", faults)
    return images


def example_subjects(recipe: Recipe) -> dict[str, list[dict[str, Any]]]:
    """One subject for each group; where the file gives no example, with words in the place of what the prompt needs."""
    subjects: dict[str, list[dict[str, Any]]] = {}
    for n, group in enumerate(recipe.groups, start=1):
        subject_id = f"{group.name}-1" if len(group.name) < 60 else f"subject-{n}"
        fields = group.example or {field: f"({field})" for field in group.required_fields if field != "id"}
        subjects[group.name] = [{"id": subject_id, **fields}]
    return subjects


def load_recipes(*folders: Path) -> dict[str, Recipe]:
    """Every recipe by its name: the built-in ones, then `*.toml` of each folder; the last of a name wins.

    A folder that does not exist holds no recipes. Raises RecipeError for the first file that is no recipe,
    and for two recipes of one name in one folder; OSError when a file cannot be read.
    """
    recipes: dict[str, Recipe] = {}
    for folder in (files("safelight") / "recipes", *folders):
        here: dict[str, Recipe] = {}
        entries = [e for e in folder.iterdir() if e.name.endswith(".toml")] if folder.is_dir() else []
        for entry in sorted(entries, key=lambda entry: entry.name):
            recipe = parse_recipe(_text(entry), source=str(entry))
            if recipe.name in here:
                raise RecipeError(
                    f"`{entry}` is no recipe.",
                    [Fault("/name", f"another file of this folder is named `{recipe.name}` already")],
                )
            here[recipe.name] = recipe
        recipes |= here
    return recipes


def _text(entry: Traversable) -> str:
    try:
        return entry.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RecipeError(f"`{entry}` is no recipe.", [Fault("", f"not UTF-8: {error.reason}")]) from None


def parse_recipe(toml_text: str, *, source: str) -> Recipe:
    """A recipe from its file's text. `source` names the file in errors; RecipeError holds every fault."""
    try:
        document = tomllib.loads(toml_text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"`{source}` is no recipe.", [Fault("", f"not TOML: {error}")]) from error
    faults = list(_unknown_keys(document, ("name", "description", "groups"), ""))
    name, description, tables = document.get("name"), document.get("description", ""), document.get("groups")
    if not _is_name(name):
        faults.append(Fault("/name", f"must be {_NAME_RULE}"))
    if not isinstance(description, str):
        faults.append(Fault("/description", "must be a string"))
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        faults.append(Fault("/groups", "must be one or more `[[groups]]` tables"))
        tables = []
    groups = [_parse_group(table, _pointer("groups", i), faults) for i, table in enumerate(tables)]
    names = [table.get("name") for table in tables]
    faults += [
        Fault(_pointer("groups", i, "name"), f"group `{name}` is there already")
        for i, name in enumerate(names)
        if name in names[:i]
    ]
    if faults:
        raise RecipeError(f"`{source}` is no recipe.", faults)
    return Recipe(name=str(name), description=str(description), groups=tuple(filter(None, groups)))


def _subjects_of(group: str, given: Any, faults: list[Fault]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(given, str) or not isinstance(given, Sequence):
        faults.append(Fault(_pointer("subjects", group), "must be an array of subjects"))
        return
    for i, subject in enumerate(given):
        pointer = _pointer("subjects", group, i)
        if isinstance(subject, Mapping):
            yield pointer, subject
        else:
            faults.append(Fault(pointer, "must be an object"))


def _faults_of_id(subject: Mapping[str, Any], pointer: str, pointers_by_id: dict[str, str]) -> Iterator[Fault]:
    """Also notes the id as taken."""
    where, subject_id = f"{pointer}/id", subject.get("id")
    if "id" not in subject:
        yield Fault(where, "is required")
    elif not _is_name(subject_id):
        yield Fault(where, f"must be {_NAME_RULE}")
    elif subject_id in pointers_by_id:
        yield Fault(where, f"`{subject_id}` is the id of {pointers_by_id[subject_id]} already")
    else:
        pointers_by_id[subject_id] = pointer


def _faults_of_fields(subject: Mapping[str, Any], pointer: str, group: RecipeGroup) -> Iterator[Fault]:
    for field in group.required_fields:
        if field not in subject and field != "id":
            yield Fault(pointer + _pointer(field), f"is required: the prompt of group `{group.name}` uses it")
    for field, value in subject.items():
        if field != "id" and (isinstance(value, bool) or not isinstance(value, str | int | float)):
            yield Fault(pointer + _pointer(field), "must be a string or a number")


def _prompt(group: RecipeGroup, subject: Mapping[str, Any], pointer: str, faults: list[Fault]) -> str | None:
    """The rendered prompt, or None and a fault. Rendering stops as soon as the limit is passed."""
    parts: list[str] = []
    code_points = 0
    try:
        for part in group.template.generate(subject):
            parts.append(part)
            code_points += len(part)
            if code_points > MAX_PROMPT_CODE_POINTS:
                faults.append(Fault(pointer, f"its prompt passes {MAX_PROMPT_CODE_POINTS:,} characters"))
                return None
    except _RENDER_FAILURES as error:
        faults.append(Fault(pointer, f"the prompt of group `{group.name}` cannot be made from it: {error}"))
        return None
    if not (prompt := "".join(parts).strip()):
        faults.append(Fault(pointer, f"the prompt of group `{group.name}` comes out empty"))
        return None
    return prompt


def _parse_group(table: Mapping[str, Any], pointer: str, faults: list[Fault]) -> RecipeGroup | None:
    found = list(_unknown_keys(table, ("name", "prompt", "defaults", "example"), pointer))
    name, prompt, options = table.get("name"), table.get("prompt"), table.get("defaults", {})
    example = table.get("example", {})
    if not isinstance(example, dict) or "id" in example:
        found.append(Fault(f"{pointer}/example", "must be a table of a subject's fields, without an id"))
    if not _is_name(name):
        found.append(Fault(f"{pointer}/name", f"must be {_NAME_RULE}"))
    if not isinstance(options, dict) or not all(isinstance(v, str | int | float) for v in options.values()):
        found.append(Fault(f"{pointer}/defaults", "must be a table of strings, numbers and booleans"))
    compiled = _compiled(prompt, f"{pointer}/prompt", found)
    faults += found
    if found or compiled is None:
        return None
    template, required_fields, optional_fields = compiled
    group = RecipeGroup(
        name=str(name),
        prompt=str(prompt),
        options=options,
        example=example,
        required_fields=required_fields,
        optional_fields=optional_fields,
        template=template,
    )
    if example:
        wrong = list(_faults_of_fields(example, f"{pointer}/example", group))
        if not wrong:
            _prompt(group, {"id": "example", **example}, f"{pointer}/example", wrong)
        faults += wrong
    return group


def _compiled(
    prompt: Any, pointer: str, faults: list[Fault]
) -> tuple[Template, tuple[str, ...], tuple[str, ...]] | None:
    """With the fields that it must have, and those that it may."""
    if not isinstance(prompt, str) or not prompt.strip():
        faults.append(Fault(pointer, "must be a prompt template"))
        return None
    sandbox = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True
    )
    sandbox.globals.clear()
    try:
        tree = sandbox.parse(prompt)
        template = sandbox.from_string(prompt)
    except TemplateError as error:
        faults.append(Fault(pointer, f"is no template: {error}"))
        return None
    if list(meta.find_referenced_templates(tree)):
        faults.append(Fault(pointer, "must stand alone: it cannot include or extend another template"))
        return None
    return template, *_fields(tree)


def _fields(tree: nodes.Template) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The fields a template prints unguarded, and the others, in the order of their first use."""
    guards = ("defined", "undefined", "default", "d")
    guarded = {
        node.node.name
        for node in tree.find_all((nodes.Test, nodes.Filter))
        if node.name in guards and isinstance(node.node, nodes.Name)
    }
    all_of_them = meta.find_undeclared_variables(tree)
    in_order = tuple(dict.fromkeys(node.name for node in tree.find_all(nodes.Name) if node.name in all_of_them))
    return tuple(f for f in in_order if f not in guarded), tuple(f for f in in_order if f in guarded)


def _unknown_keys(table: Mapping[str, Any], known: Sequence[str], pointer: str) -> Iterator[Fault]:
    for key in table:
        if key not in known:
            yield Fault(pointer + _pointer(key), f"unknown field; known are {_quoted(known)}")


def _is_name(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _pointer(*steps: str | int) -> str:
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)
