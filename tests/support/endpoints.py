"""Endpoints for tests of peering: the daemon's own core for each, real TLS, a store and streams in memory.

    async with Neighbourhood() as hood:
        cso, csp = hood.endpoint("DE*ABC", "cso"), hood.endpoint("FR*XYZ", "csp")
        await hood.pair(cso, csp)
        await hood.until_linked(cso, csp)

Everything runs in one trio loop, on trio's own clock, so `autojump_clock` makes a day pass in a moment. A test that
wants to see or spoil what is on the wire puts its own streams between two ends (`hood.wires`).
"""

import io
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, TypeVar

import msgspec
import trio
from trio.testing import memory_stream_pair

from roamd import log
from roamd.daemon.core import Core, Ground, Settings, World
from roamd.daemon.run import Run, begin_run_txn
from roamd.errors import NotTrusted
from roamd.model.ids import parse_party
from roamd.peering.link import Link, SecureStream
from roamd.peering.tls import TlsStream
from roamd.protocol.connection import Connection
from roamd.protocol.events import Event, HelloReceived, PeerSaidGoodbye, ProofReceived
from roamd.protocol.messages import Goodbye
from roamd.roaming.directory import Peer
from roamd.roaming.ledger.signer import Signer
from roamd.roaming.peerbook import Change
from roamd.roaming.ports import AuthorizeQuestion, BackendAnswer, CommandQuestion, CommandResult, NoAnswer
from roamd.roaming.vouch import Introduced
from roamd.storage.store import Store
from roamd.trust.contexts import Contexts
from roamd.trust.descriptor import Descriptor, encode_descriptor, verify_descriptor
from roamd.trust.identity import Identity
from roamd.trust.judge import judge_leaf
from roamd.trust.leaf import issue_leaf
from roamd.trust.signing import verify
from roamd.trust.succession import succession_of_own
from tests.support.trust import identity, real_now_ms

E = TypeVar("E")

WORDS = ("one", "two", "three", "four", "five", "six")


REPLY_S = 100.0
"""Of the test's clock: longer than any question's deadline."""


class TrioClock:
    """trio's clock as ours. The wall clock begins at the real time, because OpenSSL asks the machine; it can jump."""

    def __init__(self) -> None:
        self._offset_ms = real_now_ms() - trio.current_time() * 1000

    def monotonic(self) -> float:
        return trio.current_time()

    def now_ms(self) -> int:
        return int(trio.current_time() * 1000 + self._offset_ms)

    def jump(self, seconds: float) -> None:
        """Somebody sets the wall clock."""
        self._offset_ms += seconds * 1000


class ScriptedBackend:
    """A company's backend: `decide` and `carry_out` answer each question (implements `ports.Backend`)."""

    def __init__(self) -> None:
        self.asked: list[AuthorizeQuestion] = []
        self.decide: Callable[[AuthorizeQuestion], BackendAnswer | NoAnswer | None] = lambda _: BackendAnswer("ALLOWED")
        self.told: list[CommandQuestion] = []
        self.carry_out: Callable[[CommandQuestion], CommandResult | NoAnswer | None] = lambda _: CommandResult(
            "ACCEPTED"
        )

    def ask_authorize(self, question: AuthorizeQuestion, done: Callable[[BackendAnswer | NoAnswer], None]) -> None:
        self.asked.append(question)
        answer = self.decide(question)
        if answer is not None:
            done(answer)

    def ask_command(self, question: CommandQuestion, done: Callable[[CommandResult | NoAnswer], None]) -> None:
        self.told.append(question)
        answer = self.carry_out(question)
        if answer is not None:
            done(answer)

    def events_arrived(self, newest: str) -> None:
        """Nobody waits for events here."""


