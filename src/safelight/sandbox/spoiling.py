"""What can go wrong with any vendor's answer: with its way to the caller, and with the picture in it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from math import ceil

from safelight.sandbox import decoys
from safelight.sandbox.faults import Directive, Fault
from safelight.sandbox.wire import CUT, HTML, Answer, Delivery

DECOYS = frozenset(
    {
        Fault.NOT_AN_IMAGE,
        Fault.GARBAGE,
        Fault.NO_BYTES,
        Fault.TRUNCATED,
        Fault.HALF_JPEG,
        Fault.JPEG,
        Fault.PIXEL_BOMB,
        Fault.TEXT_BOMB,
        Fault.FRAMES,
        Fault.PADDED,
    }
)
"""Something else comes in the picture's place."""

_IN_BASE64 = 750_000  # bytes of a megabyte of base64


def spoilt(whole: Answer, directive: Directive) -> Answer:
    """A good answer, on a bad way to the caller if that is what the directive says; else as it was."""
    match directive.fault:
        case Fault.CUT | Fault.HANG:
            return CUT
        case Fault.HTML:
            return replace(whole, body=page("Welcome", "This is not the API you are looking for."), media_type=HTML)
        case Fault.CALLED_PNG:
            return replace(whole, media_type="image/png")
        case Fault.CALLED_HTML:
            return replace(whole, media_type=HTML)
        case Fault.GZIP_BOMB:
            body = decoys.gzip_bomb(whole.body, megabytes=directive.megabytes or 0)
            return replace(whole, body=body, encoding="gzip")
        case (
            Fault.RESET | Fault.DRIP_HEADERS | Fault.DRIP_BODY | Fault.SHORT_BODY | Fault.CUT_CHUNK | Fault.HALF_BODY
        ) as fault:
            return replace(whole, delivery=Delivery(fault.value), byte_seconds=directive.seconds or 0.0)
        case _:
            return whole


def decoy(directive: Directive, png: bytes) -> tuple[str, bytes] | None:
    """The claimed type, and what comes under that name in the place of `png`; None for a picture that is good."""
    match directive.fault:
        case Fault.NOT_AN_IMAGE:
            return "image/png", b'{"error": "the picture could not be stored"}'
        case Fault.GARBAGE:
            return "image/png", decoys.garbage()
        case Fault.NO_BYTES:
            return "image/png", b""
        case Fault.TRUNCATED:
            return "image/png", png[: len(png) // 2]
        case Fault.HALF_JPEG:
            jpeg = decoys.as_jpeg(png)
            return "image/jpeg", jpeg[: len(jpeg) // 2]
        case Fault.JPEG:
            return "image/png", decoys.as_jpeg(png)
        case Fault.PIXEL_BOMB:
            return "image/png", decoys.pixel_bomb()
        case Fault.TEXT_BOMB:
            return "image/png", decoys.text_bomb(png, megabytes=directive.megabytes or 0)
        case Fault.FRAMES:
            return "image/webp", decoys.animation()
        case Fault.PADDED:
            return "image/png", png.ljust((directive.megabytes or 0) * _IN_BASE64, b"\0")
        case _:
            return None


def bad_gateway() -> Answer:
    """502, in the words of whatever stands before the vendor."""
    body = page("502 Bad Gateway", "The server could not complete your request.")
    return Answer(status=502, body=body, media_type=HTML)


def retry_after(directive: Directive) -> dict[str, str]:
    """The header that tells a throttled caller how long to wait, in the form that the fault is named after."""
    seconds = directive.seconds or 0.0
    match directive.fault:
        case Fault.RATE_LIMIT_MS:
            return {"retry-after-ms": f"{seconds * 1000:g}"}
        case Fault.RATE_LIMIT_DATE:
            moment = datetime.now(UTC) + timedelta(seconds=ceil(seconds))
            return {"retry-after": format_datetime(moment, usegmt=True)}
        case Fault.RATE_LIMIT_GARBLED:
            return {"retry-after": "soon"}
        case _:
            return {"retry-after": f"{seconds:g}"}


def page(title: str, words: str) -> bytes:
    return f"<!DOCTYPE html><html><head><title>{title}</title></head><body><p>{words}</p></body></html>".encode()
