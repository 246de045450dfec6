from __future__ import annotations

import socket
from ipaddress import ip_address

import psutil
import pytest
from denied_addresses import DENIED

from safelight.net import addresses
from safelight.net.addresses import is_own, why_denied
from safelight.net.resolver import Resolver


@pytest.mark.parametrize(("address", "what"), DENIED.items())
def test_an_address_that_leads_inside_is_denied_for_what_it_is(address: str, what: str) -> None:
    why = why_denied(address)
    assert why is not None
    assert what in why
    assert why_denied(ip_address(address)) == why


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "93.184.216.34",
        "100.63.255.255",
        "100.128.0.1",
        "169.253.255.255",
        "172.15.255.255",
        "172.32.0.1",
        "168.63.129.17",
        "223.255.255.255",
        "2001:4860:4860::8888",
        "2606:4700::1111",
        "2a00:1450:4001:80b::200e",
        "::ffff:1.1.1.1",
    ],
)
def test_a_public_address_is_not_denied(address: str) -> None:
    assert why_denied(address) is None


@pytest.mark.parametrize("scoped", ["fe80::1%eth0", "fe80::1%25eth0", "2606:4700::1111%1", "::1%lo"])
def test_an_address_with_a_scope_is_denied(scoped: str) -> None:
    assert why_denied(scoped) == "an address on one interface"


@pytest.mark.parametrize("text", ["", "localhost", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "１２７.0.0.1"])
def test_what_is_no_address_is_denied(text: str) -> None:
    assert why_denied(text) == "no IP address"


@pytest.mark.parametrize(
    "number", ["2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "127.0.1", "①②⑦.⓪.⓪.①", "0"]
)
async def test_what_a_resolver_makes_of_a_number_is_denied(number: str) -> None:
    try:
        answers = await Resolver()(number, 443)
    except OSError:  # not every resolver reads these as addresses
        return
    assert [answer for answer in answers if why_denied(answer) is None] == []


def test_a_public_address_of_an_own_interface_is_denied() -> None:
    mine = {ip_address("93.184.216.34"), ip_address("2606:4700::1111")}
    for address in ("93.184.216.34", "2606:4700::1111", "::ffff:93.184.216.34"):
        assert why_denied(address, is_own=mine.__contains__) == "an address of this machine"
    assert why_denied("93.184.216.35", is_own=mine.__contains__) is None


def test_an_interface_of_this_machine_is_recognised_as_its_own() -> None:
    assigned = [
        ip_address(each.address)
        for interface in psutil.net_if_addrs().values()
        for each in interface
        if each.family in (socket.AF_INET, socket.AF_INET6) and "%" not in each.address
    ]
    assert ip_address("127.0.0.1") in assigned
    assert [each for each in assigned if not is_own(each)] == []
    assert not is_own(ip_address("1.1.1.1"))
    assert not is_own(ip_address("2606:4700::1111"))


def test_where_any_address_can_be_bound_none_is_taken_for_an_own_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "_can_bind", lambda _address: True)
    assert not is_own(ip_address("1.1.1.1"))
    assert why_denied("1.1.1.1") is None
