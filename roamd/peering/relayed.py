"""Links through clearing houses: passages that we open and that peers open to us.

Who may use them: a peer that is paired and active, through a clearing house that stands in its routes, as the operator
chose. We tell each clearing house between whom and us it may relay, when its link comes up and when that changes.

The opening: we seal a fresh key to the one in the peer's descriptor (OPEN), the peer seals a fresh one of its own to
that (ACCEPT), and a link begins over the passage like over any connection. An OPEN that was held back, or that comes
again, opens nothing: it is good for some minutes by the wall clock, and for so long its epoch is remembered.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Protocol

import trio

from roamd.clock import Clock
from roamd.errors import NotTrusted, PeerError, ProtocolError
from roamd.log import get_logger
from roamd.model.roles import CLEARING_HOUSE
from roamd.model.routes import clearing_houses
from roamd.peering.link import Link
from roamd.peering.maker import LinkMaker
from roamd.peering.passage import LIFE_S, Office, Passage, opened
from roamd.protocol.calls import Service
from roamd.protocol.envelope import MAX_PAIRS, Header, Kind, RelayPairs, read_envelope
from roamd.protocol.messages import Answer, AnswerStatus, Call
from roamd.roaming.calls import OutgoingCalls, Respond
from roamd.roaming.deadlines import Deadlines
from roamd.roaming.directory import Directory, Peer
from roamd.roaming.introduce import ReadDescriptor
from roamd.roaming.ledger.signer import Signer
from roamd.roaming.relay import ClearingHouse
from roamd.trust.sealing import SealingKey

log = get_logger()

OPEN_S: Final = 10.0
"""As long as any handshake."""

SKEW_S: Final = 300.0
"""By how much the two sides' wall clocks may differ; it matters for an OPEN alone."""

MAX_PASSAGES: Final = 4
"""That one peer has opened to us and that have not ended: one is in use, others may be left over from a crash."""

MAX_REMEMBERED: Final = 512
"""Epochs of one peer's OPENs: it may open a passage each second for minutes, and more keeps out itself alone."""

PAIRS_S: Final = 30.0


class Visits(Protocol):
    """Pairings that come through a clearing house (`peering.pairing_relay`)."""

    def is_open(self) -> bool:
        """Whether there is an invitation that can be followed."""
        ...

    def take(self, relay: Peer, header: Header, carried: bytes, respond: Respond) -> None:
        """Bytes of a joiner; answered with ours."""
        ...


