"""The composition root: every part is made here, once, and joined to those it needs by callables and Protocols.

Read it as a list. Nothing here decides anything; the order in which parts start and stop is in `main`. The parts that
need neither sockets nor files nor the other thread are made in `core`.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

import trio

from roamd import metrics
from roamd.bridge import BackendPort, CoreClient
from roamd.clock import Clock
from roamd.config.schema import Config
from roamd.daemon import core as core_parts
from roamd.daemon.core import Core, Random, Settings, World
from roamd.daemon.operator import OperatorDesk
from roamd.daemon.owndescriptor import descriptor_sequence_txn, own_descriptor
from roamd.daemon.pairing import PairingDesk, StoredInvitations
from roamd.daemon.reload import Reloader
from roamd.daemon.reports import Reports
from roamd.daemon.run import Run, begin_run_txn, hold_to_owner_txn
from roamd.daemon.upkeep import AHEAD_MS, Upkeep
from roamd.discovery.board import Board
from roamd.discovery.dnsquery import system_name_servers
from roamd.discovery.dnssd import DnsSdFinder
from roamd.discovery.finder import Sighting
from roamd.discovery.static import StaticFinder
from roamd.errors import OperatorError
from roamd.log import get_logger
from roamd.peering.network import TlsNetwork
from roamd.peering.pairing_relay import JoinerPipe, PairingVisits
from roamd.peering.pairing_server import PairingServer
from roamd.roaming.directory import Peer
from roamd.roaming.ledger.signer import Signer
from roamd.roaming.operations import Operate
from roamd.roaming.peerbook import Change
from roamd.roaming.ports import Reply
from roamd.roaming.vouch import Introduced
from roamd.storage.store import Cx, Store
from roamd.trust.contexts import Contexts
from roamd.trust.descriptor import verify_descriptor
from roamd.trust.identity import Identity
from roamd.trust.leaf import Leaf, issue_leaf
from roamd.trust.signing import verify
from roamd.trust.succession import succession_of_own

log = get_logger()


@dataclass(frozen=True, slots=True)
class Ground:
    """What a daemon stands on. `start` runs a coroutine in its nursery; `fail` ends it with an error."""

    config: Config
    clock: Clock
    store: Store
    run: Run
    descriptor_sequence: int
    identity: Identity
    random: Random
    start: Callable[..., None]
    fail: Callable[[BaseException], None]


def begin_run(store: Store, config: Config, clock: Clock, random: Random, identity: Identity) -> tuple[Run, int]:
    """Commit this start before anything is served: its run, and the sequence of our descriptor.

    Waits for the commit, so it is called where no loop has to turn for it: in a thread. ConfigError when the store is
    another endpoint's.
    """
    own = succession_of_own(identity)

    def txn(cx: Cx) -> tuple[Run, int]:
        hold_to_owner_txn(cx, own, config.database)
        run = begin_run_txn(cx, clock, random, own.in_use)
        return run, descriptor_sequence_txn(
            cx, config, run.sealing_public, identity, clock.now_ms(), restored=run.restored_ms is not None
        )

    run, sequence = store.write(txn)
    if run.restored_ms is not None:
        log.warning("store_was_restored", restored_ms=run.restored_ms)
    return run, sequence


class Assembly:
    """All parts of one daemon, made and joined, not yet running."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.config = ground.config
        clock, config = ground.clock, ground.config
        self.lacking: str | None = "starting"
        self._swapping = trio.Lock()
        self.backend = BackendPort()
        self.descriptor = own_descriptor(
            config, ground.identity, ground.descriptor_sequence, clock.now_ms, ground.run.sealing_public
        )
        self.core = Core(self._core_ground(), self._world())
        self.directory, self.book, self.peering = self.core.directory, self.core.book, self.core.peering
        self.board = Board(clock, ground.identity.endpoint_id, self._known_endpoints, self._recognised)
        self.upkeep = Upkeep(
            clock, ground.store, self.contexts, lambda: self.config, self.swap_contexts, self._now_and_then,
            self._others_doubt,
        )  # fmt: skip
        self.mdns_state = "off"
        self.domains = dict.fromkeys(config.discovery.domains, "not looked up yet")
        self.name_servers = system_name_servers
        self.pairing_server = self._pairing_server()
        self.pairing = PairingDesk(
            config, clock, ground.store, self.directory, self.book, ground.identity, self.pairing_server,
            self.descriptor, ground.random, self._pipe, self.core.relayed.tell_all,
        )  # fmt: skip
        self.core.relayed.visits = PairingVisits(self.pairing_server, ground.start)
        self.reloader = Reloader(self, self.core.visited)
        self.desk = self._desk()
        self.client = CoreClient(self.core.operations, ground.fail, self.core.together)

    # --- groups of parts ----------------------------------------------------------------------------------------

    def _core_ground(self) -> core_parts.Ground:
        ground, config = self.ground, self.config
        identity = ground.identity
        settings = Settings(
            parties=config.endpoint.parties,
            roles=config.endpoint.roles,
            dialable=config.link.advertise is not None,
            heartbeat_s=config.link.heartbeat_s,
            backoff_s=config.link.backoff_s,
            handshakes=config.link.handshakes,
            whitelist_offline=config.authorization.without_answer == "whitelist",
            unknown_cards_per_minute=config.authorization.unknown_cards_per_minute,
            patience_ms=config.authorization.patience_ms,
            stagger_ms=config.authorization.stagger_ms,
            card_filter=config.authorization.card_filter and "csp" in config.endpoint.roles,
            ask_everyone=config.authorization.when_no_filter_matches == "ask-everyone",
            relay_envelopes=config.relay.envelopes_per_s,
            relay_kib=config.relay.kib_per_s,
        )
        signer = Signer(succession_of_own(identity), identity.sign, verify)
        return core_parts.Ground(settings, ground.clock, ground.store, ground.run, ground.random, signer, ground.start)

    def _world(self) -> World:
        return World(
            network=self._network,
            backend=self.backend,
            addresses=self._addresses,
            peer_changed=self._peer_changed,
            operate=self._operate,
            descriptor=self.descriptor,
            read_descriptor=verify_descriptor,
            ready=lambda: self.lacking is None,
            records_years=lambda: self.config.retention.records_years,
            introduced=self._introduced,
        )

    def _network(self, core: Core) -> TlsNetwork:
        ground = self.ground
        identities = _identities(core, ground.clock.now_ms())
        self.contexts = Contexts(ground.identity, issue_leaf(ground.identity, ground.clock.now_ms()), identities)
        metrics.certificate_expiry_seconds.labels("leaf").set(self.contexts.leaf.not_after_ms / 1000)
        self.network = TlsNetwork(
            self.contexts, core.maker, core.directory, ground.clock, self.config.link.handshakes, core.arrived
        )
        return self.network

    def _pairing_server(self) -> PairingServer:
        ground, listen = self.ground, self.config.pairing.listen
        invitations = StoredInvitations(ground.store, self.book)
        return PairingServer(
            listen.host, listen.port, self.contexts, self.descriptor, invitations, clock=ground.clock,
            random=ground.random,
        )  # fmt: skip

    def _pipe(self, relay: Peer, endpoint_id: str) -> JoinerPipe:
        """The way of a pairing's bytes through a clearing house."""
        ground = self.ground
        own = ground.identity.endpoint_id
        return JoinerPipe(self.core.outgoing, ground.clock, ground.random, own, relay, endpoint_id)

    def _desk(self) -> OperatorDesk:
        ground, config = self.ground, self.config
        reports = Reports(
            lambda: self.config, ground.clock, ground.store, self.directory, self.peering, self.board, self.contexts,
            self.core.outgoing, ground.clock.monotonic(), lambda: self.upkeep.jumps, lambda: self.mdns_state,
            lambda: self.domains,
        )  # fmt: skip
        return OperatorDesk(
            reports, self.pairing, self.directory, self.book, self.peering, config.database, self.reloader.reload,
            ground.start, self.core.vouching.tell_everyone,
        )  # fmt: skip

    async def look_around(self) -> None:
        """Who is out there, by all means but mDNS, which needs the other thread. Until cancelled."""
        StaticFinder(self.config.candidates).report_nowait(self.board.take)
        finder = DnsSdFinder(tuple(self.domains), self.ground.random, self.domains.__setitem__, self.name_servers)
        await finder.run(self.board.take)

    # --- what follows from what ---------------------------------------------------------------------------------

    def _now_and_then(self) -> None:
        """Every ten minutes."""
        if self.upkeep.is_sure:
            self.core.lifecycle.close_due()
        self.core.introductions.renew()
        self.core.vouching.forget_expired()

    def _others_doubt(self) -> bool:
        """Whether the clocks of most partners that are linked say that ours is far ahead; one that lies is outvoted."""
        skews = [peer.skew_ms for peer in self.directory if peer.exchange is not None and peer.skew_ms is not None]
        return 2 * sum(skew_ms < -AHEAD_MS for skew_ms in skews) > len(skews)

    def _introduced(self, found: Introduced) -> None:
        """Somebody vouches for an endpoint, or nobody does any more."""
        descriptor = found.descriptor
        if descriptor is None:
            self.board.take(Sighting("introduction", found.endpoint_id, (), gone=True))
            return
        self.board.take(
            Sighting(
                "introduction",
                found.endpoint_id,
                descriptor.addresses,
                found.endpoint_id,
                title=descriptor.name,
                parties=descriptor.parties,
                vouched_by=found.vouchers,
            )
        )

    def _operate(self, operation: Operate, reply: Reply) -> None:
        self.desk.operate(operation, reply)

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
        await self.swap_contexts()
        self.board.peers_changed()
        if what not in ("removed", "suspended"):
            self.peering.add(peer)

    async def swap_contexts(self, leaf: Leaf | None = None) -> None:
        """New TLS contexts, with a new leaf or for the peers as they are now.

        One at a time, or one would undo the other; in a thread, since it takes long where there are many peers. A
        failure is logged and changes nothing.
        """
        async with self._swapping:
            identities = _identities(self.core, self.ground.clock.now_ms())
            if leaf is None and dict(self.contexts.identities) == identities:
                return
            try:
                await trio.to_thread.run_sync(lambda: self.contexts.replace(leaf=leaf, identities=identities))
            except OperatorError as error:
                log.error("contexts_not_replaced", detail=str(error))  # noqa: TRY400 - the message says it all
            metrics.certificate_expiry_seconds.labels("leaf").set(self.contexts.leaf.not_after_ms / 1000)


def _identities(core: Core, now_ms: int) -> dict[str, tuple[bytes, ...]]:
    return {peer.endpoint_id: peer.keys(now_ms) for peer in core.directory if peer.active}


def system_random(size: int) -> bytes:
    """The machine's own randomness."""
    return os.urandom(size)
