"""The clearing house: calls that carry envelopes between two endpoints which have no direct link.

Theory of operation. An envelope comes in as a call of one peer, and goes out as a call of ours, with the same id, to
the peer that its header names; the answer goes back the same way. Nothing is stored, and nothing waits here but calls
that are under way: what is not delivered is not answered, and its sender deals with that (a link through us falls, and
the ledgers send again what has no receipt). We cannot read, alter, forge or redirect what is carried. We see who sends
to whom, when and how much; and we can keep anything back.

It relays only between two that both have told us to (`RelayPairs`), each of the other; so nobody can be reached through
us who does not want to be. What one peer may send is limited in two ways: so many envelopes and bytes may be under way
at a time, beyond which they are turned away; and of a rate, beyond which the *answer* is held back, so that the
sender, whose envelopes under way are few, slows down by itself and loses nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from roamd import metrics
from roamd.clock import Clock
from roamd.errors import ProtocolError
from roamd.log import get_logger
from roamd.protocol.calls import Service
from roamd.protocol.envelope import Header, Kind, RelayPairs
from roamd.protocol.messages import Answer, AnswerStatus, Call
from roamd.roaming.calls import OutgoingCalls, Respond
from roamd.roaming.deadlines import Deadlines
from roamd.roaming.directory import Directory, Peer

log = get_logger()

UNDER_WAY: Final = 256
"""Envelopes of one sender. A passage has a few, so this serves many at once."""

BYTES_UNDER_WAY: Final = 4 * 1024 * 1024
"""Of one sender, and towards one receiver: what a receiver that does not read may cost us."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one peer may have relayed in a second without being slowed down."""

    envelopes: int
    kib: int

    def seconds_of(self, size: int) -> float:
        """The time that an envelope of so many bytes takes at these rates."""
        return max(1 / self.envelopes, size / (self.kib * 1024))


@dataclass(slots=True)
class _Account:
    """One peer's. `told`: None until it has told us; `free_at`: when what it sent is paid for."""

    told: frozenset[str] | None = None
    pairing: bool = False
    sent: int = 0
    sent_bytes: int = 0
    due_bytes: int = 0
    free_at: float = 0.0


@dataclass(slots=True)
class ClearingHouse:
    """See the module. Without `limits` this endpoint is no clearing house, and refuses."""

    clock: Clock
    deadlines: Deadlines
    directory: Directory
    calls: OutgoingCalls
    limits: Limits | None
    _accounts: dict[str, _Account] = field(default_factory=dict)

    def told(self, peer: Peer, call: Call, deadline_at: float, respond: Respond) -> None:
        """Serve a call of service RELAY_PAIRS (roaming.calls.Service)."""
        del deadline_at
        if self.limits is None:
            respond(AnswerStatus.REFUSED, b"no-clearing-house")
            return
        try:
            pairs = RelayPairs.unpack(call.body)
        except ProtocolError:
            respond(AnswerStatus.MALFORMED, b"unreadable")
            return
        account = self._account(peer)
        account.told, account.pairing = frozenset(pairs.endpoints), pairs.pairing
        respond(AnswerStatus.ANSWERED, b"")

    def forward(self, peer: Peer, header: Header, call: Call, deadline_at: float, respond: Respond) -> None:
        """Pass a peer's envelope on, or refuse it with a word."""
        receiver = self.directory.by_endpoint(header.receiver)
        status, word = self._judge(peer, receiver, header, call)
        if receiver is None or status != AnswerStatus.ANSWERED:
            metrics.relayed_envelopes.labels(peer.label, word).inc()
            respond(status, word.encode())
            return
        self._pass_on(peer, receiver, call, deadline_at, respond)

    def _judge(self, peer: Peer, receiver: Peer | None, header: Header, call: Call) -> tuple[AnswerStatus, str]:
        if self.limits is None:
            return AnswerStatus.REFUSED, "no-clearing-house"
        if header.sender != peer.endpoint_id:
            log.warning("envelope_refused", peer=peer.label, reason="it names another sender")
            return AnswerStatus.REFUSED, "not-yours"
        if receiver is None or not receiver.active or not self._may(peer, receiver, header):
            return AnswerStatus.REFUSED, "not-paired"
        if receiver.exchange is None:
            return AnswerStatus.NO_ANSWER, "no-link"
        if self._is_crowded(peer, receiver, len(call.body)) or self.calls.is_open(call.id):
            return AnswerStatus.NO_ANSWER, "busy"
        return AnswerStatus.ANSWERED, "passed-on"

    def _may(self, peer: Peer, receiver: Peer, header: Header) -> bool:
        """Both have told us so. One says the same of itself as of a stranger, so nobody learns who is here."""
        here, there = self._account(peer), self._account(receiver)
        if header.kind == Kind.PAIRING:
            return there.pairing
        return receiver.endpoint_id in (here.told or ()) and peer.endpoint_id in (there.told or ())

    def _is_crowded(self, peer: Peer, receiver: Peer, size: int) -> bool:
        here, there = self._account(peer), self._account(receiver)
        too_many = here.sent >= UNDER_WAY or here.sent_bytes + size > BYTES_UNDER_WAY
        return too_many or there.due_bytes + size > BYTES_UNDER_WAY

    def _pass_on(self, peer: Peer, receiver: Peer, call: Call, deadline_at: float, respond: Respond) -> None:
        here, there, size = self._account(peer), self._account(receiver), len(call.body)
        here.sent, here.sent_bytes, there.due_bytes = here.sent + 1, here.sent_bytes + size, there.due_bytes + size
        paid_at = self._charge(here, size)

        def answered(answer: Answer | None) -> None:
            here.sent, here.sent_bytes, there.due_bytes = here.sent - 1, here.sent_bytes - size, there.due_bytes - size
            status, body = _told(answer)
            metrics.relayed_envelopes.labels(peer.label, "passed-on").inc()
            metrics.relayed_bytes.labels(peer.label).inc(size)
            self._at(min(paid_at, deadline_at), lambda: respond(status, body))

        left_ms = max(1, int((deadline_at - self.clock.monotonic()) * 1000))
        onward = Call(call.id, Service.RELAY, min(left_ms, call.deadline_ms), call.body)
        self.calls.start(receiver, onward, deadline_at, answered)

    def _charge(self, account: _Account, size: int) -> float:
        """When this envelope is paid for: a second of its rates may be sent at once."""
        now = self.clock.monotonic()
        assert self.limits is not None  # noqa: S101 - judged before
        account.free_at = max(account.free_at, now - 1.0) + self.limits.seconds_of(size)
        return account.free_at

    def _at(self, at: float, fn: Callable[[], None]) -> None:
        if at <= self.clock.monotonic():
            fn()
        else:
            self.deadlines.add(at, fn)

    def _account(self, peer: Peer) -> _Account:
        return self._accounts.setdefault(peer.label, _Account())

    def forget(self, peer: Peer) -> None:
        """The peer was removed."""
        self._accounts.pop(peer.label, None)


def _told(answer: Answer | None) -> tuple[int, bytes]:
    """What the sender is told of the receiver's answer; a status that there is not counts as none."""
    if answer is None:
        return AnswerStatus.NO_ANSWER, b"no-link"
    return (answer.status if answer.status in _STATUSES else AnswerStatus.NO_ANSWER), answer.body


_STATUSES: Final = frozenset(AnswerStatus)
