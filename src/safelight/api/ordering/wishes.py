"""One image as the request asks for it, from a recipe or by itself, before anything is looked up."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from safelight.api.edge.problems import RequestFault
from safelight.api.schemas import NewImage, Options
from safelight.api.schemas.submission import StyledOptions
from safelight.domain.errors import Fault
from safelight.domain.ids import IMAGE_ID_PATTERN
from safelight.domain.order import Reference
from safelight.domain.recipe import RecipeImage
from safelight.domain.style import AppliedStyle

_ID = re.compile(IMAGE_ID_PATTERN)
OPTION_NAMES = tuple(Options.model_fields)
_OWN_NAMES = tuple(StyledOptions.model_fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """`pointer` leads to the image in the request body. `recipe_options` are weaker than the request's
    `defaults`, `own_options` stronger: there a null counts, as the wish for none."""

    id: str
    group: str
    prompt: str
    pointer: str
    recipe_options: Mapping[str, Any]
    own_options: Mapping[str, Any]
    alternate_prompt: str | None = None
    style: AppliedStyle | None = None
    references: tuple[Reference, ...] = ()
    mask: str | None = None

    @staticmethod
    def of_recipe(image: RecipeImage) -> Wish:
        return Wish(
            id=image.id,
            group=image.group,
            prompt=image.prompt,
            pointer=image.pointer,
            recipe_options=image.options,
            own_options={},
        )

    @property
    def prompt_pointer(self) -> str:
        """A recipe's prompt stands nowhere in the request: its subject answers for it."""
        return self.pointer if self.pointer.startswith("/subjects") else f"{self.pointer}/prompt"


def expanded(image: NewImage, pointer: str, faults: list[Fault]) -> list[Wish]:
    """The image, or `count` images with ids of their own."""
    ids = [image.id] if image.count == 1 else [f"{image.id}-{n}" for n in range(1, image.count + 1)]
    if not _ID.fullmatch(ids[-1]):
        faults.append(RequestFault(f"{pointer}/id", "With the number that `count` adds, the id is too long."))
        return []
    own = {name: getattr(image, name) for name in _OWN_NAMES if name in image.model_fields_set}
    return [
        Wish(
            id=each,
            group=image.group,
            prompt=image.prompt,
            pointer=pointer,
            recipe_options={},
            own_options=own,
            alternate_prompt=image.alternate_prompt,
            references=tuple(
                Reference(image_id=each.image, upload_id=each.upload, url=each.url, role=each.role)
                for each in image.references
            ),
            mask=image.mask.upload if image.mask is not None else None,
        )
        for each in ids
    ]
