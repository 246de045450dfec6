"""The table of requests that are wrong by themselves: what each is, and how it is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.api.bad_urls import BAD_URLS
from tests.api.conftest import image, job
from tests.api.wire import Header

JSON: tuple[Header, ...] = (("Content-Type", "application/json"),)
CARD = {"name": "card", "width": 64, "height": 64}
NOBODY = "job_01JD0000000000000000000000"


@dataclass(frozen=True, slots=True, kw_only=True)
class BadRequest:
    """`at`: the pointers or parameters of its faults, where the table cares."""

    name: str
    status: int
    slug: str
    method: str = "POST"
    target: str = "/v1/jobs"
    headers: tuple[Header, ...] = JSON
    body: bytes = b""
    at: tuple[str, ...] | None = None


def bad_requests() -> Iterator[BadRequest]:
    for name, body in NOT_JSON.items():
        yield BadRequest(name=name, status=400, slug="malformed-json", body=body)
    for name, (body, slug) in NOT_AN_OBJECT.items():
        status = 400 if slug == "duplicate-key" else 422
        yield BadRequest(name=name, status=status, slug=slug, body=body)
    for name, (headers, slug) in NOT_PLAIN_JSON.items():
        yield BadRequest(name=name, status=415, slug=slug, headers=headers, body=b"{}")
    for name, (fields, slug, *at) in BAD_IMAGES.items():
        body = json.dumps(job(images=[image("good"), {**image("bad"), **fields}, image("fine")])).encode()
        yield BadRequest(
            name=f"one image among good ones: {name}",
            status=422,
            slug=slug,
            body=body,
            at=tuple(f"/images/1/{field}" for field in at),
        )
    for name, (fields, slug, *at) in BAD_JOBS.items():
        yield BadRequest(name=name, status=422, slug=slug, body=json.dumps(job(**fields)).encode(), at=tuple(at))
    for name, headers in BAD_KEYS.items():
        good = json.dumps(job()).encode()
        yield BadRequest(
            name=name, status=400, slug="invalid-idempotency-key", headers=(*JSON, *headers), body=good, at=()
        )
    for name, target in NOWHERE.items():
        yield BadRequest(name=name, status=404, slug="not-found", method="GET", target=target)
    for name, (method, target) in WRONG_METHODS.items():
        yield BadRequest(name=name, status=405, slug="method-not-allowed", method=method, target=target)
    for name, (target, status, slug) in BAD_QUERIES.items():
        yield BadRequest(name=name, status=status, slug=slug, method="GET", target=target)
    for name, (action, document, status, slug) in BAD_CHANGES.items():
        target = f"/v1/jobs/{NOBODY}/{action}"
        yield BadRequest(name=name, status=status, slug=slug, target=target, body=json.dumps(document).encode())
    for name, (fields, slug, *at) in BAD_SCHEDULES.items():
        body = json.dumps({**SCHEDULE, **fields}).encode()
        yield BadRequest(name=name, status=422, slug=slug, target="/v1/schedules", body=body, at=tuple(at))
    yield from _bad_webhooks()
    for name, (style, fields, slug, *at) in BAD_STYLES.items():
        body = json.dumps({"prefix": "An ink drawing.", **fields}).encode()
        where = tuple(at) or None
        target = f"/v1/styles/{style}"
        yield BadRequest(name=name, status=422, slug=slug, method="PUT", target=target, body=body, at=where)
    yield from UNSENDABLE


def _bad_webhooks() -> Iterator[BadRequest]:
    for name, (url, slug) in BAD_URLS.items():
        for place, target, document in (
            ("/webhook/url", "/v1/jobs", job(webhook={"url": url})),
            ("/url", "/v1/webhooks", {"url": url}),
        ):
            body = json.dumps(document).encode()
            yield BadRequest(name=f"{name}, {place}", status=422, slug=slug, target=target, body=body, at=(place,))
    for name, (fields, slug, *at) in BAD_WEBHOOKS.items():
        body = json.dumps({"url": "https://hooks.example/", **fields}).encode()
        yield BadRequest(name=name, status=422, slug=slug, target="/v1/webhooks", body=body, at=tuple(at))
    for name, (method, target, document, status, slug) in BAD_WEBHOOK_CALLS.items():
        body = b"" if document is None else json.dumps(document).encode()
        yield BadRequest(name=name, status=status, slug=slug, method=method, target=target, body=body)


def _prompted(text: bytes) -> bytes:
    return b'{"images": [{"id": "a", "prompt": "' + text + b'"}]}'


NOT_JSON: dict[str, bytes] = {
    "an empty body": b"",
    "a body of spaces": b"  \n",
    "a stray comma": b'{"images": [],}',
    "single quotes": b"{'images': []}",
    "a truncated body": b'{"images": [',
    "something after the object": b"{} {}",
    "NaN": b'{"deadline_seconds": NaN}',
    "Infinity": b'{"deadline_seconds": Infinity}',
    "minus Infinity": b'{"deadline_seconds": -Infinity}',
    "a number beyond all bounds": b'{"deadline_seconds": 1e999}',
    "33 arrays inside of each other": b'{"images": ' + b"[" * 33 + b"]" * 33 + b"}",
    "100 000 brackets": b"[" * 100_000,
    "100 000 braces": b'{"a":' * 100_000,
    "an integer of 5 000 digits": b'{"deadline_seconds": ' + b"1" * 5000 + b"}",
    "a byte that is no UTF-8": _prompted(b"caf\xe9"),
    "an overlong encoding": _prompted(b"\xc0\xaf"),
    "a surrogate in UTF-8": _prompted(b"\xed\xa0\x80"),
    "UTF-16": json.dumps(job()).encode("utf-16"),
    "UTF-32": json.dumps(job()).encode("utf-32"),
    "a byte order mark": b"\xef\xbb\xbf" + json.dumps(job()).encode(),
    "a raw line feed in a text": _prompted(b"a\nb"),
}

NOT_AN_OBJECT: dict[str, tuple[bytes, str]] = {
    "the same key twice": (b'{"images": [], "images": []}', "duplicate-key"),
    "the same key twice, deep inside": (b'{"images": [{"id": "a", "id": "b", "prompt": "x"}]}', "duplicate-key"),
    "the same key twice, once escaped": (b'{"images": [], "im\\u0061ges": []}', "duplicate-key"),
    "a lone high surrogate": (_prompted(b"x\\ud800"), "invalid-text"),
    "a lone low surrogate": (_prompted(b"x\\udc00y"), "invalid-text"),
    "a lone surrogate in a key": (b'{"metadata": {"\\ud800": "x"}}', "invalid-text"),
    "NUL in a prompt": (_prompted(b"x\\u0000"), "invalid-text"),
    "a bell in a prompt": (_prompted(b"x\\u0007"), "invalid-text"),
    "a carriage return in a prompt": (_prompted(b"x\\r"), "invalid-text"),
    "NUL in metadata": (b'{"metadata": {"a": "x\\u0000"}}', "invalid-text"),
    "NUL in a key of metadata": (b'{"metadata": {"a\\u0000": "x"}}', "invalid-text"),
    "an escape character in metadata": (b'{"metadata": {"a": "x\\u001b[31m"}}', "invalid-text"),
    "an array at the top": (b"[]", "validation-error"),
    "a string at the top": (b'"job"', "validation-error"),
    "a number at the top": (b"7", "validation-error"),
    "null at the top": (b"null", "validation-error"),
}

NOT_PLAIN_JSON: dict[str, tuple[tuple[Header, ...], str]] = {
    "no content type": ((), "unsupported-media-type"),
    "an empty content type": ((("Content-Type", ""),), "unsupported-media-type"),
    "plain text": ((("Content-Type", "text/plain"),), "unsupported-media-type"),
    "a form": ((("Content-Type", "application/x-www-form-urlencoded"),), "unsupported-media-type"),
    "a multipart form": ((("Content-Type", "multipart/form-data; boundary=x"),), "unsupported-media-type"),
    "JSON in another charset": ((("Content-Type", "application/json; charset=utf-16"),), "unsupported-media-type"),
    "two content types": ((*JSON, *JSON), "unsupported-media-type"),
    "a compressed body": ((*JSON, ("Content-Encoding", "gzip")), "unsupported-encoding"),
    "a body compressed twice": ((*JSON, ("Content-Encoding", "br, gzip")), "unsupported-encoding"),
}

PICKY = {"provider": "picky", "model": "picky-1"}
INVALID, UNKNOWN_FIELD, SIZE, MODEL = "validation-error", "unknown-field", "unsupported-size", "unknown-model"
TOO_LONG, OPTION, FORMAT = "prompt-too-long", "unsupported-option", "unsupported-format"
BAD_IMAGES: dict[str, tuple[Any, ...]] = {
    "a misspelt field": ({"promt": "x"}, UNKNOWN_FIELD, "promt"),
    "a field that does not work yet": ({"strength": 0.5}, UNKNOWN_FIELD, "strength"),
    "a mask that is no upload's id": ({"mask": {"upload": "upl_1"}}, INVALID, "mask/upload"),
    "a mask without a reference": ({"mask": {"upload": "upl_" + "0" * 26}}, INVALID, "mask/upload", "mask", "mask"),
    "a reference to an image that the job does not have": (
        {"references": [{"image": "nobody"}]},
        INVALID,
        "references/0/image",
    ),
    "a reference to itself": ({"references": [{"image": "fine"}, {"image": "bad"}]}, INVALID, "references/1/image"),
    "the same reference twice": (
        {"references": [{"image": "good"}, {"image": "good", "role": "style"}]},
        INVALID,
        "references/1/image",
    ),
    "a reference to one of its own count": (
        {"count": 2, "references": [{"image": "bad-1"}]},
        INVALID,
        "references/0/image",
    ),
    "references for a model that takes none": (
        {"references": [{"image": "good"}], **PICKY},
        OPTION,
        "references",
    ),
    "references for a fallback that takes none": (
        {"references": [{"image": "good"}], "fallback": ["picky/picky-1"]},
        OPTION,
        "references",
    ),
    "17 references": ({"references": [{"image": f"i{n}"} for n in range(17)]}, INVALID, "references"),
    "references that are null": ({"references": None}, INVALID, "references"),
    "a reference that is a text": ({"references": ["good"]}, INVALID, "references/0"),
    "a reference to two things": (
        {"references": [{"image": "good", "url": "https://hooks.example/a.png"}]},
        INVALID,
        "references/0",
    ),
    "a reference to nothing": ({"references": [{"role": "style"}]}, INVALID, "references/0"),
    "a reference to what is no upload's id": ({"references": [{"upload": "upl_1"}]}, INVALID, "references/0/upload"),
    "a reference to an upload that there is not": (
        {"references": [{"upload": "upl_" + "0" * 26}]},
        INVALID,
        "references/0/upload",
    ),
    "the same address twice": (
        {"references": [{"url": "https://hooks.example/a.png"}] * 2},
        INVALID,
        "references/1/url",
    ),
    "data in the place of an address": (
        {"references": [{"url": "data:image/png;base64,iVBORw0KGgo="}]},
        "url-not-allowed",
        "references/0/url",
    ),
    **{
        f"a reference at {name}": ({"references": [{"url": url}]}, slug, "references/0/url")
        for name, (url, slug) in BAD_URLS.items()
    },
    "no id": ({"id": None}, INVALID, "id"),
    "no prompt": ({"prompt": None}, INVALID, "prompt"),
    "an empty prompt": ({"prompt": ""}, INVALID, "prompt"),
    "a prompt of white space": ({"prompt": " \n\t\u3000"}, INVALID, "prompt"),
    "a prompt of what shows nothing": ({"prompt": "\u200b\ufeff\u2060 \u3164"}, INVALID, "prompt"),
    "a prompt that is a number": ({"prompt": 7}, INVALID, "prompt"),
    "a prompt longer than any": ({"prompt": "x" * 32_001}, TOO_LONG, "prompt"),
    "a prompt longer than its model takes": ({"prompt": "x" * 101, **PICKY}, TOO_LONG, "prompt"),
    **{f"a count of {bad!r}": ({"count": bad}, INVALID, "count") for bad in (0, -1, 11, 1.5, "1", True, None)},
    "an id too long with its number": ({"id": "a" * 63, "count": 2}, INVALID, "id"),
    "a size and an aspect ratio": ({"size": "1024x1024", "aspect_ratio": "1:1"}, SIZE, "size"),
    "a size that the model does not make": ({"size": "3x3"}, SIZE, "size"),
    "a size for a model without sizes": ({"size": "64x64", **PICKY}, SIZE, "size"),
    "an aspect ratio that the model does not make": ({"aspect_ratio": "17:1"}, SIZE, "aspect_ratio"),
    **{f"a seed of {bad!r}": ({"seed": bad}, INVALID, "seed") for bad in (-1, 2**63, 10**30, 1.0, "1", True)},
    "an unknown model": ({"model": "dall-e-9"}, MODEL, "model"),
    "a provider that is not configured": ({"provider": "nobody"}, MODEL, "provider"),
    "another provider's model": ({"provider": "picky", "model": "placeholder-1"}, MODEL, "model"),
    "a seed for a model without": ({"seed": 1, **PICKY}, OPTION, "seed"),
    "a negative prompt for a model without": ({"negative_prompt": "blur"}, OPTION, "negative_prompt"),
    "a blank negative prompt": ({"negative_prompt": "\u200b"}, INVALID, "negative_prompt"),
    **{
        f"the id {str(bad)[:9]!r}": ({"id": bad}, INVALID, "id")
        for bad in ("", "../x", "a/b", "a b", "-a", "a.", "a" * 65, "x" * 10_000, "é", "a\n", 1)
    },
    "a group that climbs": ({"group": "../x"}, INVALID, "group"),
    **{f"a timeout of {bad!r}": ({"timeout_seconds": bad}, INVALID, "timeout_seconds") for bad in (0, -1, 3601, "60")},
    **{f"{bad!r} attempts": ({"max_attempts": bad}, INVALID, "max_attempts") for bad in (0, 11, 1.5)},
    "minus one rebuy": ({"max_rebuys": -1}, INVALID, "max_rebuys"),
    "an unknown rule for the uncertain": ({"on_uncertain": "ask"}, INVALID, "on_uncertain"),
    "the id of another image": ({"id": "good"}, INVALID, "id"),
    "a style that nobody has": ({"style": "nior"}, INVALID, "style"),
    "a style that is a number": ({"style": 7}, INVALID, "style"),
    "a style for a model of short prompts": ({"style": "noir", **PICKY}, TOO_LONG, "prompt"),
}

BAD_JOBS: dict[str, tuple[Any, ...]] = {
    **{f"an account called {bad!r}": ({"account": bad}, INVALID, "/account") for bad in ("", "a b", "-a", "a" * 65, 1)},
    **{f"a priority of {bad!r}": ({"priority": bad}, INVALID, "/priority") for bad in ("urgent", "", 1, None)},
    **{
        f"a beginning at {bad!r}": ({"not_before": bad}, INVALID, "/not_before")
        for bad in (
            "2026-11-20T10:00:00",
            "2026-11-20",
            "tomorrow",
            "2999-01-01T00:00:00Z",
            "0001-01-01T00:00:00+23:59",
            "1700000000",
            1_700_000_000,
            True,
        )
    },
    "a circle of references": (
        {
            "images": [
                image("a", references=[{"image": "c"}]),
                image("b", references=[{"image": "a"}]),
                image("c", references=[{"image": "b"}]),
            ]
        },
        INVALID,
        "/images/1/references/0/image",
    ),
    "a reference to an image of several": (
        {"images": [image("cover", count=3), image("back", references=[{"image": "cover"}])]},
        INVALID,
        "/images/1/references/0/image",
    ),
    "a reference to an image that has a fault of its own": (
        {"images": [image("cover", prompt=""), image("back", references=[{"image": "cover"}])]},
        INVALID,
        "/images/0/prompt",
    ),
    "an unknown default": ({"defaults": {"qualty": "high"}}, UNKNOWN_FIELD, "/defaults/qualty"),
    "no images": ({"images": []}, INVALID, ""),
    "images that are null": ({"images": None}, INVALID, "/images"),
    "images that are an object": ({"images": {}}, INVALID, "/images"),
    "an image that is a text": ({"images": ["x"]}, INVALID, "/images/0"),
    "an image without a prompt": ({"images": [{"id": "a"}]}, INVALID, "/images/0/prompt"),
    "two images of one id": ({"images": [image("a"), image("a")]}, INVALID, "/images/1/id"),
    "an id that another's count makes": ({"images": [image("a-1"), image("a", count=3)]}, INVALID, "/images/1/id"),
    "501 images": ({"images": [image(f"i{n}") for n in range(501)]}, INVALID, "/images"),
    "510 images by their count": ({"images": [image(f"i{n}", count=10) for n in range(51)]}, INVALID, "/images"),
    "an unknown style": ({"style": "nior"}, INVALID, "/style"),
    "a style that is a list": ({"style": ["noir"]}, INVALID, "/style"),
    "a style among the defaults": ({"defaults": {"style": "noir"}}, UNKNOWN_FIELD, "/defaults/style"),
    "an unknown recipe": ({"recipe": "no-such-recipe"}, INVALID, "/recipe"),
    "subjects without a recipe": ({"subjects": {"evidence": []}}, INVALID, "/subjects"),
    "a subject that is a number": (
        {"recipe": "mystery-case", "subjects": {"evidence": [7]}},
        INVALID,
        "/subjects/evidence/0",
    ),
    "a subject without what its prompt needs": (
        {"recipe": "mystery-case", "subjects": {"evidence": [{"id": "e", "name": "A key"}]}},
        INVALID,
        "/subjects/evidence/0/description",
    ),
    "a retired model": ({"defaults": {"model": "picky-0", "provider": "picky"}}, MODEL, "/defaults/model"),
    "a provider without a model": ({"defaults": {"provider": "picky"}}, MODEL, "/defaults/model"),
    "a default aspect ratio that nobody makes": (
        {"defaults": {"aspect_ratio": "17:1"}},
        SIZE,
        "/defaults/aspect_ratio",
    ),
    "a default option that the model lacks": (
        {"defaults": {"negative_prompt": "blur"}},
        OPTION,
        "/defaults/negative_prompt",
    ),
    **{
        f"a {side} of {bad}": ({"outputs": [{**CARD, side: bad}]}, SIZE, f"/outputs/0/{side}")
        for side in ("width", "height")
        for bad in (0, -1, 99_999)
    },
    "a width that is a text": ({"outputs": [{**CARD, "width": "64"}]}, INVALID, "/outputs/0/width"),
    "too many pixels": ({"outputs": [{**CARD, "width": 8000, "height": 8000}]}, SIZE, "/outputs"),
    "an unknown fit": ({"outputs": [{**CARD, "fit": "stretch"}]}, SIZE, "/outputs/0/fit"),
    **{
        f"the format {bad}": ({"outputs": [{**CARD, "format": bad}]}, FORMAT, "/outputs/0/format")
        for bad in ("svg", "gif", "exe")
    },
    "a quality of 101": ({"outputs": [{**CARD, "quality": 101}]}, INVALID, "/outputs/0/quality"),
    "two outputs of one name": ({"outputs": [CARD, CARD]}, INVALID, "/outputs/1/name"),
    "an output without a height": ({"outputs": [{"name": "card", "width": 64}]}, INVALID, "/outputs/0/height"),
    "a quality of PNG": ({"outputs": [{**CARD, "format": "png", "quality": 80}]}, INVALID, "/outputs/0/quality"),
    "too many pixels of AVIF": (
        {"outputs": [{**CARD, "format": "avif", "width": 4000, "height": 4000}]},
        SIZE,
        "/outputs",
    ),
    **{
        f"an original with a {field}": (
            {"outputs": [{"name": "original", "format": "original", field: value}]},
            INVALID,
            f"/outputs/0/{field}",
        )
        for field, value in (("width", 64), ("height", 64), ("fit", "cover"), ("quality", 80))
    },
    "nine outputs": ({"outputs": [{**CARD, "name": f"o{n}"} for n in range(9)]}, INVALID, "/outputs"),
    **{
        f"the storage prefix {str(bad)[:9]!r}": ({"storage_prefix": bad}, INVALID, "/storage_prefix")
        for bad in ("", "/a", "a/", "a//b", "../a", "a/../b", "a b", "é", "x" * 601, 7)
    },
    **{
        f"the storage prefix {ours}, which is ours": ({"storage_prefix": ours}, INVALID, "/storage_prefix")
        for ours in (".safelight-parts/x", "_staging/x", "_uploads")
    },
    **{
        f"a deadline of {bad!r}": ({"deadline_seconds": bad}, INVALID, "/deadline_seconds")
        for bad in (0, -1, 86_401, "60", None, True)
    },
    **{
        f"a cost of at most {bad!r}": ({"max_cost_usd": bad}, INVALID, "/max_cost_usd")
        for bad in (0.6, -1, "-1", "", "1e3", "NaN", ".5", "0.1234567", "1,50", "$1", True)
    },
    "a webhook that is a text": ({"webhook": "https://hooks.example/"}, INVALID, "/webhook"),
    "a webhook without an address": ({"webhook": {}}, INVALID, "/webhook/url"),
    "a webhook whose address is a number": ({"webhook": {"url": 7}}, INVALID, "/webhook/url"),
    "a webhook with a field of the account's": (
        {"webhook": {"url": "https://hooks.example/", "description": "mine"}},
        UNKNOWN_FIELD,
        "/webhook/description",
    ),
    **{
        f"a job's webhook for {str(bad)!r}": (
            {"webhook": {"url": "https://hooks.example/", "events": bad}},
            INVALID,
            f"/webhook/events{at}",
        )
        for bad, at in (([], ""), ("job.completed", ""), (["job.done"], "/0"), (["provider.paused"], "/0"), ([7], "/0"))
    },
    "an unknown rule for the deadline": ({"on_deadline": "panic"}, INVALID, "/on_deadline"),
    "a visibility that does not exist": ({"visibility": "public"}, INVALID, "/visibility"),
    "17 metadata entries": ({"metadata": {f"k{n}": "v" for n in range(17)}}, INVALID, "/metadata"),
    "a metadata value of 513 characters": ({"metadata": {"a": "v" * 513}}, INVALID, "/metadata/a"),
    "metadata called __proto__": ({"metadata": {"__proto__": "v"}}, INVALID, "/metadata/__proto__"),
    "metadata inside of metadata": ({"metadata": {"a": {"b": "c"}}}, INVALID, "/metadata/a"),
    "a number in metadata": ({"metadata": {"a": 1}}, INVALID, "/metadata/a"),
}

BAD_KEYS: dict[str, tuple[Header, ...]] = {
    "an empty key": (("Idempotency-Key", ""),),
    "a key with a space": (("Idempotency-Key", "a b"),),
    "a key of 256 characters": (("Idempotency-Key", "k" * 256),),
    "a key that is not ASCII": (("Idempotency-Key", b"k\xe9"),),
    "a key with a tab": (("Idempotency-Key", b"k\tk"),),
    "two keys": (("Idempotency-Key", "a"), ("Idempotency-Key", "b")),
    "the same key twice over": (("Idempotency-Key", "a"), ("idempotency-key", "a")),
}

NOWHERE: dict[str, str] = {
    "an unknown path": "/nowhere",
    "half a path": "/v1",
    "a path with a slash too many": "/v1/jobs/",
    "a malformed id": "/v1/jobs/job_1",
    "an id of the wrong alphabet": "/v1/jobs/job_01JD000000000000000000000U",
    "an id that nobody has": f"/v1/jobs/{NOBODY}",
    "an id that climbs": "/v1/jobs/..%2f..%2fetc%2fpasswd",
    "an id that climbs in plain sight": "/v1/jobs/../../etc/passwd",
    "NUL for an id": "/v1/jobs/%00",
    "an id that ends in NUL": f"/v1/jobs/{NOBODY}%00",
    "an id that is no UTF-8": "/v1/jobs/%ff",
    "an id of 10 000 characters": "/v1/jobs/" + "a" * 10_000,
    "an image of a job that nobody has": f"/v1/jobs/{NOBODY}/images/one",
    "the archive of a job that nobody has": f"/v1/jobs/{NOBODY}/archive",
    "an archive of what is no job": "/v1/jobs/..%2f..%2fetc/archive",
    "an image called NUL": f"/v1/jobs/{NOBODY}/images/%00",
    "an image that climbs": f"/v1/jobs/{NOBODY}/images/..%2f..%2fsecret.key",
    "an output called NUL": f"/v1/jobs/{NOBODY}/images/one/%00",
    "an output of 10 000 characters": f"/v1/jobs/{NOBODY}/images/one/" + "a" * 10_000,
    "the log of a job that nobody has": f"/v1/jobs/{NOBODY}/events",
    "a wait for a job that nobody has": f"/v1/jobs/{NOBODY}?wait=20",
    "a schedule that nobody has": "/v1/schedules/sch_01JD0000000000000000000000",
    "the runs of a schedule that nobody has": "/v1/schedules/sch_01JD0000000000000000000000/runs",
    "a style that nobody has": "/v1/styles/nior",
    "a style called NUL": "/v1/styles/%00",
    "a style of 10 000 characters": "/v1/styles/" + "a" * 10_000,
    "a style that climbs": "/v1/styles/..%2f..%2fsecret.key",
    "a recipe that nobody has": "/v1/recipes/no-such",
    "a recipe called NUL": "/v1/recipes/%00",
    "a problem that does not exist": "/problems/nonsense",
}

WRONG_METHODS: dict[str, tuple[str, str]] = {
    "deleting the list": ("DELETE", "/v1/jobs"),
    "putting a job": ("PUT", f"/v1/jobs/{NOBODY}"),
    "looking at a cancel": ("GET", f"/v1/jobs/{NOBODY}/cancel"),
    "posting to health": ("POST", "/healthz"),
    "posting a style": ("POST", "/v1/styles"),
    "putting a recipe": ("PUT", "/v1/recipes/mystery-case"),
    "tracing": ("TRACE", "/v1/jobs"),
    "asking for options": ("OPTIONS", "/v1/jobs"),
}

BAD_QUERIES: dict[str, tuple[str, int, str]] = {
    **{
        f"a limit of {bad!r}": (f"/v1/jobs?limit={bad}", 422, INVALID)
        for bad in ("0", "-1", "1001", "x", "", "1.5", "%00")
    },
    "two limits": ("/v1/jobs?limit=1&limit=2", 422, INVALID),
    "an unknown state": ("/v1/jobs?status=running", 422, INVALID),
    "an unknown parameter": ("/v1/jobs?statsu=failed", 422, UNKNOWN_FIELD),
    "a parameter called NUL": ("/v1/jobs?%00=1", 422, UNKNOWN_FIELD),
    "metadata without a name": ("/v1/jobs?metadata.=1", 422, UNKNOWN_FIELD),
    "NUL in a metadata filter": ("/v1/jobs?metadata.a=%00", 422, "invalid-text"),
    "NUL in a metadata filter's name": ("/v1/jobs?metadata.%00=a", 422, "invalid-text"),
    "a metadata filter of 513 characters": ("/v1/jobs?metadata.a=" + "v" * 513, 422, INVALID),
    "a metadata filter twice": ("/v1/jobs?metadata.a=1&metadata.a=2", 422, INVALID),
    "17 metadata filters": ("/v1/jobs?" + "&".join(f"metadata.{n}=1" for n in range(17)), 422, INVALID),
    "a group that climbs, in a filter": ("/v1/jobs?group=../x", 422, INVALID),
    **{
        f"{name} of {path}": (f"/v1/{path}?{query}", 422, slug)
        for path in ("jobs", "images")
        for name, query, slug in (
            ("one state of two that there is not", "status=failed&status=gone", INVALID),
            ("ten states", "&".join(["status=failed"] * 10), INVALID),
            ("two providers", "provider=a&provider=b", INVALID),
            ("a provider called NUL", "provider=%00", INVALID),
            ("a model of 201 characters", "model=" + "m" * 201, INVALID),
            ("a kind of error that there is not", "error_kind=safety", INVALID),
            ("a form that there is not", "format=xml", INVALID),
            ("an end that is no time", "created_before=2026-13-01T00:00:00Z", INVALID),
            ("a prompt", "prompt=key", UNKNOWN_FIELD),
            ("two stars for accounts", "account=**", INVALID),
        )
    },
    "a state that only jobs have": ("/v1/images?status=partial", 422, INVALID),
    "a state that only images have": ("/v1/jobs?status=refused", 422, INVALID),
    "a cursor of images that is cut": ("/v1/images?cursor=abc", 400, "invalid-cursor"),
    **{
        f"statistics {name}": (f"/v1/stats?{query}", 422, INVALID)
        for name, query in (
            ("from what is no time", "from=yesterday"),
            ("from a time without a zone", "from=2026-11-01T00:00:00"),
            ("from a time before there is any", "from=0001-01-01T00:00:00Z"),
            ("until a time after all", "to=9999-12-31T23:59:59Z"),
            ("that end before they begin", "from=2026-11-02T00:00:00Z&to=2026-11-01T00:00:00Z"),
            ("of no time at all", "from=2026-11-01T00:00:00Z&to=2026-11-01T00:00:00Z"),
            ("of 367 days", "from=2025-11-01T00:00:00Z&to=2026-11-03T00:00:00Z"),
            ("of 32 days by hour", "from=2026-10-01T00:00:00Z&to=2026-11-02T00:00:00Z&group_by=hour"),
            ("by what nobody has", "group_by=prompt"),
            ("in a zone that there is not", "time_zone=Europe/Atlantis"),
            ("in a zone called NUL", "time_zone=%00"),
            ("in a zone that climbs", "time_zone=../../etc/passwd"),
            ("of an account that cannot be", "account=a%20b"),
            ("in a form that there is not", "format=tsv"),
        )
    },
    "statistics of what there is not": ("/v1/stats?since=2026-11-01T00:00:00Z", 422, UNKNOWN_FIELD),
    **{f"an account {bad!r}": (f"/v1/jobs?account={bad}", 422, INVALID) for bad in ("", "a%20b", "-a", "a" * 65)},
    "a feed of an account that cannot be": ("/v1/events?account=%2F", 422, INVALID),
    "NUL for a group": ("/v1/jobs?group=%00", 422, INVALID),
    **{
        f"a time of {bad!r}": (f"/v1/jobs?created_after={bad}", 422, INVALID)
        for bad in (
            "yesterday",
            "2026-11-20T10:00:00",
            "0001-01-01T00:00:00%2B23:59",
            "9999-12-31T23:59:59-23:59",
            "1e999",
        )
    },
    "a forged cursor": ("/v1/jobs?cursor=AAAAAAAAAAAAam9iXzAxSkQwMDAwMDAwMDAwMDAwMDAwMDAwMDAw", 400, "invalid-cursor"),
    "a cursor that is none": ("/v1/jobs?cursor=%00", 400, "invalid-cursor"),
    "a cursor of 10 000 characters": ("/v1/jobs?cursor=" + "A" * 10_000, 422, INVALID),
    "an unknown parameter of a job": (f"/v1/jobs/{NOBODY}?wiat=20", 422, UNKNOWN_FIELD),
    **{f"a wait of {bad!r}": (f"/v1/jobs/{NOBODY}?wait={bad}", 422, INVALID) for bad in ("-1", "61", "x", "1.5")},
    **{f"a seq of {bad!r}": (f"/v1/jobs/{NOBODY}?wait=1&after={bad}", 422, INVALID) for bad in ("-1", "x", 2**63)},
    "an unknown parameter of styles": ("/v1/styles?name=noir", 422, UNKNOWN_FIELD),
    "an unknown parameter of recipes": ("/v1/recipes?name=noir", 422, UNKNOWN_FIELD),
    "101 schedules a page": ("/v1/schedules?limit=101", 422, INVALID),
    "a cursor of another list of schedules": ("/v1/schedules?cursor=AAAAAAAAAAAAYQ", 400, "invalid-cursor"),
    "an unknown filter of schedules": ("/v1/schedules?nmae=daily", 422, UNKNOWN_FIELD),
    "NUL for a schedule's name": ("/v1/schedules?name=%00", 422, INVALID),
    "a page of the log before its beginning": (f"/v1/jobs/{NOBODY}/events?after=-1", 422, INVALID),
    "a page of the log with 1001 events": (f"/v1/jobs/{NOBODY}/events?limit=1001", 422, INVALID),
    "a stream with a limit": (f"/v1/jobs/{NOBODY}/events?limit=3", 422, INVALID),
    "a stream from a cursor": (f"/v1/jobs/{NOBODY}/events?cursor=x", 422, UNKNOWN_FIELD),
    "a feed from a number": ("/v1/events?after=17", 400, "invalid-cursor"),
    "a feed from a cursor that is too long": (f"/v1/events?after={'A' * 201}", 422, INVALID),
    "a feed with 1001 events": ("/v1/events?limit=1001", 422, INVALID),
    "a feed that waits for more than a minute": ("/v1/events?wait=61", 422, INVALID),
    "a feed of a job": (f"/v1/events?job_id={NOBODY}", 422, UNKNOWN_FIELD),
}

SCHEDULE = {"name": "daily", "cron": "@daily", "timezone": "Europe/Berlin", "job": job()}
_BADLY_NAMED = ("a%20b", "-a", "a.", "a" * 65, "%00", "%ff", "%C3%A9")
BAD_STYLES: dict[str, tuple[Any, ...]] = {
    **{f"a style called {bad[:9]}": (bad, {}, INVALID) for bad in _BADLY_NAMED},
    "a style that says nothing": ("ink", {"prefix": None, "description": "x"}, INVALID, ""),
    "a style with a misspelt field": ("ink", {"prefx": "x"}, UNKNOWN_FIELD, "/prefx"),
    "a style with references": ("ink", {"references": []}, UNKNOWN_FIELD, "/references"),
    "a style with a name in its body": ("ink", {"name": "ink"}, UNKNOWN_FIELD, "/name"),
    **{
        f"a style with a {part} of {kind}": ("ink", {part: bad}, slug, f"/{part}")
        for part in ("prefix", "suffix", "negative_prompt")
        for kind, bad, slug in (
            ("4001 characters", "x" * 4001, INVALID),
            ("white space", " \n", INVALID),
            ("nothing", "", INVALID),
            ("what shows nothing", "\u200b", INVALID),
            ("a number", 7, INVALID),
            ("NUL", "x\x00", "invalid-text"),
            ("a bell", "x\x07", "invalid-text"),
            ("a lone surrogate", "\ud800", "invalid-text"),
        )
    },
    "a style described at length": ("ink", {"description": "x" * 1001}, INVALID, "/description"),
}

BAD_SCHEDULES: dict[str, tuple[Any, ...]] = {
    "a schedule with a misspelt field": ({"time_zone": "UTC"}, UNKNOWN_FIELD, "/time_zone"),
    **{
        f"a schedule called {str(bad)[:9]!r}": ({"name": bad}, INVALID, "/name")
        for bad in ("", " ", " a", "a\nb", "n" * 101, 7, None)
    },
    **{
        f"a cron of {str(bad)[:9]!r}": ({"cron": bad}, INVALID, "/cron")
        for bad in ("", "* * * *", "0 0 * * * *", "61 * * * *", "@often", "0 0 30 2 *", "*" * 5000, 5, None)
    },
    **{
        f"a clock of {str(bad)[:9]!r}": ({"timezone": bad}, INVALID, "/timezone")
        for bad in ("", "Berlin", "europe", "../../etc/passwd", "Europe/" + "x" * 5000, "localtime", 2, None)
    },
    **{
        f"pictures wanted by {bad!r}": ({"ready_by": bad}, INVALID, "/ready_by") for bad in ("24:00", "8:00", "noon", 8)
    },
    "one job a week": ({"unique_per": "week"}, INVALID, "/unique_per"),
    "a way to catch up that nobody knows": ({"catch_up": "some"}, INVALID, "/catch_up"),
    "a schedule that is neither on nor off": ({"enabled": "yes"}, INVALID, "/enabled"),
    "a schedule of no job": ({"job": None}, INVALID, "/job"),
    "a schedule of a job that is a text": ({"job": "daily"}, INVALID, "/job"),
    "a schedule of an empty job": ({"job": {}}, INVALID, "/job"),
    "a scheduled image without a prompt": ({"job": job(images=[{"id": "a"}])}, INVALID, "/job/images/0/prompt"),
    "a scheduled job with a misspelt field": ({"job": job(imges=[])}, UNKNOWN_FIELD, "/job/imges"),
    "a scheduled job for a retired model": (
        {"job": job(defaults={"model": "picky-0", "provider": "picky"})},
        MODEL,
        "/job/defaults/model",
    ),
    "a placeholder that nobody fills": ({"job": job(metadata={"a/b": "{week}"})}, INVALID, "/job/metadata/a~1b"),
}

BAD_CHANGES: dict[str, tuple[str, Any, int, str]] = {
    "an unknown way to cancel": ("cancel", {"mode": "now"}, 422, INVALID),
    "a cancel of no image": ("cancel", {"images": []}, 422, INVALID),
    "a cancel of an image that climbs": ("cancel", {"images": ["../x"]}, 422, INVALID),
    "a cancel with a misspelt field": ("cancel", {"moed": "finish"}, 422, UNKNOWN_FIELD),
    "a cancel of a job that nobody has": ("cancel", {}, 404, "not-found"),
    "a retry of the completed": ("retry", {"only": ["completed"]}, 422, INVALID),
    "a retry of images that are a text": ("retry", {"images": "all"}, 422, INVALID),
    "a retry with a blank prompt": ("retry", {"prompt_overrides": {"one": " "}}, 422, INVALID),
    "a retry with a prompt longer than any": ("retry", {"prompt_overrides": {"one": "x" * 32_001}}, 422, TOO_LONG),
    "a retry with a prompt for no id": ("retry", {"prompt_overrides": {"a b": "x"}}, 422, INVALID),
    "a retry of a job that nobody has": ("retry", {"prompt_overrides": {"one": "x"}}, 404, "not-found"),
}

BAD_WEBHOOKS: dict[str, tuple[Any, ...]] = {
    "a webhook for no event": ({"events": []}, INVALID, "/events"),
    "a webhook for an unknown event": ({"events": ["job.completed", "job.done"]}, INVALID, "/events/1"),
    "a webhook with a secret of the caller's": ({"secret": "whsec_abc"}, UNKNOWN_FIELD, "/secret"),
    "a webhook with a blank description": ({"description": ""}, INVALID, "/description"),
    **{
        f"a webhook with pauses of {str(bad)[:12]!r}": ({"retry_seconds": bad}, INVALID, f"/retry_seconds{at}")
        for bad, at in (([], ""), ([1] * 21, ""), ([0.5], "/0"), ([5, -1], "/1"), ([604_801], "/0"), (["5"], "/0"))
    },
}

_WEBHOOK, _MESSAGE = "/v1/webhooks/whe_01JD0000000000000000000000", f"/v1/webhooks/deliveries/msg_{'0' * 32}"
BAD_WEBHOOK_CALLS: dict[str, tuple[str, str, Any, int, str]] = {
    "a webhook that nobody has": ("GET", _WEBHOOK, None, 404, "not-found"),
    "a webhook with a malformed id": ("GET", "/v1/webhooks/whe_1", None, 404, "not-found"),
    "a webhook called NUL": ("GET", "/v1/webhooks/%00", None, 404, "not-found"),
    "a change of a webhook that nobody has": ("PATCH", _WEBHOOK, {}, 404, "not-found"),
    "the end of a webhook that nobody has": ("DELETE", _WEBHOOK, None, 404, "not-found"),
    "a test of a webhook that nobody has": ("POST", f"{_WEBHOOK}/test", None, 404, "not-found"),
    "a new secret for a webhook that nobody has": ("POST", f"{_WEBHOOK}/rotate-secret", {}, 404, "not-found"),
    **{
        f"an overlap of {bad!r}": ("POST", "/v1/webhooks/default/rotate-secret", {"overlap_seconds": bad}, 422, INVALID)
        for bad in (-1, 604_801, "1", None)
    },
    "a delivery that nobody has": ("GET", _MESSAGE, None, 404, "not-found"),
    "a delivery called NUL": ("GET", "/v1/webhooks/deliveries/%00", None, 404, "not-found"),
    "a delivery that nobody has, again": ("POST", f"{_MESSAGE}/redeliver", None, 404, "not-found"),
    "deliveries of a malformed webhook": ("GET", "/v1/webhooks/deliveries?webhook_id=%00", None, 422, INVALID),
    "deliveries of a malformed job": ("GET", "/v1/webhooks/deliveries?job_id=job_1", None, 422, INVALID),
    "deliveries in an unknown state": ("GET", "/v1/webhooks/deliveries?status=lost", None, 422, INVALID),
    "a page of 101 deliveries": ("GET", "/v1/webhooks/deliveries?limit=101", None, 422, INVALID),
    "a forged cursor of deliveries": ("GET", "/v1/webhooks/deliveries?cursor=AAAA", None, 400, "invalid-cursor"),
    "an unknown parameter of deliveries": ("GET", "/v1/webhooks/deliveries?job=x", None, 422, UNKNOWN_FIELD),
    "an unknown parameter of webhooks": ("GET", "/v1/webhooks?limit=1", None, 422, UNKNOWN_FIELD),
    "putting a webhook": ("PUT", _WEBHOOK, {}, 405, "method-not-allowed"),
}

_CHUNK = b"186a0\r\n" + b" " * 100_000 + b"\r\n"
UNSENDABLE = (
    BadRequest(
        name="nine megabytes, declared and not sent",
        status=413,
        slug="payload-too-large",
        headers=(*JSON, ("Content-Length", "9000000")),
    ),
    BadRequest(
        name="nine megabytes in chunks, without a length",
        status=413,
        slug="payload-too-large",
        headers=(*JSON, ("Transfer-Encoding", "chunked")),
        body=_CHUNK * 90 + b"0\r\n\r\n",
    ),
)
