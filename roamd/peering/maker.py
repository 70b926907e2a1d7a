"""Links out of streams: once a stream has proven whose leaf is at its end, dialler and listener go the same way."""

from collections.abc import Callable
from dataclasses import dataclass

from roamd import __version__
from roamd.clock import Clock
from roamd.model.routes import DIRECT
from roamd.peering.link import Link, OwnEnd, SecureStream
from roamd.protocol.connection import VERSION, Connection
from roamd.protocol.flow import DEFAULT_WINDOWS
from roamd.protocol.heartbeat import Timing
from roamd.protocol.messages import Hello
from roamd.roaming.directory import Peer
from roamd.roaming.ledger.marks import marks_for
from roamd.storage.store import Store


@dataclass(slots=True)
class LinkMaker:
    """Makes links. `instance` is this installation's own for ever, `run_id` this process's."""

    endpoint_id: str
    instance: bytes
    run_id: bytes
    own: OwnEnd
    clock: Clock
    store: Store
    random: Callable[[int], bytes]
    timing: Timing

    def make(self, peer: Peer, stream: SecureStream, *, dialler: bool, route: str = DIRECT) -> Link:
        """A link that is ready to run; it owns the stream."""
        connection = Connection(
            dialler,
            self.hello(peer),
            self.clock.monotonic(),
            expected_endpoint=peer.endpoint_id,
            timing=self.timing,
        )
        return Link(peer, stream, connection, self.own, self.endpoint_id if dialler else peer.endpoint_id, route)

    def hello(self, peer: Peer) -> Hello:
        """What we say first to a peer; a fresh nonce each time."""
        return Hello(
            versions=[VERSION],
            nonce=self.random(32),
            endpoint_id=self.endpoint_id,
            instance=self.instance,
            run_id=self.run_id,
            features=[],
            clock_ms=self.clock.now_ms(),
            software=f"roamd {__version__}",
            marks=self.store.read(lambda cx: marks_for(cx, peer.label)),
            windows=list(DEFAULT_WINDOWS),
        )
