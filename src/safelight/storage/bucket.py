"""Objects in a bucket, through obstore: one request at a time per thread, each of them bounded, failures as OSError.

Its blocking calls are used, in a few threads of our own: a call of its asyncio API that is still open when the
interpreter ends can abort the process. It repeats nothing by itself: who calls knows what a repetition means.
"""

from __future__ import annotations

import asyncio
import errno
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import AzureStore, GCSStore, S3Store

from safelight.storage.place import BucketPlace, Vendor

THREADS = 16
"""Requests of one process that are under way at once; further ones wait, within their deadline. Chosen."""
PAGE = 1000
"""Objects per request of a listing: as many as the vendors give."""

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z0-9]{1,60})</Code>")
_ASKS_FOR_CREDENTIALS = re.compile(
    r"/latest/(?:api|meta-data)|computeMetadata|token request|metadata/identity|redential"
)
"""A request that the vendor's library makes by itself when the environment holds none: to the machine, for its role."""
_NO_SUCH_OBJECT = frozenset({"NoSuchKey", "BlobNotFound"})
_SHA256 = "sha256"

T = TypeVar("T")


class BucketTrouble(OSError):
    """The bucket did not do what it was asked for. Says what the vendor answered, never with what it was asked."""

    def __init__(self, what: str, *, code: str | None = None) -> None:
        super().__init__(errno.EIO, what)
        self.code = code


class BucketRefuses(BucketTrouble):
    """The credentials are missing, wrong, or not allowed to do this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectInfo:
    """`sha256`: what whoever put it said, where it was us and the store keeps such things. `put_at`: the end of the
    second in which it was put, as vendors tell whole seconds: nothing looks older than it is."""

    length: int
    sha256: str | None
    put_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedObject:
    """An object under its name below the bucket's prefix; `put_at` as in `ObjectInfo`."""

    name: str
    length: int
    put_at: datetime
    etag: str | None


class Bucket:
    """Everything below a prefix of a bucket, by names as `split_key` allows them.

    Every method raises OSError when the bucket fails or does not answer in time. Cancelling the caller leaves a request
    that has begun to its own end, which is no further away than `timeout_seconds`.
    """

    def __init__(self, place: BucketPlace) -> None:
        """Asks nobody anything. Raises ValueError when the environment's settings for this vendor make no sense."""
        self.place = place
        try:
            self._store = _store_of(place)
        except (BaseError, OSError, ValueError) as error:
            raise ValueError(_first_line(error)) from None
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="bucket")

    @asynccontextmanager
    async def within_deadline(self) -> AsyncIterator[None]:
        """Whatever happens inside, it has `timeout_seconds` in all. Raises TimeoutError."""
        try:
            async with asyncio.timeout(self.place.timeout_seconds):
                yield
        except TimeoutError as error:
            raise TimeoutError(errno.ETIMEDOUT, f"{self.place} did not answer in time") from error

    async def create(self, name: str, data: bytes, *, content_type: str, sha256: str) -> bool:
        """The object is there, whole; False, and nothing was written, when there was one before."""
        try:
            await self._call(lambda: self._put(name, data, content_type, sha256, "create"))
        except AlreadyExistsError:  # 412; or 409, when another writer is at it just now
            return False
        return True

    async def overwrite(self, name: str, data: bytes, *, content_type: str, sha256: str) -> None:
        await self._call(lambda: self._put(name, data, content_type, sha256, "overwrite"))

    async def get(self, name: str) -> bytes | None:
        """None when there is no such object, and the bucket says so itself: no answer of a proxy counts as that."""
        return await self._found(lambda: bytes(obstore.get(self._store, name).bytes()))

    async def get_range(self, name: str, *, start: int, length: int | None) -> bytes | None:
        """As `get`; empty when the object ends before `start`."""
        if length == 0:
            info = await self.head(name)
            return None if info is None else b""
        span: Any = {"offset": start} if length is None else (start, start + length)
        try:
            return await self._found(lambda: bytes(obstore.get(self._store, name, options={"range": span}).bytes()))
        except BucketTrouble as error:
            if error.code != "InvalidRange" and "416" not in str(error):
                raise
            return b""

    async def head(self, name: str) -> ObjectInfo | None:
        """None as in `get`, which is asked when there is none: the answer to a HEAD does not say what is missing."""
        try:
            return await self._call(lambda: _info(obstore.get(self._store, name, options={"head": True})))
        except FileNotFoundError:
            return await self._found(lambda: _info(obstore.get(self._store, name)))

    async def delete(self, name: str) -> None:
        """Afterwards there is no such object, whether or not there was."""
        await self._found(lambda: obstore.delete(self._store, name))

    async def list(self, under: str | None = None) -> AsyncGenerator[Sequence[ListedObject]]:
        """Every object below the folder `under`, a page at a time, in no order; each page has its own deadline."""
        stream = obstore.list(self._store, under, chunk_size=PAGE)
        while True:
            async with self.within_deadline():
                page = await self._call(lambda: next(stream, None))
            if page is None:
                return
            yield [_listed(each) for each in page]

    async def sign(self, name: str, *, expires_seconds: float) -> str:
        """An address at which anybody may get the object for so long."""
        expires_in = timedelta(seconds=expires_seconds)
        async with self.within_deadline():
            return await self._call(lambda: obstore.sign(self._store, "GET", name, expires_in))

    def close(self) -> None:
        """Nothing new is begun; requests under way end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _put(self, name: str, data: bytes, content_type: str, sha256: str, mode: Any) -> None:
        attributes = {
            "Content-Type": content_type,
            "Cache-Control": "private, immutable, max-age=31536000",
            _SHA256: sha256,
        }
        obstore.put(self._store, name, data, attributes=attributes, mode=mode, use_multipart=False)

    async def _found(self, request: Callable[[], T]) -> T | None:
        """What the request gives; None when the bucket says that there is no such object."""
        try:
            return await self._call(request)
        except FileNotFoundError as error:
            trouble = _trouble(error)
            if trouble.code not in _NO_SUCH_OBJECT:
                raise trouble from None
            return None

    async def _call(self, request: Callable[[], T]) -> T:
        """Raises AlreadyExistsError and FileNotFoundError as obstore does, and OSError for everything else."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, request)
        except (AlreadyExistsError, FileNotFoundError):
            raise
        except (PermissionDeniedError, UnauthenticatedError) as error:
            raise _trouble(error, BucketRefuses) from None
        except (BaseError, NotImplementedError, ValueError, OSError) as error:
            raise _trouble(error) from None


