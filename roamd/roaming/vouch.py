"""Introductions: partners tell each other of partners, so that who moved is found again, and strangers get to be seen.

With whom a company works together is its own business. So a descriptor is passed on only where three have said yes:
its endpoint itself (`introducible`, which it has signed), and the operator in between for both of the peers that get to
know of each other (`roamd peers introduce`). Whoever is told something that its endpoint does not allow refuses it.

What is told is a whole list, given anew on each link and at each change: who is not in it any more is no longer vouched
for. Descriptors are signed by whom they describe, so a voucher can hold one back, or pass on an old one, and nothing
else. Of several the highest sequence holds, and only while it is valid. Of a peer of ours it is news of the peer: its
new address, even if the peer itself cannot reach us. A stranger becomes a candidate, and no more than that.

What a lying voucher can cost is bounded: so many endpoints, so many descriptors read in ten minutes, one at a time.
Nothing of it is stored but what concerns our own peers; it comes again with the next link.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import trio

from roamd.clock import Clock
from roamd.errors import NotTrusted, ProtocolError, StoreFull
from roamd.log import get_logger
from roamd.protocol.calls import MAX_PER_CALL, Introduction, Service
from roamd.protocol.messages import AnswerStatus, Call
from roamd.roaming.calls import OutgoingCalls, Respond
from roamd.roaming.directory import Directory, Peer
from roamd.roaming.peerbook import Change, PeerBook
from roamd.trust.descriptor import Descriptor

log = get_logger()

WAIT_S: Final = 30.0

MAX_TOLD: Final = 256
"""Endpoints that one peer may vouch for, and that we tell one of."""

MAX_BYTES: Final = 40 * 1024
"""Of descriptors in one call, beside which others must fit into a frame."""

MAX_READ: Final = 1024
"""Descriptors of one peer that are read within `WINDOW_S`; each costs the processor half a millisecond."""

WINDOW_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class Introduced:
    """An endpoint that somebody vouches for. `vouchers` are peers' labels; none: nobody does any more."""

    endpoint_id: str
    descriptor: Descriptor | None
    vouchers: tuple[str, ...]


