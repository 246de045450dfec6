"""What a job makes: pictures where their buyer finds them, for as long as they are kept."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Callable
from dataclasses import dataclass, replace

from PIL import Image

from safelight.sandbox.faults import Directive, Fault, Plan, served
from safelight.sandbox.pictures import Sort
from safelight.sandbox.spoiling import DECOYS, bad_gateway, decoy, spoilt
from safelight.sandbox.vendor import Vendor
from safelight.sandbox.wire import Answer

INTERNAL_ADDRESS = "http://169.254.169.254/latest/meta-data/"
"""Where cloud machines tell their secrets to whoever asks from within."""

_MEDIA_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
_SUFFIXES = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}
_MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOrder:
    """What a job is to make: `count` pictures of one sort, or data: URIs of them where they are to be `is_inline`.

    `deadline_seconds` counts from the order on. `flaw` is the bill's word for what is wrong with an order that only
    the machine notices: the job fails at once, free of charge.
    """

    model: str
    prompt: str
    count: int
    sort: Sort
    picture_microusd: int
    is_inline: bool = False
    deadline_seconds: float | None = None
    flaw: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One picture; its address may be a data: URI. `media_type` is what it claims to be."""

    address: str
    media_type: str


async def make_outputs(
    order: JobOrder, plan: Plan, *, vendor: Vendor, origin: str, is_removed: Callable[[], bool]
) -> tuple[Output, ...]:
    """As ordered, and as the plan has it. Files answer 404 once `is_removed`."""
    fault = plan.directive.fault
    count = order.count + (fault is Fault.EXTRA_PICTURE)
    outputs: list[Output] = []
    for number in range(count):
        whole = await _picture(order, plan.directive, number, vendor)
        if fault is Fault.INTERNAL_URL:
            address = f"{INTERNAL_ADDRESS}{number}"
        elif order.is_inline or fault is Fault.DATA_URI:
            address = f"data:{whole.media_type};base64,{base64.b64encode(whole.body).decode('ascii')}"
        else:
            download = await _download(whole, plan, is_removed)
            address = origin + vendor.files.keep(download, suffix=_SUFFIXES[order.sort.form])
        outputs.append(Output(address=address, media_type=whole.media_type))
    return (*outputs, outputs[0]) if fault is Fault.SAME_TWICE else tuple(outputs)


async def _picture(order: JobOrder, directive: Directive, number: int, vendor: Vendor) -> Answer:
    fault = directive.fault
    # What comes in a picture's place is made of a PNG.
    sort = replace(order.sort, form="png") if fault in DECOYS else order.sort
    if fault is Fault.NSFW:
        return Answer(body=await asyncio.to_thread(_black, sort), media_type=_MEDIA_TYPES[sort.form])
    prompt = f"picture {number + 1} of {order.prompt}" if number else order.prompt
    body = await vendor.pictures.encoded(prompt, sort)
    if fault is Fault.PADDED:
        body = body.ljust((directive.megabytes or 0) * _MEGABYTE, b"\0")
    elif fault in DECOYS and (instead := await asyncio.to_thread(decoy, directive, body)):
        media_type, body = instead
        return Answer(body=body, media_type=media_type)
    return Answer(body=body, media_type=_MEDIA_TYPES[sort.form])


async def _download(whole: Answer, plan: Plan, is_removed: Callable[[], bool]) -> Callable[[], Answer]:
    """What each fetch of a file gets, in turn."""
    scripted = [aside for aside in plan.asides if aside.fault is Fault.FILE]
    troubled = [
        await asyncio.to_thread(_troubled, whole, aside.within) if aside.within else whole for aside in scripted
    ]
    fetched = 0

    def fetch() -> Answer:
        nonlocal fetched
        if is_removed():
            return _NO_FILE
        fetched += 1
        aside = served(scripted, fetched)
        return whole if aside is None else troubled[scripted.index(aside)]

    return fetch


_NO_FILE = Answer(status=404, body=b"<Error><Code>NoSuchKey</Code></Error>", media_type="application/xml")


def _troubled(whole: Answer, trouble: Directive) -> Answer:
    match trouble.fault:
        case Fault.NOT_FOUND:
            return _NO_FILE
        case Fault.FORBIDDEN:
            return Answer(status=403, body=b"<Error><Code>AccessDenied</Code></Error>", media_type="application/xml")
        case Fault.REDIRECT:
            return Answer(status=302, more={"location": INTERNAL_ADDRESS})
        case Fault.INTERNAL:
            return Answer(status=500, body=b"internal error", media_type="text/plain")
        case Fault.BAD_GATEWAY:
            return bad_gateway()
        case Fault.UNAVAILABLE:
            return Answer(status=503, body=b"slow down", media_type="text/plain")
        case Fault.NO_BODY:
            return replace(whole, body=b"")
        case _:
            return spoilt(whole, trouble)


def _black(sort: Sort) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (sort.width_px, sort.height_px)).save(file, sort.form.upper())
    return file.getvalue()