def _store_of(place: BucketPlace) -> S3Store | GCSStore | AzureStore:
    """Raises obstore's errors for an environment that it cannot use."""
    seconds = timedelta(seconds=place.timeout_seconds)
    options: dict[str, Any] = {
        "prefix": place.prefix or None,
        "retry_config": {"max_retries": 0, "retry_timeout": seconds},
        "client_options": {
            "timeout": seconds,
            "connect_timeout": min(seconds, timedelta(seconds=5)),
            "allow_http": place.endpoint is not None and place.endpoint.startswith("http://"),
        },
    }
    config: dict[str, Any] = {}
    match place.vendor:
        case Vendor.S3:
            config = {"endpoint": place.endpoint, "region": place.region, "disable_bulk_delete": True}
            kind = S3Store
        case Vendor.GOOGLE:
            config, kind = {"base_url": place.endpoint}, GCSStore
        case Vendor.AZURE:
            config, kind = {"endpoint": place.endpoint}, AzureStore
    config = {name: value for name, value in config.items() if value is not None}
    return kind(place.bucket, config=config, **options)  # pyright: ignore[reportArgumentType]


def _info(found: obstore.GetResult) -> ObjectInfo:
    sha256 = found.attributes.get(_SHA256)
    return ObjectInfo(length=found.meta["size"], sha256=sha256, put_at=_end_of_second(found.meta["last_modified"]))


def _listed(meta: Mapping[str, Any]) -> ListedObject:
    return ListedObject(
        name=meta["path"], length=meta["size"], put_at=_end_of_second(meta["last_modified"]), etag=meta["e_tag"]
    )


def _end_of_second(at: datetime) -> datetime:
    return at.replace(microsecond=0) + timedelta(seconds=1)


def _trouble(error: Exception, kind: type[BucketTrouble] = BucketTrouble) -> BucketTrouble:
    """Status and code of the vendor's answer. The rest of the text names the address, which may hold a signature."""
    text = str(error)
    if _ASKS_FOR_CREDENTIALS.search(text):
        return BucketRefuses("there are no credentials for the bucket")
    code = _CODE.search(text)
    said = [*_STATUS.findall(text)[:1], *([code[1]] if code else [])]
    what = f"the bucket answered {' '.join(said)}" if said else f"the bucket cannot be reached ({_kind(text)})"
    return kind(what, code=code[1] if code else None)


def _kind(text: str) -> str:
    """Why there was no answer, in words of ours."""
    for sign, why in (
        ("TimedOut", "time was up"),
        ("Connect", "no connection"),
        ("IncompleteMessage", "the connection was cut"),
    ):
        if sign in text:
            return why
    return "no whole answer"


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]