@dataclass(slots=True)
class _Told:
    """What one peer told, by endpoint, and how much of it was read since the window began."""

    descriptors: dict[str, Descriptor] = field(default_factory=dict)
    seen: dict[bytes, Descriptor] = field(default_factory=dict)
    window_at: float = -math.inf
    read: int = 0
    refused: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Vouching:
    """Tells and is told. `introduced` is called for each endpoint about which something has changed.

    `own` is our endpoint id; `read` checks a descriptor's signature and form or raises NotTrusted.
    """

    clock: Clock
    calls: OutgoingCalls
    directory: Directory
    book: PeerBook
    random: Callable[[int], bytes]
    start: Callable[..., None]
    read: Callable[[bytes], Descriptor]
    own: str
    introduced: Callable[[Introduced], None]
    _told: dict[str, _Told] = field(default_factory=dict)
    _at_hand: dict[str, tuple[bytes, Descriptor | None]] = field(default_factory=dict)
    _turn: trio.Lock = field(default_factory=trio.Lock)

    # --- telling ------------------------------------------------------------------------------------------------

    def tell_everyone(self) -> None:
        """Something has changed: tell all that are linked."""
        for peer in self.directory:
            self.tell(peer)

    def tell(self, peer: Peer) -> None:
        """Tell a peer all that it may know; if that is nothing, then this."""
        if peer.exchange is None:
            return
        for number, descriptors in enumerate(_batches(self._about(peer))):
            body = Introduction(starts=number == 0, descriptors=descriptors).pack()
            call = Call(self.random(16), Service.INTRODUCTION, int(WAIT_S * 1000), body)
            self.calls.start(peer, call, self.clock.monotonic() + WAIT_S, lambda answer: None)

    def _about(self, peer: Peer) -> list[bytes]:
        """The descriptors of those who, as this peer, are introduced to others."""
        if not peer.agreement.introduce:
            return []
        others = sorted((other for other in self.directory if other is not peer), key=lambda other: other.label)
        return [other.row.descriptor for other in others if self._may_be_told(other)][:MAX_TOLD]

    def _may_be_told(self, peer: Peer) -> bool:
        if not peer.active or not peer.agreement.introduce:
            return False
        descriptor = self._of_peer(peer)
        return descriptor is not None and descriptor.introducible and descriptor.valid_until_ms > self.clock.now_ms()

    def _of_peer(self, peer: Peer) -> Descriptor | None:
        """What the descriptor at hand says; read once."""
        known = self._at_hand.get(peer.label)
        if known is None or known[0] != peer.row.descriptor:
            try:
                known = (peer.row.descriptor, self.read(peer.row.descriptor))
            except NotTrusted:  # of a time before this was asked of descriptors
                known = (peer.row.descriptor, None)
            self._at_hand[peer.label] = known
        return known[1]

    # --- being told ---------------------------------------------------------------------------------------------

    def answer(self, peer: Peer, call: Call, deadline_at: float, respond: Respond) -> None:
        """Serve a call of service INTRODUCTION (roaming.calls.Service)."""
        del deadline_at
        try:
            introduction = Introduction.unpack(call.body)
        except ProtocolError as error:
            respond(AnswerStatus.MALFORMED, str(error).encode())
            return
        self.start(self._take_all, peer, introduction, respond)

    async def _take_all(self, peer: Peer, introduction: Introduction, respond: Respond) -> None:
        """One call after the other, in the order in which they came, with a pause for others between descriptors.

        Answered when it is done: so what waits here is bounded by the credit that the peer has for calls.
        """
        async with self._turn:
            told = self._told.setdefault(peer.label, _Told())
            before = set(told.descriptors) if introduction.starts else set()
            if introduction.starts:
                told.descriptors.clear()
            for data in introduction.descriptors:
                await trio.lowlevel.checkpoint()
                descriptor = self._taken(peer, told, data)
                if descriptor is not None:
                    await self._use(peer, told, descriptor, data)
            told.seen = {data: found for data, found in told.seen.items() if found.endpoint_id in told.descriptors}
            for endpoint_id in before - set(told.descriptors):
                self._show(endpoint_id)
        respond(AnswerStatus.ANSWERED, b"")

    def _taken(self, peer: Peer, told: _Told, data: bytes) -> Descriptor | None:
        """The descriptor, if it is one and may be taken from this peer; each reason why not is logged once a window."""
        try:
            descriptor = told.seen.get(data) or self._read(told, data)
            self._check(descriptor)
        except NotTrusted as error:
            if error.reason not in told.refused:
                log.warning("introduction_refused", peer=peer.label, reason=error.reason)
            told.refused.add(error.reason)
            return None
        ours = descriptor.endpoint_id in (self.own, peer.endpoint_id)
        full = len(told.descriptors) >= MAX_TOLD and descriptor.endpoint_id not in told.descriptors
        return None if ours or full else descriptor

    def _check(self, descriptor: Descriptor) -> None:
        if not descriptor.introducible:
            raise NotTrusted("not-introducible", "The endpoint has not allowed that others pass it on.")
        if descriptor.valid_until_ms < self.clock.now_ms():
            raise NotTrusted("expired", "The descriptor's time is over.")

    def _read(self, told: _Told, data: bytes) -> Descriptor:
        now = self.clock.monotonic()
        if now - told.window_at > WINDOW_S:
            told.window_at, told.read = now, 0
            told.refused.clear()
        told.read += 1
        if told.read > MAX_READ:
            raise NotTrusted("too-many", "The peer tells of more than one can listen to.")
        return self.read(data)

    async def _use(self, peer: Peer, told: _Told, descriptor: Descriptor, data: bytes) -> None:
        if self.directory.find(peer.label) is not peer or not peer.active:
            return  # suspended or removed meanwhile
        known = told.descriptors.get(descriptor.endpoint_id)
        if known is None or known.sequence <= descriptor.sequence:
            told.descriptors[descriptor.endpoint_id] = told.seen[data] = descriptor
        self._show(descriptor.endpoint_id)
        partner = self.directory.by_endpoint(descriptor.endpoint_id)
        if partner is not None:
            try:
                await self.book.renew(partner, descriptor, data)
            except StoreFull as error:  # it is told again on the next link
                log.warning("descriptor_not_kept", peer=partner.label, detail=str(error))

    # --- what follows -------------------------------------------------------------------------------------------

    def peer_changed(self, peer: Peer, what: Change) -> None:
        """A suspended or removed peer vouches for nobody, and the others are no longer told of it."""
        if what in ("suspended", "removed"):
            self._at_hand.pop(peer.label, None)
            told = self._told.pop(peer.label, _Told())
            for endpoint_id in told.descriptors:
                self._show(endpoint_id)
        if peer.agreement.introduce:
            for other in self.directory:
                if other is not peer and other.agreement.introduce:
                    self.tell(other)

    def forget_expired(self) -> None:
        """Drop descriptors whose time is over; to be called now and then."""
        now_ms, dropped = self.clock.now_ms(), set()
        for told in self._told.values():
            over = [name for name, descriptor in told.descriptors.items() if descriptor.valid_until_ms < now_ms]
            for endpoint_id in over:
                del told.descriptors[endpoint_id]
                dropped.add(endpoint_id)
        for endpoint_id in dropped:
            self._show(endpoint_id)

    def _show(self, endpoint_id: str) -> None:
        by_voucher = {label: told.descriptors.get(endpoint_id) for label, told in self._told.items()}
        vouchers = {label: descriptor for label, descriptor in by_voucher.items() if descriptor is not None}
        newest = max(vouchers.values(), key=lambda descriptor: descriptor.sequence, default=None)
        self.introduced(Introduced(endpoint_id, newest, tuple(sorted(vouchers))))


def _batches(descriptors: list[bytes]) -> Iterator[list[bytes]]:
    """Groups that fit into a call; at least one, which may be empty."""
    batch: list[bytes] = []
    for descriptor in descriptors:
        if batch and (len(batch) == MAX_PER_CALL or sum(map(len, batch)) + len(descriptor) > MAX_BYTES):
            yield batch
            batch = []
        batch.append(descriptor)
    yield batch
