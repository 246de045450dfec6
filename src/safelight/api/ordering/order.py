"""From a request to an order: read as far as it is sound, rendered, checked against what the models can do.

Every fault is found before anything is refused, so the parts that Pydantic accepts are checked further even
when others are wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from pydantic import ValidationError

from safelight.api.edge.faults import body_faults, refused
from safelight.api.edge.pointer import pointer
from safelight.api.edge.problems import RequestFault
from safelight.api.ordering.choices import Chooser
from safelight.api.ordering.outputs import output_faults, output_order
from safelight.api.ordering.references import ids_in, reference_faults
from safelight.api.ordering.webhook import webhook_order
from safelight.api.ordering.wishes import Wish, expanded
from safelight.api.schemas import MAX_IMAGES, NewJob
from safelight.domain.errors import Fault
from safelight.domain.fingerprint import fingerprint
from safelight.domain.money import microusd
from safelight.domain.order import ImageOrder, JobOrder, Priority
from safelight.domain.recipe import Recipe, RecipeError, render_recipe
from safelight.domain.style import Style, built_in_styles
from safelight.engine.orders.catalog import Catalog
from safelight.storage.keys import InvalidKey, is_reserved, split_key

_MAX_PREFIX_CHARS = 600
"""A blob's key has 1024; what comes after the prefix takes less than 400."""
_OF_RECIPE = ("/recipe", "/subjects")
_IN_PARTS = ("images", "defaults")


def place_order(
    document: Mapping[str, Any],
    *,
    account: str,
    idempotency_key: str | None,
    catalog: Catalog,
    recipes: Mapping[str, Recipe],
    styles: Mapping[str, Style] | None = None,
    known_faults: Iterable[Fault] = (),
) -> JobOrder:
    """The order that a parsed request body stands for. Raises InvalidRequest that lists every fault, those that were
    found before too.

    `styles` are those that the account can use (`engine.accounts.styles`); None: the built-in ones alone.
    """
    draft = _Draft(document)
    job = draft.job
    faults: list[Fault] = [*draft.faults, *output_faults(job.outputs), *_prefix_faults(job.storage_prefix)]
    faults += known_faults
    if job.account not in (None, account):
        faults.append(RequestFault("/account", f"This is for account `{account}`, and so is its job."))
    wishes = [*_rendered(draft, recipes, faults), *draft.wishes(faults)]
    if not wishes and not faults:
        faults.append(RequestFault("", "Name a recipe with subjects, or images, or both: at least one image."))
    if len(wishes) > MAX_IMAGES:
        faults.append(RequestFault("/images", f"The job has {len(wishes)} images; {MAX_IMAGES} are the most."))
        wishes = []
    faults += _doubled_ids(wishes)
    faults += reference_faults(
        wishes,
        job.images,
        other_ids=draft.unsound_ids(),
        is_complete=draft.is_sound("images") and not any(fault.pointer.startswith(_OF_RECIPE) for fault in faults),
    )
    styles = built_in_styles() if styles is None else styles
    images = _image_orders(wishes, job, catalog, styles, faults) if draft.is_sound("defaults") else ()
    if faults:
        raise refused(faults)
    return JobOrder(
        account=account,
        idempotency_key=idempotency_key,
        body_fingerprint=fingerprint(document),
        images=images,
        outputs=tuple(map(output_order, job.outputs)),
        storage_prefix=job.storage_prefix,
        metadata=job.metadata,
        deadline_seconds=job.deadline_seconds,
        on_deadline=job.on_deadline,
        webhook=webhook_order(job.webhook),
        priority=Priority[job.priority.upper()],
        not_before=job.not_before,
        visibility=job.visibility,
        max_cost_microusd=microusd(Decimal(job.max_cost_usd)) if job.max_cost_usd is not None else None,
    )


