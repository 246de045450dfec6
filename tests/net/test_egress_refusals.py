"""What must never be connected to, recorded where the connections are made."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from connects import hearing
from denied_addresses import DENIED

from safelight.net.egress import EgressGuard, parse_allowances
from safelight.net.fetch import FetchRefused

PUBLIC = "93.184.216.34"
NAMES: dict[str, Sequence[str]] = {
    "pictures.example": [PUBLIC],
    "localhost": ["127.0.0.1", "::1"],
    "localhost.": ["127.0.0.1"],
    "sub.localhost": ["127.0.0.1"],
    "localtest.me": ["127.0.0.1"],
    "127.0.0.1.nip.io": ["127.0.0.1"],
    "metadata.google.internal": ["169.254.169.254"],
    "metadata": ["169.254.169.254"],
    "db": ["10.1.2.3"],
    "printer.local": ["fe80::1%2"],
    "mapped.example": ["::ffff:10.0.0.1"],
    "mixed.example": [PUBLIC, "10.0.0.1"],
    "mixed-first.example": ["10.0.0.1", PUBLIC],
    "mixed-families.example": [PUBLIC, "::1"],
    "last-of-many.example": [*(f"93.184.216.{number}" for number in range(1, 200)), "192.168.1.1"],
    "xn--mnchen-3ya.example": ["10.0.0.1"],
}
LITERALS = [f"https://[{each}]/x" if ":" in each else f"https://{each}/x" for each in DENIED]
OTHER_URLS = [
    *(f"https://{name}/x" for name in NAMES if name != "pictures.example"),
    "https://LOCALHOST/x",
    "https://münchen.example/x",
    # Numbers that a resolver, a browser or curl takes for 127.0.0.1
    "https://2130706433/x",
    "https://017700000001/x",
    "https://0x7f000001/x",
    "https://0X7F000001/x",
    "https://0x7f.1/x",
    "https://0x7f.0x0.0x0.0x1/x",
    "https://0177.0.0.1/x",
    "https://0177.0.0.01/x",
    "https://00000127.0.0.1/x",
    "https://127.1/x",
    "https://127.0.1/x",
    "https://127.0.0.1./x",
    "https://127.0.0.1.:443/x",
    "https://0/x",
    "https://0x/x",
    "https://1.2.3.4.5/x",
    "https://256.256.256.256/x",
    "https://１２７.0.0.1/x",
    "https://１２７.１/x",
    "https://①②⑦.⓪.⓪.①/x",
    "https://127。0。0。1/x",
    "https://127．0．0．1/x",
    "https://ⓛocalhost/x",
    "https://%31%32%37.0.0.1/x",
    "https://localhos%74/x",
    # IPv6 forms
    "https://[::ffff:7f00:1]/x",
    "https://[0:0:0:0:0:ffff:127.0.0.1]/x",
    "https://[::127.0.0.1]/x",
    "https://[fe80::1%25eth0]/x",
    "https://[fe80::1%eth0]/x",
    "https://[::1%25lo]/x",
    "https://[2606:4700::1111%251]/x",
    "https://[::1/x",
    "https://::1/x",
    "https://[127.0.0.1]/x",
    "https://[v1.127]/x",
    # Users, and what is meant to look like one
    "https://user@pictures.example/x",
    "https://user:password@pictures.example/x",
    "https://@pictures.example/x",
    "https://pictures.example@127.0.0.1/x",
    "https://127.0.0.1@pictures.example/x",
    "https://pictures.example:443@127.0.0.1/x",
    "https://pictures.example%40127.0.0.1/x",
    "https://pictures.example#@127.0.0.1/x",
    "https://127.0.0.1#@pictures.example/x",
    "https://pictures.example\\@127.0.0.1/x",
    "https://127.0.0.1\\@pictures.example/x",
    "https:\\\\127.0.0.1\\x",
    "https://pictures.example\\.127.0.0.1/x",
    # Schemes
    "http://pictures.example/x",
    "http://127.0.0.1/x",
    "HTTP://pictures.example/x",
    "ftp://pictures.example/x",
    "file:///etc/passwd",
    "file://127.0.0.1/etc/passwd",
    "gopher://127.0.0.1:6379/_INFO",
    "dict://127.0.0.1:11211/stats",
    "ws://pictures.example/x",
    "unix:///var/run/docker.sock",
    "javascript:alert(1)",
    "data:image/png;base64,AAAA",
    "https:pictures.example/x",
    "https:/pictures.example/x",
    "https:///pictures.example/x",
    "//pictures.example/x",
    "/x",
    "pictures.example/x",
    "x",
    "",
    "https://",
    "https://?x",
    # Ports
    "https://pictures.example:80/x",
    "https://pictures.example:22/x",
    "https://pictures.example:444/x",
    "https://pictures.example:0/x",
    "https://pictures.example:-1/x",
    "https://pictures.example:65536/x",
    "https://pictures.example:99999999999/x",
    "https://pictures.example:443:22/x",
    "https://pictures.example:x/x",
    "http://pictures.example:443/x",
    "http://pictures.example:8443/x",
    # Text that does not belong into a request
    "https://pictures.example/x\r\nX-Injected: 1",
    "https://pictures.example/\nx",
    "https://pictures.example/\tx",
    "https://pictures.example/\x00x",
    "https://pictures.example/\x7fx",
    "https://pictures.example/\x85x",
    "https://pictures.example/\u2028x",
    "https://pictures.example/\u200bx",
    "https://pictures.example/\ud800x",
    "https://pictures.example/a b",
    " https://pictures.example/x",
    "https://pictures.example/x ",
    "https://pictures .example/x",
    "https://pictures.example/x#fragment",
    "https://pictures.example/x#",
    "https://pic|tures.example/x",
    "https://pic{tures}.example/x",
    "https://-pictures.example/x",
    "https://pictures..example/x",
    "https://.example/x",
    "https://" + "a" * 64 + ".example/x",
    "https://pictures.example/" + "x" * 2048,
]


async def scripted(host: str, _port: int) -> Sequence[str]:
    return NAMES[host]


def test_the_table_is_long() -> None:
    assert len({*LITERALS, *OTHER_URLS}) >= 150


@pytest.mark.parametrize("url", [*LITERALS, *OTHER_URLS], ids=ascii)
async def test_it_is_refused_and_nothing_is_connected_to(url: str) -> None:
    guard = EgressGuard(resolve=scripted)
    with hearing() as heard:
        with pytest.raises(FetchRefused):
            await guard.check(url)
        with pytest.raises(FetchRefused):
            await guard.fetch(url, max_bytes=1000, timeout_seconds=5)

    assert heard.connects == []


@pytest.mark.parametrize("address", DENIED)
async def test_a_name_that_leads_there_is_refused_and_nothing_is_connected_to(address: str) -> None:
    async def resolve(_host: str, _port: int) -> list[str]:
        return [address]

    guard = EgressGuard(resolve=resolve)
    with hearing() as heard:
        for url in ("https://pictures.example/x", "https://pictures.example:8443/x"):
            with pytest.raises(FetchRefused):
                await guard.fetch(url, max_bytes=1000, timeout_seconds=5)

    assert heard.connects == []


async def test_the_machines_own_names_are_refused_as_its_resolver_knows_them() -> None:
    guard = EgressGuard()
    with hearing() as heard, pytest.raises(FetchRefused, match="loopback"):
        await guard.fetch("https://localhost/x", max_bytes=1000, timeout_seconds=5)

    assert heard.lookups == ["localhost"]
    assert heard.connects == []


@pytest.mark.parametrize(
    "url", ["http://localhost/x", "https://localhost:22/x", "https://127.1/x", "https://x@localhost/x"]
)
async def test_what_no_address_could_make_right_is_refused_without_a_lookup(url: str) -> None:
    with hearing() as heard, pytest.raises(FetchRefused):
        await EgressGuard(parse_allowances("http://127.0.0.0/8:9000")).check(url)

    assert heard.lookups == []


async def test_a_public_address_of_this_machine_is_refused_and_not_connected_to() -> None:
    guard = EgressGuard(resolve=scripted, is_own=lambda address: str(address) == PUBLIC)
    with hearing() as heard:
        for url in ("https://pictures.example/x", f"https://{PUBLIC}/x"):
            with pytest.raises(FetchRefused, match="this machine"):
                await guard.fetch(url, max_bytes=1000, timeout_seconds=5)

    assert heard.connects == []


@pytest.mark.parametrize(
    ("allowed", "url"),
    [
        ("http://127.0.0.0/8:9000", "http://127.0.0.1:9001/x"),
        ("http://127.0.0.0/8:9000", "https://127.0.0.1:9000/x"),
        ("http://127.0.0.0/8:9000", "http://10.0.0.1:9000/x"),
        ("http://127.0.0.0/8:9000", "http://[::1]:9000/x"),
        ("http://127.0.0.0/8:9000", "http://[::ffff:127.0.0.1]:9000/x"),
        ("http://127.0.0.0/8:9000", "http://localhost:9000/x"),  # also ::1, which is not covered
        ("http://127.0.0.0/8:9000", "http://2130706433:9000/x"),
        ("http://127.0.0.0/8:9000", "http://user@127.0.0.1:9000/x"),
        ("http://127.0.0.0/8:9000", "http://pictures.example:9000/x"),  # public, but not on this port
        ("http://127.0.0.0/8", "http://127.0.0.1:8080/x"),
        ("http://127.0.0.0/8:*", "http://127.0.0.1:0/x"),
        ("http://127.0.0.0/8:*", "http://127.0.0.1:65536/x"),
        ("https://10.0.0.0/8", "https://10.0.0.1:8443/x"),
        ("https://[fe80::/10]:443", "https://[fe80::1%25eth0]/x"),
        ("https://[fe80::/10]:443", "https://printer.local/x"),
    ],
)
async def test_an_allowance_covers_its_scheme_network_and_port_and_no_other(allowed: str, url: str) -> None:
    guard = EgressGuard(parse_allowances(allowed), resolve=scripted)
    with hearing() as heard, pytest.raises(FetchRefused):
        await guard.fetch(url, max_bytes=1000, timeout_seconds=5)

    assert heard.connects == []


@pytest.mark.parametrize(
    ("allowed", "url"),
    [
        ("", "https://pictures.example/x"),
        ("", "https://pictures.example:8443/x?a=%20b"),
        ("", "HTTPS://PICTURES.EXAMPLE:443/x"),
        ("", f"https://{PUBLIC}/x"),
        ("", "https://[2606:4700::1111]:8443/x"),
        ("", "https://pictures.example/ü"),
        ("http://127.0.0.0/8:9000", "http://127.0.0.1:9000/x"),
        ("http://10.0.0.0/8", "http://db/x"),
        ("http://10.0.0.0/8:*", "http://db:1234/x"),
        ("http://127.0.0.1:80,http://[::1]:80", "http://localhost/x"),
        ("https://10.0.0.0/8", "https://mixed.example/x"),
    ],
)
async def test_what_is_allowed_passes_the_check_without_a_connection(allowed: str, url: str) -> None:
    guard = EgressGuard(parse_allowances(allowed), resolve=scripted)
    with hearing() as heard:
        await guard.check(url)

    assert heard.connects == []


@pytest.mark.parametrize("url", ["https://user:canary@pictures.example/canary", "ftp://x/canary", "https://db/?canary"])
async def test_a_refusal_repeats_nothing_of_the_url_but_its_host(url: str) -> None:
    with pytest.raises(FetchRefused) as refused:
        await EgressGuard(resolve=scripted).check(url)

    assert "canary" not in repr(refused.value)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", []),
        (" , ", []),
        ("http://127.0.0.0/8:9000", [("http", "127.0.0.0/8", 9000)]),
        ("http://10.1.0.0/16", [("http", "10.1.0.0/16", 80)]),
        ("HTTPS://10.1.0.0/16", [("https", "10.1.0.0/16", 443)]),
        ("https://192.168.1.5:8443", [("https", "192.168.1.5/32", 8443)]),
        ("http://[::1]:9000", [("http", "::1/128", 9000)]),
        ("https://[fd00::/8]:*", [("https", "fd00::/8", None)]),
        ("http://10.0.0.1, https://10.0.0.2:*", [("http", "10.0.0.1/32", 80), ("https", "10.0.0.2/32", None)]),
    ],
)
def test_allowances_are_read(text: str, parts: list[tuple[str, str, int | None]]) -> None:
    assert [(each.scheme, str(each.network), each.port) for each in parse_allowances(text)] == parts


@pytest.mark.parametrize(
    "bad",
    [
        "10.0.0.0/8",
        "ftp://10.0.0.0/8",
        "http://localhost:9000",
        "http://10.0.0.1/8",
        "http://10.0.0.0/33",
        "http://10.0.0.0/8:0",
        "http://10.0.0.0/8:65536",
        "http://10.0.0.0/8:x",
        "http://10.0.0.0/8/",
        "http://::1:9000",
        "http://[10.0.0.0/8",
        "http://user@10.0.0.1",
        "*",
    ],
)
def test_an_allowance_that_is_none_is_named(bad: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"`{bad}`")) as raised:
        parse_allowances(f"http://127.0.0.1:9000, {bad}, https://10.0.0.1")

    assert "127.0.0.1" not in str(raised.value)
