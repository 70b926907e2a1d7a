"""A passage: what stands in the place of a TLS connection where two endpoints have a clearing house between them.

Theory of operation. A link needs an ordered stream of bytes whose other end is proven (`peering.link.SecureStream`). A
passage makes one of envelopes (`protocol.envelope`), which travel as calls to the clearing house and on from there.
Each is sealed to a key that the receiver made for this passage alone and signed by the sender, so what a dishonest
clearing house can do comes to this:

- *drop* one: its sender's call gets no answer, or the next one finds a gap; the passage breaks, the link with it, and
  both sides come up again and send what is not receipted, as after any cut. That can be done for ever: a clearing house
  gives reach, and may refuse it.
- *repeat* one: its sequence was taken already, and it is passed over. Of an earlier passage: its key is gone.
- *reorder*: what is ahead by less than `AHEAD` waits for those before it.
- *alter* or *redirect* one: it does not open, or its signature does not hold; the effect is that of a drop.
- *hold back*: what is older than `LIFE_S` is not taken, counted from the opening by monotonic clocks, so that the two
  sides' wall clocks need not agree.

The link's own Proof is signed over both passage keys in place of the leaves, so it holds for this passage only. As few
envelopes are under way as keep the line busy, and one is answered when its bytes were read: so a receiver slows its
sender down, a clearing house slows both, and a call of somebody else on the same line waits for a few of them at most.
The keys are forgotten with the passage: who later gets hold of an endpoint's keys cannot open what was recorded.
"""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import trio

from roamd.clock import Clock
from roamd.errors import NotTrusted, ProtocolError
from roamd.log import get_logger
from roamd.protocol.calls import Service
from roamd.protocol.envelope import MAX_CONTENT, Header, Kind, letter, read_letter, signed_document
from roamd.protocol.messages import Answer, AnswerStatus, Call
from roamd.roaming.calls import OutgoingCalls, Respond
from roamd.roaming.directory import Peer
from roamd.roaming.ledger.signer import Signer
from roamd.roaming.waiting import Wake
from roamd.trust.sealing import SealingKey, is_sealing_key, seal
from roamd.trust.succession import signer_among

log = get_logger()

WINDOW: Final = 4
"""Envelopes of 32 KiB under way: with 20 ms there and back that is 6 MiB a second."""

AHEAD: Final = 8
"""More than a sender ever has under way."""

CALL_S: Final = 10.0
"""How long one envelope may take; a link of the clearing house that is renewed meanwhile costs nothing."""

LIFE_S: Final = 30.0
"""How old one may be when it comes. A question that is older has lost its asker."""


@dataclass(frozen=True, slots=True)
class Office:
    """What all passages of an endpoint share. `closed` is told of each that has ended."""

    clock: Clock
    signer: Signer
    calls: OutgoingCalls
    random: Callable[[int], bytes]
    closed: "Callable[[Passage], None]"


