"""What a caller sends about jobs."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from safelight.api.schemas.base import (
    MAX_IMAGES,
    MAX_METADATA_CHARS,
    MAX_METADATA_ENTRIES,
    MAX_REFERENCES,
    MAX_SEED,
    AccountId,
    Group,
    ImageId,
    Label,
    MetadataKey,
    PriorityWord,
    Prompt,
    Request,
    RetryableState,
    SidePx,
    StartTime,
    UploadId,
    UsdAmount,
    tell_of_texts,
)
from safelight.api.schemas.webhooks import MAX_URL_CHARS, NewJobWebhook


class Options(Request):
    """How an image is made. An image's own word counts more than `defaults`, and those more than the
    recipe."""

    provider: Label | None = None
    model: Label | None = None
    """Null: the one that is configured for the provider."""
    fallback: list[Label] | None = Field(default=None, max_length=4, examples=[["openai", "gemini/gemini-3-pro-image"]])
    """Whom to ask when the provider cannot, in order: `provider`, with the model that is configured for it, or
    `provider/model`. Each has to take every option of the image."""
    aspect_ratio: Label | None = Field(default=None, examples=["1:1"])
    size: Label | None = Field(default=None, examples=["1024x1024"])
    """Instead of an aspect ratio, where the model has sizes."""
    quality: Label | None = Field(default=None, examples=["high"])
    """In the model's own words, where it has any."""
    seed: int | None = Field(default=None, ge=0, le=MAX_SEED)
    negative_prompt: Prompt | None = None
    timeout_seconds: float | None = Field(default=None, ge=1, le=3600)
    """Of one attempt, in total. Null: from the model's data."""
    max_attempts: int | None = Field(default=None, ge=1, le=10)
    """Paid calls that bring no picture, per run; 3 when null."""
    max_rebuys: int | None = Field(default=None, ge=0, le=10)
    """Calls after one whose outcome is unknown, per run; 1 when null."""
    on_uncertain: Literal["hold", "fail", "retry_once"] | None = None
    """`retry_once` when null."""
    on_refusal: Literal["stop", "next_provider", "alternate_prompt"] | None = None
    """What follows a vendor's refusal: nothing (when null), the next of `fallback`, or once more with
    `alternate_prompt`."""


class StyledOptions(Options):
    """What an image of a request, or a group of a recipe, may say."""

    style: Label | None = Field(default=None, examples=["noir"])
    """Words around the prompt. Null, at an image: none, whatever the job says."""


class NewReference(Request):
    """Exactly one of `image`, `upload` and `url`."""

    image: ImageId | None = None
    """Another image of this job, whose picture goes into the request for this one."""
    upload: UploadId | None = None
    """A picture that was uploaded."""
    url: Annotated[str, Field(max_length=MAX_URL_CHARS)] | None = Field(
        default=None, examples=["https://shop.example/photos/4711.jpg"]
    )
    """A picture on the web, over HTTPS: fetched once, before the first call that it goes into."""
    role: Label | None = Field(default=None, examples=["product"])
    """What it is for, in your own words: `style`, `product`, `model`. Kept and shown, and told to nobody."""

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if sum(each is not None for each in (self.image, self.upload, self.url)) != 1:
            raise PydanticCustomError("one_of", "Name exactly one of `image`, `upload` and `url`.")
        return self


class NewMask(Request):
    upload: UploadId
    """A PNG of the size of the first reference, transparent where that may be changed."""


class NewImage(StyledOptions):
    id: ImageId
    group: Group = ""
    prompt: Prompt
    alternate_prompt: Prompt | None = None
    """Asked with when the vendor refuses `prompt` and `on_refusal` is `alternate_prompt`."""
    references: list[NewReference] = Field(default=[], max_length=MAX_REFERENCES)
    """What the image is made from, in the order in which the model is to see it. It waits for the pictures of other
    images, and fails when one of them does not come. As many as the model takes, and each of `fallback`."""
    mask: NewMask | None = None
    """Where the first reference may be changed, for models that take one."""
    count: int = Field(default=1, ge=1, le=10)
    """More than one makes images of their own, `{id}-1` to `{id}-{count}`."""


