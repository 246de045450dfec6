"""What a client of this app may ask for."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

MOST_IMAGES = 32
"""Of one job: prompts times variations, and the start frame that comes with an end frame."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9](?:[A-Za-z0-9_-]{0,38}[A-Za-z0-9])?$", examples=["7"])]
"""Of a project, branch, scene or shot: it becomes part of a folder's name."""
ImageId = Annotated[str, Field(pattern=r"^[a-z]+(?:_[a-z]+)?_[0-9]{1,2}$", examples=["start_frame_1"])]
Prompt = Annotated[str, Field(min_length=1, max_length=20_000)]


class JobType(StrEnum):
    MASTER_ASSET = "master_asset"
    START_FRAME = "start_frame"
    END_FRAME = "end_frame"
    INPAINT = "inpaint"


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Asked):
    """A picture to work from: one of an earlier job of this app, or an upload."""

    job_id: str | None = None
    image_id: ImageId | None = None
    """Null: the first picture of that job."""
    upload: str | None = None
    """An id that `POST /api/images/uploads` has given out."""

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.job_id is None) == (self.upload is None):
            raise ValueError("name either a `job_id` or an `upload`")
        if self.image_id is not None and self.job_id is None:
            raise ValueError("an `image_id` needs its `job_id`")
        return self


class StartFrame(_Asked):
    """Where an end frame begins: a picture that is there, or a prompt for one that the same job makes first."""

    prompt: Prompt | None = None
    source: Source | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.prompt is None) == (self.source is None):
            raise ValueError("give the start frame's `prompt`, or name the picture as `source`")
        return self


class Generate(_Asked):
    """One job: `n` pictures of each prompt."""

    job_type: JobType
    project_id: Name
    branch_id: Name
    scene_id: Name | None = None
    shot_id: Name | None = None
    prompts: list[Prompt] = Field(min_length=1, max_length=8)
    n: int = Field(default=1, ge=1, le=8)
    style: str | None = Field(default=None, max_length=64)
    """A visual style capsule's name, see `/api/styles`."""
    aspect_ratio: str | None = Field(default=None, max_length=16, examples=["16:9"])
    """Null: 16:9 for frames and 1:1 for master assets. An edit keeps what its model makes of it."""
    provider: str | None = Field(default=None, max_length=64)
    model: str | None = Field(default=None, max_length=128)
    references: list[Source] = Field(default=[], max_length=4)
    """Master assets that are to be recognised, for example."""
    start_frame: StartFrame | None = None
    source: Source | None = None
    """What an edit changes."""
    mask: Source | None = None
    """A PNG of the source's size, transparent where it may be changed: an upload."""
    idempotency_key: str | None = Field(default=None, pattern=r"^[!-~]{1,200}$")
    """Or the header `Idempotency-Key`. The same request again under the same key is the same job."""

    @model_validator(mode="after")
    def _fits_its_type(self) -> Self:
        is_of_shot = self.scene_id is not None and self.shot_id is not None
        is_of_project = self.scene_id is None and self.shot_id is None
        checks = (
            (
                self.job_type is not JobType.MASTER_ASSET or is_of_project,
                "a master asset belongs to its branch: no `scene_id` and no `shot_id`",
            ),
            (
                self.job_type not in (JobType.START_FRAME, JobType.END_FRAME) or is_of_shot,
                "a frame needs its `scene_id` and its `shot_id`",
            ),
            (is_of_shot or is_of_project, "`scene_id` and `shot_id` come together"),
            (
                (self.job_type is JobType.END_FRAME) == (self.start_frame is not None),
                "an end frame, and nothing else, has a `start_frame`",
            ),
            (
                (self.job_type is JobType.INPAINT) == (self.source is not None and self.mask is not None),
                "an edit, and nothing else, has a `source` and a `mask`",
            ),
            (self.mask is None or self.mask.upload is not None, "a `mask` is an upload"),
            (self.image_count <= MOST_IMAGES, f"a job has at most {MOST_IMAGES} images"),
        )
        if wrong := [why for holds, why in checks if not holds]:
            raise ValueError("; ".join(wrong))
        return self

    @property
    def image_count(self) -> int:
        return len(self.prompts) * self.n + (self.start_frame is not None and self.start_frame.prompt is not None)

    @property
    def sources(self) -> list[Source]:
        """The pictures that have to be there before the job is made, in the order in which a model sees them."""
        first = self.source or (self.start_frame.source if self.start_frame else None)
        return [*([first] if first else []), *self.references]


class Capsule(_Asked):
    """A visual style capsule: words around every prompt. Kept by Safelight as a style."""

    description: str | None = Field(default=None, max_length=1000)
    prefix: str | None = Field(default=None, max_length=4000)
    suffix: str | None = Field(default=None, max_length=4000)
    negative_prompt: str | None = Field(default=None, max_length=4000)
