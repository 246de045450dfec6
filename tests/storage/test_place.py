"""Where pictures are kept, as a URL says it; and what becomes of it at each vendor, as far as that shows offline."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import unquote

import pytest

from safelight.cli.complaint import Complaint
from safelight.cli.processes import run_api, run_worker
from safelight.settings import Settings
from safelight.storage.bucket import Bucket, BucketRefuses, BucketTrouble
from safelight.storage.bucket_blobs import BucketBlobStore
from safelight.storage.place import BucketPlace, Folder, StorageUnusable, Vendor, parse_place
from safelight.storage.stores import open_blobs
from tests.s3 import Trouble, trouble_before

_NO_OAUTH = {"disable_oauth": True, "client_email": "", "private_key": "", "private_key_id": ""}
KEY = "job_1/a.card-0000000112345678.jpg"


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("file:///srv/pictures", Folder(root=Path("/srv/pictures"))),
        ("s3://my-bucket", BucketPlace(vendor=Vendor.S3, bucket="my-bucket", prefix="")),
        ("s3://my.bucket/a/b/", BucketPlace(vendor=Vendor.S3, bucket="my.bucket", prefix="a/b")),
        ("gs://my_bucket/a", BucketPlace(vendor=Vendor.GOOGLE, bucket="my_bucket", prefix="a")),
        ("az://container/a", BucketPlace(vendor=Vendor.AZURE, bucket="container", prefix="a")),
    ],
)
def test_a_place_is_what_its_url_says(url: str, place: Folder | BucketPlace) -> None:
    assert parse_place(url) == place


@pytest.mark.parametrize(
    "url",
    [
        "",
        "pictures",
        "/srv/pictures",
        "file://srv/pictures",
        "http://bucket/prefix",
        "S3//bucket",
        "s3://",
        "s3://b",
        "s3://Bucket",
        "s3://bucket/../other",
        "s3://bucket/a//b",
        "s3://bucket/a b",
        "s3://bucket/" + "a/" * 80,
        "s3://bucket:9000/a",
        "s3://bucket:x/a",
        "s3://key:hunter2@bucket/a",
        "s3://bucket/a?secret=hunter2",
        "s3://bucket/a#hunter2",
        "s3://[bucket",
    ],
)
def test_a_place_that_cannot_be_one_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - each has words of its own
        parse_place(url)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("endpoint", ["minio:9000", "ftp://minio", "http://", "http://me:hunter2@minio:9000"])
def test_an_endpoint_that_cannot_be_one_is_refused(endpoint: str) -> None:
    with pytest.raises(ValueError, match="endpoint") as refused:
        parse_place("s3://bucket", endpoint=endpoint)
    assert "hunter2" not in str(refused.value)


@asynccontextmanager
async def a_vendor() -> AsyncIterator[Trouble]:
    """Nobody answers, and what was asked is seen."""
    async with trouble_before("http://127.0.0.1:9") as vendor:
        vendor.go_away()
        yield vendor


async def asked(place: BucketPlace, vendor: Trouble) -> None:
    store = BucketBlobStore(Bucket(place))
    with pytest.raises(BucketTrouble, match="503"):
        await store.put(KEY, b"picture", content_type="image/jpeg")
    await asyncio.sleep(0)
    assert vendor.seen


async def test_google_is_asked_for_a_new_object_only(monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_vendor() as vendor:
        monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", json.dumps(_NO_OAUTH))
        await asked(parse_bucket("gs://bucket/pictures", vendor.url), vendor)
    [request] = vendor.seen
    assert (request.method, unquote(request.path)) == ("PUT", f"pictures/{KEY}")
    assert request.headers["x-goog-if-generation-match"] == "0"
    assert request.headers["x-goog-meta-sha256"]
    assert request.headers["content-type"] == "image/jpeg"


async def test_azure_is_asked_for_a_new_blob_only_with_a_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_vendor() as vendor:
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "c2VjcmV0LWtleQ==")
        await asked(parse_bucket("az://container/pictures", vendor.url), vendor)
    [request] = vendor.seen
    assert (request.method, request.path) == ("PUT", f"pictures/{KEY}")
    assert request.headers["if-none-match"] == "*"
    assert request.headers["x-ms-meta-sha256"]
    assert request.headers["authorization"].startswith("SharedKey account:")


def test_a_vendor_without_what_it_needs_to_know_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(StorageUnusable, match=r"az://container cannot be used: .*Account must be specified"):
        open_blobs(parse_place("az://container"))


async def test_without_credentials_it_is_they_that_are_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's role is asked for; here there is none."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    async with a_vendor() as machine:
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", machine.url)
        with pytest.raises(BucketRefuses, match="no credentials"):
            await BucketBlobStore(Bucket(parse_bucket("s3://bucket", machine.url))).get(KEY)
    assert {request.path.partition("/")[0] for request in machine.seen} <= {"api", "latest", "meta-data"}


def parse_bucket(url: str, endpoint: str) -> BucketPlace:
    place = parse_place(url, endpoint=endpoint)
    assert isinstance(place, BucketPlace)
    return place


def test_what_speaks_to_buckets_is_loaded_for_a_bucket_only() -> None:
    code = "import sys, safelight.wiring.worker, safelight.engine.queue.worker; sys.exit('obstore' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_endpoint_comes_from_the_settings_or_from_where_aws_tools_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://minio:9000")
    assert _endpoint_of(Settings(storage_url="s3://bucket")) == "http://minio:9000"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://minio:9001/")
    assert _endpoint_of(Settings(storage_url="s3://bucket")) == "http://minio:9001"
    monkeypatch.setenv("SAFELIGHT_STORAGE__ENDPOINT", "https://elsewhere")
    assert _endpoint_of(Settings(storage_url="s3://bucket")) == "https://elsewhere"
    monkeypatch.delenv("SAFELIGHT_STORAGE__ENDPOINT")
    assert _endpoint_of(Settings(storage_url="gs://bucket")) is None


def test_no_process_starts_with_a_storage_url_that_cannot_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAFELIGHT_STORAGE_URL", "s3://key:hunter2@bucket")
    for process in (run_worker, run_api):
        with pytest.raises(Complaint, match="SAFELIGHT_STORAGE_URL: it holds no credentials") as refused:
            process()
        assert "hunter2" not in str(refused.value)


def _endpoint_of(settings: Settings) -> str | None:
    place = settings.place
    assert isinstance(place, BucketPlace)
    return place.endpoint
