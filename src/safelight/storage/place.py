"""Where an installation keeps its pictures, as one URL says it: a folder, or a bucket and a prefix in it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from safelight.storage.keys import InvalidKey, split_key

SCHEMES = "`file:///absolute/path`, `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`"

_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]", re.ASCII)
_MAX_PREFIX_CHARS = 150
"""A key may have 1024 characters, and ours take up to 830 of them."""


class StorageUnusable(Exception):
    """Nothing can be kept where the settings say; the message says why."""


class Vendor(StrEnum):
    """Whose protocol a bucket is spoken to in, by the scheme of its URL."""

    S3 = "s3"
    GOOGLE = "gs"
    AZURE = "az"


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A folder that every process of the installation reaches."""

    root: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketPlace:
    """A bucket, or a container. Without `endpoint` it is at the vendor's own address; credentials come from the
    environment, as the vendor's own tools know them. `timeout_seconds` bounds each operation, whatever it needs."""

    vendor: Vendor
    bucket: str
    prefix: str
    endpoint: str | None = None
    region: str | None = None
    timeout_seconds: float = 30.0

    def __str__(self) -> str:
        return f"{self.vendor}://{self.bucket}" + (f"/{self.prefix}" if self.prefix else "")


def parse_place(
    url: str, *, endpoint: str | None = None, region: str | None = None, timeout_seconds: float = 30.0
) -> Folder | BucketPlace:
    """Raises ValueError, which does not repeat what the URL holds: people put passwords into such addresses."""
    try:
        parts = urlsplit(url)
        has_more = bool(parts.query or parts.fragment or parts.username or parts.password or parts.port)
    except ValueError as error:
        raise ValueError(f"it reads {SCHEMES}") from error
    if has_more or "?" in url or "#" in url:
        raise ValueError("it holds no credentials, port or options: those are settings of their own")
    if parts.scheme == "file":
        if parts.netloc or not parts.path.startswith("/"):
            raise ValueError("a folder reads `file:///absolute/path`, with three slashes")
        return Folder(root=Path(parts.path))
    if parts.scheme not in list(Vendor):
        raise ValueError(f"it reads {SCHEMES}")
    if not _BUCKET.fullmatch(parts.netloc):
        raise ValueError("the name of a bucket has 3..222 of a-z 0-9 . _ -")
    return BucketPlace(
        vendor=Vendor(parts.scheme),
        bucket=parts.netloc,
        prefix=_prefix(parts.path.strip("/")),
        endpoint=_endpoint(endpoint),
        region=region,
        timeout_seconds=timeout_seconds,
    )


def _prefix(path: str) -> str:
    if path:
        try:
            split_key(path)
        except InvalidKey as error:
            raise ValueError("a prefix is made of folders of A-Z a-z 0-9 . _ - separated by `/`") from error
    if len(path) > _MAX_PREFIX_CHARS:
        raise ValueError(f"a prefix has at most {_MAX_PREFIX_CHARS} characters")
    return path


def _endpoint(endpoint: str | None) -> str | None:
    if endpoint is None:
        return None
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
        raise ValueError("the endpoint reads `https://host` or `http://host:port`, without credentials")
    return endpoint.rstrip("/")
