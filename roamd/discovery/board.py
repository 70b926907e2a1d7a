"""The candidates' board: every source's sightings, merged into one list of who might be out there.

Sightings that name the same endpoint (by id, or by a veil that a known id lifts) become one candidate; what nobody
can name stays one candidate per sighting. The board is plain data on one thread: it neither dials nor trusts, and it
is bounded, because anyone on the local network can make up services by the thousand.

Addresses are given in the order in which they deserve to be tried: what the operator wrote first, then source by source
(`SOURCE_ORDER`), of each what was seen longest ago first. So a stranger who copies a peer's tag can add a wrong address
at the end and take no right one away.
"""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from roamd.clock import Clock, rfc3339
from roamd.discovery.finder import Sighting, Source

MAX_UNNAMED = 256
"""Strangers kept at most, the oldest making room: more than any exhibition hall's network has, and 100 KB."""

MAX_PER_ENDPOINT = 8
"""Sightings kept of one named endpoint and source; more is somebody playing with copied tags."""

MAX_ADDRESSES = 8
"""Addresses taken from one sighting: a machine with more interfaces is reached by one of the first."""

SOURCE_ORDER: tuple[Source, ...] = ("config", "introduction", "dns", "mdns")
"""Who is believed first about addresses: the operator, then what the endpoint itself has signed, then the networks."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Somebody who may be reached at `addresses`, best first. `endpoint_id` is None until recognised."""

    name: str
    sources: tuple[Source, ...]
    addresses: tuple[str, ...]
    endpoint_id: str | None
    parties: tuple[str, ...]
    vouched_by: tuple[str, ...]
    first_seen_ms: int
    last_seen_ms: int

    def as_dict(self) -> dict[str, Any]:
        """As `GET /v1/candidates` shows it."""
        return {
            "name": self.name,
            "sources": list(self.sources),
            "addresses": list(self.addresses),
            "endpoint_id": self.endpoint_id,
            "parties": list(self.parties),
            "vouched_by": list(self.vouched_by),
            "first_seen": rfc3339(self.first_seen_ms),
            "last_seen": rfc3339(self.last_seen_ms),
        }


@dataclass(frozen=True, slots=True)
class _Seen:
    sighting: Sighting
    endpoint_id: str | None
    first_ms: int
    last_ms: int


class Board:
    """Merges sightings. All methods belong to one thread.

    `known` gives the endpoint ids of all paired peers, and is asked anew at each need. `recognised(endpoint_id,
    addresses)` is called, without reentrance into the board, whenever a known peer's addresses were found or changed:
    a good moment to dial. Our own service, seen by ourselves, is dropped.
    """

    def __init__(
        self,
        clock: Clock,
        own_endpoint_id: str,
        known: Callable[[], Iterable[str]],
        recognised: Callable[[str, tuple[str, ...]], None] = lambda _endpoint_id, _addresses: None,
    ) -> None:
        self._clock = clock
        self._own = own_endpoint_id
        self._known = known
        self._recognised = recognised
        self._seen: dict[tuple[Source, str], _Seen] = {}

    def take(self, sighting: Sighting) -> None:
        """Take one sighting in, or back when it says `gone`."""
        key = (sighting.source, sighting.name)
        if sighting.gone:
            self._seen.pop(key, None)
            return
        sighting = replace(sighting, addresses=sighting.addresses[:MAX_ADDRESSES])
        endpoint_id = self._name(sighting)
        if endpoint_id == self._own:
            return
        before = self._seen.get(key)
        now = self._clock.now_ms()
        self._seen[key] = _Seen(sighting, endpoint_id, before.first_ms if before else now, now)
        self._make_room(key, endpoint_id)
        if endpoint_id is not None and key in self._seen and _says_more(before, self._seen[key]):
            self._recognised(endpoint_id, self.addresses_of(endpoint_id))

    def peers_changed(self) -> None:
        """A peer was paired or removed: look at every veil again."""
        newly: dict[str, None] = {}
        for key, seen in list(self._seen.items()):
            endpoint_id = self._name(seen.sighting)
            if endpoint_id != seen.endpoint_id:
                self._seen[key] = replace(seen, endpoint_id=endpoint_id)
                newly |= {endpoint_id: None} if endpoint_id is not None else {}
        for endpoint_id in newly:
            self._recognised(endpoint_id, self.addresses_of(endpoint_id))

    def forget(self, source: Source) -> None:
        """Drop all of one source: its finder ended, and will report again when it starts anew."""
        self._seen = {key: seen for key, seen in self._seen.items() if key[0] != source}

    def candidates(self) -> list[Candidate]:
        """Everybody, the longest known first."""
        groups: dict[str, list[_Seen]] = {}
        for (source, name), seen in self._seen.items():
            groups.setdefault(seen.endpoint_id or f"{source} {name}", []).append(seen)
        return sorted(map(_merge, groups.values()), key=lambda candidate: (candidate.first_seen_ms, candidate.name))

    def seen_by_source(self) -> dict[Source, int]:
        """How many each means of discovery sees at this time."""
        return {source: sum(key[0] == source for key in self._seen) for source in SOURCE_ORDER}

    def addresses_of(self, endpoint_id: str) -> tuple[str, ...]:
        """Where this endpoint may be reached, best first; empty when nobody saw it."""
        seen = [one for one in self._seen.values() if one.endpoint_id == endpoint_id]
        return _merge(seen).addresses if seen else ()

    def _name(self, sighting: Sighting) -> str | None:
        veil = sighting.veil
        if veil is None:
            return sighting.endpoint_id
        if veil.hides(self._own):
            return self._own
        return next((endpoint_id for endpoint_id in self._known() if veil.hides(endpoint_id)), None)

    def _make_room(self, newest: tuple[Source, str], endpoint_id: str | None) -> None:
        """Keep the bounds; what the operator wrote is never dropped for what a network says.

        Strangers make room oldest first (the newest is likelier to be alive); among the sightings of one known
        endpoint the newest gives way, so that copied tags do not push out the real service.
        """
        if newest[0] == "config":
            return
        alike = [key for key, seen in self._seen.items() if key[0] == newest[0] and seen.endpoint_id == endpoint_id]
        if endpoint_id is None and len(alike) > MAX_UNNAMED:
            del self._seen[min(alike, key=lambda key: self._seen[key].last_ms)]
        elif endpoint_id is not None and len(alike) > MAX_PER_ENDPOINT:
            del self._seen[newest]


def _says_more(before: _Seen | None, now: _Seen) -> bool:
    if before is None or before.endpoint_id != now.endpoint_id:
        return True
    return before.sighting.addresses != now.sighting.addresses


def _merge(group: list[_Seen]) -> Candidate:
    ordered = sorted(group, key=lambda seen: (SOURCE_ORDER.index(seen.sighting.source), seen.first_ms))
    return Candidate(
        name=ordered[0].sighting.title or ordered[0].sighting.name,
        sources=tuple(dict.fromkeys(seen.sighting.source for seen in ordered)),
        addresses=tuple(dict.fromkeys(address for seen in ordered for address in seen.sighting.addresses)),
        endpoint_id=ordered[0].endpoint_id,
        parties=_united(seen.sighting.parties for seen in ordered),
        vouched_by=_united(seen.sighting.vouched_by for seen in ordered),
        first_seen_ms=min(seen.first_ms for seen in ordered),
        last_seen_ms=max(seen.last_ms for seen in ordered),
    )


def _united(lists: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(itertools.chain.from_iterable(lists)))
