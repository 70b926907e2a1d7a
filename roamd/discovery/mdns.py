"""The finder for the local network: multicast DNS service discovery of `_roamd._tcp.local.`, by zeroconf.

Runs on asyncio, in the asyncio thread. What it shows of us is a random instance name, a random host name, the port,
the addresses, and the veil of `finder`; nothing that names a company and nothing that lasts beyond this start.

What can go wrong: a machine without multicast (containers, many cloud networks, a loopback without it) is found out
by a datagram to ourselves before zeroconf starts, because zeroconf itself would only stay silent. Interfaces are
read when `run` starts; one that appears later is seen at the next start.
"""

import asyncio
import base64
import contextlib
import ipaddress
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import ifaddr
from zeroconf import ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from roamd.discovery.finder import SALT_BYTES, TAG_BYTES, Report, Sighting, Veil
from roamd.discovery.multicast import multicast_trouble
from roamd.errors import OperatorError
from roamd.log import get_logger

_log = get_logger()

AGAIN_S = 60.0
"""Between two tries where multicast is not to be had; an interface may come up later."""

SERVICE_TYPE = "_roamd._tcp.local."
NAME_BYTES = 10
"""80 random bits for a name: no clash, and 16 base32 characters without padding."""

RESOLVE_MS = 3000
"""How long a seen service may take to give its address; zeroconf asks several times within it."""

MAX_RESOLVING = 32
"""Services being resolved at a time; a network that shows more at once is shown later or is lying."""


class NoMulticastError(OperatorError):
    """This machine gives no multicast on the wanted interfaces; the message says what to do instead."""

    code = "no-multicast"


@dataclass(frozen=True, slots=True)
class MdnsFinder:
    """`run_mdns` as a Finder, for the asyncio thread. The fields are `run_mdns`'s parameters."""

    endpoint_id: str
    advertise: int | None
    addresses: Sequence[str] = ()
    interfaces: Sequence[str] = ()
    random: Callable[[int], bytes] = field(default=os.urandom)

    async def run(self, report: Report) -> None:
        """Announce and browse until cancelled."""
        await run_mdns(
            self.endpoint_id, self.advertise, self.addresses, report, interfaces=self.interfaces, random=self.random
        )


async def run_mdns(
    endpoint_id: str,
    advertise: int | None,
    addresses: Sequence[str],
    on_candidate: Report,
    *,
    interfaces: Sequence[str] = (),
    random: Callable[[int], bytes] = os.urandom,
) -> None:
    """Announce ourselves (when `advertise` names a port) and report whom we see, until cancelled.

    `addresses` are the IP addresses to announce; none means those of the interfaces. `interfaces` are the IPv4
    addresses of the interfaces to use; none means all but loopback, which is used only when it is named.
    Raises NoMulticastError, or OSError when the network goes away; the caller restarts with back-off. On
    cancellation the service is taken back by a goodbye.
    """
    wanted = tuple(interfaces) or tuple(own_addresses())
    troubles = {interface: await asyncio.to_thread(multicast_trouble, interface) for interface in wanted}
    usable = [interface for interface, trouble in troubles.items() if trouble is None]
    if not usable:
        raise NoMulticastError(_explain(troubles))
    zeroconf = AsyncZeroconf(interfaces=usable)
    try:
        await zeroconf.zeroconf.async_wait_for_start()
        service = _service(endpoint_id, advertise, tuple(addresses) or wanted, random) if advertise else None
        async with _Browser(zeroconf, on_candidate, own=service.name if service else None):
            if service:
                await zeroconf.async_register_service(service)
            await asyncio.get_running_loop().create_future()
    finally:
        await zeroconf.async_close()


async def keep_mdns(run: Callable[[], Awaitable[None]], note: Callable[[str], None]) -> None:
    """Run mDNS, and begin again with patience whenever it ends; `note` is told "on", or why not. Until cancelled.

    Without multicast the daemon lives on static addresses, so this is logged and never an error.
    """
    while True:
        note("on")
        try:
            await run()
        except (NoMulticastError, OSError) as error:
            _log.warning("mdns_unavailable", reason=str(error))
            note(f"unavailable: {error}")
        await asyncio.sleep(AGAIN_S)