class Passage:
    """One end (implements `peering.link.SecureStream`). `relay` is the clearing house, `epoch` its name on both ends.

    It can be read and written once `their_key` is known. `aclose` ends it; a break shows as trio.BrokenResourceError.
    """

    def __init__(self, office: Office, peer: Peer, relay: Peer, epoch: bytes, own_key: SealingKey) -> None:
        self.peer, self.relay, self.epoch = peer, relay, epoch
        self.accepted = trio.Event()
        self.reason = ""
        self._office = office
        self._own_key = own_key
        self._their_key = b""
        self._sequence = 0
        self._unsent = bytearray()
        self._under_way = 0
        self._room, self._arrival = Wake(), Wake()
        self._expected = 0
        self._early: dict[int, tuple[int, bytes, Respond]] = {}
        self._came: list[bytes] = []
        self._owed: list[Respond] = []
        self._ended = self._broken = self._closed = False
        self._began: tuple[int, float] | None = None

    @property
    def own_leaf_sha256(self) -> bytes:
        """What the Proof names in the place of our leaf."""
        return sha256(self._own_key.public).digest()

    @property
    def peer_leaf_sha256(self) -> bytes:
        """The same of the other end."""
        return sha256(self._their_key).digest()

    # --- opening ------------------------------------------------------------------------------------------------

    def open(self, descriptor_key: bytes) -> None:
        """Ask the peer: sealed to the key in its descriptor, our key for this passage. Then wait for `accepted`."""
        self._post(Kind.OPEN, self._own_key.public, descriptor_key)

    def accept(self, header: Header, their_key: bytes) -> None:
        """The peer has opened it: take its key and give ours."""
        self._begin(header, their_key)
        self._post(Kind.ACCEPT, self._own_key.public, their_key)

    def _begin(self, header: Header, their_key: bytes) -> None:
        self._their_key, self._expected = their_key, 1
        self._began = (header.expiry_ms, self._office.clock.monotonic())
        self.accepted.set()

    # --- sending ------------------------------------------------------------------------------------------------

    def send_nowait(self, data: bytes) -> bool:
        """Take the bytes; False when some of them must wait for `flush`."""
        self._require_usable()
        self._unsent += data
        self._pump()
        return not self._unsent

    async def flush(self) -> None:
        """Until all that was taken is under way."""
        await trio.lowlevel.checkpoint()
        while self._unsent:
            self._require_usable()
            await self._room.wait()
        self._require_usable()

    async def send_eof(self) -> None:
        """No more bytes will come from here."""
        if self._their_key and not self._broken:
            self._post(Kind.END, b"", self._their_key)
        await trio.lowlevel.checkpoint()

    def _pump(self) -> None:
        while self._unsent and self._under_way < WINDOW and not self._broken:
            content = bytes(self._unsent[:MAX_CONTENT])
            del self._unsent[:MAX_CONTENT]
            self._post(Kind.DATA, content, self._their_key)

    def _post(self, kind: Kind, content: bytes, key: bytes) -> None:
        office, own_id = self._office, self._office.signer.endpoint_id
        expiry_ms = office.clock.now_ms() + int(LIFE_S * 1000)
        header = Header(own_id, self.peer.endpoint_id, office.random(16), self.epoch, self._sequence, expiry_ms, kind)
        self._sequence += 1
        signature = office.signer.sign(signed_document(header, content))
        body = header.envelope(seal(key, letter(signature, content), header.packed()))
        self._under_way += 1
        call = Call(header.id, Service.RELAY, int(CALL_S * 1000), body)
        office.calls.start(self.relay, call, office.clock.monotonic() + CALL_S, self._posted)

    def _posted(self, answer: Answer | None) -> None:
        self._under_way -= 1
        if answer is None:
            self._break("no answer")
        elif answer.status != AnswerStatus.ANSWERED:
            self._break(answer.body[:40].decode("ascii", "replace") or "refused")
        else:
            self._pump()
        self._room.set()

    # --- receiving ----------------------------------------------------------------------------------------------

    def take(self, header: Header, carried: bytes, respond: Respond) -> None:
        """An envelope of this passage has come; it is answered when its bytes were read."""
        if self._broken or self._closed:
            respond(AnswerStatus.NO_ANSWER, b"no-passage")
        elif header.sequence < self._expected or header.sequence in self._early:
            respond(AnswerStatus.ANSWERED, b"")  # a repeat: it was taken
        elif header.sequence >= self._expected + AHEAD or self._is_late(header):
            respond(AnswerStatus.NO_ANSWER, b"late" if self._is_late(header) else b"ahead")
        else:
            self._take(header, carried, respond)

    def _is_late(self, header: Header) -> bool:
        """By how much more time has passed here than there since the passage began."""
        if self._began is None:
            return False
        expiry_ms, at = self._began
        here_s, there_s = self._office.clock.monotonic() - at, (header.expiry_ms - expiry_ms) / 1000
        return here_s - there_s > LIFE_S

    def _take(self, header: Header, carried: bytes, respond: Respond) -> None:
        try:
            office = self._office
            content = opened(office.signer, self._own_key, self.peer, header, carried, office.clock.now_ms())
        except (NotTrusted, ProtocolError) as error:
            log.warning("envelope_refused", peer=self.peer.label, relay=self.relay.label, reason=str(error))
            respond(AnswerStatus.MALFORMED, b"not-sealed")
            return
        if header.kind == Kind.ACCEPT and self._expected == 0 and header.sequence == 0:
            self._begin(header, content)
            respond(AnswerStatus.ANSWERED, b"")
        else:
            self._early[header.sequence] = (header.kind, content, respond)
        while self._expected in self._early:
            self._deliver(*self._early.pop(self._expected))
            self._expected += 1

    def _deliver(self, kind: int, content: bytes, respond: Respond) -> None:
        if kind == Kind.DATA:
            self._came.append(content)
            self._owed.append(respond)
        else:
            self._ended = self._ended or kind == Kind.END
            respond(AnswerStatus.ANSWERED, b"")
        self._arrival.set()

    async def receive_some(self) -> bytes:
        """What has come; nothing at the end."""
        await trio.lowlevel.checkpoint()
        while not self._came:
            if self._ended:
                return b""
            self._require_usable()
            await self._arrival.wait()
        came, owed, self._came, self._owed = self._came, self._owed, [], []
        for respond in owed:
            respond(AnswerStatus.ANSWERED, b"")
        return b"".join(came)

    # --- its end ------------------------------------------------------------------------------------------------

    def _require_usable(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError
        if self._broken:
            raise trio.BrokenResourceError(f"the passage through {self.relay.label} broke: {self.reason}")

    def _break(self, reason: str) -> None:
        if not (self._broken or self._closed):
            self._broken, self.reason = True, reason
            self.accepted.set()
            self._room.set()
            self._arrival.set()

    async def aclose(self) -> None:
        """Forget it; envelopes that are under way still arrive."""
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """The same, at once."""
        if self._closed:
            return
        self._closed = True
        waiting = [respond for _, _, respond in self._early.values()]
        for respond in (*self._owed, *waiting):
            respond(AnswerStatus.NO_ANSWER, b"no-passage")
        self._owed, self._early = [], {}
        self._room.set()
        self._arrival.set()
        self._office.closed(self)

    @property
    def is_open(self) -> bool:
        """Whether both sides have given their keys and nothing has gone wrong since."""
        return bool(self._their_key) and not (self._broken or self._closed)


def opened(signer: Signer, key: SealingKey, peer: Peer, header: Header, carried: bytes, now_ms: int) -> bytes:
    """The content of an envelope of this peer; NotTrusted or ProtocolError when it is not."""
    signature, content = read_letter(key.open(carried, header.packed()))
    if signer_among(peer.keys(now_ms), signed_document(header, content), signature, signer.verify) is None:
        raise NotTrusted("bad-signature", "The signature in an envelope does not hold.")
    if header.kind in (Kind.OPEN, Kind.ACCEPT) and not is_sealing_key(content):
        raise NotTrusted("bad-key", "An envelope gives a key that is none.")
    return content
