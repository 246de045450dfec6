"""A mystery case: what the player reads, and where its pictures go."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Prose = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]


class _Model(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")


class Location(_Model):
    name: Words
    description: Prose
    image_url: str | None = None


class Suspect(_Model):
    name: Words
    age: int = Field(ge=1, le=130)
    gender: Words
    occupation: Words
    appearance: Prose
    statement: Prose
    profile_image_url: str | None = None


class Evidence(_Model):
    name: Words
    description: Prose
    image_url: str | None = None


class Story(_Model):
    """What an author, or a model, has to tell."""

    title: Words
    premise: Prose
    solution: Prose
    locations: list[Location] = Field(min_length=1, max_length=20)
    suspects: list[Suspect] = Field(min_length=1, max_length=20)
    evidence: list[Evidence] = Field(min_length=1, max_length=20)


class Case(Story):
    """A story that is played. `note` says why it is not the one that was wished for, if so."""

    id: str
    date: str | None
    created_at: datetime
    source: Literal["model", "written"]
    note: str | None = None

    def shown(self) -> dict[str, Any]:
        """For players: everything but the solution."""
        return self.model_dump(mode="json", by_alias=True, exclude={"solution"})


def new_case(
    story: Story, *, case_id: str, date: str | None, source: Literal["model", "written"], note: str | None
) -> Case:
    return Case(**story.model_dump(), id=case_id, date=date, created_at=datetime.now(UTC), source=source, note=note)


def id_of_day(date: str) -> str:
    return f"case-{date}"


def id_of_request(key: str | None) -> str:
    """The same for the same key of the caller's; without one, a new one."""
    return f"case-{sha256(key.encode()).hexdigest()[:16] if key else uuid4().hex[:16]}"


def written_story(place: Path, *, case_id: str) -> Story:
    """One of the written stories, always the same for the same case. Raises ValueError where there is none."""
    files = sorted(place.glob("*.json")) if place.is_dir() else [place]
    if not files:
        raise ValueError(f"no written case in {place}")
    chosen = files[int(sha256(case_id.encode()).hexdigest(), 16) % len(files)]
    return Story.model_validate(json.loads(chosen.read_text(encoding="utf-8")))
