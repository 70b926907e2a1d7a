"""Pairing through a clearing house: the bytes of the very same TLS connection, in calls instead of TCP.

The handshake of a pairing is a dialogue: the joiner speaks, the inviter answers. So what the joiner says goes out with
the call in which it waits for an answer, and the answer carries what the inviter said until it waits again. The answer
begins with a byte: 1 where nothing more will come, else 0. Nothing here proves anything, and nothing needs to: TLS, the
pin in the invitation and both sides' proofs under its secret do, as on the pairing port.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import trio

from roamd.clock import Clock
from roamd.model.roles import CLEARING_HOUSE
from roamd.peering.pairing_server import PairingServer
from roamd.peering.passage import LIFE_S
from roamd.protocol.calls import Service
from roamd.protocol.envelope import MAX_CONTENT, Header, Kind
from roamd.protocol.messages import Answer, AnswerStatus, Call
from roamd.roaming.calls import OutgoingCalls, Respond
from roamd.roaming.directory import Peer
from roamd.roaming.waiting import Outcome, Wake

VISITORS: Final = 4
"""At a time. They are partners of a clearing house that we chose, and an invitation has one guest."""

CALL_S: Final = 10.0


class JoinerPipe(trio.abc.Stream):
    """The joiner's transport (in the place of a TCP connection)."""

    def __init__(
        self, calls: OutgoingCalls, clock: Clock, random: Callable[[int], bytes], own: str, relay: Peer, inviter: str
    ) -> None:
        self._calls, self._clock, self._random = calls, clock, random
        self._own, self._relay, self._inviter = own, relay, inviter
        self._epoch = random(16)
        self._sequence = 0
        self._said = bytearray()
        self._ended = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Say it with the next question."""
        await trio.lowlevel.checkpoint()
        self._said += data

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Ask for what the inviter says; trio.BrokenResourceError when nobody passes it on."""
        del max_bytes
        if self._ended:
            return b""
        answer = await self._ask()
        if answer is None or answer.status != AnswerStatus.ANSWERED or not answer.body:
            word = "no answer" if answer is None else answer.body[:40].decode("ascii", "replace")
            raise trio.BrokenResourceError(f"the clearing house {self._relay.label} says: {word}")
        self._ended = answer.body[0] == 1
        return answer.body[1:]

    async def _ask(self) -> Answer | None:
        content = bytes(self._said[:MAX_CONTENT])
        del self._said[:MAX_CONTENT]
        expiry_ms = self._clock.now_ms() + int(LIFE_S * 1000)
        header = Header(
            self._own, self._inviter, self._random(16), self._epoch, self._sequence, expiry_ms, Kind.PAIRING
        )
        self._sequence += 1
        outcome: Outcome[Answer | None] = Outcome()
        call = Call(header.id, Service.RELAY, int(CALL_S * 1000), header.envelope(content))
        self._calls.start(self._relay, call, self._clock.monotonic() + CALL_S, outcome)
        return await outcome.wait()

    async def aclose(self) -> None:
        self._ended = True
        await trio.lowlevel.checkpoint()


class InviterPipe(trio.abc.HalfCloseableStream):
    """The inviter's transport: it answers when the handshake wants to hear more, or has ended."""

    def __init__(self, closed: Callable[[], None]) -> None:
        self._closed = closed
        self._heard = bytearray()
        self._said = bytearray()
        self._owed: Respond | None = None
        self._news = Wake()
        self._expected = 0
        self._over = False

    def take(self, header: Header, carried: bytes, respond: Respond) -> None:
        """What the joiner says; one question at a time, in order."""
        if self._over or self._owed is not None or header.sequence != self._expected:
            respond(AnswerStatus.MALFORMED, b"out-of-step")
            return
        self._expected += 1
        self._heard += carried
        self._owed = respond
        self._news.set()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        del max_bytes
        await trio.lowlevel.checkpoint()
        while not self._heard:
            if self._said:
                self._answer(0)
            await self._news.wait()
        heard, self._heard = bytes(self._heard), bytearray()
        return heard

    def _answer(self, last: int) -> None:
        if self._owed is not None:
            respond, self._owed = self._owed, None
            said, self._said = bytes(self._said), bytearray()
            respond(AnswerStatus.ANSWERED, bytes((last,)) + said)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        self._said += data

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def send_eof(self) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        if not self._over:
            self._over = True
            self._answer(1)
            self._closed()
        await trio.lowlevel.checkpoint()


@dataclass(slots=True)
class PairingVisits:
    """Joiners that come through a clearing house (implements `relayed.Visits`). `start` runs a coroutine."""

    server: PairingServer
    start: Callable[..., None]
    _visits: dict[tuple[str, bytes], InviterPipe] = field(default_factory=dict)

    def is_open(self) -> bool:
        """Whether there is an invitation that can be followed."""
        return self.server.is_open

    def take(self, relay: Peer, header: Header, carried: bytes, respond: Respond) -> None:
        """A joiner's bytes, from a peer of ours that relays; they are answered with the inviter's."""
        name = (header.sender, header.epoch)
        pipe = self._visits.get(name)
        if pipe is None:
            if CLEARING_HOUSE not in relay.agreement.their_roles or not self.is_open():
                respond(AnswerStatus.REFUSED, b"no-invitation")
                return
            if len(self._visits) >= VISITORS:
                respond(AnswerStatus.NO_ANSWER, b"busy")
                return
            pipe = self._visits[name] = InviterPipe(lambda: self._forget(name))
            self.start(self.server.visit, pipe, relay.label)
        pipe.take(header, carried, respond)

    def _forget(self, name: tuple[str, bytes]) -> None:
        del self._visits[name]
