"""The table of requests that are wrong by themselves, part by part: docs/bad-input.md shows it, tests send it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tests.api.bad_addresses import BAD_QUERIES, NOWHERE, WRONG_METHODS
from tests.api.bad_bodies import BAD_KEYS, NOT_AN_OBJECT, NOT_JSON, NOT_PLAIN_JSON, UNSENDABLE
from tests.api.bad_images import BAD_IMAGES
from tests.api.bad_jobs import BAD_JOBS
from tests.api.bad_request import JSON, NOBODY, BadRequest
from tests.api.bad_resources import (
    BAD_CHANGES,
    BAD_SCHEDULES,
    BAD_STYLES,
    BAD_WEBHOOK_CALLS,
    BAD_WEBHOOKS,
    SCHEDULE,
)
from tests.api.bad_urls import BAD_URLS
from tests.api.conftest import image, job


def bad_requests() -> Iterator[BadRequest]:
    for rows in parts().values():
        yield from rows


def parts() -> Mapping[str, tuple[BadRequest, ...]]:
    """By what is wrong."""
    return {
        "The body": (*_bodies(), *UNSENDABLE),
        "The Idempotency-Key": tuple(_keys()),
        "One image among good ones": tuple(_images()),
        "The job": tuple(_jobs()),
        "The address of a webhook": tuple(_addresses()),
        "A cancel or a retry": tuple(_changes()),
        "A style": tuple(_styles()),
        "A schedule": tuple(_schedules()),
        "A webhook": tuple(_webhooks()),
        "The path and the method": tuple(_paths()),
        "The query": tuple(_queries()),
    }


def _bodies() -> Iterator[BadRequest]:
    for name, body in NOT_JSON.items():
        yield BadRequest(name=name, status=400, slug="malformed-json", body=body)
    for name, (body, slug) in NOT_AN_OBJECT.items():
        yield BadRequest(name=name, status=400 if slug == "duplicate-key" else 422, slug=slug, body=body)
    for name, (headers, slug) in NOT_PLAIN_JSON.items():
        yield BadRequest(name=name, status=415, slug=slug, headers=headers, body=b"{}")


def _keys() -> Iterator[BadRequest]:
    good = _written(job())
    for name, headers in BAD_KEYS.items():
        slug = "invalid-idempotency-key"
        yield BadRequest(name=name, status=400, slug=slug, headers=(*JSON, *headers), body=good, at=())


def _images() -> Iterator[BadRequest]:
    for name, (fields, slug, *at) in BAD_IMAGES.items():
        body = _written(job(images=[image("good"), {**image("bad"), **fields}, image("fine")]))
        where = tuple(f"/images/1/{field}" for field in at)
        yield BadRequest(name=name, status=422, slug=slug, body=body, at=where)


def _jobs() -> Iterator[BadRequest]:
    for name, (fields, slug, *at) in BAD_JOBS.items():
        yield BadRequest(name=name, status=422, slug=slug, body=_written(job(**fields)), at=tuple(at))


def _addresses() -> Iterator[BadRequest]:
    for name, (url, slug) in BAD_URLS.items():
        for whose, place, target, document in (
            ("of a job's webhook", "/webhook/url", "/v1/jobs", job(webhook={"url": url})),
            ("of a webhook", "/url", "/v1/webhooks", {"url": url}),
        ):
            body = _written(document)
            yield BadRequest(name=f"{name} {whose}", status=422, slug=slug, target=target, body=body, at=(place,))


def _changes() -> Iterator[BadRequest]:
    for name, (action, document, status, slug) in BAD_CHANGES.items():
        target = f"/v1/jobs/{NOBODY}/{action}"
        yield BadRequest(name=name, status=status, slug=slug, target=target, body=_written(document))


def _styles() -> Iterator[BadRequest]:
    for name, (style, fields, slug, *at) in BAD_STYLES.items():
        body = _written({"prefix": "An ink drawing.", **fields})
        target, where = f"/v1/styles/{style}", tuple(at) or None
        yield BadRequest(name=name, status=422, slug=slug, method="PUT", target=target, body=body, at=where)


def _schedules() -> Iterator[BadRequest]:
    for name, (fields, slug, *at) in BAD_SCHEDULES.items():
        body = _written({**SCHEDULE, **fields})
        yield BadRequest(name=name, status=422, slug=slug, target="/v1/schedules", body=body, at=tuple(at))


def _webhooks() -> Iterator[BadRequest]:
    for name, (fields, slug, *at) in BAD_WEBHOOKS.items():
        body = _written({"url": "https://hooks.example/", **fields})
        yield BadRequest(name=name, status=422, slug=slug, target="/v1/webhooks", body=body, at=tuple(at))
    for name, (method, target, document, status, slug) in BAD_WEBHOOK_CALLS.items():
        body = b"" if document is None else _written(document)
        yield BadRequest(name=name, status=status, slug=slug, method=method, target=target, body=body)


def _paths() -> Iterator[BadRequest]:
    for name, target in NOWHERE.items():
        yield BadRequest(name=name, status=404, slug="not-found", method="GET", target=target)
    for name, (method, target) in WRONG_METHODS.items():
        yield BadRequest(name=name, status=405, slug="method-not-allowed", method=method, target=target)


def _queries() -> Iterator[BadRequest]:
    for name, (target, status, slug) in BAD_QUERIES.items():
        yield BadRequest(name=name, status=status, slug=slug, method="GET", target=target)


def _written(document: Any) -> bytes:
    return json.dumps(document).encode()
