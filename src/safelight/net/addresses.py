"""Which IP addresses may be connected to when somebody else named them: the policy alone, no connection.

`ipaddress.is_global` is not enough: it is True for addresses that lead elsewhere by a tunnel or a translation (NAT64,
6to4, ISATAP), for multicast, and for a cloud's own helpers. A host name has to be resolved before it is asked about.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

IPAddress = IPv4Address | IPv6Address

_PUBLIC_V6 = ip_network("2000::/3")
"""All that is given out: https://www.iana.org/assignments/ipv6-unicast-address-assignments"""

_DENIED = {
    ip_network(network): what
    for network, what in {
        "168.63.129.16/32": "a service of the cloud that a machine runs in",  # Azure's, on a public address
        "192.0.0.0/24": "an address reserved for protocols",
        "192.88.99.0/24": "a relay of the 6to4 tunnel",
        "::/96": "an IPv4 address written as IPv6",
        "64:ff9b::/96": "a translation to IPv4",
        "64:ff9b:1::/48": "a translation to IPv4",
        "2001::/32": "the Teredo tunnel",
        "2002::/16": "the 6to4 tunnel",
        "3fff::/20": "an address for documentation",
        "5f00::/16": "an address for segment routing",
        "fec0::/10": "a site-local address",
    }.items()
}

_ISATAP = {0x0000_5EFE, 0x0200_5EFE}
"""The upper half of an interface identifier; the lower half is an IPv4 address (RFC 5214 §6.1)."""

_OF_NOBODY = {4: "203.0.113.1", 6: "2001:db8::1"}
"""For documentation only, so no interface has it."""


def is_own(address: IPAddress) -> bool:
    """One of this machine's interfaces has the address: only then can a socket be bound to it.

    False where the kernel binds to any address (`net.ipv4.ip_nonlocal_bind`), since it cannot be told there, and for
    the public address of a NAT in front of this machine, which no interface has.
    """
    return _can_bind(str(address)) and not _can_bind(_OF_NOBODY[address.version])


def why_denied(address: str | IPAddress, *, is_own: Callable[[IPAddress], bool] = is_own) -> str | None:
    """None when the address is public and somebody else's, else what it is, in a few words.

    An IPv4 address mapped into IPv6 is judged as what it stands for. An IPv6 address with a scope is denied.
    """
    try:
        address = ip_address(address)
    except ValueError:
        return "no IP address"
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return "an address on one interface"
        if address.ipv4_mapped is not None:
            return why_denied(address.ipv4_mapped, is_own=is_own)
        if int(address) >> 32 & 0xFFFF_FFFF in _ISATAP:
            return "the ISATAP tunnel"
    if address.is_loopback:
        return "a loopback address"
    for network, what in _DENIED.items():
        if address in network:
            return what
    if address.is_multicast:
        return "a multicast address"
    if not address.is_global or (address.version == 6 and address not in _PUBLIC_V6):
        return "not a public address"
    return "an address of this machine" if is_own(address) else None


def _can_bind(address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:  # UDP: binding it sends nothing and takes no service
            probe.bind((address, 0))
    except OSError:
        return False
    return True
