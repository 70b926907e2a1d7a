"""One simulated endpoint: a whole daemon's core over a simulated network, clock, disk and backend, which can die.

Two processes of one company are two nodes that share its name, at two hosts; only the first one listens.

A life ends in one of three ways: `stop` says Goodbye, `kill` says nothing, and a crash strikes at a commit, before or
after it. What remains is the store as it was committed; a restart opens exactly that, a roll-back an older copy.
"""

import contextlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
import trio

from roamd.daemon.core import Core, Ground, Settings, World
from roamd.daemon.run import begin_run_txn
from roamd.errors import PeerError
from roamd.model.agreement import preset
from roamd.peering.link import Link
from roamd.roaming.directory import Peer
from roamd.roaming.ledger.signer import Signer
from roamd.storage import meta, peers
from roamd.storage.peers import PeerRow
from roamd.storage.store import Cx
from roamd.trust.descriptor import Descriptor
from roamd.trust.succession import Succession
from tests.simulation.backend import SimBackend
from tests.simulation.clock import BASE_MS, SimClock, keep_deadlines
from tests.simulation.dialect import OURS, Dialect, speaking
from tests.simulation.faults import HONEST, Faults
from tests.simulation.keys import Authority, Identity
from tests.simulation.network import Port, SimNetwork, Stream, refused
from tests.simulation.store import Disk, SimStore
from tests.simulation.trace import Trace

T = TypeVar("T")

RESTART_MS = 5_000
HANDSHAKES = 16


def refuses_sdr(receiver: str, author: str) -> bool:
    """Some companies have not agreed to everything that their partners send."""
    return (int(receiver[1:]) + int(author[1:])) % 3 == 0


class Crash(BaseException):
    """The process is gone. Nothing in roamd may catch it."""


