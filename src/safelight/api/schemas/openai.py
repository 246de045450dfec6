"""Requests for pictures in OpenAI's form, and what they are answered with. A null counts as nothing said."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from safelight.api.schemas.base import (
    MAX_METADATA_CHARS,
    MAX_REFERENCES,
    MAX_SEED,
    Answer,
    Label,
    Prompt,
    Request,
    exactly,
)

UserName = Annotated[str, Field(max_length=MAX_METADATA_CHARS)]


class ImageGeneration(Request):
    """Pictures from words."""

    prompt: Prompt
    model: Label | None = Field(default=None, examples=["openai/gpt-image-2"])
    """`provider/model`, a model that only one provider has, or an alias. Null: the installation's default."""
    n: int | None = Field(default=None, ge=1, le=10)
    size: Label | None = Field(default=None, examples=["1024x1024"])
    """`auto`, or `WIDTHxHEIGHT`, which the pictures then have to the pixel."""
    quality: Label | None = Field(default=None, examples=["high"])
    """`auto`, or in the model's own words."""
    output_format: Literal["png", "jpeg", "webp"] | None = None
    """`png` when null."""
    output_compression: int | None = Field(default=None, ge=0, le=100)
    """The quality at which a JPEG or WebP is written; 100 when null."""
    background: Literal["auto", "opaque"] | None = None
    response_format: Literal["b64_json", "url"] | None = None
    """`b64_json` when null, whatever the model."""
    user: UserName | None = None
    """Kept in the job's metadata."""
    safety_identifier: UserName | None = None
    """Kept in the job's metadata."""
    moderation: Literal["auto", "low"] | None = None
    """Taken, and without effect: the vendor's own level applies."""
    stream: Annotated[Literal[False], exactly(bool)] | None = None
    partial_images: Annotated[Literal[0], exactly(int)] | None = None
    seed: int | None = Field(default=None, ge=0, le=MAX_SEED)
    """Not OpenAI's: where the model takes one."""
    negative_prompt: Prompt | None = None
    """Not OpenAI's: where the model takes one."""


class ImageEdit(ImageGeneration):
    """Pictures from words and from others, as JSON. In a form, `image` and `mask` are files."""

    image: str | Annotated[list[str], Field(min_length=1, max_length=MAX_REFERENCES)]
    """In base64, or as `data:` URLs; 16 at most."""
    mask: str | None = None
    """A PNG of the first one's size, transparent where that may be changed."""


class GeneratedImage(Answer):
    b64_json: str | None = None
    url: str | None = None


class FailedImage(Answer):
    index: int
    """Which of the `n` it was, from 0."""
    code: str
    message: str


class SafelightNote(Answer):
    """What OpenAI's form has no place for."""

    job_id: str
    failed: list[FailedImage]
    """Pictures that were asked for and did not come about; `data` has the others, in order."""


class InputTokens(Answer):
    text_tokens: int
    image_tokens: int


class ImageUsage(Answer):
    """Of all pictures together; absent where the vendor counts otherwise."""

    input_tokens: int
    input_tokens_details: InputTokens
    output_tokens: int
    total_tokens: int


class GeneratedImages(Answer):
    created: int
    """Seconds since 1970."""
    data: list[GeneratedImage]
    output_format: Literal["png", "jpeg", "webp"]
    size: str
    quality: str | None = None
    """As asked; absent when it was left to the model."""
    background: Literal["opaque"] | None = None
    """Absent when it was left to the model."""
    usage: ImageUsage | None = None
    safelight: SafelightNote


class OpenAIModel(Answer):
    id: str
    object: Literal["model"]
    created: int
    """Not known: 0."""
    owned_by: str
    """The provider's name here."""


class OpenAIModels(Answer):
    object: Literal["list"]
    data: list[OpenAIModel]


class OpenAIErrorDetail(Answer):
    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIError(Answer):
    error: OpenAIErrorDetail
