"""A paired endpoint that has gone bad, and an honest one that only wants in: real TLS and identity, our own bytes."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from roamd.clock import SystemClock
from roamd.errors import ProtocolError
from roamd.peering.tls import TlsStream
from roamd.protocol.codes import code_name
from roamd.protocol.connection import VERSION, Connection
from roamd.protocol.events import Event, HelloReceived, PeerSaidGoodbye, ProofReceived, WentUp
from roamd.protocol.flow import DEFAULT_WINDOWS
from roamd.protocol.frames import HEADER, FrameType, Lane, pack_frame
from roamd.protocol.messages import Call, Hello, Ping, encode
from roamd.trust.contexts import LINK_ALPN, client_context
from roamd.trust.identity import Identity
from roamd.trust.leaf import Leaf, issue_leaf

FIRST_FRAME = 2
"""Behind Hello and Proof."""

CALM_S = 10.0
UNKNOWN_SERVICE = 77


@dataclass
class Guest:
    """An endpoint that `target` has paired with, without a daemon."""

    identity: Identity
    target: Identity
    port: int

    def __post_init__(self) -> None:
        self.leaf: Leaf = issue_leaf(self.identity, SystemClock().now_ms())
        self.context = client_context(self.leaf, [self.target.certificate_der])

    @asynccontextmanager
    async def secured(self) -> AsyncIterator[TlsStream]:
        """A TLS connection, shaken hands."""
        transport = await trio.open_tcp_stream("127.0.0.1", self.port)
        stream = TlsStream(transport, self.context, server_side=False, own_leaf_sha256=self.leaf.sha256, alpn=LINK_ALPN)
        try:
            await stream.handshake()
            yield stream
        finally:
            with trio.move_on_after(1) as scope:
                scope.shield = True
                await stream.aclose()

    async def gets_in(self) -> bool:
        """Whether the port judges us to be who we are: only then it says Hello."""
        try:
            with trio.fail_after(CALM_S):
                async with self.secured() as stream:
                    return bool(await stream.receive_some())
        except (OSError, trio.BrokenResourceError, trio.TooSlowError):
            return False

    async def misbehaves(self, how: "Misdeed") -> str:
        """Come up as an honest endpoint does, do it, and tell how it ended: the Goodbye's code, or what else."""
        async with self.secured() as stream:
            link = _Rogue(self, stream)
            await link.come_up()
            try:
                with trio.fail_after(CALM_S):
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(_until_broken, how, link)
                        ending = await link.hear_the_end()
                        nursery.cancel_scope.cancel()
            except trio.TooSlowError:
                return "let go on"
            return ending


class _Rogue:
    def __init__(self, guest: Guest, stream: TlsStream) -> None:
        self._guest, self.stream, self.sequence = guest, stream, FIRST_FRAME
        hello = Hello(
            [VERSION], os.urandom(32), guest.identity.endpoint_id, os.urandom(16), os.urandom(16), [],
            SystemClock().now_ms(), "rogue", [], list(DEFAULT_WINDOWS),
        )  # fmt: skip
        self.connection = Connection(True, hello, 0.0, expected_endpoint=guest.target.endpoint_id)

    async def come_up(self) -> None:
        up = False
        await self.stream.send_all(self.connection.data_to_send())
        while not up:
            for event in self.connection.receive_data(await self.stream.receive_some(), 0.0, 0):
                up = self._greet(event) or up
            await self.stream.send_all(self.connection.data_to_send())

    def _greet(self, event: object) -> bool:
        if isinstance(event, HelloReceived):
            own, peer = self.stream.own_leaf_sha256, self.stream.peer_leaf_sha256
            document = self.connection.own_proof_document(own, peer)
            self.connection.send_proof(self._guest.identity.sign(document), 0.0)
        elif isinstance(event, ProofReceived):
            return any(isinstance(one, WentUp) for one in self.connection.proof_verified(0.0, 0))
        return False

    async def frame(self, type_: int, payload: bytes, lane: int, *, more: bool = False) -> None:
        """One frame, numbered as it must be."""
        await self.stream.send_all(pack_frame(type_, payload, self.sequence, lane=lane, more=more))
        self.sequence += 1

    async def hear_the_end(self) -> str:
        while True:
            try:
                data = await self.stream.receive_some()
            except trio.BrokenResourceError:
                return "cut"
            if not data:
                return "closed"
            for event in self._read(data):
                if isinstance(event, PeerSaidGoodbye):
                    return code_name(event.goodbye.code)

    def _read(self, data: bytes) -> list[Event]:
        try:
            return self.connection.receive_data(data, 0.0, 0)
        except ProtocolError:  # answers to what was asked behind the connection's back
            return []


Misdeed = Callable[[_Rogue], Awaitable[None]]


async def _until_broken(how: Misdeed, link: _Rogue) -> None:
    try:
        await how(link)
        await trio.sleep_forever()
    except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
        await trio.sleep_forever()


async def announces_a_huge_frame(link: _Rogue) -> None:
    """Four gigabytes are to come."""
    await link.stream.send_all(HEADER.pack(0xFFFFFFFF, FrameType.LEDGER_BATCH, Lane.LEDGER, link.sequence))


async def never_ends_a_message(link: _Rogue) -> None:
    """Fragment after fragment, each promising another one."""
    while True:
        await link.frame(FrameType.LEDGER_BATCH, bytes(32 * 1024), Lane.LEDGER, more=True)


async def asks_without_credit(link: _Rogue) -> None:
    """Twice as many questions as were granted, in one breath."""
    calls = [Call(os.urandom(16), UNKNOWN_SERVICE, 30_000, b"") for _ in range(2 * DEFAULT_WINDOWS[0])]
    parts = [calls[at : at + 512] for at in range(0, len(calls), 512)]
    frames = [
        pack_frame(FrameType.CALL, encode(part), link.sequence + at, lane=Lane.CALLS) for at, part in enumerate(parts)
    ]
    await link.stream.send_all(b"".join(frames))


async def sends_bulk_without_credit(link: _Rogue) -> None:
    """Frames of a feed until the window of a megabyte is overdrawn, and then some."""
    while True:
        await link.frame(FrameType.FEED_CHUNK, bytes(48 * 1024), Lane.FEEDS, more=True)


async def pings_without_end(link: _Rogue) -> None:
    """As fast as the wire takes them."""
    while True:
        await link.frame(FrameType.PING, encode([Ping(1, 0)]), Lane.CONTROL)


async def talks_nonsense(link: _Rogue) -> None:
    """Random bytes where a frame should be."""
    await link.stream.send_all(os.urandom(4096))


MISDEEDS: dict[str, Misdeed] = {
    "a huge frame announced": announces_a_huge_frame,
    "a message that never ends": never_ends_a_message,
    "calls without credit": asks_without_credit,
    "bulk without credit": sends_bulk_without_credit,
    "pings without end": pings_without_end,
    "nonsense": talks_nonsense,
}
