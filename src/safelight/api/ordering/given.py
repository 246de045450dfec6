"""Pictures that a request gives to make images from: whether the account has the uploads that it names, and whether the
addresses may be asked. What the request's own text cannot tell; the rest is its schema's to say."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import asyncpg

from safelight.api.edge.pointer import pointer
from safelight.api.edge.problems import RequestFault
from safelight.api.ordering.webhook import CheckUrl
from safelight.api.schemas.base import MAX_IMAGES, MAX_REFERENCES
from safelight.api.schemas.webhooks import MAX_URL_CHARS
from safelight.domain.ids import is_upload_id
from safelight.engine.accounts.uploads import Upload, uploads_of
from safelight.net.egress import Unresolvable
from safelight.net.fetch import FetchRefused

MAX_MASK_BYTES = 4_000_000
"""Less than what vendors of models with masks take: https://platform.openai.com/docs/api-reference/images/createEdit."""

_CHECKS_AT_ONCE = 16
_CHECK_SECONDS = 10.0
"""For all addresses of one request. Chosen: a resolver that knows the names answers in milliseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    """Something that is named at this place of a request: an upload, or an address. `first` is for a mask: the upload
    that it belongs to, where that is one."""

    pointer: str
    upload_id: str | None = None
    url: str | None = None
    is_mask: bool = False
    first: str | None = None


async def input_faults(
    document: Mapping[str, Any], *, pool: asyncpg.Pool, account: str, check_url: CheckUrl
) -> list[RequestFault]:
    """What is wrong with the uploads and addresses that a job's body names. Nothing is fetched."""
    given = list(_given(document))
    uploads = await uploads_of(pool, {each.upload_id for each in given if each.upload_id is not None}, account=account)
    refused = await _refused({each.url for each in given if each.url is not None}, check_url)
    faults: list[RequestFault] = []
    for each in given:
        if each.url is not None:
            faults += [RequestFault(each.pointer, *why) for why in refused.get(each.url, ())]
        elif (upload := uploads.get(each.upload_id or "")) is None:
            faults.append(RequestFault(each.pointer, "There is no such upload."))
        elif each.is_mask and (why := _unfit(upload, uploads.get(each.first or ""))) is not None:
            faults.append(RequestFault(each.pointer, why))
    return faults


def _given(document: Mapping[str, Any]) -> Iterator[_Given]:
    """As far as it can be read: what has no such form, the schema refuses."""
    for n, image in enumerate(_some(document.get("images"), MAX_IMAGES)):
        if not isinstance(image, dict):
            continue
        references = _some(image.get("references"), MAX_REFERENCES)
        for m, reference in enumerate(references):
            place = pointer("images", n, "references", m)
            if (upload_id := _upload_in(reference)) is not None:
                yield _Given(pointer=f"{place}/upload", upload_id=upload_id)
            elif (url := _url_in(reference)) is not None:
                yield _Given(pointer=f"{place}/url", url=url)
        if (upload_id := _upload_in(image.get("mask"))) is not None:
            first = _upload_in(references[0]) if references else None
            yield _Given(pointer=pointer("images", n, "mask", "upload"), upload_id=upload_id, is_mask=True, first=first)


def _some(value: object, most: int) -> list[Any]:
    return value[:most] if isinstance(value, list) else []


def _upload_in(holder: object) -> str | None:
    upload_id = holder.get("upload") if isinstance(holder, dict) else None
    return upload_id if isinstance(upload_id, str) and is_upload_id(upload_id) else None


def _url_in(holder: object) -> str | None:
    url = holder.get("url") if isinstance(holder, dict) else None
    return url if isinstance(url, str) and len(url) <= MAX_URL_CHARS else None


def _unfit(mask: Upload, first: Upload | None) -> str | None:
    """Why an upload cannot be the mask of this reference, or of one whose picture nobody knows yet."""
    if not mask.has_alpha:
        return "A mask is a picture that is transparent where the first reference may be changed; this one is nowhere."
    if mask.length > MAX_MASK_BYTES:
        return f"A mask has at most {MAX_MASK_BYTES // 1_000_000} MB."
    if first is not None and (mask.width_px, mask.height_px) != (first.width_px, first.height_px):
        size = f"{first.width_px} × {first.height_px} px"
        return f"A mask has the size of the first reference, {size}; this one is {mask.width_px} × {mask.height_px} px."
    return None


async def _refused(urls: set[str], check_url: CheckUrl) -> dict[str, list[tuple[str, str]]]:
    """Of each address that may not, or cannot, be asked: why, and the slug."""
    places = asyncio.Semaphore(_CHECKS_AT_ONCE)
    refused: dict[str, list[tuple[str, str]]] = {
        url: [("The picture cannot be fetched: its host was not found in time.", "url-unresolvable")] for url in urls
    }

    async def check(url: str) -> None:
        async with places:
            try:
                await check_url(url)
                refused[url] = []
            except FetchRefused as refusal:
                refused[url] = [(f"Nothing is fetched from this address: {refusal}.", "url-not-allowed")]
            except Unresolvable as failure:
                refused[url] = [(f"Nothing can be fetched from this address: {failure}.", "url-unresolvable")]

    if urls:
        checks = [asyncio.create_task(check(url)) for url in urls]
        try:
            await asyncio.wait(checks, timeout=_CHECK_SECONDS)
        finally:
            for each in checks:
                each.cancel()
        for each in checks:
            if each.done() and not each.cancelled() and (error := each.exception()) is not None:
                raise error
    return refused
