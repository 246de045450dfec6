"""The body of a request to change pictures: a form with files, or JSON with their bytes in base64.

In a form everything but a file is text: what the same field is in JSON, it is made here.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request

from safelight.api.dependencies import ApiDependencies
from safelight.api.edge.body import read_object
from safelight.api.edge.faults import refused
from safelight.api.edge.multipart import Part, read_form
from safelight.api.edge.problems import RequestFault
from safelight.api.edge.strict_json import why_bad
from safelight.api.openai.asked import without_nulls
from safelight.api.schemas.base import MAX_REFERENCES
from safelight.engine.accounts.uploads import UnusablePicture, keep_upload
from safelight.imaging import container
from safelight.imaging.rendition import MIME

MAX_FILES_BYTES = 50_000_000
"""Of all pictures of one request together. Chosen; each may have as many bytes as an upload."""

_MAX_PARTS = 64
_MAX_TEXT_BYTES = 200_000
"""Of a field that is no picture. More than the longest prompt has in UTF-8."""
_MAX_DATA_HEAD_CHARS = 200
"""Of a `data:` URL, before its data."""
_IMAGE, _MASK = ("image", "image[]"), "mask"
_NUMBERS = frozenset({"n", "output_compression", "partial_images", "seed"})
_TRUTHS = {"true": True, "false": False}
_WHOLE = re.compile(r"-?[0-9]{1,18}", re.ASCII)
_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)?((?:;[\w.+-]+=[^;,]*)*);base64,", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """`fields` are those of a generation; `mask` is where the first image may be changed."""

    fields: Mapping[str, Any]
    images: Sequence[bytes] = field(repr=False)
    mask: bytes | None = field(repr=False)

    def as_json(self) -> dict[str, Any]:
        """What makes two requests the same."""
        masks = [] if self.mask is None else [self.mask]
        return {"body": dict(self.fields), "images": [*map(_sha256, self.images)], "masks": [*map(_sha256, masks)]}


async def read_edit(request: Request, *, within_seconds: float) -> Edit:
    """Raises SafelightError and InvalidRequest for a body that cannot be read, or without a picture."""
    if request.headers.get("content-type", "").lower().startswith("application/json"):
        edit = _of_json(without_nulls(await read_object(request, within_seconds=within_seconds)))
    else:
        parts = await read_form(request, max_bytes=MAX_FILES_BYTES, max_parts=_MAX_PARTS, within_seconds=within_seconds)
        edit = _of_form(parts)
    if not edit.images:
        raise refused([RequestFault("/image", "Is required.")])
    if len(edit.images) > MAX_REFERENCES:
        raise refused([RequestFault("/image", f"There are at most {MAX_REFERENCES} images.")])
    return edit


async def kept_inputs(deps: ApiDependencies, edit: Edit, *, account: str) -> dict[str, Any]:
    """The pictures as the job's image names them; each is an upload of the account from now on, for some days."""
    references = [
        {"upload": await _kept(deps, data, account=account, pointer=f"/image/{n}")}
        for n, data in enumerate(edit.images)
    ]
    inputs: dict[str, Any] = {"references": references}
    if edit.mask is not None:
        inputs["mask"] = {"upload": await _kept(deps, edit.mask, account=account, pointer="/mask")}
    return inputs


async def _kept(deps: ApiDependencies, data: bytes, *, account: str, pointer: str) -> str:
    try:
        upload = await keep_upload(
            deps.pool, deps.blobs, deps.renderer, account=account, data=data, days=deps.upload_retention_days
        )
    except UnusablePicture as refusal:
        raise refused([RequestFault(pointer, refusal.detail, refusal.slug)]) from None
    return upload.id


def _of_json(document: dict[str, Any]) -> Edit:
    sent = document.pop("image", None)
    listed = sent if isinstance(sent, list) else [] if sent is None else [sent]
    if isinstance(masks := document.pop(_MASK, None), str):
        return Edit(fields=document, images=_decoded(listed), mask=_decode(masks, "/mask"))
    if masks is not None:
        raise refused([RequestFault("/mask", "Must be a text: the picture in base64, or a `data:` URL.")])
    return Edit(fields=document, images=_decoded(listed), mask=None)


def _of_form(parts: Sequence[Part]) -> Edit:
    fields: dict[str, Any] = {}
    faults: list[RequestFault] = []
    masks = [_content(part, "/mask") for part in parts if part.name == _MASK]
    for part in parts:
        if part.name in _IMAGE or part.name == _MASK:
            continue
        pointer = f"/{part.name}"
        if len(part.data) > _MAX_TEXT_BYTES:
            slug = "prompt-too-long" if part.name == "prompt" else "validation-error"
            faults.append(RequestFault(pointer, f"Has at most {_MAX_TEXT_BYTES // 1000} kB.", slug))
            continue
        try:
            text = part.data.decode()
        except UnicodeDecodeError:
            faults.append(RequestFault(pointer, "Must be text in UTF-8.", "invalid-text"))
            continue
        if (why := why_bad(text) or why_bad(part.name)) is not None:
            faults.append(RequestFault(pointer, why, "invalid-text"))
        elif part.name in fields:
            faults.append(RequestFault(pointer, "Is there twice."))
        else:
            fields[part.name] = _value(part.name, text)
    if len(masks) > 1:
        faults.append(RequestFault("/mask", "There is one mask at most."))
    if faults:
        raise refused(faults)
    images = [part for part in parts if part.name in _IMAGE]
    contents = [_content(part, f"/image/{n}") for n, part in enumerate(images)]
    return Edit(fields=fields, images=contents, mask=masks[0] if masks else None)


def _content(part: Part, pointer: str) -> bytes:
    """A part that is no file is a picture written as text."""
    return part.data if part.is_file else _decode(part.data.decode("utf-8", "replace"), pointer)


def _value(name: str, text: str) -> Any:
    if name in _NUMBERS and _WHOLE.fullmatch(text):
        return int(text)
    return _TRUTHS.get(text, text) if name == "stream" else text


def _decoded(texts: Iterable[Any]) -> list[bytes]:
    return [_decode(text, f"/image/{n}") for n, text in enumerate(texts)]


def _decode(text: Any, pointer: str) -> bytes:
    """Raises InvalidRequest (`corrupt-image`) for no base64, and for a `data:` URL of another type than it says."""
    if not isinstance(text, str):
        raise refused([RequestFault(pointer, "Must be a text: the picture in base64, or a `data:` URL.")])
    head = _DATA_URL.match(text, 0, _MAX_DATA_HEAD_CHARS)
    try:
        data = base64.b64decode(text[head.end() if head else 0 :], validate=True)
    except (binascii.Error, ValueError):
        raise refused([RequestFault(pointer, "Is no base64, and no `data:` URL with it.", "corrupt-image")]) from None
    declared = (head[1] or "").lower() if head else ""
    begun_as = container.begun_as(data)  # no more: this is the loop that all requests share
    if declared and (begun_as is None or declared.replace("image/jpg", "image/jpeg") != MIME[begun_as]):
        raise refused([RequestFault(pointer, "Is no picture of the type that its URL says.", "corrupt-image")])
    return data


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
