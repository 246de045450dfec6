"""What a user asks for, and the job that Safelight is asked for instead."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

MAX_SCENES = 20

Scene = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]
Word = Annotated[str, StringConstraints(min_length=1, max_length=200)]
UploadId = Annotated[str, StringConstraints(pattern=r"^upl_[0-9A-Z]{26}$")]
PhotoKind = Literal["product", "person"]

NEWS = (
    "job.started",
    "image.completed",
    "image.failed",
    "image.refused",
    "image.uncertain",
    "image.canceled",
    "job.retried",
    "job.completed",
    "job.partial",
    "job.failed",
    "job.canceled",
)
"""The events after which an order looks different to its user."""


class Wish(BaseModel):
    """A picture of the product for each scene. What is None is Safelight's choice."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    product: UploadId
    """The product's photo."""
    person: UploadId | None = None
    """A photo of who wears or holds it."""
    scenes: list[Scene] = Field(min_length=1, max_length=MAX_SCENES)
    model: Word | None = None
    """`provider`, or `provider/model`."""
    aspect_ratio: Word | None = None
    style: Word | None = None
    quality: Word | None = None


def job_of(wish: Wish, *, account: str, generation_id: str, hook_url: str) -> dict[str, Any]:
    """The body of `POST /v1/jobs`. Whether it can be made is for Safelight to say: nothing is checked twice."""
    references = [{"upload": wish.product, "role": "product"}]
    if wish.person is not None:
        references.append({"upload": wish.person, "role": "person"})
    return {
        "account": account,
        "images": [
            {
                "id": image_id(position),
                "group": "product-photos",
                "prompt": _prompt(scene, with_person=wish.person is not None),
                "references": references,
            }
            for position, scene in enumerate(wish.scenes)
        ],
        "defaults": _who_makes_it(wish),
        "style": wish.style,
        "outputs": [
            {"name": "preview", "width": 480, "height": 480, "fit": "inside", "format": "webp"},
            {"name": "full", "width": 4096, "height": 4096, "fit": "inside", "quality": 92},
        ],
        "metadata": {"generation": generation_id},
        "webhook": {"url": hook_url, "events": list(NEWS)},
    }


def image_id(position: int) -> str:
    """Of the scene's picture."""
    return f"scene-{position + 1}"


def _prompt(scene: str, *, with_person: bool) -> str:
    who = ", worn or held by the person in the second picture" if with_person else ""
    return (
        f"A product photograph. It shows the product in the first picture{who}, unchanged in shape, colour and"
        f" lettering.\nThe scene: {scene}"
    )


def _who_makes_it(wish: Wish) -> dict[str, str]:
    provider, _, model = (wish.model or "").partition("/")
    asked = {"provider": provider, "model": model, "aspect_ratio": wish.aspect_ratio, "quality": wish.quality}
    return {name: value for name, value in asked.items() if value}
