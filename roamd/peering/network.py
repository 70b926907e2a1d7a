"""TCP and TLS under the links: dialling an address, and the port where others dial us.

Strangers reach the port, so what they can cost is bounded: so many connections in their handshake, each with a time
limit, and nobody keeps a place from others by silence (see `doorway`). Dialling has places of its own, so that neither
strangers nor peers that do not answer keep the others out. Who is refused is told by a TLS alert, and logged in one
line.
"""

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import trio

from roamd import metrics
from roamd.clock import Clock
from roamd.errors import NotTrusted, OperatorError, PeerError
from roamd.log import get_logger
from roamd.peering.doorway import BACKLOG, Doorway, GuardedListener, Visitor
from roamd.peering.link import Link
from roamd.peering.maker import LinkMaker
from roamd.peering.tls import TlsStream, tune_socket
from roamd.roaming.directory import Directory, Peer
from roamd.trust.contexts import Contexts
from roamd.trust.judge import judge_leaf

log = get_logger()

HANDSHAKE_S = 10.0
PLACES = 64
"""Connections in their handshake at a time. They share one processor; more would only make each of them slower."""


@dataclass(slots=True)
class TlsNetwork:
    """Makes links over TCP; dials at most `handshakes` at a time.

    `arrived(peer)` is called when a peer has dialled us, so that nobody waits to dial it.
    """

    contexts: Contexts
    maker: LinkMaker
    directory: Directory
    clock: Clock
    handshakes: int
    arrived: Callable[[Peer], None]
    port: int | None = None
    host: str = "127.0.0.1"
    _dialling: trio.CapacityLimiter = field(init=False)
    _doorway: Doorway = field(default_factory=lambda: Doorway(PLACES))
    _port_open: trio.CancelScope = field(default_factory=trio.CancelScope)
    _probes: dict[object, trio.Event] = field(default_factory=dict)
    _last_refusal: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._dialling = trio.CapacityLimiter(self.handshakes)

    async def connect(self, peer: Peer, address: str) -> Link:
        """Dial an address and make sure that the peer is there; raises OSError or PeerError."""
        try:
            with trio.fail_after(HANDSHAKE_S):
                transport = await _reach(address)
            return await self._dialled(transport, peer)
        except trio.TooSlowError as error:
            raise TimeoutError(f"no handshake within {HANDSHAKE_S:.0f} s") from error
        except trio.BrokenResourceError as error:
            raise ConnectionError("the connection ended during the handshake") from error

    async def _dialled(self, transport: trio.SocketStream, peer: Peer) -> Link:
        """The handshake, when there is a place for one."""
        try:
            await self._dialling.acquire()
        except BaseException:
            await trio.aclose_forcefully(transport)
            raise
        try:
            with trio.fail_after(HANDSHAKE_S):
                return await self._secured(TlsStream.dial(transport, self.contexts), peer)
        finally:
            self._dialling.release()

    async def _secured(self, stream: TlsStream, expected: Peer | None) -> Link:
        """Shake hands, judge the leaf, make the link; the stream is closed on any failure."""
        try:
            await stream.handshake()
            peer = self._judge(stream.peer_leaf_der, expected)
        except BaseException:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
                await stream.aclose()
            raise
        metrics.handshakes.labels("ok").inc()
        return self.maker.make(peer, stream, dialler=expected is not None)

    def _judge(self, leaf_der: bytes, expected: Peer | None) -> Peer:
        """Who it is: a paired peer, and the one that was dialled. NotTrusted otherwise."""
        endpoint_id = judge_leaf(leaf_der, self.contexts.identities, self.clock.now_ms())
        peer = self.directory.by_endpoint(endpoint_id)
        if peer is None or not peer.active:
            raise NotTrusted("not-a-peer", "The endpoint is not a paired peer.")
        if expected is not None and peer is not expected:
            raise NotTrusted("other-peer", f"Another endpoint answered there: {peer.label}.")
        return peer

    async def listen(self, host: str, port: int, *, task_status: trio.TaskStatus[None]) -> None:
        """Accept links until cancelled; OperatorError when the port cannot be opened."""
        try:
            listeners = await trio.open_tcp_listeners(port, host=host, backlog=BACKLOG)
        except OSError as error:
            raise OperatorError(
                f"The link port {host}:{port} cannot be opened: {error.strerror or error}. See `link.listen`."
            ) from error
        self.host, self.port = _reachable(listeners[0])
        async with trio.open_nursery() as nursery:
            task_status.started()
            with self._port_open:
                doors = [GuardedListener(listener, self._doorway) for listener in listeners]
                await trio.serve_listeners(self._serve, doors, handler_nursery=nursery)

    def stop_accepting(self) -> None:
        """Close the port; links that came through it stay."""
        self._port_open.cancel()

    async def probe(self) -> None:
        """Make sure that connections are accepted, by one of our own; for the watchdog, which gives it its patience."""
        if self.port is None:
            return
        accepted = trio.Event()
        family = trio.socket.AF_INET6 if ":" in self.host else trio.socket.AF_INET
        with trio.socket.socket(family, trio.socket.SOCK_STREAM) as probe:
            # Its address is noted before it connects: the other end may be served before connect returns.
            await probe.bind((self.host, 0))
            self._probes[probe.getsockname()] = accepted
            try:
                await probe.connect((self.host, self.port))
                await accepted.wait()
            finally:
                self._probes.pop(probe.getsockname(), None)

    async def _serve(self, transport: trio.SocketStream) -> None:
        """One connection. Whatever a stranger does ends here; a link that broke has been logged by itself."""
        try:
            address = transport.socket.getpeername()
        except OSError:  # reset before we looked
            await trio.aclose_forcefully(transport)
            return
        probe = self._probes.pop(address, None)
        if probe is not None:
            probe.set()
            await trio.aclose_forcefully(transport)
            return
        try:
            await self._receive(transport)
        except Exception:  # the edge towards strangers: a fault of ours ends one connection, never the daemon
            log.exception("link_failed", peer=None)

    async def _receive(self, transport: trio.SocketStream) -> None:
        visitor = self._doorway.enter(transport)
        if visitor is None:
            metrics.handshakes.labels("turned-away").inc()
            await trio.aclose_forcefully(transport)
            return
        link = await self._admit(visitor)
        if link is None:
            return
        self.arrived(link.peer)
        await link.run()
        if link.exchange is None and not link.logged:
            self._refused(link.reason, f"{link.peer.label} dialled, and its link ended before it was up.")

    async def _admit(self, visitor: Visitor) -> Link | None:
        """The link of whoever dialled us, or None after a refusal in one line."""
        try:
            with visitor, trio.fail_after(HANDSHAKE_S):
                tune_socket(visitor.stream)
                stream = TlsStream.accept(visitor, self.contexts)
                link = await self._secured(stream, None)
                stream.transport = visitor.stream
                return link
        except NotTrusted as error:
            self._refused(error.reason, str(error))
        except trio.TooSlowError:
            self._refused("late", f"no handshake within {HANDSHAKE_S:.0f} s")
        except (PeerError, OSError, trio.BrokenResourceError) as error:
            self._refused(type(error).__name__, str(error))
        if visitor.made_room:
            self._refused("made-room", "it kept us waiting while others knocked")
        await trio.aclose_forcefully(visitor.stream)
        return None

    def _refused(self, reason: str, detail: str) -> None:
        """One line per reason and second at most: a flood must not become a flood of lines."""
        metrics.handshakes.labels("refused").inc()
        now = self.clock.monotonic()
        if now - self._last_refusal.get(reason, -math.inf) >= 1.0:
            self._last_refusal[reason] = now
            log.warning("handshake_refused", reason=reason, detail=detail)


async def _reach(address: str) -> trio.SocketStream:
    """A connection to `host:port`; OSError also for what is no address, since a peer may have made it up."""
    host, _, port = address.rpartition(":")
    try:
        transport = await trio.open_tcp_stream(host.strip("[]"), int(port))
    except (ValueError, OverflowError) as error:
        raise OSError(f"{address!r} is no address") from error
    with suppress(OSError):  # reset already: the handshake will say so
        tune_socket(transport)
    return transport


def _reachable(listener: trio.SocketListener) -> tuple[str, int]:
    """Where this machine itself reaches a listener."""
    host, port = listener.socket.getsockname()[:2]
    if host == "0.0.0.0":  # noqa: S104 - compared, not bound
        return "127.0.0.1", port
    return ("::1" if host == "::" else str(host)), port
