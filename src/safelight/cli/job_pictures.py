"""Pictures beside a job file: what it names as `{file = "photo.jpg"}` is uploaded, and named as an upload then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from safelight.cli.complaint import Complaint
from safelight.cli.job_file import JobFile
from safelight.client import ApiProblem, NotRead, SafelightClient


async def with_uploads(client: SafelightClient, job_file: JobFile) -> JobFile:
    """The job with every `file` of its references and masks in the place of which there is an `upload`. Paths are read
    from the job file's own folder. One file is uploaded once; uploaded again another day it is the same upload.

    Raises Complaint for a file that cannot be read, or is refused.
    """
    uploads: dict[str, str] = {}
    for name in _files_in(job_file.body):
        path = job_file.source.parent / name
        try:
            uploads[name] = (await client.upload(path)).id
        except NotRead as error:
            raise Complaint(str(error)) from error
        except ApiProblem as problem:
            raise Complaint(f"{path}: {problem.detail}") from problem
    return replace(job_file, body=_named(job_file.body, uploads)) if uploads else job_file


def _files_in(body: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(holder["file"] for image in _images(body) for holder in _holders(image)))


def _named(body: Mapping[str, Any], uploads: Mapping[str, str]) -> dict[str, Any]:
    return {**body, "images": [_with(image, uploads) for image in body["images"]]}


def _with(image: Any, uploads: Mapping[str, str]) -> Any:
    if not isinstance(image, dict):
        return image
    references, changed = image.get("references"), dict(image)
    if isinstance(references, list):
        changed["references"] = [_as_upload(each, uploads) for each in references]
    if "mask" in image:
        changed["mask"] = _as_upload(image["mask"], uploads)
    return changed


def _as_upload(holder: Any, uploads: Mapping[str, str]) -> Any:
    if not _has_file(holder):
        return holder
    return {"upload": uploads[holder["file"]], **{name: value for name, value in holder.items() if name != "file"}}


def _images(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    images = body.get("images")
    return [each for each in images if isinstance(each, dict)] if isinstance(images, list) else []


def _holders(image: Mapping[str, Any]) -> list[dict[str, Any]]:
    references = image.get("references")
    named = [*(references if isinstance(references, list) else ()), image.get("mask")]
    return [each for each in named if _has_file(each)]


def _has_file(holder: Any) -> bool:
    return isinstance(holder, dict) and isinstance(holder.get("file"), str)
