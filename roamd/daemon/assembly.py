"""The composition root: every part is made here, once, and joined to those it needs by callables and Protocols.

Read it as a list. Nothing here decides anything; the order in which parts start and stop is in `main`.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import trio

from roamd.bridge import BackendPort, CoreClient
from roamd.clock import Clock
from roamd.config.schema import Config
from roamd.daemon.operator import OperatorDesk
from roamd.daemon.owndescriptor import descriptor_sequence_txn, own_descriptor
from roamd.daemon.pairing import PairingDesk, StoredInvitations
from roamd.daemon.reload import Reloader
from roamd.daemon.reports import Reports
from roamd.daemon.upkeep import Upkeep
from roamd.discovery.board import Board
from roamd.log import get_logger
from roamd.peering.link import OwnEnd
from roamd.peering.maker import LinkMaker
from roamd.peering.network import TlsNetwork
from roamd.peering.pairing_server import PairingServer
from roamd.peering.registry import Registry
from roamd.peering.service import Peering
from roamd.protocol.calls import Service
from roamd.protocol.heartbeat import Timing
from roamd.roaming.authorization.home import HomeAuthorization
from roamd.roaming.authorization.report import DecisionReport
from roamd.roaming.authorization.unknown import UnknownCards
from roamd.roaming.authorization.visited import VisitedAuthorization
from roamd.roaming.calls import IncomingCalls, OutgoingCalls
from roamd.roaming.catalogue import Catalogue
from roamd.roaming.core import OperationTable, Services
from roamd.roaming.cursors import CursorSeal
from roamd.roaming.deadlines import Deadlines
from roamd.roaming.decisions import DecisionJournal
from roamd.roaming.directory import Directory, Peer
from roamd.roaming.dispatch import Parts
from roamd.roaming.events import EventDesk
from roamd.roaming.introduce import Introductions
from roamd.roaming.ledger.desk import LedgerDesk
from roamd.roaming.ledger.forgotten import LedgerFetches
from roamd.roaming.ledger.signer import Signer
from roamd.roaming.ledger.take import TakeEntries
from roamd.roaming.mirror import Mirror
from roamd.roaming.peerbook import Change, PeerBook
from roamd.roaming.records import Records
from roamd.roaming.remembered import RememberedReplies
from roamd.storage import meta, peers
from roamd.storage.store import Cx, Store
from roamd.trust.contexts import Contexts
from roamd.trust.identity import Identity
from roamd.trust.leaf import issue_leaf
from roamd.trust.signing import verify

log = get_logger()

Random = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Ground:
    """What a daemon stands on. `start` runs a coroutine in its nursery; `fail` ends it with an error."""

    config: Config
    clock: Clock
    store: Store
    run: "Run"
    identity: Identity
    random: Random
    start: Callable[..., None]
    fail: Callable[[BaseException], None]


@dataclass(frozen=True, slots=True)
class Run:
    """This start of the process, committed before anything is served."""

    instance: bytes
    run_id: bytes
    secret: bytes
    descriptor_sequence: int


def begin_run(store: Store, config: Config, clock: Clock, random: Random) -> Run:
    """Draw a run id and commit it with its first version; the instance and the cursors' secret are drawn once.

    Waits for the commit, so it is called where no loop has to turn for it: in a thread.
    """
    run_id = random(16)

    def txn(cx: Cx) -> Run:
        instance, secret = _kept_txn(cx, "instance", random(16)), _kept_txn(cx, "cursor-secret", random(32))
        restored_ms = meta.take_restored_txn(cx)
        if restored_ms is not None:
            log.warning("store_was_restored", restored_ms=restored_ms)
        meta.begin_run_txn(cx, run_id, clock.now_ms())
        return Run(instance, run_id, secret, descriptor_sequence_txn(cx, config))

    return store.write(txn)


def _kept_txn(cx: Cx, name: str, fresh: bytes) -> bytes:
    kept = meta.get(cx, name)
    if kept is not None:
        return bytes.fromhex(kept)
    meta.set_txn(cx, name, fresh.hex())
    return fresh


class Assembly:
    """All parts of one daemon, made and joined, not yet running."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.config = ground.config
        clock, store, random, config = ground.clock, ground.store, ground.random, ground.config
        run = ground.run
        self.directory = _directory(store)
        self.contexts = Contexts(ground.identity, issue_leaf(ground.identity, clock.now_ms()), self._identities())
        self.deadlines = Deadlines(clock)
        self.backend = BackendPort()
        self.outgoing = OutgoingCalls(clock, self.deadlines)
        self.journal = DecisionJournal(store, self.deadlines)
        self.book = PeerBook(clock, store, self.directory, config.endpoint.roles, self._peer_changed)
        self.descriptor = own_descriptor(config, ground.identity, run.descriptor_sequence, clock.now_ms)
        self.introductions = Introductions(clock, self.outgoing, self.book, self.descriptor, random, ground.start)
        self.signer = Signer(ground.identity.endpoint_id, ground.identity.certificate_der, ground.identity.sign, verify)
        self.parts = self._parts(run)
        self.registry = Registry(ground.identity.endpoint_id, self.parts, self._link_changed)
        self.maker = self._maker(run)
        slots = trio.CapacityLimiter(config.link.handshakes)
        self.network = TlsNetwork(self.contexts, self.maker, self.directory, clock, slots, self._arrived)
        self.board = Board(clock, ground.identity.endpoint_id, self._known_endpoints, self._recognised)
        self.peering = Peering(
            self.directory, self.registry, self.network.connect, self._addresses, clock, random, slots,
            config.link.backoff_s, ground.identity.endpoint_id, config.link.advertise is not None,
        )  # fmt: skip
        self.upkeep = Upkeep(clock, store, self.contexts, lambda: self.config)
        self.mdns_state = "off"
        self.pairing_server = self._pairing_server()
        self.pairing = PairingDesk(
            config, clock, store, self.directory, self.book, ground.identity, self.pairing_server, self.descriptor,
            random,
        )  # fmt: skip
        self.services = self._services()
        self.core = OperationTable(self.services)
        self.client = CoreClient(self.core, ground.fail)

    # --- groups of parts ----------------------------------------------------------------------------------------

    def _parts(self, run: Run) -> Parts:
        ground = self.ground
        incoming = IncomingCalls(ground.clock, self.deadlines, self._call_services())
        return Parts(
            store=ground.store,
            clock=ground.clock,
            directory=self.directory,
            outgoing=self.outgoing,
            incoming=incoming,
            seal=CursorSeal(run.secret),
            signer=self.signer,
            run_id=run.run_id,
            random=ground.random,
            take=TakeEntries(ground.random),
            events_written=lambda: self.backend.events_arrived(""),
        )

    def _call_services(self) -> dict[int, Any]:
        ground = self.ground
        unknown = UnknownCards(ground.clock, ground.store)
        home = HomeAuthorization(ground.clock, self.backend, self.journal, self.deadlines, unknown)
        return {
            Service.AUTHORIZATION: home.answer,
            Service.LEDGER_FETCH: LedgerFetches(ground.store).answer,
            Service.DESCRIPTOR: self.introductions.answer,
        }

    def _maker(self, run: Run) -> LinkMaker:
        ground = self.ground
        own = OwnEnd(ground.clock, ground.identity.sign, verify, self.registry)
        timing = Timing(heartbeat_s=self.config.link.heartbeat_s)
        return LinkMaker(
            ground.identity.endpoint_id,
            run.instance,
            run.run_id,
            own,
            ground.clock,
            ground.store,
            ground.random,
            timing,
        )

    def _pairing_server(self) -> PairingServer:
        ground, listen = self.ground, self.config.pairing.listen
        invitations = StoredInvitations(ground.store, self.book)
        return PairingServer(
            listen.host, listen.port, self.contexts, self.descriptor, invitations, clock=ground.clock,
            random=ground.random,
        )  # fmt: skip

    def _services(self) -> Services:
        ground, config = self.ground, self.config
        clock, store = ground.clock, ground.store
        visited = VisitedAuthorization(
            clock, store, self.directory, self.outgoing, self.deadlines, DecisionReport(clock, self.journal),
            ground.random, config.endpoint.parties[0], config.authorization.without_answer == "whitelist",
        )  # fmt: skip
        reports = Reports(
            lambda: self.config, clock, store, self.directory, self.peering, self.board, self.contexts, self.outgoing,
            clock.monotonic(), lambda: self.upkeep.jumps, lambda: self.mdns_state,
        )  # fmt: skip
        self.reloader = Reloader(self, visited)
        desk = OperatorDesk(
            reports, self.pairing, self.directory, self.book, self.peering, config.database, self.reloader.reload,
            ground.start,
        )  # fmt: skip
        return Services(
            authorization=visited,
            catalogue=Catalogue(clock, store, frozenset(config.endpoint.parties), self._published),
            mirror=Mirror(store, self.directory),
            records=Records(clock, store, self.directory, self.journal, ground.random, self._queued),
            ledger=LedgerDesk(store, self.directory, self.signer, ground.start),
            events=EventDesk(clock, store),
            replies=RememberedReplies(self.deadlines),
            operate=desk.operate,
        )

    # --- what follows from what ---------------------------------------------------------------------------------

    def _identities(self) -> dict[str, bytes]:
        return {peer.endpoint_id: peer.row.identity_der for peer in self.directory if peer.active}

    def _known_endpoints(self) -> list[str]:
        return [peer.endpoint_id for peer in self.directory]

    def _addresses(self, peer: Peer) -> tuple[str, ...]:
        """Where a peer may be dialled: what its descriptor says, then what was seen."""
        own = (peer.row.address,) if peer.row.address else ()
        return tuple(dict.fromkeys(own + self.board.addresses_of(peer.endpoint_id)))

    def _recognised(self, endpoint_id: str, addresses: tuple[str, ...]) -> None:
        peer = self.directory.by_endpoint(endpoint_id)
        if peer is not None:
            log.info("peer_seen", peer=peer.label, addresses=list(addresses))
            self.peering.kick(peer)

    def _peer_changed(self, peer: Peer, what: Change) -> None:
        """After a commit of the peer book."""
        if what == "suspended":
            self.peering.suspend(peer)
        elif what == "removed":
            self.peering.remove(peer)
        self.backend.events_arrived("")
        self.ground.start(self._apply_change, peer, what)

    async def _apply_change(self, peer: Peer, what: Change) -> None:
        """The TLS contexts first, or the dialling that follows would be refused."""
        identities = self._identities()
        if dict(self.contexts.identities) != identities:
            await trio.to_thread.run_sync(lambda: self.contexts.replace(identities=identities))
        self.board.peers_changed()
        if what not in ("removed", "suspended"):
            self.peering.add(peer)

    def _link_changed(self, peer: Peer) -> None:
        if peer.exchange is not None:
            self.introductions.tell(peer)
        self.peering.kick(peer)

    def _arrived(self, peer: Peer) -> None:
        self.peering.kick(peer)

    def _published(self, feed: str) -> None:
        for peer in self.directory:
            if peer.exchange is not None:
                peer.exchange.published(feed)

    def _queued(self, label: str) -> None:
        peer = self.directory.find(label)
        if peer is not None and peer.exchange is not None:
            peer.exchange.ledger_grew()


def _directory(store: Store) -> Directory:
    directory = Directory()
    for row in store.read(peers.load_all):
        directory.put(row)
    return directory


def system_random(size: int) -> bytes:
    """The machine's own randomness."""
    return os.urandom(size)
