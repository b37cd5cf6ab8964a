"""The grammar of the PROXY protocol: what is read, what is refused, and how early."""

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiohttpd.errors import WireError
from aiohttpd.wire.proxy_protocol import LONGEST, Preamble, read_preamble

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
SOURCE, DESTINATION = ("192.0.2.1", 56324), ("198.51.100.7", 443)
ADDRESSES_4 = struct.pack("!4s4sHH", bytes([192, 0, 2, 1]), bytes([198, 51, 100, 7]), 56324, 443)
ADDRESSES_6 = struct.pack(
    "!16s16sHH", ipaddress.ip_address("2001:db8::1").packed, ipaddress.ip_address("::ffff:192.0.2.9").packed, 1, 65535
)


def binary(command: int = 0x21, family: int = 0x11, content: bytes = ADDRESSES_4, length: int | None = None) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(content) if length is None else length) + content


def addition(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


TLS = addition(0x20, b"\x01" + bytes(4) + addition(0x21, b"TLSv1.3"))
NO_TLS = addition(0x20, b"\x00" + bytes(4))

GOOD = {
    "v1 IPv4": (b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n", SOURCE, DESTINATION, False),
    "v1 longest IPv4": (
        b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
        ("255.255.255.255", 65535),
        ("255.255.255.255", 65535),
        False,
    ),
    "v1 IPv6": (b"PROXY TCP6 2001:DB8::1 ::1 0 80\r\n", ("2001:db8::1", 0), ("::1", 80), False),
    "v1 longest IPv6": (
        b"PROXY TCP6 " + b"ffff:" * 7 + b"ffff " + b"ffff:" * 7 + b"ffff 65535 65535\r\n",
        (":".join(["ffff"] * 8), 65535),
        (":".join(["ffff"] * 8), 65535),
        False,
    ),
    "v1 IPv4 in IPv6": (b"PROXY TCP6 ::ffff:192.0.2.1 ::1 5 80\r\n", ("192.0.2.1", 5), ("::1", 80), False),
    "v1 unknown": (b"PROXY UNKNOWN\r\n", None, None, False),
    "v1 unknown with more": (b"PROXY UNKNOWN what ever it is\r\n", None, None, False),
    "v1 unknown, longest": (b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n", None, None, False),
    "v2 IPv4": (binary(), SOURCE, DESTINATION, False),
    "v2 IPv4, DGRAM": (binary(family=0x12), SOURCE, DESTINATION, False),
    "v2 IPv6": (binary(family=0x21, content=ADDRESSES_6), ("2001:db8::1", 1), ("192.0.2.9", 65535), False),
    "v2 unix": (binary(family=0x31, content=b"/run/x".ljust(108, b"\0") * 2), None, None, False),
    "v2 LOCAL": (binary(0x20, 0x00, b""), None, None, False),
    "v2 LOCAL with an address": (binary(0x20), None, None, False),
    "v2 LOCAL, a family that there is not": (binary(0x20, 0xFF), None, None, False),
    "v2 unspecified": (binary(family=0x00, content=b""), None, None, False),
    "v2 unspecified, skipped": (binary(family=0x00, content=b"\xff" * 99), None, None, False),
    "v2 IPv4 of no transport": (binary(family=0x10), None, None, False),
    "v2 with TLS": (binary(content=ADDRESSES_4 + TLS), SOURCE, DESTINATION, True),
    "v2 after other additions": (
        binary(content=ADDRESSES_4 + addition(0x01, b"h2") + addition(0x04, b"") + TLS + addition(0xE0, b"?" * 300)),
        SOURCE,
        DESTINATION,
        True,
    ),
    "v2 with TLS to nobody": (binary(content=ADDRESSES_4 + NO_TLS), SOURCE, DESTINATION, False),
    "v2 with an empty TLS": (binary(content=ADDRESSES_4 + addition(0x20, b"")), SOURCE, DESTINATION, False),
    "v2 longest": (
        binary(content=ADDRESSES_4 + addition(0xE0, bytes(LONGEST - 16 - 12 - 3))),
        SOURCE,
        DESTINATION,
        False,
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_good(name: str) -> None:
    data, source, destination, tls = GOOD[name]
    wanted = Preamble(len(data), source, destination, tls)
    assert read_preamble(data) == wanted
    # What follows is the client's, whatever it is.
    for more in (b"GET / HTTP/1.1\r\n", b"\r\n", b"\n", data, b"\x16\x03\x01"):
        assert read_preamble(data + more) == wanted


@pytest.mark.parametrize("name", GOOD)
def test_cut_at_each_byte(name: str) -> None:
    data = GOOD[name][0]
    for end in range(len(data)):
        assert read_preamble(data[:end]) is None, end


BAD = {
    "a request": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00",
    "small letters": b"proxy TCP4 192.0.2.1 198.51.100.7 56324 443\r\n",
    "no space": b"PROXYTCP4",
    "LF alone": b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\n",
    "LF alone, unknown": b"PROXY UNKNOWN\n",
    "CR within": b"PROXY UNKNOWN a\rb\r\n",
    "two CR": b"PROXY UNKNOWN\r\r\n",
    "neither known nor unknown": b"PROXY UNKNOWNX\r\n",
    "another family": b"PROXY TCP5 192.0.2.1 198.51.100.7 56324 443\r\n",
    "UDP": b"PROXY UDP4 192.0.2.1 198.51.100.7 56324 443\r\n",
    "nothing": b"PROXY \r\n",
    "two spaces": b"PROXY TCP4  192.0.2.1 198.51.100.7 56324 443\r\n",
    "tab": b"PROXY TCP4\t192.0.2.1 198.51.100.7 56324 443\r\n",
    "space at the end": b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443 \r\n",
    "one port": b"PROXY TCP4 192.0.2.1 198.51.100.7 56324\r\n",
    "port with a zero": b"PROXY TCP4 192.0.2.1 198.51.100.7 056 443\r\n",
    "port too high": b"PROXY TCP4 192.0.2.1 198.51.100.7 65536 443\r\n",
    "port with a sign": b"PROXY TCP4 192.0.2.1 198.51.100.7 +80 443\r\n",
    "octal address": b"PROXY TCP4 192.0.2.01 198.51.100.7 80 443\r\n",
    "address too high": b"PROXY TCP4 192.0.2.256 198.51.100.7 80 443\r\n",
    "short address": b"PROXY TCP4 192.0.2 198.51.100.7 80 443\r\n",
    "IPv6 as IPv4": b"PROXY TCP4 ::1 ::1 80 443\r\n",
    "IPv4 as IPv6": b"PROXY TCP6 192.0.2.1 192.0.2.1 80 443\r\n",
    "IPv6 in brackets": b"PROXY TCP6 [::1] [::1] 80 443\r\n",
    "IPv6 with a zone": b"PROXY TCP6 fe80::1%eth0 ::1 80 443\r\n",
    "a name": b"PROXY TCP4 localhost 198.51.100.7 80 443\r\n",
    "digits of another script": "PROXY TCP4 \u0661.2.3.4 1.2.3.4 80 443\r\n".encode(),
    "one byte too long": b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n",
    "without an end": b"PROXY UNKNOWN " + b"x" * 93,
    "signature cut": SIGNATURE[:-1] + b"\r",
    "version 1 in binary": binary(0x11),
    "version 3": binary(0x31),
    "command 2": binary(0x22),
    "family 4": binary(family=0x41),
    "transport 3": binary(family=0x13),
    "IPv4 in too little": binary(content=ADDRESSES_4[:-1]),
    "IPv6 in too little": binary(family=0x21, content=ADDRESSES_4),
    "IPv4 in nothing": binary(content=b""),
    "an addition that is longer than all": binary(content=ADDRESSES_4 + b"\x04\x00\x05abcd"),
    "half a head of an addition": binary(content=ADDRESSES_4 + b"\x04\x00"),
    "too long": binary(length=LONGEST - 15),
    "longest that can be said": binary(length=65535),
    "LOCAL, too long": binary(0x20, length=65535),
}


@pytest.mark.parametrize("name", BAD)
def test_bad(name: str) -> None:
    with pytest.raises(WireError) as refused:
        read_preamble(BAD[name])
    assert refused.value.status == 400


@pytest.mark.parametrize("name", BAD)
def test_bad_is_bad_however_it_is_cut(name: str) -> None:
    """At some byte it is refused, at none is it taken for a preamble, and never the other way round again."""
    outcomes = []
    for end in range(1, len(BAD[name]) + 1):
        try:
            outcomes.append(read_preamble(BAD[name][:end]) is None)
        except WireError:
            outcomes.append(False)
    assert outcomes == sorted(outcomes, reverse=True)
    assert outcomes[-1] is False


def test_refused_as_early_as_it_can_be() -> None:
    for data in (b"G", b"\x16", b"\r\r", b"PROXX", b"PROXY T\n", SIGNATURE + b"\x31\x11\x00\x0c"):
        with pytest.raises(WireError):
            read_preamble(data)


addresses = st.ip_addresses(v=4) | st.ip_addresses(v=6)
ports = st.integers(0, 65535)


@given(address=addresses, here=ports, there=ports, more=st.binary(max_size=40), data=st.data())
def test_both_versions_say_the_same(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, here: int, there: int, more: bytes, data: st.DataObject
) -> None:
    version = address.version
    other = data.draw(st.ip_addresses(v=version))
    line = f"PROXY TCP{version} {address} {other} {here} {there}\r\n".encode()
    packed = address.packed + other.packed + struct.pack("!HH", here, there)
    block = binary(family=0x11 if version == 4 else 0x21, content=packed)
    first, second = read_preamble(line + more), read_preamble(block + more)
    assert first is not None and second is not None
    assert first[1:] == second[1:]
    assert (first.size, second.size) == (len(line), len(block))
    assert first.source is not None
    host = ipaddress.ip_address(first.source[0])
    assert host in (address, getattr(address, "ipv4_mapped", None)) and first.source[1] == here


@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda tail: SIGNATURE + tail))
def test_any_bytes(data: bytes) -> None:
    """They are refused, or waited for, or taken; nothing else happens."""
    try:
        preamble = read_preamble(data)
    except WireError:
        return
    assert preamble is None or 15 <= preamble.size <= len(data)


@given(st.text(alphabet="PROXYTC46UNKNOWN 0123456789.:abf\r\n", max_size=120))
def test_any_line(text: str) -> None:
    data = b"PROXY " + text.encode()
    try:
        preamble = read_preamble(data)
    except WireError:
        return
    if preamble is not None:
        assert data[: preamble.size].endswith(b"\r\n") and data.index(b"\n") == preamble.size - 1 <= 106
    else:
        assert b"\n" not in data and len(data) < 107
