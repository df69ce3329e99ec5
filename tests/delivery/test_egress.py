"""The egress guard: every spelling of an address that must not be reached, and some that must."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.delivery.egress import EgressGuard
from reconciler.errors import EgressRefused

REFUSED_TEXT = """
0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.100.100.200 100.127.255.255 127.0.0.1 127.255.255.254
168.63.129.16 169.254.0.1 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.192 192.0.2.1 192.88.99.1
192.168.0.1 192.168.255.255 198.18.0.1 198.19.255.255 198.51.100.7 203.0.113.9 224.0.0.1 239.255.255.255 240.0.0.1
255.255.255.255
:: ::1 ::2 ::127.0.0.1 ::8.8.8.8 ::ffff:127.0.0.1 ::ffff:7f00:1 ::ffff:169.254.169.254 ::ffff:0:127.0.0.1
64:ff9b::127.0.0.1 64:ff9b::a9fe:a9fe 64:ff9b::10.0.0.1 64:ff9b:1::8.8.8.8 64:ff9b:1::7f00:1 100::1 100:0:0:1::1
2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:2::1 2001:10::1 2001:20::1 2001:db8::1 2002:7f00:1:: 2002:a00:1::1
2002:a9fe:a9fe::1 3fff::1 3fff:fff::1 4000::1 5f00::1 6000::1 8000::1 fc00::1 fd00:ec2::254 fd20:ce::254 fe00::1
fe80::1 fe80::1%eth0 ::1%lo febf::1 fec0::1 ff02::1 ff0e::1
2606:4700::5efe:127.0.0.1 2606:4700::200:5efe:10.0.0.1
localhost example.com 127.1 0x7f000001 2130706433 0177.0.0.1 1.2.3.4.5 [::1] /run/docker.sock
"""
REFUSED = [*REFUSED_TEXT.split(), "", " 8.8.8.8", "8.8.8.8 "]

PASSED_TEXT = """
1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.1 169.253.255.255
169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.0 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0
223.255.255.255 ::ffff:8.8.8.8 64:ff9b::8.8.8.8 2002:808:808::1 2001:200::1 2001:4860:4860::8888 2606:4700::1111
2606:4700::1111%eth0 2606:4700::5efe:8.8.8.8 3ffe:ffff::1
"""


@pytest.mark.parametrize("address", REFUSED)
def test_an_address_is_refused_when_it_is_not_global(address: str) -> None:
    """No spelling of an address that only this machine or its network can reach is dialled."""
    with pytest.raises(EgressRefused):
        EgressGuard().check(address)


@pytest.mark.parametrize("address", PASSED_TEXT.split())
def test_an_address_passes_when_it_is_global(address: str) -> None:
    """The neighbours of the refused ranges, and translated global addresses, can be reached."""
    EgressGuard().check(address)


def test_the_reason_names_the_address_its_nature_and_the_way_out() -> None:
    """Who is refused learns what was dialled, why not, and the flag that would allow it."""
    with pytest.raises(EgressRefused, match=r"^127\.0\.0\.9 is a loopback address; --allow-target 127\.0\.0\.0/8 "):
        EgressGuard().check("127.0.0.9")


@pytest.mark.parametrize(
    ("allowed", "address"),
    [
        ("127.0.0.0/8", "127.0.0.1"),
        ("127.0.0.0/8", "::ffff:127.0.0.1"),
        ("127.0.0.0/8", "64:ff9b::127.0.0.1"),
        ("10.1.0.0/16", "10.1.2.3"),
        ("::1/128", "::1"),
        ("fd00::/8", "fd12::1"),
        ("0.0.0.0/0", "169.254.169.254"),
        ("::/0", "fe80::1%eth0"),
    ],
)
def test_a_refused_address_passes_when_its_range_is_allowed(allowed: str, address: str) -> None:
    """`--allow-target` opens what it names, in whatever form it is dialled."""
    EgressGuard([ip_network(allowed)]).check(address)


@pytest.mark.parametrize(
    ("allowed", "address"),
    [
        ("127.0.0.0/8", "10.0.0.1"),
        ("127.0.0.0/8", "::1"),
        ("10.1.0.0/16", "10.2.0.1"),
        ("0.0.0.0/0", "::1"),
        ("::/0", "127.0.0.1"),
        ("::/0", "64:ff9b::127.0.0.1"),
        ("::/0", "2002:7f00:1::"),
        ("64:ff9b:1::/48", "64:ff9b:1::10.0.0.1"),
    ],
)
def test_an_allowed_range_opens_nothing_else(allowed: str, address: str) -> None:
    """An IPv6 range does not open the IPv4 address that one of its addresses carries, nor the other way round."""
    with pytest.raises(EgressRefused):
        EgressGuard([ip_network(allowed)]).check(address)


def _verdict(address: str) -> bool:
    try:
        EgressGuard().check(address)
    except EgressRefused:
        return False
    return True


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_alike_in_every_form_that_carries_it(inner: IPv4Address) -> None:
    """A translated or mapped form never passes where the plain form would not, and mapped ones are equal."""
    bits = int(inner)
    plain = _verdict(str(inner))
    assert _verdict(f"::ffff:{inner}") is plain
    assert _verdict(f"64:ff9b::{inner}") is plain
    assert _verdict(str(IPv6Address(0x2002 << 112 | bits << 80 | 1))) is plain
    assert not _verdict(f"::{inner}")
    assert not _verdict(f"64:ff9b:1::{inner}")


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_never_passes_when_the_standard_library_calls_it_local(address: IPv4Address) -> None:
    """An independent table agrees wherever it says no; only its yes is not to be trusted."""
    if address.is_private or address.is_loopback or address.is_link_local or address.is_multicast:
        assert not _verdict(str(address)) or str(address) in {"192.0.0.9", "192.0.0.10"}


@given(st.ip_addresses(v=6))
def test_an_ipv6_address_never_passes_when_the_standard_library_calls_it_local(address: IPv6Address) -> None:
    """The same for IPv6."""
    if address.is_private or address.is_loopback or address.is_link_local or address.is_multicast:
        assert not _verdict(str(address))
