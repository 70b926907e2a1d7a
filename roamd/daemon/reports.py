"""What the operator is shown: the state of the daemon, its peers and their queues, as JSON-able dicts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from roamd import __version__
from roamd.clock import Clock, rfc3339
from roamd.config.schema import Config
from roamd.discovery.board import Board
from roamd.model.routes import FUNCTIONS, routes_for
from roamd.peering.service import Peering
from roamd.roaming.calls import OutgoingCalls
from roamd.roaming.directory import Directory, Peer
from roamd.roaming.introduce import successors_held
from roamd.storage import feeds, ledgers, records
from roamd.storage.records import PARKED, QUEUED, Counts
from roamd.storage.store import Cx, Store
from roamd.trust.contexts import Contexts
from roamd.trust.succession import Succession, key_id, succession_of_own

NOTHING = Counts(0, 0, 0, 0)
_REFUSED = "it was not told of the key that we use now, and refuses it: pair anew, or let a common partner introduce us"
AGES = ((60, "under a minute"), (3600, "under an hour"), (86_400, "under a day"), (float("inf"), "older"))


@dataclass(slots=True)
class Reports:
    """Reads everything, changes nothing."""

    config: Callable[[], Config]
    clock: Clock
    store: Store
    directory: Directory
    peering: Peering
    board: Board
    contexts: Contexts
    calls: OutgoingCalls
    began_at: float
    clock_jumps: Callable[[], int]
    mdns: Callable[[], str]
    domains: Callable[[], dict[str, str]]

    def status(self) -> dict[str, Any]:
        """`roamd status`."""
        config, counts = self.config(), self.store.read(records.counts)
        total = Counts(*(sum(column) for column in zip(*counts.values(), strict=True))) if counts else NOTHING
        peers = list(self.directory)
        return {
            "version": __version__,
            "name": config.endpoint.name,
            "endpoint_id": self.contexts.identity.endpoint_id,
            "parties": list(config.endpoint.parties),
            "roles": list(config.endpoint.roles),
            "uptime_s": round(self.clock.monotonic() - self.began_at, 1),
            "reach": str(config.link.advertise) if config.link.advertise else "dial-only",
            "peers": {
                "known": len(peers),
                "up": sum(peer.exchange is not None for peer in peers),
                "pending": sum(peer.row.state == "PENDING" for peer in peers),
                "suspended": sum(peer.row.state == "SUSPENDED" for peer in peers),
            },
            "records": total._asdict(),
            "store": {"full": self.store.full, "waiting": self.store.waiting},
            "mdns": self.mdns(),
            "domains": [f"{domain}: {state}" for domain, state in self.domains().items()],
            "clock_jumps": self.clock_jumps(),
            "leaf_expires_at": rfc3339(self.contexts.leaf.not_after_ms),
            "alarms": [
                *(f"{peer.label}: {alarm}" for peer in peers for alarm in peer.alarms),
                *(f"{label}: {_REFUSED}" for label in self._refused_by()),
            ],
        }

    def _refused_by(self) -> list[str]:
        """Partners that cannot know the key in use, and are not linked."""
        in_use = succession_of_own(self.contexts.identity).in_use if self.contexts.identity.succession else 0
        down = [peer.label for peer in self.directory if peer.active and peer.exchange is None] if in_use else []
        return self.store.read(lambda cx: [label for label in down if successors_held(cx, label) < in_use])

    def identity(self) -> dict[str, Any]:
        """`roamd identity`: our keys, and which partners do not know yet that another one comes.

        Who is suspended, or not confirmed yet, cannot be told; it will refuse the next key all the same.
        """
        succession = succession_of_own(self.contexts.identity)
        held = self.store.read(lambda cx: {peer.label: successors_held(cx, peer.label) for peer in self.directory})
        announced = succession.announced
        return {
            "endpoint_id": succession.endpoint_id,
            "announced": announced is not None,
            "overlap_over": announced is not None and announced.until_ms < self.clock.now_ms(),
            "keys": [_key(succession, number) for number in range(len(succession.certificates))],
            "not_told": [label for label, number in held.items() if number < len(succession.steps)],
        }

    def peers(self) -> dict[str, Any]:
        """`roamd peers`."""
        counts = self.store.read(records.counts)
        shown = [self._peer(peer, counts) for peer in self.directory]
        return {"items": [*shown, *(self._route(peer, counts) for peer in self.directory.plain)], "next": None}

    def peer(self, label: str) -> dict[str, Any]:
        """`roamd peers show`: with agreement, feeds and chains."""
        peer = self.directory.get(label)
        if peer.way is not None:
            return self._route(peer, self.store.read(records.counts))
        shown = self._peer(peer, self.store.read(records.counts))
        agreement = peer.agreement
        publisher = peer.exchange.publisher if peer.exchange is not None else None
        shown["introduce"] = agreement.introduce
        shown["identity"] = self._identity_of(peer)
        shown["agreement"] = {
            "our_roles": list(agreement.our_roles),
            "their_roles": list(agreement.their_roles),
            "evse_prefixes": list(agreement.evse_prefixes),
            "contract_prefixes": list(agreement.contract_prefixes),
            "feeds_out": list(agreement.feeds_out),
            "feeds_in": list(agreement.feeds_in),
            "withheld": {feed: list(names) for feed, names in agreement.withheld.items()},
            "keyed_list": agreement.keyed_list,
            "pseudonyms": agreement.pseudonyms,
        }
        shown["feeds"] = {
            "mirrored": {feed: n for (name, feed), n in self.store.read(feeds.count_mirrored).items() if name == label},
            "in_sync": publisher.in_sync() if publisher is not None else {},
        }
        shown["routes"] = [self._route_of(peer, function) for function in FUNCTIONS]
        shown["chains"] = self.chains(label)["items"]
        return shown

    def _identity_of(self, peer: Peer) -> dict[str, Any]:
        """Which of its keys it uses, and what it has announced."""
        succession = peer.succession
        numbers = range(len(succession.certificates))
        taken = set(peer.keys(self.clock.now_ms()))
        return {
            "number": succession.in_use,
            "key_id": key_id(succession.current),
            "next_key_id": key_id(succession.certificates[-1]) if succession.announced else None,
            "old_keys_taken": sum(succession.certificates[n] in taken for n in numbers if n < succession.in_use),
        }

    def _route_of(self, peer: Peer, function: str) -> dict[str, Any]:
        """The list of one function, and which of it is in use now."""
        carrier = peer.carrier(function)
        links = self.peering.registry.of(peer) if carrier is not None else []
        now = next((link.route for link in links if link.exchange is carrier), None)
        return {"function": function, "routes": list(routes_for(peer.agreement.routes, function)), "now": now}

    def _peer(self, peer: Peer, counts: dict[str | None, Counts]) -> dict[str, Any]:
        wait_s = self.peering.next_attempt_s(peer)
        return {
            "peer": peer.label,
            "endpoint_id": peer.endpoint_id,
            "name": peer.row.name,
            "parties": list(peer.row.parties),
            "state": peer.row.state,
            "link": "UP" if peer.exchange is not None else "DOWN",
            "address": peer.row.address,
            "words": peer.row.words,
            "paired_at": rfc3339(peer.row.paired_at_ms),
            "last_up_at": rfc3339(peer.last_up_ms) if peer.last_up_ms is not None else None,
            "last_error": peer.last_error,
            "next_attempt_s": None if wait_s is None else round(wait_s, 1),
            "clock_skew_ms": peer.skew_ms,
            "open_calls": self.calls.open_of(peer),
            "records": counts.get(peer.label, NOTHING)._asdict(),
            "alarms": list(peer.alarms),
        }

    def _route(self, peer: Peer, counts: dict[str | None, Counts]) -> dict[str, Any]:
        """A partner that does not run roamd; how the way to it is, `ocpi` says (backend.ocpi.plain)."""
        return {
            "peer": peer.label,
            "endpoint_id": None,
            "name": peer.row.name,
            "parties": list(peer.row.parties),
            "roles": list(peer.agreement.their_roles),
            "state": peer.row.state,
            "link": "OCPI",
            "paired_at": rfc3339(peer.row.paired_at_ms),
            "records": counts.get(peer.label, NOTHING)._asdict(),
            "alarms": list(peer.alarms),
        }

    def candidates(self) -> dict[str, Any]:
        """`roamd candidates`; a recognised one names its peer."""
        items = []
        for candidate in self.board.candidates():
            peer = self.directory.by_endpoint(candidate.endpoint_id) if candidate.endpoint_id else None
            items.append({**candidate.as_dict(), "peer": peer.label if peer else None})
        return {"items": items, "next": None}

    def queue(self) -> dict[str, Any]:
        """`roamd queue`: the law, per peer."""

        def read(cx: Cx) -> list[dict[str, Any]]:
            return [self._queue_row(cx, peer, counts) for peer, counts in records.counts(cx).items()]

        return {"items": self.store.read(read), "next": None}

    def _queue_row(self, cx: Cx, peer: str | None, counts: Counts) -> dict[str, Any]:
        oldest = records.page(cx, 0, 1, state=QUEUED, peer=peer) if peer else []
        return {
            "peer": peer,
            **counts._asdict(),
            "oldest_at": rfc3339(oldest[0].created_ms) if oldest else None,
        }

    def shape(self) -> dict[str, Any]:
        """`roamd queue shape`: how old what waits is, and of what kind."""
        now_ms = self.clock.now_ms()
        waiting = self.store.read(lambda cx: [*_all(cx, QUEUED), *_all(cx, PARKED)])
        shape: dict[str, dict[str, int]] = {QUEUED: {}, PARKED: {}, "kinds": {}}
        for row in waiting:
            age = next(name for limit, name in AGES if (now_ms - row.created_ms) / 1000 < limit)
            shape[row.state][age] = shape[row.state].get(age, 0) + 1
            shape["kinds"][row.kind] = shape["kinds"].get(row.kind, 0) + 1
        return {"queued": shape[QUEUED], "parked": shape[PARKED], "kinds": shape["kinds"]}

    def chains(self, peer: str | None) -> dict[str, Any]:
        """The ledgers' chains."""
        rows = self.store.read(lambda cx: ledgers.chains(cx, peer))
        return {
            "items": [
                {
                    "peer": chain.peer,
                    "author": "us" if chain.own else chain.peer,
                    "epoch": chain.epoch.hex(),
                    "entries": chain.tail_sequence,
                    "receipted": chain.receipted_sequence,
                    "closed": chain.closed,
                }
                for chain in rows
            ],
            "next": None,
        }


def _all(cx: Cx, state: str) -> list[records.RecordRow]:
    """Every own record in a state; there are few that wait, and many only when a partner is away for long."""
    found: list[records.RecordRow] = []
    while page := records.page(cx, found[-1].id if found else 0, 5000, state=state, direction="out"):
        found += page
    return found


def _key(succession: Succession, number: int) -> dict[str, Any]:
    """One key: who made it known is the statement before it, how long it is taken is said by the one behind it."""
    steps, later = succession.steps, "ANNOUNCED" if number > succession.in_use else "RETIRED"
    return {
        "number": number,
        "state": "IN_USE" if number == succession.in_use else later,
        "key_id": key_id(succession.certificates[number]),
        "made_at": rfc3339(steps[number - 1].made_ms) if number else None,
        "taken_until": rfc3339(steps[number].until_ms) if number < len(steps) else None,
    }
