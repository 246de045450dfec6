"""Pictures of a job as files, `{folder}/{group}/{id}.jpg` for example; each there whole or not at all."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Awaitable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from safelight.client.errors import NotSaved
from safelight.client.views import ImageView, JobView
from safelight.domain.ids import IMAGE_ID_PATTERN
from safelight.domain.lifecycle import ImageStatus

_SUFFIX = {"jpeg": "jpg"}
_TAME = re.compile(IMAGE_ID_PATTERN)


class Source(Protocol):
    """Where pictures come from: a SafelightClient."""

    def picture(self, job_id: str, image_id: str, output: str | None = None) -> Awaitable[bytes]: ...


@dataclass(slots=True, kw_only=True)
class Album:
    """Where pictures go: an image's first output is `{id}.{ext}`, a further one `{id}.{output}.{ext}`.

    They lie in a folder of their group's name, if it has one. The extension is the format's. Where an image is named
    like another one's output, they would be one file: that is NotSaved.
    """

    client: Source
    folder: Path
    _saved: dict[str, tuple[Path, ...]] = field(default_factory=dict, init=False)
    _owners: dict[Path, str] = field(default_factory=dict, init=False)

    async def save_new(self, job: JobView) -> tuple[Path, ...]:
        """The files of every image completed by now; what is there already is not fetched again.

        Raises NotSaved when the folder cannot be written, the bytes are not those that the job names, or a picture was
        removed from the service and is not in the folder either.
        """
        for image in job.images:
            if image.status is ImageStatus.COMPLETED and image.id not in self._saved:
                self._saved[image.id] = await self._save(job, image)
        return tuple(path for image in job.images for path in self._saved.get(image.id, ()))

    async def _save(self, job: JobView, image: ImageView) -> tuple[Path, ...]:
        files = self._files(image)
        if job.document.get("data_removed") and job.document.get("outputs") != []:  # else none was kept
            return await asyncio.to_thread(self._left, image)
        for path, output, sha256 in files:
            if (owner := self._owners.setdefault(path, image.id)) != image.id:
                raise NotSaved(f"images `{owner}` and `{image.id}` would both be `{path}`; fetch one over HTTP")
            try:
                if await asyncio.to_thread(_holds, path, sha256):
                    continue
                content = await self.client.picture(job.id, image.id, output)
                if _sha256(content) != sha256:
                    raise NotSaved(f"image `{image.id}` arrived damaged; run the same command again")
                await asyncio.to_thread(_write, path, content)
            except OSError as error:
                raise NotSaved(f"cannot write `{path}`: {error.strerror}") from error
        return tuple(path for path, _, _ in files)

    def _left(self, image: ImageView) -> tuple[Path, ...]:
        """What an earlier download has left of a picture that the service does not have any more."""
        paths = sorted((self.folder / image.group).glob(f"{image.id}.*"))
        found = tuple(path for path in paths if path.stem == image.id and path.is_file())
        if not found:
            raise NotSaved(
                f"the picture of image `{image.id}` was removed from the service, and is not in the folder; to have it "
                "made anew, order it under another key, or `generate` it into another folder"
            )
        return found

    def _files(self, image: ImageView) -> list[tuple[Path, str, str]]:
        groups = [image.group] if image.group else []
        for name in (image.id, *groups, *(each.name for each in image.outputs), *(e.format for e in image.outputs)):
            if not _TAME.fullmatch(name):
                raise NotSaved(f"the service names a picture {name!r}, which is no safe file name")
        stem = self.folder / image.group / image.id
        return [
            (
                stem.with_name(f"{image.id}{f'.{each.name}' if n else ''}.{_SUFFIX.get(each.format, each.format)}"),
                each.name,
                each.sha256,
            )
            for n, each in enumerate(image.outputs)
        ]


def _holds(path: Path, sha256: str) -> bool:
    return path.is_file() and _sha256(path.read_bytes()) == sha256


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{uuid4().hex}~part")
    try:
        part.write_bytes(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
