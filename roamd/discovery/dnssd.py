"""The finder for the wide area: DNS service discovery (RFC 6763) of `_roamd._tcp.<domain>` for configured domains.

A company shows its endpoint in its own zone. `id` names it; a company that wants to be recognised by those alone who
know its endpoint id writes `salt` and `tag` instead, as in mDNS (see `finder`). Without either it is an address.

    _roamd._tcp.roam.example.      3600 PTR  ABC._roamd._tcp.roam.example.
    ABC._roamd._tcp.roam.example.  3600 SRV  0 0 63119 roamd.abc.example.
    ABC._roamd._tcp.roam.example.  3600 TXT  "id=ABCDEFG-..."

SRV and TXT may also stand at `_roamd._tcp.<domain>` itself, where there is only one.

What it may be relied on for: places to try, and nothing else. The DNS is neither authentic nor honest here; who is at
an address is settled by the handshake. A domain is asked again when its records' time is over, with jitter, never more
often than once a minute. Who answers with thousands of services, loops or texts without end is cut short or refused as
a whole. While a domain cannot be asked, what it showed last stays for a day: an address is only a place to try.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import dns.exception
import dns.name
import dns.rdatatype
import trio

from roamd.discovery.dnsquery import Found, LookupFailedError, NameServer, ask, system_name_servers
from roamd.discovery.finder import SALT_BYTES, TAG_BYTES, Report, Sighting, Veil
from roamd.errors import Malformed
from roamd.log import get_logger
from roamd.trust.descriptor import is_address
from roamd.trust.endpoint import parse_endpoint_id

log = get_logger()

SERVICE: Final = "_roamd._tcp"
MAX_INSTANCES: Final = 64
"""Services taken of one domain. A company has one or a few; a register of an industry's endpoints is no domain."""

MAX_TARGETS: Final = 8
MAX_STRINGS: Final = 16
"""Of a TXT record; each has at most 255 bytes."""

ABREAST: Final = 4
LEAST_S: Final = 60.0
MOST_S: Final = 24 * 3600.0
"""Between two looks at a domain, whatever its records say."""

RETRY_S: Final = 60.0
RETRY_MOST_S: Final = 3600.0
STALE_S: Final = 24 * 3600.0
"""For how long what was seen stays while nobody answers."""

JITTER: Final = 0.1

Lookup = Callable[[dns.name.Name, dns.rdatatype.RdataType], Any]
Note = Callable[[str, str], None]
"""Told of each domain how its last look went, in a few words."""


@dataclass(slots=True)
class Listing:
    """What one look at a domain gave: services by name, those that could not be asked, and for how long it holds.

    That is `MOST_S` at the most, whatever its records say.
    """

    found: dict[str, Sighting] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)
    unreadable: int = 0
    ttl_s: float = MOST_S

    def hold(self, found: Found) -> tuple[Any, ...]:
        """Its records; the listing holds no longer than they do."""
        self.ttl_s = min(self.ttl_s, found.ttl_s)
        return found.records


@dataclass(frozen=True, slots=True)
class DnsSdFinder:
    """A Finder that runs on trio. `servers` is asked anew at each look, as `/etc/resolv.conf` changes."""

    domains: Sequence[str]
    random: Callable[[int], bytes]
    note: Note = lambda domain, state: None
    servers: Callable[[], Sequence[NameServer]] = system_name_servers

    async def run(self, report: Report) -> None:
        """Look until cancelled; a domain that cannot be looked up is tried again with patience."""
        async with trio.open_nursery() as nursery:
            for domain in self.domains:
                nursery.start_soon(self._keep_watching, domain, report)

    async def _keep_watching(self, domain: str, report: Report) -> None:
        while True:
            try:
                await self._watch(domain, report)
            except Exception:  # the edge of a finder: it begins again, the daemon goes on
                log.exception("domain_watch_crashed", domain=domain)
                await trio.sleep(RETRY_MOST_S)

    async def _watch(self, domain: str, report: Report) -> None:
        shown: dict[str, Sighting] = {}
        failures, seen_at, state = 0, trio.current_time(), ""
        while True:
            before = state
            try:
                listing = await look(domain, functools.partial(ask, servers=self.servers(), random=self.random))
                state, failures, seen_at = _in_words(listing), 0, trio.current_time()
                wait_s = max(listing.ttl_s, LEAST_S)
            except LookupFailedError as error:
                listing, state, failures = Listing(unknown=set(shown)), f"not answered: {error}", failures + 1
                wait_s = min(RETRY_S * 2 ** min(failures - 1, 10), RETRY_MOST_S)
            if trio.current_time() - seen_at > STALE_S:
                listing.unknown.clear()
            shown = _update(shown, listing, report)
            if state != before:
                self._tell(domain, state, failed=failures > 0)
            await trio.sleep(wait_s * (1 + JITTER * self._share()))

    def _share(self) -> float:
        return int.from_bytes(self.random(4), "big") / 2**32

    def _tell(self, domain: str, state: str, *, failed: bool) -> None:
        self.note(domain, state)
        if failed:
            log.warning("domain_not_looked_up", domain=domain, detail=state)
        else:
            log.info("domain_looked_up", domain=domain, detail=state)