def _service(endpoint_id: str, port: int, addresses: Sequence[str], random: Callable[[int], bytes]) -> AsyncServiceInfo:
    """Our service record. Instance and host have names of their own, both random."""
    veil = Veil.over(endpoint_id, random(SALT_BYTES))
    return AsyncServiceInfo(
        SERVICE_TYPE,
        f"{_random_name(random)}.{SERVICE_TYPE}",
        server=f"{_random_name(random)}.local.",
        port=port,
        parsed_addresses=list(addresses),
        properties={"salt": veil.salt.hex(), "tag": veil.tag.hex()},
    )


def _random_name(random: Callable[[int], bytes]) -> str:
    return base64.b32encode(random(NAME_BYTES)).decode("ascii").lower()


class _Browser:
    """Sees services come, change and go; resolves each in a task of its own, and owns those tasks."""

    def __init__(self, zeroconf: AsyncZeroconf, report: Report, own: str | None) -> None:
        self._zeroconf = zeroconf.zeroconf
        self._report = report
        self._own = own
        self._resolving: dict[str, asyncio.Task[None]] = {}

    async def __aenter__(self) -> "_Browser":
        self._browser = AsyncServiceBrowser(self._zeroconf, SERVICE_TYPE, handlers=[self._on_change])
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._browser.async_cancel()
        tasks = list(self._resolving.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _on_change(
        self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange
    ) -> None:  # zeroconf calls by keyword
        if name == self._own:
            return
        if state_change is ServiceStateChange.Removed:
            self._report(Sighting("mdns", _label(name), (), gone=True))
        elif name not in self._resolving and len(self._resolving) < MAX_RESOLVING:
            task = asyncio.ensure_future(self._resolve(name))
            self._resolving[name] = task
            task.add_done_callback(lambda _task: self._resolving.pop(name, None))

    async def _resolve(self, name: str) -> None:
        info = AsyncServiceInfo(SERVICE_TYPE, name)
        with contextlib.suppress(OSError):  # the network went while we asked; its return is seen as a new service
            await info.async_request(self._zeroconf, RESOLVE_MS)
        sighting = sighting_of(info)
        if sighting is not None:
            self._report(sighting)


def sighting_of(info: AsyncServiceInfo) -> Sighting | None:
    """What a service record says, or None when it is not a whole one of ours. Everything in it is a stranger's."""
    addresses = tuple(host_port(address, info.port or 0) for address in info.parsed_scoped_addresses())
    salt, tag = (_hex(info.properties.get(key)) for key in (b"salt", b"tag"))
    if not addresses or not info.port or len(salt) != SALT_BYTES or len(tag) != TAG_BYTES:
        return None
    return Sighting("mdns", _label(info.name), addresses, veil=Veil(salt, tag))


def _hex(value: bytes | None) -> bytes:
    try:
        return bytes.fromhex((value or b"").decode("ascii"))
    except ValueError:  # also UnicodeDecodeError
        return b""


def _label(name: str) -> str:
    return name.removesuffix(f".{SERVICE_TYPE}")


def host_port(address: str, port: int) -> str:
    """`host:port`, with an IPv6 address in brackets."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def own_addresses() -> list[str]:
    """This machine's IPv4 addresses that other machines could use: all but loopback."""
    found = [ip.ip for adapter in ifaddr.get_adapters() for ip in adapter.ips if isinstance(ip.ip, str)]
    return [address for address in found if not ipaddress.ip_address(address).is_loopback]


def _explain(troubles: Mapping[str, str | None]) -> str:
    why = "; ".join(f"{interface}: {trouble}" for interface, trouble in troubles.items())
    return (
        f"mDNS cannot run: no multicast here ({why or 'no network interface but loopback'}). "
        "Name partners under [[candidates]], or set discovery.mdns = false."
    )
