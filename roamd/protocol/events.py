"""What a connection tells its driver. Bulk payloads come undecoded: `bulk` opens them, off the reading path."""

from dataclasses import dataclass

from roamd.protocol.flow import Pattern
from roamd.protocol.messages import Answer, Call, FeedAck, Goodbye, Hello, Proof, Receipt


@dataclass(frozen=True, slots=True)
class HelloReceived:
    """The driver now signs `own_proof_document` and calls `send_proof`."""

    hello: Hello


@dataclass(frozen=True, slots=True)
class ProofReceived:
    """The driver verifies it over `peer_proof_document`, then calls `proof_verified` or says Goodbye(NOT_TRUSTED).

    Nothing that comes after the Proof is read before that.
    """

    proof: Proof


@dataclass(frozen=True, slots=True)
class WentUp:
    """Both Proofs are done; everything may be sent now."""

    version: int
    features: frozenset[str]


@dataclass(frozen=True, slots=True)
class Calls:
    """Questions of the peer. Each is answered exactly once, also one that was cancelled: that frees its credit."""

    calls: list[Call]


@dataclass(frozen=True, slots=True)
class Answers:
    """Answers to our calls; one to a call that we cancelled is to be ignored."""

    answers: list[Answer]


@dataclass(frozen=True, slots=True)
class Cancels:
    """The peer no longer waits for these."""

    ids: list[bytes]


@dataclass(frozen=True, slots=True)
class BulkLedger:
    """A ledger batch, for `unpack_ledger_batch`; `grant(LEDGER, cost)` once it is committed."""

    payload: bytes
    cost: int


@dataclass(frozen=True, slots=True)
class BulkFeed:
    """A feed chunk, for `unpack_feed_chunk`; `grant(FEEDS, cost)` once it is committed."""

    payload: bytes
    cost: int


@dataclass(frozen=True, slots=True)
class Receipts:
    """Receipts for our ledger batches; their signatures are not checked here."""

    receipts: list[Receipt]


@dataclass(frozen=True, slots=True)
class FeedAcks:
    """Where the peer stands in our feeds."""

    acks: list[FeedAck]


@dataclass(frozen=True, slots=True)
class CreditArrived:
    """More may be sent of these patterns."""

    patterns: frozenset[Pattern]


@dataclass(frozen=True, slots=True)
class SkewMeasured:
    """The peer's wall clock minus ours, to half the round trip."""

    skew_ms: float
    round_trip_s: float


@dataclass(frozen=True, slots=True)
class ExtensionReceived:
    """A frame of a type that the connection does not interpret and the driver asked for."""

    type: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class PeerSaidGoodbye:
    """The last thing the peer says; the driver closes the stream."""

    goodbye: Goodbye


@dataclass(frozen=True, slots=True)
class PeerSilent:
    """Nothing came for too long, also in the handshake. Our Goodbye is queued; the driver sends it and closes."""

    in_handshake: bool


Event = (
    HelloReceived
    | ProofReceived
    | WentUp
    | Calls
    | Answers
    | Cancels
    | BulkLedger
    | BulkFeed
    | Receipts
    | FeedAcks
    | CreditArrived
    | SkewMeasured
    | ExtensionReceived
    | PeerSaidGoodbye
    | PeerSilent
)
