"""`multipart/form-data`, as far as clients of vendors send it."""

from __future__ import annotations

from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One field of a form. `filename` None: it is not a file."""

    name: str
    filename: str | None
    content: bytes


def read_form(body: bytes, content_type: str) -> list[Part]:
    """In the order sent. Raises ValueError for what is no form."""
    header = Message()
    header["content-type"] = content_type
    boundary = header.get_boundary()
    if header.get_content_type() != "multipart/form-data" or not boundary:
        raise ValueError("not a multipart form with a boundary")
    start, *parts = (b"\r\n" + body).split(b"\r\n--" + boundary.encode("latin-1"))
    if start or not parts or not parts.pop().startswith(b"--"):
        raise ValueError("the form's boundaries are not in order")
    return [_read_part(part) for part in parts]


def _read_part(part: bytes) -> Part:
    head, found, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
    headers = message_from_bytes(head)
    name = headers.get_param("name", header="content-disposition")
    if not found or not isinstance(name, str):
        raise ValueError("a part of the form has no name")
    return Part(name=name, filename=headers.get_filename(), content=content)