def _in_words(listing: Listing) -> str:
    parts = [f"{len(listing.found)} seen"]
    parts += [f"{len(listing.unknown)} not answered"] if listing.unknown else []
    parts += [f"{listing.unreadable} unreadable"] if listing.unreadable else []
    return ", ".join(parts)


def _update(shown: dict[str, Sighting], listing: Listing, report: Report) -> dict[str, Sighting]:
    """Report what differs from what was shown; what could not be asked stays as it was."""
    now = {name: sighting for name, sighting in shown.items() if name in listing.unknown} | listing.found
    for name in shown.keys() - now.keys():
        report(Sighting("dns", name, (), gone=True))
    for name, sighting in now.items():
        if shown.get(name) != sighting:
            report(sighting)
    return now


async def look(domain: str, lookup: Lookup) -> Listing:
    """Ask for everything below one domain. Raises LookupFailedError when not even its services can be listed."""
    listing = Listing()
    try:
        service = dns.name.from_text(f"{SERVICE}.{domain}")
    except (dns.exception.DNSException, UnicodeError) as error:
        raise LookupFailedError(f"{domain} is no domain name: {error}") from error
    pointers = listing.hold(await lookup(service, dns.rdatatype.PTR))
    instances = dict.fromkeys(record.target for record in pointers[:MAX_INSTANCES]) or {service: None}
    limit = trio.CapacityLimiter(ABREAST)
    async with trio.open_nursery() as nursery:
        for instance in instances:
            nursery.start_soon(_resolve, instance, lookup, listing, limit)
    return listing


async def _resolve(instance: dns.name.Name, lookup: Lookup, listing: Listing, limit: trio.CapacityLimiter) -> None:
    name = shown_name(instance)
    async with limit:
        try:
            services = listing.hold(await lookup(instance, dns.rdatatype.SRV))
            texts = listing.hold(await lookup(instance, dns.rdatatype.TXT)) if services else ()
        except LookupFailedError:
            listing.unknown.add(name)
            listing.ttl_s = LEAST_S
            return
    if not services:
        return
    sighting = sighting_of(name, services, texts)
    if sighting is None:
        listing.unreadable += 1
    else:
        listing.found[name] = sighting


def sighting_of(name: str, services: Iterable[Any], texts: Iterable[Any]) -> Sighting | None:
    """What SRV and TXT records say, or None when no address is in them or the id cannot be read.

    The likelier of several servers comes first, by priority and weight. Not at random, as RFC 2782 has it: all are
    tried in turn anyhow, and an order that changed at each look would look like a changed address. A target that is the
    root says that there is no such service here.
    """
    here = [record for record in services if record.target != dns.name.root]
    ordered = sorted(here, key=lambda record: (record.priority, -record.weight))
    addresses = tuple(dict.fromkeys(filter(is_address, map(_address, ordered))))[:MAX_TARGETS]
    told = _pairs(texts)
    if not addresses:
        return None
    if "tag" in told or "salt" in told:
        salt, tag = _hex(told.get("salt", "")), _hex(told.get("tag", ""))
        veiled = len(salt) == SALT_BYTES and len(tag) == TAG_BYTES
        return Sighting("dns", name, addresses, veil=Veil(salt, tag)) if veiled else None
    try:
        return Sighting("dns", name, addresses, parse_endpoint_id(told["id"]) if "id" in told else None)
    except Malformed:
        return None


def _address(record: Any) -> str:
    return f"{record.target.to_text(omit_final_dot=True)}:{record.port}"


def _pairs(texts: Iterable[Any]) -> dict[str, str]:
    """`key=value` strings of the first TXT record; a key counts once, the first time (RFC 6763, 6.4)."""
    pairs: dict[str, str] = {}
    record = next(iter(texts), None)
    for string in record.strings[:MAX_STRINGS] if record is not None else ():
        key, _, value = string.decode("ascii", "replace").partition("=")
        pairs.setdefault(key.lower(), value)
    return pairs


def _hex(value: str) -> bytes:
    try:
        return bytes.fromhex(value)
    except ValueError:
        return b""


def shown_name(instance: dns.name.Name) -> str:
    """A service's name for people: its own label, and below which domain; unique, as escapes keep names apart."""
    return instance.to_text(omit_final_dot=True)
