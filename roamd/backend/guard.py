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
    """Whether packets for this address end on the public internet, whatever IPv4 address is wrapped in it."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    translated = _translated(parsed)
    if translated is not None:
        return _is_public_alone(translated)
    return _is_public_alone(parsed) and all(map(_is_public_alone, _tunnelled(parsed)))


def _is_public_alone(address: Address) -> bool:
    return address.is_global and not address.is_multicast and not address.is_reserved and not _is_local_v6(address)


def _is_local_v6(address: Address) -> bool:
    return isinstance(address, ipaddress.IPv6Address) and (address in _SITE_LOCAL or address in _NAT64_LOCAL)


def _translated(address: Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that is dialled in truth: by the kernel (mapped) or by the network (NAT64)."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped


def _tunnelled(address: Address) -> list[Address]:
    """IPv4 addresses to which an old tunnel would carry it."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    found: list[Address] = [] if address.sixtofour is None else [address.sixtofour]
    if address.teredo is not None:
        found += address.teredo
    if int(address) >> 32 == 0:  # the IPv4-compatible form, long deprecated
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return found


def guarded_socket(where: tuple[Any, Any, int, str, tuple[Any, ...]]) -> socket.socket:
    """A socket for this address. Raises RefusedAddress when it is not public."""
    family, kind, protocol, _, address = where
    if not is_public(str(address[0])):
        raise RefusedAddress("The webhook's address is not public; set allow_private if it is meant.")
    return socket.socket(family, kind, protocol)