@dataclass(frozen=True, slots=True)
class Company:
    """Who a node is, for ever."""

    name: str
    party: str
    roles: tuple[str, ...]
    dialable: bool
    identity: Identity

    def descriptor(self, sequence: int) -> Descriptor:
        """What it says of itself."""
        return Descriptor(
            endpoint_id=self.identity.endpoint_id,
            identity_der=self.identity.certificate,
            name=self.name,
            parties=(self.party,),
            roles=self.roles,
            addresses=(f"{self.name}:1",) if self.dialable else (),
            sequence=sequence,
            valid_until_ms=BASE_MS * 2,
        )


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all nodes of a simulation share."""

    network: SimNetwork
    authority: Authority
    trace: Trace
    heartbeat_s: float
    backoff_s: float
    faults: Faults = HONEST


@dataclass(slots=True)
class Node:
    """See the module."""

    company: Company
    around: Surroundings
    rng: random.Random
    backend: SimBackend
    clock: SimClock = field(init=False)
    disk: Disk = b""
    store: SimStore | None = None
    core: Core | None = None
    crash_at: tuple[str, int] | None = None
    commits: int = 0
    changed: bool = True
    written: set[str] | None = None
    """The tables that were written to since the law read them; None is: read all."""
    restored: bool = False
    pristine: bytes | None = None
    host: str = ""
    speaks: Dialect = OURS
    _dialling: "_Dialling | None" = None
    _dead: bool = False
    _scope: trio.CancelScope | None = None
    _ended: trio.Event = field(default_factory=trio.Event)

    def __post_init__(self) -> None:
        self.clock = SimClock(self.around.network.clock)

    @property
    def name(self) -> str:
        return self.company.name

    @property
    def place(self) -> str:
        """Where its process runs."""
        return self.host or self.name

    @property
    def up(self) -> bool:
        """Whether its process lives."""
        return self.core is not None and not self._dead

    # --- before the first start ---------------------------------------------------------------------------------

    def pair_with(self, others: list["Node"]) -> None:
        """Enter the partners into the store, as pairing would have."""
        rows = [self._row(other.company) for other in others]

        def txn(cx: Cx) -> None:
            for row in rows:
                peers.put_txn(cx, row)

        store = SimStore.open_memory(clock=self.clock)
        store.write(txn)
        self.pristine = store.snapshot_bytes()
        self.disk = store.after_crash()

    def twin(self, rng: random.Random, backend: SimBackend) -> "Node":
        """A second process of the company, from a copy of the store: someone started the spare one as well."""
        assert self.store is not None
        return Node(self.company, self.around, rng, backend, disk=self.store.snapshot_bytes(), host=self.name + "-b")

    def _row(self, other: Company) -> PeerRow:
        agreement = preset(self.company.roles, other.roles, (other.party,))
        if refuses_sdr(self.name, other.name):
            agreement = msgspec.structs.replace(agreement, records_in=("CDR",))
        return PeerRow(
            peer=other.name,
            endpoint_id=other.identity.endpoint_id,
            identity_der=other.identity.certificate,
            name=other.name,
            parties=(other.party,),
            state="PAIRED",
            address=f"{other.name}:1" if other.dialable else None,
            descriptor=self.around.authority.encode_descriptor(other.descriptor(1), other.identity),
            descriptor_sequence=1,
            agreement_json=agreement.to_json(),
            rights_version=1,
            words="",
            paired_at_ms=BASE_MS - 24 * 3600 * 1000,
            joined_by_us=self.name < other.name,
        )

    # --- its life -----------------------------------------------------------------------------------------------

    async def live(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """One life; returns when it has ended, however."""
        self._dead, self._scope, self._ended = False, None, trio.Event()
        self.store = store = self.around.faults.store.on(self.disk, clock=self.clock, crash_point=self._crash_point)
        store.note_writes(self._note_write)
        try:
            run = store.write(self._begin_txn)
            self.restored = False
            async with trio.open_nursery() as nursery:
                self._scope = nursery.cancel_scope
                self.core = Core(self._ground(store, run, nursery), self._world(nursery))
                nursery.start_soon(store.pace, self.rng, self.around.network.clock)
                nursery.start_soon(keep_deadlines, self.core.deadlines, self.around.network.clock)
                await nursery.start(self.core.peering.run)
                task_status.started()
                await trio.sleep_forever()
        except* Crash:
            pass
        finally:
            self._over()

    def _begin_txn(self, cx: Cx) -> Any:
        if self.restored:
            meta.set_txn(cx, meta.RESTORED_AT, str(self.clock.now_ms()))
        return begin_run_txn(cx, self.clock, self.rng.randbytes)

    def _over(self) -> None:
        self._dead = True
        self.around.network.kill(self.place)
        assert self.store is not None
        self.disk = self.store.after_crash()
        self.store.close()
        self.core, self.store, self._dialling = None, None, None
        self.crash_at = None
        self.changed, self.written = True, None
        self.around.trace.note("ended", self.place)
        self._ended.set()

    async def stop(self) -> None:
        """Say Goodbye and end, as on SIGTERM."""
        core = self.core
        if core is None or self._dead:
            return
        await core.peering.say_goodbye(self.clock.now_ms() + RESTART_MS)
        if not self._dead:
            core.journal.flush()
        await self.kill()

    async def kill(self) -> None:
        """End without a word, as on SIGKILL."""
        self.die()
        await self._ended.wait()

    def die(self) -> None:
        """The process is gone from this moment on."""
        if self.core is None:
            return
        self._dead = True
        self.around.network.kill(self.place)
        if self._scope is not None:
            self._scope.cancel()

    def _crash_point(self, when: str) -> None:
        self.commits += when == "after-commit"
        self.changed = True
        if self._dead and when == "before-commit":
            raise Crash
        if self.crash_at is None or self.crash_at[0] != when:
            return
        left = self.crash_at[1] - 1
        self.crash_at = (when, left) if left > 0 else None
        if left <= 0:
            self.around.trace.note("crash", f"{self.place} {when}")
            self.die()
            raise Crash

    def _note_write(self, table: str) -> None:
        if self.written is not None:
            self.written.add(table)

    def look(self, read: Callable[[Cx], T]) -> T:
        """A look at what is committed, also while the node is down."""
        if self.store is not None:
            return self.store.read(read)
        store = SimStore.on(self.disk, clock=self.clock)
        self.disk = store.after_crash()
        return store.read(read)

    def restore(self, image: bytes) -> None:
        """Put a copy in the place of what a dead process left."""
        self.discard()
        self.disk, self.written = image, None

    def discard(self) -> None:
        """Nobody needs any more what a dead process left."""
        if not isinstance(self.disk, bytes):
            self.disk.close()

    # --- its parts ----------------------------------------------------------------------------------------------

    def _ground(self, store: SimStore, run: Any, nursery: trio.Nursery) -> Ground:
        company, around = self.company, self.around
        settings = Settings(
            parties=(company.party,),
            roles=company.roles,
            dialable=company.dialable,
            heartbeat_s=around.heartbeat_s,
            backoff_s=around.backoff_s,
            handshakes=HANDSHAKES,
            whitelist_offline=True,
        )
        identity = company.identity
        succession = Succession.sole(identity.endpoint_id, identity.certificate)
        signer = Signer(succession, identity.sign, around.authority.verify)

        def start(function: Callable[..., Any], *arguments: Any) -> None:
            nursery.start_soon(function, *arguments)

        return Ground(settings, self.clock, store, run, self.rng.randbytes, signer, start)

    def _world(self, nursery: trio.Nursery) -> World:
        company, authority = self.company, self.around.authority
        return World(
            network=lambda core: self._network(core, nursery),
            backend=self.backend,
            addresses=lambda peer: (peer.row.address,) if peer.row.address else (),
            peer_changed=lambda peer, what: None,
            operate=lambda operation, reply: None,
            descriptor=lambda: authority.encode_descriptor(company.descriptor(1), company.identity),
            read_descriptor=authority.read_descriptor,
            take=self.around.faults.take(self.rng.randbytes),
        )

    def _network(self, core: Core, nursery: trio.Nursery) -> "_Dialling":
        self._dialling = _Dialling(self, core, nursery)
        return self._dialling

    def dial_again(self, partner: str) -> None:
        """Dial a partner although there may be a link."""
        if self._dialling is not None:
            self._dialling.dial_again(partner)

    def ask(self, operation: object, reply: Callable[[Any], None]) -> None:
        """What the backend asks of the API; no reply ever comes from a process that died."""
        if self.core is None or self._dead:
            return
        life = self._ended

        def answered(value: Any) -> None:
            if life is self._ended and not self._dead:
                reply(value)

        with contextlib.suppress(Crash):  # it strikes the process, not who asked
            self.core.operations.handle(operation, answered)


class _Dialling:
    """A node's network: dials, and takes those who dial (implements `daemon.core.Network`)."""

    def __init__(self, node: Node, core: Core, nursery: trio.Nursery) -> None:
        self._node = node
        self._core = core
        self._nursery = nursery
        self._places = trio.CapacityLimiter(HANDSHAKES)  # as `peering.network`
        if node.place == node.name:
            node.around.network.listen(node.name, Port(node.company.identity.leaf_sha256, self._accept))

    async def connect(self, peer: Peer, address: str) -> Link:
        identity = self._node.company.identity
        async with self._places:
            stream = await self._node.around.network.connect(
                self._node.place, identity.endpoint_id, identity.leaf_sha256, address.partition(":")[0]
            )
        if self._core.directory.find(peer.label) is not peer:
            raise PeerError("the peer is gone")
        return self._make(peer, stream, dialler=True)

    def _make(self, peer: Peer, stream: Stream, *, dialler: bool) -> Link:
        return speaking(self._core.maker, self._node.speaks).make(peer, stream, dialler=dialler)

    def dial_again(self, partner: str) -> None:
        """A link more to a partner, as when both sides dial at once."""
        peer = self._core.directory.find(partner)
        if peer is not None and peer.row.address:
            self._nursery.start_soon(self._run_one_more, peer, peer.row.address)

    async def _run_one_more(self, peer: Peer, address: str) -> None:
        with contextlib.suppress(OSError, PeerError):
            link = await self.connect(peer, address)
            await link.run()

    def _accept(self, endpoint_id: str, stream: Stream) -> None:
        peer = self._core.directory.by_endpoint(endpoint_id)
        if peer is None or not peer.active:
            raise refused()
        link = self._make(peer, stream, dialler=False)
        self._core.arrived(peer)
        self._nursery.start_soon(link.run)
