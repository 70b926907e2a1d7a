"""Our descriptor on every link: a changed address reaches the partners without a person (DESIGN section 6)."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from roamd.clock import Clock
from roamd.errors import NotTrusted, StoreFull
from roamd.log import get_logger
from roamd.protocol.calls import Service
from roamd.protocol.messages import Answer, AnswerStatus, Call
from roamd.roaming.calls import OutgoingCalls, Respond
from roamd.roaming.directory import Peer
from roamd.roaming.peerbook import PeerBook
from roamd.storage import meta
from roamd.storage.store import Cx
from roamd.trust.descriptor import Descriptor, succession_of

log = get_logger()

WAIT_S = 30.0
DECIMAL: Final = re.compile(rb"[0-9]{1,3}")

RENEW_S = 24 * 3600.0
FRESHER_MS = 12 * 3600 * 1000
"""A descriptor that says nothing new is kept when it is valid for so much longer: others are shown it until then."""

ReadDescriptor = Callable[[bytes], Descriptor]
"""Checks the signature and gives the content, or raises NotTrusted (`trust.descriptor.verify_descriptor`)."""


@dataclass(slots=True)
class Introductions:
    """Tells peers our descriptor when a link comes up, and takes theirs."""

    clock: Clock
    calls: OutgoingCalls
    book: PeerBook
    descriptor: Callable[[], bytes]
    random: Callable[[int], bytes]
    start: Callable[..., None]
    read: ReadDescriptor
    successors: int = 0
    """How many successor statements our descriptor carries."""
    _renewed_at: float = field(init=False)

    def __post_init__(self) -> None:
        self._renewed_at = self.clock.monotonic()

    def tell(self, peer: Peer) -> None:
        """Send our descriptor; the peer keeps it if it is newer than the one at hand."""
        call = Call(self.random(16), Service.DESCRIPTOR, int(WAIT_S * 1000), self.descriptor())
        self.calls.start(peer, call, self.clock.monotonic() + WAIT_S, partial(self._was_told, peer))

    def _was_told(self, peer: Peer, answer: Answer | None) -> None:
        """The answer is how many of the successors that we told the peer holds; who has all lets us replace our key."""
        if answer is None or answer.status != AnswerStatus.ANSWERED or not DECIMAL.fullmatch(answer.body):
            return
        held, store = int(answer.body), self.book.store
        if held != store.read(lambda cx: successors_held(cx, peer.label)):
            store.submit(lambda cx: meta.set_txn(cx, _held_by(peer.label), str(held)), lambda outcome: None)
        if held < self.successors:
            log.warning("own_successor_refused", peer=peer.label, held=held)
            peer.alarm(
                "it does not take the newest successor of our key, perhaps because it holds another one: see "
                "`roamd identity`, and ask the partner"
            )

    def handed(self, peer: Peer) -> None:
        """We have paired: it has our descriptor, and all that this says of our keys."""
        told = str(self.successors)
        self.book.store.submit(lambda cx: meta.set_txn(cx, _held_by(peer.label), told), lambda outcome: None)

    def renew(self) -> None:
        """Once a day tell every peer anew: links last for months, and a descriptor is valid for three of them."""
        if self.clock.monotonic() - self._renewed_at < RENEW_S:
            return
        self._renewed_at = self.clock.monotonic()
        for peer in self.book.directory:
            self.tell(peer)

    def answer(self, peer: Peer, call: Call, deadline_at: float, respond: Respond) -> None:
        """Serve a call of service DESCRIPTOR (roaming.calls.Service)."""
        del deadline_at
        try:
            descriptor = self._read(call.body)
        except NotTrusted as error:
            log.warning("descriptor_refused", peer=peer.label, reason=error.reason)
            respond(AnswerStatus.MALFORMED, error.reason.encode())
            return
        if descriptor.endpoint_id != peer.endpoint_id:
            respond(AnswerStatus.ANSWERED, b"")
        elif call.body == peer.row.descriptor:  # as on nearly every link
            _tell_held(peer, descriptor, respond)
        else:
            self.start(self._keep, peer, descriptor, call.body, respond)

    def _read(self, data: bytes) -> Descriptor:
        """Signed by the endpoint, and not one of long ago that somebody kept."""
        descriptor = self.read(data)
        if descriptor.valid_until_ms < self.clock.now_ms():
            raise NotTrusted("expired", "The descriptor's time is over.")
        return descriptor

    async def _keep(self, peer: Peer, descriptor: Descriptor, data: bytes, respond: Respond) -> None:
        try:
            await self.book.renew(peer, descriptor, data, is_fresher=self._is_fresher(peer, descriptor))
        except StoreFull as error:  # it is told again on the next link
            log.warning("descriptor_not_kept", peer=peer.label, detail=str(error))
        _tell_held(peer, descriptor, respond)

    def _is_fresher(self, peer: Peer, descriptor: Descriptor) -> bool:
        try:
            at_hand = self.read(peer.row.descriptor)
        except NotTrusted:
            return True
        return descriptor.valid_until_ms - at_hand.valid_until_ms > FRESHER_MS


def _tell_held(peer: Peer, descriptor: Descriptor, respond: Respond) -> None:
    """One that was refused for another successor is not held, and its endpoint must know before it relies on it."""
    respond(AnswerStatus.ANSWERED, str(succession_of(descriptor).shared(peer.succession)).encode())


def successors_held(cx: Cx, peer: str) -> int:
    """How many successor statements of ours a peer said that it holds."""
    return int(meta.get(cx, _held_by(peer)) or 0)


def _held_by(peer: str) -> str:
    """The name in `meta` of that number."""
    return f"successors-held:{peer}"
