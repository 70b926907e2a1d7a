"""A fake wire: two real Connections and the bytes between them, which a test may cut into any pieces.

The keys are fake too: a "signature" is the SHA-256 of the signer's name and the document, so a test can see that each
side signed exactly what the other one checks.
"""

from hashlib import sha256
from typing import Any

from roamd.protocol.connection import Connection
from roamd.protocol.events import Event, HelloReceived, ProofReceived
from roamd.protocol.flow import DEFAULT_WINDOWS
from roamd.protocol.heartbeat import Timing
from roamd.protocol.messages import Hello, Mark

DIALLER = "A" * 56
LISTENER = "B" * 56
CLOCK_MS = 1_795_000_000_000


def hello(name: str = DIALLER, /, **changes: Any) -> Hello:
    """A Hello as a daemon would send it; the first letter of its endpoint id seeds its other ids."""
    seed = name[:1].encode()
    fields: dict[str, Any] = {
        "versions": [1],
        "nonce": sha256(b"nonce" + seed).digest(),
        "endpoint_id": name,
        "instance": seed * 16,
        "run_id": seed.lower() * 16,
        "features": [],
        "clock_ms": CLOCK_MS,
        "software": "roamd test",
        "marks": list[Mark](),
        "windows": list(DEFAULT_WINDOWS),
    }
    return Hello(**(fields | changes))


def sign(name: str, document: bytes) -> bytes:
    """A fake signature that only this name and document give."""
    return sha256(name.encode() + document).digest()


class End:
    """One end: a Connection, what it was told, and the wall clock that it believes in."""

    def __init__(self, connection: Connection, name: str, peer: str, clock_ms: int = CLOCK_MS) -> None:
        self.connection = connection
        self.name = name
        self.peer = peer
        self.clock_ms = clock_ms
        self.events: list[Event] = []
        self.judge = True
        self.leaf = sha256(name.encode() + b" leaf").digest()
        self.peer_leaf = sha256(peer.encode() + b" leaf").digest()

    def receive(self, data: bytes, now: float) -> None:
        """Give it bytes and do what a driver does in the handshake."""
        self._handle(self.connection.receive_data(data, now, self.clock_ms), now)

    def verify(self, proof: ProofReceived, now: float) -> None:
        """Judge the peer's Proof as trust would, and go on."""
        document = self.connection.peer_proof_document(self.leaf, self.peer_leaf)
        assert proof.proof.signature == sign(self.peer, document)
        self._handle(self.connection.proof_verified(now, self.clock_ms), now)

    def got(self, kind: type[Any]) -> list[Any]:
        """The events of one kind, in order."""
        return [event for event in self.events if isinstance(event, kind)]

    def _handle(self, events: list[Event], now: float) -> None:
        self.events += events
        for event in events:
            if isinstance(event, HelloReceived):
                document = self.connection.own_proof_document(self.leaf, self.peer_leaf)
                self.events += self.connection.send_proof(sign(self.name, document), now)
            elif isinstance(event, ProofReceived) and self.judge:
                self.verify(event, now)


class Wire:
    """Two ends and a clock. `pump` carries bytes both ways until nobody has any."""

    def __init__(self, *, piece: int = 1 << 20, timing: Timing | None = None, **hello_changes: Any) -> None:
        timing = timing or Timing()
        self.now = 100.0
        self.piece = piece
        mine, theirs = hello(DIALLER, **hello_changes), hello(LISTENER, **hello_changes)
        dialler = Connection(True, mine, self.now, expected_endpoint=LISTENER, timing=timing)
        listener = Connection(False, theirs, self.now, expected_endpoint=DIALLER, timing=timing)
        self.dialler = End(dialler, DIALLER, LISTENER)
        self.listener = End(listener, LISTENER, DIALLER)
        self.carried = 0

    @classmethod
    def up(cls, **options: Any) -> "Wire":
        """A wire whose ends are up, with no events left over."""
        wire = cls(**options)
        wire.pump()
        assert wire.dialler.connection.is_up
        assert wire.listener.connection.is_up
        wire.dialler.events.clear()
        wire.listener.events.clear()
        return wire

    def carry(self, sender: End, receiver: End) -> int:
        """One flush in pieces; how many bytes it had."""
        data = sender.connection.data_to_send()
        for at in range(0, len(data), self.piece):
            receiver.receive(data[at : at + self.piece], self.now)
        self.carried += len(data)
        return len(data)

    def pump(self) -> None:
        """Until both are quiet."""
        while self.carry(self.dialler, self.listener) + self.carry(self.listener, self.dialler):
            pass