@dataclass
class Endpoint:
    """One company's daemon, as far as its core goes; `address` None: it only dials."""

    hood: "Neighbourhood"
    name: str
    party: str
    role: str
    identity: Identity
    address: str | None
    store: Store
    clock: TrioClock
    settings: dict[str, Any] = field(default_factory=dict)
    backend: ScriptedBackend = field(default_factory=ScriptedBackend)
    dialled: list[tuple[float, str]] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    sequence: int = 1
    introducible: bool = False
    introduced: list[Introduced] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        number = succession_of_own(self.identity).in_use
        run: Run = self.store.write(lambda cx: begin_run_txn(cx, self.clock, os.urandom, number))
        self.sealing_key = run.sealing_public
        own = self.identity
        signer = Signer(succession_of_own(own), own.sign, verify)
        values: dict[str, Any] = {
            "parties": (self.party,),
            "roles": (self.role,),
            "dialable": self.address is not None,
            "heartbeat_s": 30.0,
            "backoff_s": 300.0,
            "handshakes": 16,
            "whitelist_offline": True,
        }
        ground = Ground(
            Settings(**(values | self.settings)), self.clock, self.store, run, os.urandom, signer, self.start
        )
        self.contexts = Contexts(own, issue_leaf(own, self.clock.now_ms()))
        world = World(
            network=lambda core: self,
            backend=self.backend,
            addresses=lambda peer: (peer.row.address,) if peer.row.address else (),
            peer_changed=self._peer_changed,
            operate=lambda operation, reply: None,
            descriptor=self.descriptor,
            read_descriptor=verify_descriptor,
            introduced=self.introduced.append,
        )
        self.core = Core(ground, world)
        self._repin()

    @property
    def endpoint_id(self) -> str:
        return self.identity.endpoint_id

    def descriptor(self) -> bytes:
        """What it says of itself now."""
        own = self.identity
        addresses = (self.address,) if self.address else ()
        roles, valid_until_ms = (self.role,), self.clock.now_ms() + 1_000_000
        return encode_descriptor(
            Descriptor(
                own.endpoint_id, own.certificate_der, self.name, (self.party,), roles, addresses, self.sequence,
                valid_until_ms, self.sealing_key, self.introducible, own.succession,
            ),
            own,
        )  # fmt: skip

    def start(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Run something in its nursery."""
        self._nursery.start_soon(function, *arguments)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Its life, until `stop`, `crash` or the end of the test."""
        self._scope = trio.CancelScope()
        with self._scope:
            async with trio.open_nursery() as self._nursery:
                self.start(self.core.deadlines.run)
                await self._nursery.start(self.core.peering.run)
                self.hood.ports[self.address or ""] = self
                task_status.started()
                await trio.sleep_forever()

    async def stop(self) -> None:
        """As at `systemctl stop`."""
        self.hood.ports.pop(self.address or "", None)
        await self.core.peering.say_goodbye(self.clock.now_ms() + 5_000)
        self._scope.cancel()

    def crash(self) -> None:
        """Everything of it is cancelled."""
        self.hood.ports.pop(self.address or "", None)
        self._scope.cancel()

    async def restart(self) -> None:
        """A new process over the same store, after `stop` or `crash`; its run id is new."""
        self._begin()
        self.links.clear()
        await self.hood.nursery.start(self.run)

    # --- peers --------------------------------------------------------------------------------------------------

    async def ask(self, operation: object) -> Any:
        """What the core replies to an operation; raises what it refuses it with."""
        replies: list[Any] = []
        replied = trio.Event()

        def reply(value: Any) -> None:
            replies.append(value)
            replied.set()

        self.core.operations.handle(operation, reply)
        with trio.fail_after(REPLY_S):
            await replied.wait()
        (told,) = replies
        if isinstance(told, BaseException):
            raise told
        return told

    def peer(self, other: "Endpoint") -> Peer:
        """How it knows another one."""
        peer = self.core.directory.by_endpoint(other.endpoint_id)
        assert peer is not None, f"{self.name} does not know {other.name}"
        return peer

    def is_up(self, other: "Endpoint") -> bool:
        peer = self.core.directory.by_endpoint(other.endpoint_id)
        return peer is not None and peer.exchange is not None

    def links_to(self, other: "Endpoint") -> list[Link]:
        return self.core.registry.of(self.peer(other))

    def _peer_changed(self, peer: Peer, what: Change) -> None:
        if what == "suspended":
            self.core.peering.suspend(peer)
        elif what == "removed":
            self.core.peering.remove(peer)
        self._repin()
        if what not in ("suspended", "removed"):
            self.core.peering.add(peer)

    def _repin(self) -> None:
        self.contexts.replace(
            identities={peer.endpoint_id: peer.keys(self.clock.now_ms()) for peer in self.core.directory if peer.active}
        )

    # --- its network --------------------------------------------------------------------------------------------

    async def connect(self, peer: Peer, address: str) -> Link:
        """Dial (daemon.core.Network)."""
        self.dialled.append((trio.current_time(), address))
        other = self.hood.ports.get(address)
        if other is None:
            raise ConnectionRefusedError("nobody listens there")
        return await self.dial(peer, other)

    async def dial(self, peer: Peer, other: "Endpoint") -> Link:
        """A link to whoever it is, shaken hands and judged as `peering.network` does."""
        near, far = self.hood.wires()
        other.start(other.accept, far)
        stream = TlsStream.dial(near, self.contexts)
        try:
            await stream.handshake()
            found = judge_leaf(stream.peer_leaf_der, self.contexts.identities, self.clock.now_ms())
        except BaseException:
            await trio.aclose_forcefully(near)
            raise
        if found != peer.endpoint_id:
            await stream.aclose()
            raise NotTrusted("other-peer", "Another endpoint answered there.")
        return self.link(peer, stream, dialler=True)

    async def accept(self, transport: trio.abc.Stream) -> None:
        """Serve one connection."""
        stream = TlsStream.accept(transport, self.contexts)
        try:
            await stream.handshake()
            found = judge_leaf(stream.peer_leaf_der, self.contexts.identities, self.clock.now_ms())
        except (NotTrusted, trio.BrokenResourceError):
            await stream.aclose()
            return
        peer = self.core.directory.by_endpoint(found)
        assert peer is not None
        link = self.link(peer, stream, dialler=False)
        self.core.arrived(peer)
        await link.run()

    def link(self, peer: Peer, stream: SecureStream, *, dialler: bool) -> Link:
        """A link that is ready to run."""
        link = self.core.maker.make(peer, stream, dialler=dialler)
        self.links.append(link)
        return link


class Neighbourhood:
    """All endpoints of one test and the wires between them."""

    def __init__(self) -> None:
        self.ports: dict[str, Endpoint] = {}
        self.wires: Callable[[], tuple[trio.abc.HalfCloseableStream, trio.abc.HalfCloseableStream]] = memory_stream_pair
        self._manager = trio.open_nursery()
        self._made = 0

    async def __aenter__(self) -> "Neighbourhood":
        self.nursery = await self._manager.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self.nursery.cancel_scope.cancel()
        return bool(await self._manager.__aexit__(kind, error, trace))

    async def endpoint(
        self, party: str, role: str, *, reachable: bool = True, introducible: bool = False, **settings: Any
    ) -> Endpoint:
        """A new one, running. The first one made has the smallest endpoint id, and so on."""
        number, self._made = self._made, self._made + 1
        name = f"{role}-{number}"
        endpoint = Endpoint(
            hood=self,
            name=name,
            party=parse_party(party).canonical,
            role=role,
            identity=in_order(number),
            address=f"{name}.example:63119" if reachable else None,
            store=Store.open_memory(),
            clock=TrioClock(),
            settings=settings,
            introducible=introducible,
        )
        await self.nursery.start(endpoint.run)
        return endpoint

    async def pair_one_way(self, here: Endpoint, there: Endpoint) -> Peer:
        """`here` has `there` in its book."""
        data = there.descriptor()
        return await here.core.book.pair(
            verify_descriptor(data), data, WORDS, confirmed=True, joined_by_us=False, label=there.name
        )

    async def pair(self, one: Endpoint, other: Endpoint) -> None:
        """Both have each other; their diallers begin at once."""
        await self.pair_one_way(one, other)
        await self.pair_one_way(other, one)

    async def until_linked(self, one: Endpoint, other: Endpoint) -> None:
        """Until both are up and of several links one is left."""
        await until(
            lambda: (
                one.is_up(other)
                and other.is_up(one)
                and len(one.links_to(other)) == 1
                and len(other.links_to(one)) == 1
            )
        )

    async def linked(self, one: str = "cso", other: str = "csp", **settings: Any) -> tuple[Endpoint, Endpoint]:
        """Two endpoints whose link is up."""
        here = await self.endpoint("DE*ABC", one, **settings)
        there = await self.endpoint("FR*XYZ", other, **settings)
        await self.pair(here, there)
        await self.until_linked(here, there)
        return here, there


def in_order(number: int) -> Identity:
    """The identities 0 to 7 by rising endpoint id, so that a test can choose who is the smaller side."""
    return sorted((identity(n) for n in range(8)), key=lambda one: one.endpoint_id)[number]


async def until(true: Callable[[], bool], patience_s: float = 100.0) -> None:
    """Look until it is true; in trio's time, so with a jumping clock at once."""
    with trio.fail_after(patience_s):
        while not true():  # noqa: ASYNC110 - many things may make it true
            await trio.sleep(0.01)


class _Lines(io.TextIOBase):
    """Takes a log's JSON lines apart as they are written."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def write(self, text: str) -> int:
        self.lines.append(json.loads(text))
        return len(text)


@contextmanager
def logged() -> Iterator[list[dict[str, Any]]]:
    """What is logged inside the block, as dicts."""
    taken = _Lines()
    log.configure("info", taken, console=False)  # type: ignore[arg-type]  # of a text stream the log only writes
    try:
        yield taken.lines
    finally:
        log.configure("info", None)


def events_of(lines: list[dict[str, Any]], *names: str) -> list[str]:
    """The names of the lines, those that are asked for only."""
    return [line["event"] for line in lines if line["event"] in names]


class FarEnd:
    """The other end of a link, driven by hand: real TLS, a real Connection, and a test that may break every rule."""

    def __init__(self, whose: Endpoint, stream: TlsStream, connection: Connection) -> None:
        self.whose = whose
        self.stream = stream
        self.connection = connection
        self.events: list[Event] = []
        self.ended = False

    async def say(self, data: bytes | None = None) -> None:
        """Send what waits, or these bytes."""
        await self.stream.send_all(self.connection.data_to_send() if data is None else data)

    async def hear(self) -> list[Event]:
        """The events of the next bytes; none at the end of the stream."""
        try:
            data = await self.stream.receive_some()
        except trio.BrokenResourceError:
            data = b""
        self.ended = not data
        clock = self.whose.clock
        new = self.connection.receive_data(data, clock.monotonic(), clock.now_ms()) if data else []
        if any(isinstance(event, ProofReceived) for event in new):  # the other end is always an honest one
            new += self.connection.proof_verified(clock.monotonic(), clock.now_ms())
        self.events += new
        return new

    async def wait_for(self, kind: type[E]) -> E:
        """The first event of a kind, heard already or not."""
        with trio.fail_after(1000):
            while not (found := [event for event in self.events if isinstance(event, kind)]):
                assert not self.ended, f"the stream ended before a {kind.__name__}: {self.events}"
                await self.hear()
        return found[0]

    def proof(self) -> bytes:
        """The signature that an honest endpoint would send."""
        own, peer = self.stream.own_leaf_sha256, self.stream.peer_leaf_sha256
        return self.whose.identity.sign(self.connection.own_proof_document(own, peer))

    async def greet(self) -> None:
        """Hellos both ways."""
        await self.say()
        await self.wait_for(HelloReceived)

    async def come_up(self) -> "FarEnd":
        """All the way, as an honest endpoint."""
        await self.greet()
        self.connection.send_proof(self.proof(), self.whose.clock.monotonic())
        await self.say()
        await self.wait_for(ProofReceived)
        return self

    async def hear_goodbye(self) -> Goodbye:
        """The Goodbye that it was told."""
        return (await self.wait_for(PeerSaidGoodbye)).goodbye


async def far_end(
    here: Endpoint,
    whose: Endpoint,
    *,
    here_dials: bool = True,
    run_id: bytes | None = None,
    instance: bytes | None = None,
) -> FarEnd:
    """A link of `here` (the newest of its `links`) to an end of `whose` that the test drives; no Hello is said yet."""
    near, far = here.hood.wires()
    ends = (TlsStream.dial(near, here.contexts), TlsStream.accept(far, whose.contexts))
    if not here_dials:
        ends = (TlsStream.accept(near, here.contexts), TlsStream.dial(far, whose.contexts))
    async with trio.open_nursery() as nursery:
        for end in ends:
            nursery.start_soon(end.handshake)
    link = here.link(here.peer(whose), ends[0], dialler=here_dials)
    hello = whose.core.maker.hello(whose.peer(here))
    hello = msgspec.structs.replace(hello, run_id=run_id or hello.run_id, instance=instance or hello.instance)
    connection = Connection(not here_dials, hello, whose.clock.monotonic(), expected_endpoint=here.endpoint_id)
    here.start(link.run)
    return FarEnd(whose, ends[1], connection)
