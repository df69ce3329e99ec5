"""The egress guard: which addresses a request may be sent to, judged by a table of our own.

The standard library's `is_global` is no guide: it calls NAT64, 6to4 and IPv4-compatible spellings of 127.0.0.1
global, and its answers change between patch releases. Here an address passes only if nothing in the table names it,
and every IPv4 address that it carries inside it passes as well. The guard is asked about the address that is about
to be dialled, never about a name, so nothing can change between the check and the connection.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, TypeAlias

from reconciler.errors import EgressRefused

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Address", "EgressGuard", "Network"]

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

VERDICTS_KEPT = 4096
"""How many judged addresses are remembered; a flood of new ones costs time, not memory."""

_REFUSED_V4 = tuple(
    (IPv4Network(text), what)
    for text, what in (
        ("0.0.0.0/8", "an unspecified address"),
        ("10.0.0.0/8", "a private address"),
        ("100.64.0.0/10", "a carrier-grade NAT address"),
        ("127.0.0.0/8", "a loopback address"),
        ("168.63.129.16/32", "a cloud platform's metadata address"),
        ("169.254.0.0/16", "a link-local address (metadata services answer there)"),
        ("172.16.0.0/12", "a private address"),
        ("192.0.0.0/24", "an address reserved for protocols"),
        ("192.0.2.0/24", "a documentation address"),
        ("192.88.99.0/24", "a 6to4 relay address"),
        ("192.168.0.0/16", "a private address"),
        ("198.18.0.0/15", "a benchmarking address"),
        ("198.51.100.0/24", "a documentation address"),
        ("203.0.113.0/24", "a documentation address"),
        ("224.0.0.0/4", "a multicast address"),
        ("255.255.255.255/32", "the broadcast address"),
        ("240.0.0.0/4", "a reserved address"),
    )
)

_REFUSED_V6 = tuple(
    (IPv6Network(text), what)
    for text, what in (
        ("::/128", "the unspecified address"),
        ("::1/128", "the loopback address"),
        ("::/96", "an IPv4-compatible address"),
        ("64:ff9b:1::/48", "a local NAT64 address"),
        ("100::/64", "a discard address"),
        ("100:0:0:1::/64", "a dummy address"),
        ("2001::/32", "a Teredo address"),
        ("2001::/23", "an address reserved for protocols"),
        ("2001:db8::/32", "a documentation address"),
        ("3fff::/20", "a documentation address"),
        ("5f00::/16", "a segment-routing address"),
        ("fc00::/7", "a unique local address"),
        ("fe80::/10", "a link-local address"),
        ("fec0::/10", "a site-local address"),
        ("ff00::/8", "a multicast address"),
    )
)

_GLOBAL_UNICAST = IPv6Network("2000::/3")
_COMPATIBLE = IPv6Network("::/96")
_NAT64 = IPv6Network("64:ff9b::/96")
_NAT64_LOCAL = IPv6Network("64:ff9b:1::/48")
_ISATAP_INTERFACES = (0x0000_5EFE, 0x0200_5EFE)


class EgressGuard:
    """Says which addresses may be dialled. `allow` opens ranges that the table refuses.

    An allowed range speaks for the addresses in it only: opening an IPv6 range does not open an IPv4 address that is
    carried inside one of its addresses.
    """

    __slots__ = ("_verdict", "allow")

    def __init__(self, allow: Iterable[Network] = ()) -> None:
        self.allow = tuple(allow)
        self._verdict = lru_cache(VERDICTS_KEPT)(self._judge)

    def check(self, address: str) -> None:
        """Return if `address` (numeric, a zone id allowed) may be dialled; raise EgressRefused with the reason."""
        reason = self._verdict(address)
        if reason is not None:
            raise EgressRefused(reason)

    def _judge(self, text: str) -> str | None:
        try:
            address: Address = ip_address(text.partition("%")[0])
        except ValueError:
            return "what would be dialled is not an IP address"
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        reason = self._named(address)
        if reason is not None:
            return reason
        for inner in _carried(address):
            reason = self._named(inner)
            if reason is not None:
                return f"{address} carries an IPv4 address: {reason}"
        return None

    def _named(self, address: Address) -> str | None:
        if any(address.version == network.version and address in network for network in self.allow):
            return None
        found = _refused_v4(address) if isinstance(address, IPv4Address) else _refused_v6(address)
        if found is None:
            return None
        network, what = found
        return f"{address} is {what}; --allow-target {network} would allow it"


def _refused_v4(address: IPv4Address) -> tuple[Network, str] | None:
    return next((entry for entry in _REFUSED_V4 if address in entry[0]), None)


def _refused_v6(address: IPv6Address) -> tuple[Network, str] | None:
    for entry in _REFUSED_V6:
        if address in entry[0]:
            return entry
    if address in _GLOBAL_UNICAST or address in _NAT64:
        return None
    return IPv6Network((int(address), 128)), "not a global unicast address"


def _carried(address: Address) -> Iterator[IPv4Address]:
    """Every IPv4 address to which a packet for `address` might be taken by a translator or a tunnel."""
    if isinstance(address, IPv4Address):
        return
    bits = int(address)
    low = bits & 0xFFFF_FFFF
    if (address in _COMPATIBLE and bits > 1) or address in _NAT64:  # `::` and `::1` are themselves
        yield IPv4Address(low)
    if address in _NAT64_LOCAL:
        # RFC 6052: the operator chose a prefix of 48, 56, 64 or 96 bits, and bits 64 to 71 are skipped.
        yield IPv4Address((bits >> 64 & 0xFFFF) << 16 | bits >> 40 & 0xFFFF)
        yield IPv4Address((bits >> 64 & 0xFF) << 24 | bits >> 32 & 0xFF_FFFF)
        yield IPv4Address(bits >> 24 & 0xFFFF_FFFF)
        yield IPv4Address(low)
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if bits >> 32 & 0xFFFF_FFFF in _ISATAP_INTERFACES:
        yield IPv4Address(low)
