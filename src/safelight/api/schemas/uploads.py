"""Pictures that others are made from."""

from __future__ import annotations

from datetime import datetime

from safelight.api.schemas.base import Answer


class Upload(Answer):
    id: str
    width: int
    """In pixels, as the picture is shown."""
    height: int
    format: str
    """`png`, or `jpeg`."""
    bytes: int
    sha256: str
    """Of what is kept, which is not the file that was sent."""
    has_alpha: bool
    """Something in it is transparent, so that it can be a mask."""
    url: str
    created_at: datetime
    expires_at: datetime
    """It is kept until then, and for as long as a job that has not ended is to be made from it."""
