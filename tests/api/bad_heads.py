"""Requests that are wrong before there is a body: what is no HTTP, and names that are not ours."""

from __future__ import annotations

from tests.api.wire import Header

HEAD = b"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n"
NO_HTTP: dict[str, tuple[bytes, int]] = {
    "no HTTP at all": (b"\x16\x03\x01\x02\x00\x01\x00\x01", 400),
    "a request line of one word": (b"HELLO\r\n\r\n", 400),
    "a length and chunks": (CHUNKED + b"Content-Length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 400),
    "chunks and a length": (
        HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        400,
    ),
    "two lengths": (HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400),
    "a negative length": (HEAD + b"Content-Length: -2\r\n\r\n{}", 400),
    "a length of forty digits": (HEAD + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n{}", 400),
    "chunked, but not in the end": (HEAD + b"Transfer-Encoding: chunked, gzip\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 400),
    "a chunk without a size": (CHUNKED + b"\r\n{}\r\n0\r\n\r\n", 400),
    "a chunk of a size that is no number": (CHUNKED + b"\r\nzz\r\n{}\r\n0\r\n\r\n", 400),
    "a chunk longer than its size": (CHUNKED + b"\r\n1\r\n{}\r\n0\r\n\r\n", 400),
    "a chunk of a size beyond all bounds": (CHUNKED + b"\r\n" + b"f" * 17 + b"\r\n", 400),
    "NUL in a header": (HEAD + b"X-A: a\x00b\r\n\r\n", 400),
    "a space before the colon": (HEAD + b"Content-Length : 2\r\n\r\n{}", 400),
    "a header that is continued": (HEAD + b"X-A: a\r\n b\r\n\r\n", 400),
    "a path that is no ASCII": (b"GET /v1/jobs/\xff\xfe HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 400),
    "a header of 70 000 characters": (HEAD + b"X-A: " + b"a" * 70_000 + b"\r\n\r\n", 431),
    "a header that never ends": (HEAD + b"X-A: " + b"a" * 300_000, 431),
    "headers of 70 000 characters together": (HEAD + b"X-A: b\r\n" * 10_000 + b"\r\n", 431),
    "a path of 70 000 characters": (
        b"GET /v1/jobs/" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        431,
    ),
    "trailers of 70 000 characters": (CHUNKED + b"\r\n1\r\n{\r\n0\r\n" + b"X-A: b\r\n" * 10_000 + b"\r\n", 431),
    "a chunk with a comment that never ends": (CHUNKED + b"\r\n1;" + b"a" * 300_000, 431),
}
"""Refused before there is a request: in plain text, and the connection ends."""

BAD_HOSTS: dict[str, tuple[Header, ...]] = {
    "a name on the web": (("Host", "attacker.example"),),
    "a name on the web, with our port": (("Host", "attacker.example:8420"),),
    "a name that begins like ours": (("Host", "127.0.0.1.attacker.example"),),
    "a name with ours for a user": (("Host", "127.0.0.1@attacker.example"),),
    "a name with ours behind a slash": (("Host", "attacker.example/127.0.0.1"),),
    "an address that is not ours": (("Host", "169.254.169.254"),),
    "a port that is none": (("Host", "127.0.0.1:http"),),
    "an empty name": (("Host", ""),),
    "no name": (),
    "two names": (("Host", "127.0.0.1"), ("Host", "attacker.example")),
    "a name that is no ASCII": (("Host", b"127.0.0.1\xff"),),
}
