"""Bodies that cannot be read, and headers that say something else of them than they are."""

from __future__ import annotations

import json

from tests.api.bad_request import JSON, BadRequest
from tests.api.conftest import job
from tests.api.wire import Header


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
    "100 000 members": json.dumps(job(**{f"k{n}": n for n in range(100_000)})).encode(),
    "100 000 members of 1 000 objects": json.dumps(job(a=[{f"k{n}": n for n in range(100)}] * 1000)).encode(),
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

BAD_KEYS: dict[str, tuple[Header, ...]] = {
    "an empty key": (("Idempotency-Key", ""),),
    "a key with a space": (("Idempotency-Key", "a b"),),
    "a key of 256 characters": (("Idempotency-Key", "k" * 256),),
    "a key that is not ASCII": (("Idempotency-Key", b"k\xe9"),),
    "a key with a tab": (("Idempotency-Key", b"k\tk"),),
    "two keys": (("Idempotency-Key", "a"), ("Idempotency-Key", "b")),
    "the same key twice over": (("Idempotency-Key", "a"), ("idempotency-key", "a")),
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
