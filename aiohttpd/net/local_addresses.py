"""The addresses of this machine, found without name resolution and without sending a packet."""

import contextlib
import ipaddress
import socket
import struct

__all__ = ["addresses"]

_SIOCGIFADDR = 0x8915  # Linux: the IPv4 address of an interface


def addresses(*, ipv4: bool, ipv6: bool) -> list[str]:
    """The addresses under which other machines may reach this one; neither loopback nor link-local.

    Args:
        ipv4: whether to look for IPv4 addresses.
        ipv6: whether to look for IPv6 addresses.
    """
    found: list[str | None] = []
    if ipv4:
        found += [*_of_interfaces(), _of_route(socket.AF_INET, "192.0.2.1")]
    if ipv6:
        found += [*_of_ipv6_interfaces(), _of_route(socket.AF_INET6, "2001:db8::1")]
    return [
        text
        for text in dict.fromkeys(filter(None, found))
        if not (address := ipaddress.ip_address(text)).is_loopback and not address.is_link_local
    ]


def _of_interfaces() -> list[str]:
    try:
        import fcntl  # not on Windows

        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            found = []
            for _, name in socket.if_nameindex():
                with contextlib.suppress(OSError):  # an interface without an address
                    request = struct.pack("256s", name.encode()[:15])
                    found.append(socket.inet_ntoa(fcntl.ioctl(sock.fileno(), _SIOCGIFADDR, request)[20:24]))
            return found
    except (ImportError, OSError):
        return []


def _of_ipv6_interfaces() -> list[str]:
    try:
        with open("/proc/net/if_inet6") as file:
            return [str(ipaddress.IPv6Address(bytes.fromhex(line.split()[0]))) for line in file]
    except (OSError, ValueError):
        return []


def _of_route(family: socket.AddressFamily, somewhere: str) -> str | None:
    """The source address of packets to a destination, an address reserved for documentation. No packet is sent."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((somewhere, 9))
            return str(sock.getsockname()[0])
    except OSError:
        return None