@dataclass(slots=True)
class Relayed:
    """Owns the passages. `contacted(peer, route)` is told when a peer has opened one to us.

    `keys`: what others seal to, the one in our descriptor first, then those that it named before.
    """

    clock: Clock
    signer: Signer
    keys: tuple[SealingKey, ...]
    directory: Directory
    deadlines: Deadlines
    calls: OutgoingCalls
    maker: LinkMaker
    random: Callable[[int], bytes]
    start: Callable[..., None]
    read_descriptor: ReadDescriptor
    house: ClearingHouse
    contacted: Callable[[Peer, str], None]
    visits: Visits | None = None
    _passages: dict[tuple[str, bytes], Passage] = field(default_factory=dict)
    _remembered: dict[str, set[bytes]] = field(default_factory=dict)
    _office: Office = field(init=False)

    def __post_init__(self) -> None:
        self._office = Office(self.clock, self.signer, self.calls, self.random, self._closed)

    # --- what a clearing house is told ----------------------------------------------------------------------------

    def tell(self, relay: Peer) -> bool:
        """Tell a peer between whom and us it may relay; False when it is no clearing house of ours."""
        if CLEARING_HOUSE not in relay.agreement.their_roles:
            return False
        pairs = [peer.endpoint_id for peer in self.directory if peer.active and relay.label in _houses(peer)]
        visits = self.visits is not None and self.visits.is_open()
        if len(pairs) > MAX_PAIRS:
            log.warning("relay_pairs_cut", peer=relay.label, pairs=len(pairs), limit=MAX_PAIRS)
        call = Call(
            self.random(16), Service.RELAY_PAIRS, int(PAIRS_S * 1000), RelayPairs(pairs[:MAX_PAIRS], visits).pack()
        )
        self.calls.start(relay, call, self.clock.monotonic() + PAIRS_S, lambda answer: _was_told(relay, answer))
        return True

    def tell_all(self) -> None:
        """Peers or their routes have changed, or invitations."""
        for peer in self.directory:
            if peer.exchange is not None:
                self.tell(peer)

    # --- opening ------------------------------------------------------------------------------------------------

    async def connect(self, peer: Peer, relay_label: str) -> Link:
        """A link through a clearing house, ready to run; raises OSError or PeerError."""
        relay = self.directory.find(relay_label)
        if relay is None or relay.exchange is None:
            raise ConnectionError(f"there is no link to the clearing house {relay_label}")
        key = self.read_descriptor(peer.row.descriptor).sealing_key
        if not key:
            raise PeerError("its descriptor has no sealing key: it runs a version that cannot be reached like this")
        passage = self._passage(peer, relay, self.random(16))
        try:
            passage.open(key)
            with trio.fail_after(OPEN_S):
                await passage.accepted.wait()
            if not passage.is_open:
                raise ConnectionError(f"the clearing house {relay_label} says: {passage.reason}")
        except trio.TooSlowError as error:
            raise TimeoutError(f"no answer within {OPEN_S:.0f} s") from error
        finally:
            if not passage.is_open:
                passage.close()
        return self.maker.make(peer, passage, dialler=True, route=relay_label)

    def _passage(self, peer: Peer, relay: Peer, epoch: bytes) -> Passage:
        passage = Passage(self._office, peer, relay, epoch, SealingKey.of_seed(self.random(48)))
        self._passages[peer.endpoint_id, epoch] = passage
        return passage

    def _closed(self, passage: Passage) -> None:
        self._passages.pop((passage.peer.endpoint_id, passage.epoch), None)

    def __len__(self) -> int:
        return len(self._passages)

    # --- envelopes that come ------------------------------------------------------------------------------------

    def answer(self, peer: Peer, call: Call, deadline_at: float, respond: Respond) -> None:
        """Serve a call of service RELAY (roaming.calls.Service)."""
        try:
            header, carried = read_envelope(call.body)
        except ProtocolError:
            respond(AnswerStatus.MALFORMED, b"unreadable")
            return
        if header.id != call.id:
            respond(AnswerStatus.MALFORMED, b"wrong-id")
        elif header.receiver != self.signer.endpoint_id:
            self.house.forward(peer, header, call, deadline_at, respond)
        elif header.kind == Kind.PAIRING:
            self._visited(peer, header, carried, respond)
        else:
            self._take(peer, header, carried, respond)

    def _visited(self, relay: Peer, header: Header, carried: bytes, respond: Respond) -> None:
        if self.visits is None:
            respond(AnswerStatus.REFUSED, b"no-invitation")
        else:
            self.visits.take(relay, header, carried, respond)

    def _take(self, relay: Peer, header: Header, carried: bytes, respond: Respond) -> None:
        peer = self.directory.by_endpoint(header.sender)
        if peer is None or not peer.active or relay.label not in _houses(peer):
            respond(AnswerStatus.REFUSED, b"not-paired")
            return
        passage = self._passages.get((header.sender, header.epoch))
        if header.kind == Kind.OPEN:
            self._opened(peer, relay, header, carried, respond)
        elif passage is None or passage.relay is not relay:
            respond(AnswerStatus.NO_ANSWER, b"no-passage")
        else:
            passage.take(header, carried, respond)

    def _opened(self, peer: Peer, relay: Peer, header: Header, carried: bytes, respond: Respond) -> None:
        """A peer opens a passage to us."""
        word = self._why_not(header)
        if word:
            respond(AnswerStatus.NO_ANSWER, word)
            return
        try:
            their_key = self._unsealed(peer, header, carried)
        except (NotTrusted, ProtocolError) as error:
            log.warning("envelope_refused", peer=peer.label, relay=relay.label, reason=str(error))
            respond(AnswerStatus.MALFORMED, b"not-sealed")
            return
        self._remember(header)
        respond(AnswerStatus.ANSWERED, b"")
        self._make_room(peer)
        passage = self._passage(peer, relay, header.epoch)
        passage.accept(header, their_key)
        self.contacted(peer, relay.label)
        self.start(self.maker.make(peer, passage, dialler=False, route=relay.label).run)

    def _unsealed(self, peer: Peer, header: Header, carried: bytes) -> bytes:
        """The passage key in an OPEN; the peer may know an old descriptor of ours, and with it an old key."""
        now_ms = self.clock.now_ms()
        for key in self.keys[:-1]:
            with suppress(NotTrusted):
                return opened(self.signer, key, peer, header, carried, now_ms)
        return opened(self.signer, self.keys[-1], peer, header, carried, now_ms)

    def _why_not(self, header: Header) -> bytes:
        sent_ms = header.expiry_ms - LIFE_S * 1000
        if abs(self.clock.now_ms() - sent_ms) > SKEW_S * 1000:
            return b"clocks"
        remembered = self._remembered.get(header.sender, ())
        if header.epoch in remembered or (header.sender, header.epoch) in self._passages or header.sequence:
            return b"repeated"
        return b"busy" if len(remembered) >= MAX_REMEMBERED else b""

    def _remember(self, header: Header) -> None:
        """For as long as it would be taken: a clock that is ahead and one that is behind."""
        self._remembered.setdefault(header.sender, set()).add(header.epoch)
        self.deadlines.after(2 * SKEW_S + LIFE_S, lambda: self._forget(header))

    def _forget(self, header: Header) -> None:
        remembered = self._remembered[header.sender]
        remembered.discard(header.epoch)
        if not remembered:
            del self._remembered[header.sender]

    def _make_room(self, peer: Peer) -> None:
        """The oldest goes: its other end is dead, or would not open new ones."""
        theirs = [passage for passage in self._passages.values() if passage.peer is peer]
        for passage in theirs[: len(theirs) - MAX_PASSAGES + 1]:
            passage.close()


def _houses(peer: Peer) -> tuple[str, ...]:
    return clearing_houses(peer.agreement.routes)


def _was_told(relay: Peer, answer: Answer | None) -> None:
    if answer is None or answer.status != AnswerStatus.ANSWERED:
        log.warning("relay_pairs_refused", peer=relay.label, status=None if answer is None else answer.status)
