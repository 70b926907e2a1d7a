"""The core of a daemon: roaming, peering and the operations on them, made and joined, over whatever carries them.

The daemon runs it over TLS, the backend's bridge and files (`assembly`); the simulator runs the very same core over a
simulated network, backend and store in memory. So nothing in here knows a socket, a file, asyncio or the machine's
clock: what it needs of the world comes in through `Ground` and `World`.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from roamd.clock import Clock
from roamd.daemon.run import Run
from roamd.model.fields import FEEDS_WITH_FIELDS
from roamd.model.objects import Checked
from roamd.model.roles import CLEARING_HOUSE, COMMANDS
from roamd.model.routes import DIRECT, LEDGER
from roamd.peering.link import Link, OwnEnd
from roamd.peering.maker import LinkMaker
from roamd.peering.registry import Registry
from roamd.peering.relayed import Relayed
from roamd.peering.service import Peering
from roamd.peering.turns import Turns
from roamd.protocol.calls import Service
from roamd.protocol.heartbeat import Timing
from roamd.protocol.messages import Call
from roamd.roaming.agreements import Agreements, Own
from roamd.roaming.authorization.home import HomeAuthorization
from roamd.roaming.authorization.report import DecisionReport
from roamd.roaming.authorization.unknown import UnknownCards
from roamd.roaming.authorization.visited import VisitedAuthorization
from roamd.roaming.calls import IncomingCalls, OutgoingCalls, Respond
from roamd.roaming.catalogue import Catalogue
from roamd.roaming.control.desk import ControlDesk
from roamd.roaming.control.home import HomeControl
from roamd.roaming.control.visited import VisitedControl
from roamd.roaming.core import Handler, OperationTable, Services
from roamd.roaming.credentialfilter import own as filters
from roamd.roaming.credentialfilter.own import OwnFilter
from roamd.roaming.credentialfilter.theirs import TheirFilters
from roamd.roaming.cursors import CursorSeal
from roamd.roaming.deadlines import Deadlines
from roamd.roaming.decisions import DecisionDesk, DecisionJournal
from roamd.roaming.directory import Directory, Peer
from roamd.roaming.dispatch import Parts
from roamd.roaming.events import EventDesk
from roamd.roaming.grants import GrantIssuer, VisitedGrants
from roamd.roaming.inforce import InForce
from roamd.roaming.introduce import Introductions, ReadDescriptor
from roamd.roaming.leases import HomeLeases, VisitedLeases
from roamd.roaming.ledger.desk import LedgerDesk
from roamd.roaming.ledger.forgotten import LedgerFetches
from roamd.roaming.ledger.mending import is_recovering
from roamd.roaming.ledger.receiver import Take
from roamd.roaming.ledger.signer import Signer
from roamd.roaming.ledger.take import TakeEntries
from roamd.roaming.ledger.takingback import take_back_txn
from roamd.roaming.ledger.turning import turn_txn
from roamd.roaming.lifecycle import Lifecycle
from roamd.roaming.mirror import Mirror
from roamd.roaming.ocpi import OcpiDesk
from roamd.roaming.operations import Authorize
from roamd.roaming.peerbook import Change, PeerBook
from roamd.roaming.peerstatus import OwnStatus
from roamd.roaming.plainocpi.desk import PlainDesk
from roamd.roaming.plainocpi.way import PlainOcpi
from roamd.roaming.ports import Backend, Reply
from roamd.roaming.pricecheck import PriceChecks
from roamd.roaming.privacy.desk import SubjectDesk
from roamd.roaming.privacy.fields import without_withheld
from roamd.roaming.privacy.keyed import OwnLists, TheirKeys, standing
from roamd.roaming.privacy.pseudonyms import Pseudonyms
from roamd.roaming.privacy.retention import Retention
from roamd.roaming.projections import Projections
from roamd.roaming.reconcile.desk import Reconciliation
from roamd.roaming.records import Records
from roamd.roaming.relay import ClearingHouse, Limits
from roamd.roaming.remembered import RememberedReplies
from roamd.roaming.statements import Statements
from roamd.roaming.vouch import Introduced, Vouching
from roamd.storage import peers
from roamd.storage.store import Cx, Store
from roamd.trust.sealing import SealingKey

Random = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Settings:
    """What of the configuration the core needs."""

    parties: tuple[str, ...]
    roles: tuple[str, ...]
    dialable: bool
    heartbeat_s: float
    backoff_s: float
    handshakes: int
    whitelist_offline: bool
    unknown_cards_per_minute: int = 60
    patience_ms: int = 1000
    stagger_ms: int = 100
    card_filter: bool = False
    ask_everyone: bool = False
    relay_envelopes: int = 500
    relay_kib: int = 4096


@dataclass(frozen=True, slots=True)
class Ground:
    """What a core stands on. `start` runs a coroutine in its nursery."""

    settings: Settings
    clock: Clock
    store: Store
    run: Run
    random: Random
    signer: Signer
    start: Callable[..., None]


class Network(Protocol):
    """Dials peers, and gives `peering.registry` the links of those who dial us."""

    async def connect(self, peer: Peer, address: str) -> Link:
        """Dial an address and make sure that the peer is there; raises OSError or PeerError."""
        ...


@dataclass(frozen=True, slots=True)
class World:
    """What is around a core, as callables and Protocols.

    `network` makes the network of this core; `addresses` says where a peer may be dialled; `peer_changed` is told of
    each change of the peer book after its commit; `operate` handles the operator's requests. `take` brings arrived
    entries into effect: other than the usual one only where a test plants a fault. `ready` is what peers are told,
    `records_years` for how long the law wants service records kept; `introduced` takes whom peers vouch for.
    """

    network: Callable[["Core"], Network]
    backend: Backend
    addresses: Callable[[Peer], tuple[str, ...]]
    peer_changed: Callable[[Peer, Change], None]
    operate: Handler
    descriptor: Callable[[], bytes]
    read_descriptor: ReadDescriptor
    take: Take | None = None
    ready: Callable[[], bool] = lambda: True
    records_years: Callable[[], int] = lambda: 10
    introduced: Callable[[Introduced], None] = lambda introduced: None


class Core:
    """All parts of roaming and peering, made and joined, not yet running.

    Whoever owns the nursery runs `deadlines` and `peering` in it.
    """

    def __init__(self, ground: Ground, world: World) -> None:
        self.ground = ground
        self.world = world
        clock, store, random, settings = ground.clock, ground.store, ground.random, ground.settings
        self.endpoint_id = ground.signer.endpoint_id
        self.directory = _directory(store)
        self.deadlines = Deadlines(clock)
        self.outgoing = OutgoingCalls(clock, self.deadlines)
        self.journal = DecisionJournal(store, self.deadlines)
        self.book = PeerBook(
            clock, store, self.directory, settings.roles, self._peer_changed, self._turn_txn, self._take_back_txn
        )
        self.introductions = Introductions(
            clock, self.outgoing, self.book, world.descriptor, random, ground.start, world.read_descriptor,
            len(ground.signer.succession.steps),
        )  # fmt: skip
        self.vouching = Vouching(
            clock, self.outgoing, self.directory, self.book, random, ground.start, world.read_descriptor,
            self.endpoint_id, world.introduced,
        )  # fmt: skip
        self.names = Pseudonyms(store, self.directory, self.deadlines, ground.run.secret)
        self.home_control = HomeControl(
            clock, store, self.directory, self.outgoing, self.deadlines, random, settings.parties[0],
            self._events_written, self.names,
        )  # fmt: skip
        self.visited_control = VisitedControl(
            clock, store, self.directory, world.backend, self.deadlines, settings.parties[0], self._published,
            self._events_written,
        )  # fmt: skip
        self.visited_leases = VisitedLeases(clock, store, self.directory, self._events_written)
        self.home_leases = HomeLeases(
            clock, store, self.directory, self.outgoing, self.deadlines, random, self._told_backend
        )
        self.own_filter = OwnFilter(
            clock, store, self.deadlines, ground.start, self._published, settings.parties, ground.run.secret,
            settings.card_filter,
        )  # fmt: skip
        self.their_filters = TheirFilters(store, self.directory, settings.ask_everyone)
        self.their_filters.load()
        self.their_keys = TheirKeys(store, self.directory)
        self.their_keys.load()
        self.grants = VisitedGrants(clock, store, self.directory, ground.signer.verify, settings.parties)
        self.retention = Retention(world.records_years)
        self.reconciliation = Reconciliation(
            clock, store, self.directory, self.outgoing, random, ground.start, self._events_written
        )
        self.in_force = InForce(
            clock, store, self.directory, self.book, self.deadlines, self._told_backend, ground.start
        )
        self.clearing_house = ClearingHouse(
            clock, self.deadlines, self.directory, self.outgoing, Limits(settings.relay_envelopes, settings.relay_kib)
            if CLEARING_HOUSE in settings.roles else None,
        )  # fmt: skip
        self.parts = self._parts()
        self.registry = Registry(self.endpoint_id, self.parts, self._link_changed, self._route_changed)
        self.turns = Turns()
        self.maker = self._maker()
        self.network = world.network(self)
        self.relayed = self._relayed()
        self.peering = Peering(
            self.directory, self.registry, self.turns, self.network.connect, self.relayed.connect, self._addresses,
            clock, random, settings.backoff_s, self.endpoint_id, settings.dialable,
        )  # fmt: skip
        self.visited = VisitedAuthorization(
            clock, store, self.directory, self.outgoing, self.deadlines, DecisionReport(clock, self.journal), random,
            settings.parties[0], settings.whitelist_offline, self.grants, self.their_filters,
            patience_ms=settings.patience_ms, stagger_ms=settings.stagger_ms,
        )  # fmt: skip
        self.lifecycle = Lifecycle(clock, store, self.directory, random, self._queued)
        self.price_checks = PriceChecks(clock, store, random, self.lifecycle.terms, self._queued)
        self.operations = OperationTable(self._services())
        self.visited_control.look()
        self.deadlines.after(0.0, self.own_filter.begin)
        self.deadlines.after(0.0, self.in_force.begin)

    # --- groups of parts ----------------------------------------------------------------------------------------

    def _parts(self) -> Parts:
        ground = self.ground
        return Parts(
            store=ground.store,
            clock=ground.clock,
            directory=self.directory,
            outgoing=self.outgoing,
            incoming=IncomingCalls(ground.clock, self.deadlines, self._call_services()),
            seal=CursorSeal(ground.run.secret),
            signer=ground.signer,
            run_id=ground.run.run_id,
            random=ground.random,
            take=self.world.take or TakeEntries(ground.random, self.retention.kept_from_peers, self.in_force.note),
            events_written=self._events_written,
            entries_taken=self._entries_taken,
            records_settled=self._told_backend,
            taken={
                "commands": self.home_control.taken_txn,
                "session-leases": self.home_leases.taken_txn,
                "grants": self.grants.taken_txn,
                filters.FEED: self.their_filters.taken_txn,
            },
            judged={"sessions": self.home_leases.judge, "grants": self.grants.judge},
            projections=self._projections(),
            landed={filters.FEED: self.their_filters.landed, filters.CARDS: self.their_keys.landed},
            noted={filters.CARDS: self.their_keys.noted_txn},
        )

    def _projections(self) -> Projections:
        """Feeds that are not sent as they are stored, but as each peer may see them."""
        return {
            **dict.fromkeys(FEEDS_WITH_FIELDS, without_withheld),
            filters.FEED: self.own_filter.project,
            filters.CARDS: standing(self.ground.store, self.names.before(OwnLists(self.ground.run.secret).project)),
            "grants": self.names.without_named_grants,
        }

    def _call_services(self) -> dict[int, Any]:
        ground = self.ground
        self.unknown = UnknownCards(ground.clock, ground.store, ground.settings.unknown_cards_per_minute)
        self.home = HomeAuthorization(
            ground.clock, self.world.backend, self.journal, self.deadlines, self.unknown, self.names.asked
        )
        return {
            Service.AUTHORIZATION: self.home.answer,
            Service.LEDGER_FETCH: LedgerFetches(ground.store).answer,
            Service.PEER_STATUS: OwnStatus(ground.clock, ground.clock.now_ms(), self.world.ready).answer,
            Service.DESCRIPTOR: self.introductions.answer,
            Service.RECONCILE: self.reconciliation.answer,
            Service.INTRODUCTION: self.vouching.answer,
            Service.SESSION_QUESTION: self.visited_leases.answer,
            Service.RELAY: self._relay,
            Service.RELAY_PAIRS: self.clearing_house.told,
            **{row.number: self.visited_control.answer for row in COMMANDS.values()},
        }

    def _maker(self) -> LinkMaker:
        ground, run = self.ground, self.ground.run
        signer = ground.signer
        own = OwnEnd(ground.clock, signer.sign, signer.verify, self.registry, self.turns, self.deadlines)
        timing = Timing(heartbeat_s=ground.settings.heartbeat_s)
        return LinkMaker(
            self.endpoint_id, run.instance, run.run_id, own, ground.clock, ground.store, ground.random, timing
        )

    def _relayed(self) -> Relayed:
        ground = self.ground
        keys = tuple(SealingKey.of_seed(seed) for seed in ground.run.sealing_seeds)
        return Relayed(
            ground.clock, ground.signer, keys, self.directory, self.deadlines, self.outgoing,
            self.maker, ground.random, ground.start, self.world.read_descriptor, self.clearing_house, self.arrived,
        )  # fmt: skip

    def _services(self) -> Services:
        ground = self.ground
        clock, store = ground.clock, ground.store
        return Services(
            authorization=self.visited,
            catalogue=self._catalogue(),
            mirror=Mirror(store, self.directory, self.names.beside),
            home_control=self.home_control,
            visited_control=self.visited_control,
            control=ControlDesk(store),
            records=Records(clock, store, self.directory, self.journal, ground.random, self._queued, self.names.beside),
            lifecycle=self.lifecycle,
            ledger=LedgerDesk(store, self.directory, ground.signer, ground.start),
            reconciliation=self.reconciliation,
            statements=Statements(
                clock,
                store,
                self.directory,
                self.endpoint_id,
                ground.random,
                ground.start,
                self.reconciliation.comparison,
                self._queued,
            ),
            events=EventDesk(clock, store, self.names.beside),
            decisions=DecisionDesk(store, self.journal),
            subjects=self._subjects(),
            agreements=self._agreements(),
            ocpi=OcpiDesk(clock, store, self.directory),
            replies=RememberedReplies(clock),
            operate=self.world.operate,
            plain=self._plain(),
        )

    def _plain(self) -> PlainDesk:
        ground = self.ground
        desk = PlainDesk(
            ground.clock, ground.store, self.directory, self.home,
            PlainOcpi(ground.clock, self.deadlines, self.world.backend), ground.settings.roles, ground.random,
            self._events_written,
        )  # fmt: skip
        desk.load()
        return desk

    def _agreements(self) -> Agreements:
        ground, settings = self.ground, self.ground.settings
        return Agreements(
            ground.clock, ground.store, self.directory, self.in_force, ground.signer, ground.random,
            Own(settings.parties, settings.roles, self.world.records_years), self._queued, self._told_backend,
            ground.start,
        )  # fmt: skip

    def _subjects(self) -> SubjectDesk:
        ground = self.ground
        return SubjectDesk(
            ground.clock, ground.store, self.directory, self.journal, ground.random, is_recovering,
            {filters.CARDS: self.own_filter.withdrawing_txn}, self.retention.kept_until, self._published,
            self._queued, ground.start,
        )  # fmt: skip

    def _catalogue(self) -> Catalogue:
        ground = self.ground
        issuer = GrantIssuer(self.endpoint_id, ground.signer.sign, ground.clock)
        return Catalogue(
            ground.clock, ground.store, frozenset(ground.settings.parties), self._own_published,
            heeded={"sessions": self._session_txn, "reservations": self.visited_control.reservation_txn},
            sealed={"grants": issuer.seal_txn}, revoked={"grants": issuer.revocation},
            judged={
                "sessions": self.visited_leases.judge_txn, filters.CARDS: self.own_filter.publishing_txn,
                "grants": self.names.refuse_grant_txn,
            },
            withdrawn={filters.CARDS: self.own_filter.withdrawing_txn},
        )  # fmt: skip

    def _session_txn(self, cx: Cx, checked: Checked) -> None:
        """Our backend publishes a session: it may be a command's, and it is held while it goes on."""
        self.visited_control.session_txn(cx, checked)
        self.visited_leases.session_txn(cx, checked)

    @contextlib.contextmanager
    def together(self, asked: Sequence[tuple[object, Reply]]) -> Iterator[None]:
        """Within, the operations of one wake-up are handled: they see one committed state, and share what it costs."""
        drivers = [operation for operation, _ in asked if isinstance(operation, Authorize)]
        with self.ground.store.snapshot(), self.visited.foreseeing(drivers):
            yield

    # --- what follows from what ---------------------------------------------------------------------------------

    def _events_written(self) -> None:
        """Something came in: the backend may read it, and a lease may run."""
        self._entries_taken()
        self.home_leases.look()

    def _entries_taken(self) -> None:
        """A peer's chain grew. No lease stands in one, and the receipt waits behind whatever is read here."""
        self._told_backend()
        self.price_checks.look()
        self.in_force.look()

    def _told_backend(self) -> None:
        self.world.backend.events_arrived("")

    def _own_published(self, feed: str) -> None:
        """Our backend has published something; a session may be what a command waits for."""
        self._published(feed)
        if feed == "sessions":
            self._published("session-leases")
        if feed in ("sessions", "reservations"):
            self.visited_control.look()
        if feed == "reservations":
            self.visited.held.changed()
        if feed == filters.CARDS:
            self._published(filters.FEED)
            self.own_filter.changed()

    def _peer_changed(self, peer: Peer, what: Change) -> None:
        self.their_filters.peer_changed(peer)
        self.their_keys.peer_changed(peer)
        self.vouching.peer_changed(peer, what)
        self.registry.routes_changed(peer)
        self.relayed.tell_all()
        if what == "removed":
            self.clearing_house.forget(peer)
        elif what == "added":
            self.introductions.handed(peer)
        self.world.peer_changed(peer, what)

    def arrived(self, peer: Peer, route: str = DIRECT) -> None:
        """A peer has dialled us: nobody waits to dial it."""
        self.peering.contacted(peer, route)

    def _relay(self, peer: Peer, call: Call, deadline_at: float, respond: Respond) -> None:
        self.relayed.answer(peer, call, deadline_at, respond)

    def _link_changed(self, peer: Peer) -> None:
        if peer.exchange is not None:
            self.introductions.tell(peer)
            self.in_force.linked(peer)
            self.vouching.tell(peer)
            if self.relayed.tell(peer):
                self.peering.reachable(peer)
            self.home_control.link_up(peer)
            self.home_leases.link_up(peer)

    def _route_changed(self, peer: Peer, route: str) -> None:
        """A peer's first link by a route came up, or its last one ended."""
        self.peering.link_changed(peer, route)

    def _addresses(self, peer: Peer, route: str) -> tuple[str, ...]:
        """Where a peer may be tried by a route: through a clearing house only while that can be asked."""
        if route == DIRECT:
            return self.world.addresses(peer)
        relay = self.directory.find(route)
        return (route,) if relay is not None and relay.exchange is not None else ()

    def _published(self, feed: str) -> None:
        for peer in self.directory:
            peer.published(feed)
        if self.directory.plain:
            self._told_backend()  # whoever tells partners by plain OCPI waits there

    def _turn_txn(self, cx: Cx, label: str, their_number: int) -> bool:
        """A peer uses another identity: our chain towards it goes on in a new epoch."""
        ground = self.ground
        own = ground.signer.succession.in_use
        return turn_txn(cx, label, own, their_number, ground.random, ground.clock.now_ms())

    def _take_back_txn(self, cx: Cx, label: str) -> None:
        take_back_txn(cx, label, self.ground.random, self.ground.clock.now_ms())

    def _queued(self, label: str) -> None:
        if self.directory.is_plain(label):
            self._told_backend()
        peer = self.directory.find(label)
        carrier = peer.carrier(LEDGER) if peer is not None else None
        if carrier is not None:
            carrier.ledger_grew()


def _directory(store: Store) -> Directory:
    directory = Directory()
    for row in store.read(peers.load_all):
        directory.put(row)
    return directory
