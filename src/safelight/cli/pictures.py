"""Pictures of a job as files, `{folder}/{group}/{id}.jpg` for example; each there whole or not at all."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from safelight.cli.complaint import Complaint
from safelight.client import ImageView, JobView, SafelightClient
from safelight.domain.ids import IMAGE_ID_PATTERN
from safelight.domain.lifecycle import ImageStatus

_SUFFIX = {"jpeg": "jpg"}
_TAME = re.compile(IMAGE_ID_PATTERN)


@dataclass(slots=True, kw_only=True)
class Album:
    """Where pictures go: an image's first output is `{id}.{ext}`, a further one `{id}.{output}.{ext}`.

    They lie in a folder of their group's name, if it has one. The extension is the format's. Where an image is named
    like another one's output, they would be one file: that is a Complaint.
    """

    client: SafelightClient
    folder: Path
    _saved: set[str] = field(default_factory=set, init=False)
    _owners: dict[Path, str] = field(default_factory=dict, init=False)

    async def save_new(self, job: JobView) -> None:
        """Every image completed by now is in its file; what is there already is not fetched again.

        Raises Complaint when the folder cannot be written or the bytes are not those that the job names.
        """
        for image in job.images:
            if image.status is ImageStatus.COMPLETED and image.id not in self._saved:
                await self._save(job.id, image)
                self._saved.add(image.id)

    async def _save(self, job_id: str, image: ImageView) -> None:
        for path, output in self._paths(image):
            if (owner := self._owners.setdefault(path, image.id)) != image.id:
                raise Complaint(f"images `{owner}` and `{image.id}` would both be `{path}`; fetch one over HTTP")
            expected = next(each.sha256 for each in image.outputs if each.name == output)
            try:
                if path.is_file() and _sha256(path.read_bytes()) == expected:
                    continue
                content = await self.client.picture(job_id, image.id, output)
                if _sha256(content) != expected:
                    raise Complaint(f"image `{image.id}` arrived damaged; run the same command again")
                _write(path, content)
            except OSError as error:
                raise Complaint(f"cannot write `{path}`: {error.strerror}") from error

    def _paths(self, image: ImageView) -> list[tuple[Path, str]]:
        groups = [image.group] if image.group else []
        for name in (image.id, *groups, *(each.name for each in image.outputs)):
            if not _TAME.fullmatch(name):
                raise Complaint(f"the service names a picture {name!r}, which is no safe file name")
        stem = self.folder / image.group / image.id
        return [
            (
                stem.with_name(f"{image.id}{f'.{each.name}' if n else ''}.{_SUFFIX.get(each.format, each.format)}"),
                each.name,
            )
            for n, each in enumerate(image.outputs)
        ]


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}~part")
    try:
        part.write_bytes(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
