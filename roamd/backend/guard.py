"""Keeps webhooks away from addresses that the operator did not mean (server-side request forgery).

A webhook's name may resolve to anything, and to something else each time, so the check stands where the socket is
made: aiohttp asks `guarded_socket` for every single connection, with the address that it is about to connect to.
"""

import ipaddress
import socket
from typing import Any, Final

from roamd.errors import RoamdError

_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_NAT64_LOCAL: Final = ipaddress.ip_network("64:ff9b:1::/48")
_SITE_LOCAL: Final = ipaddress.ip_network("fec0::/10")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class RefusedAddress(OSError, RoamdError):
    """The address is not on the public internet; an OSError, so that the connector treats it as a failed dial."""

    code = "refused-address"


def is_public(address: str) -> bool:
    """Whether an address, and every IPv4 address that is wrapped in it, is on the public internet."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return all(_is_public_alone(each) for each in (parsed, *_wrapped(parsed)))


def _is_public_alone(address: Address) -> bool:
    return address.is_global and not address.is_multicast and not address.is_reserved and not _is_local_v6(address)


def _is_local_v6(address: Address) -> bool:
    return isinstance(address, ipaddress.IPv6Address) and (address in _SITE_LOCAL or address in _NAT64_LOCAL)


def _wrapped(address: Address) -> list[Address]:
    """IPv4 addresses to which a packet for this IPv6 address would be translated."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    found: list[Address] = [each for each in (address.ipv4_mapped, address.sixtofour) if each is not None]
    if address.teredo is not None:
        found += address.teredo
    if address in _NAT64 or int(address) >> 32 == 0:  # the second: the old IPv4-compatible form
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return found


def guarded_socket(where: tuple[Any, Any, int, str, tuple[Any, ...]]) -> socket.socket:
    """A socket for this address. Raises RefusedAddress when it is not public."""
    family, kind, protocol, _, address = where
    if not is_public(str(address[0])):
        raise RefusedAddress("The webhook's address is not public; set allow_private if it is meant.")
    return socket.socket(family, kind, protocol)
