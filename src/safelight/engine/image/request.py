"""What a claimed image asks of its vendor."""

from __future__ import annotations

from safelight.engine.image.lease import Lease
from safelight.providers.provider import ImageInput, ImageRequest


def request_of(lease: Lease, *, attempt_key: str, inputs: tuple[ImageInput, ...] = ()) -> ImageRequest:
    """The image as one call; options that the caller did not name are left to the vendor."""
    return ImageRequest(
        model=lease.model,
        prompt=lease.prompt,
        attempt_key=attempt_key,
        timeout_seconds=lease.timeout_seconds,
        inputs=inputs,
        **{name: value for name, value in lease.options.items() if value is not None},
    )