class NewOutput(Request):
    """What is kept of every picture: a rendition, in sRGB and without metadata; or the vendor's own file."""

    name: ImageId
    width: SidePx | None = None
    """Of the box in pixels. Required, except for `original`, which has neither width nor height."""
    height: SidePx | None = None
    fit: Literal["cover", "contain", "inside"] = "cover"
    """`cover` fills the box and cuts what stands over, half on either side. `contain` shows all of the picture
    in the middle of the box; the rest is transparent, or white in a JPEG. `inside` shows all of it and is no
    larger than the box, nor than the picture."""
    format: Literal["jpeg", "webp", "png", "avif", "original"] = "jpeg"
    """`original` keeps the file byte for byte, with the metadata that its vendor put into it."""
    quality: int | None = Field(default=None, ge=1, le=100)
    """On the format's own scale. Null: 80 for JPEG and WebP, 50 for AVIF. PNG is lossless and has none."""


CARD = NewOutput(name="card", width=512, height=512)


def _tell_of_what_to_make(schema: dict[str, Any]) -> None:
    some_images = {"required": ["images"], "properties": {"images": {"minItems": 1}}}
    of_a_recipe = {"required": ["recipe", "subjects"], "properties": {"recipe": {"type": "string"}}}
    schema["anyOf"] = [some_images, of_a_recipe]
    tell_of_texts(schema)


class NewJob(Request):
    """A recipe with subjects, or images, or both; the order given is the order of importance and of work."""

    model_config = ConfigDict(json_schema_extra=_tell_of_what_to_make)

    recipe: Label | None = None
    subjects: dict[str, list[dict[str, Any]]] = Field(default={}, max_length=100)
    """By the recipe's groups. Each subject has an `id`, which becomes its image's."""
    images: list[NewImage] = Field(default=[], max_length=MAX_IMAGES)
    defaults: Options = Options()
    style: Label | None = Field(default=None, examples=["noir"])
    """Of every image that names none of its own."""
    outputs: list[NewOutput] = Field(default=[CARD], max_length=8)
    """None at all, `[]`: every picture is made, checked and paid for, and not kept."""
    account: AccountId | None = None
    """Whose job it is, when an admin's key submits it for another. Null: the key's own."""
    storage_prefix: str | None = Field(default=None, examples=["project_1/branch_2/scene_3"])
    priority: PriorityWord = "normal"
    """All images that are due of a higher priority go before any of a lower one, whoever ordered them."""
    not_before: StartTime | None = None
    """Nothing of the job is begun before, at most 366 days ahead; deadlines count from then."""
    deadline_seconds: float = Field(default=3600.0, ge=1, le=86_400)
    """From the submit, from `not_before`, or from a retry."""
    on_deadline: Literal["fail", "continue"] = "continue"
    """`fail` ends what is unfinished then; `continue` goes on with it behind everything else."""
    max_cost_usd: UsdAmount | None = None
    """What its calls may cost, in all its runs: a job that is estimated at more is refused, and an image for whose call
    nothing is left ends as `BUDGET`. Every model has to have a known price."""
    visibility: Literal["private", "link"] = "private"
    """Who sees its pictures: `private`, whoever has a key or a signed link, which expires; `link`, whoever has the
    picture's link, which lasts until the job is removed."""
    metadata: dict[MetadataKey, Annotated[str, Field(max_length=MAX_METADATA_CHARS)]] = Field(
        default={}, max_length=MAX_METADATA_ENTRIES
    )
    webhook: NewJobWebhook | None = None


class NewCancellation(Request):
    mode: Literal["finish", "abort"] = "finish"
    """What happens to a call that was sent: it may end, and its picture is kept; or its socket is closed."""
    images: list[ImageId] | None = Field(default=None, min_length=1, max_length=MAX_IMAGES)
    """Null: all."""


class NewRetry(Request):
    only: list[RetryableState] | None = Field(default=None, min_length=1, max_length=4)
    images: list[ImageId] | None = Field(default=None, min_length=1, max_length=MAX_IMAGES)
    prompt_overrides: dict[ImageId, Prompt] = Field(default={}, max_length=MAX_IMAGES)