class _Draft:
    """A request without its unsound parts: a faulty field is left out; of `images` only the faulty elements,
    of `defaults` only the faulty options."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.faults: list[RequestFault] = []
        self._unsound: set[str] = set()
        self._positions: list[int] | None = None
        self._unsound_images: list[object] = []
        try:
            self.job = NewJob.model_validate(document)
        except ValidationError as error:
            self.faults = body_faults(error)
            self.job = NewJob.model_validate(self._sound_part(document, error))

    def is_sound(self, field: str) -> bool:
        return field not in self._unsound

    def unsound_ids(self) -> set[str]:
        """The ids of images that were left out, as far as they can be read."""
        return {image_id for image in self._unsound_images for image_id in ids_in(image)}

    def wishes(self, faults: list[Fault]) -> list[Wish]:
        """The sound images, each as many times as it was ordered."""
        positions = self._positions or range(len(self.job.images))
        return [
            wish
            for position, image in zip(positions, self.job.images, strict=True)
            for wish in expanded(image, pointer("images", position), faults)
        ]

    def _sound_part(self, document: Mapping[str, Any], error: ValidationError) -> dict[str, Any]:
        places = [each["loc"] for each in error.errors(include_url=False, include_input=False)]
        self._unsound = {str(place[0]) for place in places if place[0] not in _IN_PARTS or len(place) == 1}
        part = {field: value for field, value in document.items() if field not in self._unsound}
        bad_options = {place[1] for place in places if place[0] == "defaults" and len(place) > 1}
        if bad_options and self.is_sound("defaults"):
            part["defaults"] = {k: v for k, v in part["defaults"].items() if k not in bad_options}
            if not bad_options.isdisjoint(("provider", "model")):
                self._unsound.add("defaults")
        bad_images = {place[1] for place in places if place[0] == "images" and len(place) > 1}
        if bad_images and self.is_sound("images"):
            self._unsound_images = [part["images"][int(n)] for n in bad_images]
            self._positions = [n for n in range(len(part["images"])) if n not in bad_images]
            part["images"] = [part["images"][n] for n in self._positions]
        return part


def _rendered(draft: _Draft, recipes: Mapping[str, Recipe], faults: list[Fault]) -> list[Wish]:
    """One wish per subject, in the recipe's order."""
    job = draft.job
    if not (draft.is_sound("recipe") and draft.is_sound("subjects")):
        return []
    if job.recipe is None:
        if job.subjects:
            faults.append(RequestFault("/subjects", "Subjects need a recipe."))
        return []
    recipe = recipes.get(job.recipe)
    if recipe is None:
        known = ", ".join(f"`{name}`" for name in sorted(recipes))
        faults.append(RequestFault("/recipe", f"There is no such recipe; there are {known}."))
        return []
    if sum(map(len, job.subjects.values())) > MAX_IMAGES:
        faults.append(RequestFault("/subjects", f"A job has at most {MAX_IMAGES} images."))
        return []
    try:
        images = render_recipe(recipe, job.subjects)
    except RecipeError as error:
        faults += error.faults
        return []
    return [Wish.of_recipe(image) for image in images]


def _doubled_ids(wishes: list[Wish]) -> list[Fault]:
    seen: dict[str, str] = {}
    faults: list[Fault] = []
    for wish in wishes:
        if wish.id in seen:
            faults.append(RequestFault(f"{wish.pointer}/id", f"`{wish.id}` is the id of {seen[wish.id]} already."))
        seen.setdefault(wish.id, wish.pointer)
    return list(dict.fromkeys(faults))


def _image_orders(
    wishes: list[Wish], job: NewJob, catalog: Catalog, styles: Mapping[str, Style], faults: list[Fault]
) -> tuple[ImageOrder, ...]:
    """What can be ordered as it stands; a fault that many images share is listed once."""
    chooser = Chooser(catalog, job.defaults, style=job.style, styles=styles)
    orders: list[ImageOrder] = []
    found: dict[Fault, None] = dict.fromkeys(chooser.style_faults())
    for wish in wishes:
        order = chooser.order(wish)
        if isinstance(order, ImageOrder):
            orders.append(order)
        else:
            found.update(dict.fromkeys(order))
    faults += found
    return tuple(orders)


def _prefix_faults(prefix: str | None) -> list[Fault]:
    if prefix is None:
        return []
    try:
        segments = split_key(prefix)
    except InvalidKey:
        segments = []
    if not segments or is_reserved(segments[0]) or len(prefix) > _MAX_PREFIX_CHARS:
        why = (
            f"Must be at most {_MAX_PREFIX_CHARS} characters: folders of A-Z a-z 0-9 . _ - separated by `/`, "
            "none of them empty, `.` or `..`, and the first not one of Safelight's own."
        )
        return [RequestFault("/storage_prefix", why)]
    return []
