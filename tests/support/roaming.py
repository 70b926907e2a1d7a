"""Companies for tests of the services: real stores in memory, real identities, clocks that stand until they are moved.

Two companies are joined by calling each other's parts directly (`FeedLine`, `LedgerLine`), so that a test decides what
arrives, when, and what is lost. Nothing here waits, and nothing is random but what the seed says.
"""

import io
import itertools
import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from roamd.errors import RoamdError, StoreFull
from roamd.log import configure
from roamd.model.agreement import Agreement, preset
from roamd.model.keys import ObjectKey
from roamd.model.objects import check_object, check_record
from roamd.protocol.messages import Answer, Call, FeedAck, Mark, Receipt
from roamd.roaming.audience import audience_of
from roamd.roaming.calls import IncomingCalls
from roamd.roaming.cursors import CursorSeal
from roamd.roaming.deadlines import Deadlines
from roamd.roaming.decisions import DecisionJournal
from roamd.roaming.directory import PAIRED, Directory, Peer
from roamd.roaming.follower import Follower
from roamd.roaming.ledger.author import Author
from roamd.roaming.ledger.marks import marks_for, own_head_shown
from roamd.roaming.ledger.receiver import Receiver
from roamd.roaming.ledger.signer import Signer
from roamd.roaming.ledger.take import TakeEntries
from roamd.roaming.operations import PostRecords
from roamd.roaming.ports import AuthorizeQuestion, BackendAnswer, NoAnswer
from roamd.roaming.publisher import Publisher
from roamd.roaming.records import Records
from roamd.storage import feeds, ledgers, meta, records
from roamd.storage.ledgers import Chain
from roamd.storage.peers import PeerRow
from roamd.storage.store import Store
from roamd.trust.signing import verify
from roamd.trust.succession import succession_of_own
from tests.model import bodies
from tests.support.trust import identity

START_MS = bodies.STAMP_MS


class StillClock:
    """Stands until it is moved; both clocks move together unless the wall is set."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.wall_ms = START_MS

    def monotonic(self) -> float:
        return self.seconds

    def now_ms(self) -> int:
        return self.wall_ms

    def pass_by(self, seconds: float) -> None:
        """Time goes by."""
        self.seconds += seconds
        self.wall_ms += round(seconds * 1000)


class Timers(Deadlines):
    """Deadlines that fire when a test lets time pass."""

    def __init__(self, clock: StillClock) -> None:
        super().__init__(clock)
        self._still = clock

    def pass_by(self, seconds: float) -> None:
        """Time goes by, and what is due in it fires at its own moment."""
        end = self._still.seconds + seconds
        while self.next_at <= end:
            self._still.pass_by(max(0.0, self.next_at - self._still.seconds))
            self._fire_due()
        self._still.pass_by(end - self._still.seconds)

    @property
    def waiting(self) -> int:
        """Timers that will still do something."""
        entries = itertools.chain(self._heap, *(line.entries for line in self._lines))
        return sum(1 for *_, timer in entries if timer.fn is not None)


class Told:
    """Collects what a reply or a `done` is given."""

    def __init__(self) -> None:
        self.all: list[Any] = []

    def __call__(self, value: Any) -> None:
        self.all.append(value)

    @property
    def one(self) -> Any:
        """What was told, exactly once and not an error."""
        assert len(self.all) == 1, self.all
        if isinstance(self.all[0], BaseException):
            raise self.all[0]
        return self.all[0]

    @property
    def error(self) -> RoamdError:
        """The refusal that was told, exactly once."""
        assert len(self.all) == 1, self.all
        assert isinstance(self.all[0], RoamdError), self.all[0]
        return self.all[0]


def answer_of(handle: Callable[[Any, Any], None], operation: object) -> Any:
    """What an operation is answered; raises what it was refused with."""
    told = Told()
    handle(operation, told)
    return told.one


class Company:
    """One endpoint's memory. `image` is a backup of its store to begin with."""

    def __init__(
        self, number: int, party: str, *roles: str, clock: StillClock | None = None, image: bytes | None = None,
        life: int = 1,
    ) -> None:  # fmt: skip
        self.number, self.party, self.roles = number, party, roles
        self.clock = clock or StillClock()
        self.identity = identity(number)
        self.directory = Directory()
        self.timers = Timers(self.clock)
        self.store = Store.open_memory(image)
        self.signer = Signer(succession_of_own(self.identity), self.identity.sign, verify)
        self.journal = DecisionJournal(self.store, self.timers)
        self.life = life
        self.random = random.Random(f"{number} {life}").randbytes  # noqa: S311 - a seeded one is the point
        self.seal = CursorSeal(bytes([number]) * 32)
        self.queued: list[str] = []
        self.records = Records(self.clock, self.store, self.directory, self.journal, self.random, self.queued.append)
        self.run_id = b""
        self.begin_run()

    def begin_run(self) -> None:
        """The process starts."""
        self.run_id = self.random(16)
        self.store.write(lambda cx: meta.begin_run_txn(cx, self.run_id, self.clock.now_ms()))

    def restored(self, image: bytes) -> "Company":
        """The same company after its operator has restored a backup."""
        again = Company(self.number, self.party, *self.roles, clock=self.clock, image=image, life=self.life + 1)
        for peer in self.directory:
            again.directory.put(peer.row)
        return again

    def meets(self, other: "Company", label: str, *, state: str = PAIRED, **changes: Any) -> Peer:
        """`other` enters the directory under `label`; `changes` are made to the preset agreement."""
        agreement = preset(self.roles, other.roles, [other.party])
        if changes:
            agreement = Agreement(**{name: getattr(agreement, name) for name in agreement.__struct_fields__} | changes)
        return self.directory.put(peer_row(label, other.identity.endpoint_id, other.identity.certificate_der,
                                           (other.party,), agreement, state))  # fmt: skip

    def peer(self, label: str) -> Peer:
        return self.directory.get(label)

    # --- what its backend does ---

    def publish(self, feed: str, value: dict[str, Any]) -> int:
        """Publish an object; its version."""
        checked = check_object(feed, "2.3.0", bodies.text(value), own_parties=frozenset({self.party}))
        result = self.store.write(
            lambda cx: feeds.publish_txn(cx, feed, checked.key, checked.ocpi, checked.body, audience_of(checked),
                                         self.clock.now_ms())
        )  # fmt: skip
        return result.version

    def withdraw(self, feed: str, key: ObjectKey) -> None:
        self.store.write(lambda cx: feeds.withdraw_txn(cx, feed, key, self.clock.now_ms()))

    def hand_in(self, value: dict[str, Any], peer: str | None = None) -> Any:
        """Post one record; the reply for it."""
        record = check_record("2.3.0", bodies.text(value), own_parties=frozenset({self.party}))
        return answer_of(self.records.post, PostRecords((record,), peer))[0]

    # --- what it holds ---

    def mirrored(self, label: str, feed: str) -> dict[ObjectKey, bytes]:
        rows = self.store.read(lambda cx: feeds.list_mirrored(cx, label, feed, None, 100_000))
        return {row.key: row.body for row in rows}

    def states(self, direction: str = "out") -> dict[str, str]:
        rows = self.store.read(lambda cx: records.page(cx, 0, 100_000, direction=direction))
        return {row.record_id: row.state for row in rows}

    def chains(self, *, own: bool) -> list[Chain]:
        return [chain for chain in self.store.read(ledgers.chains) if chain.own is own]


def peer_row(
    label: str, endpoint: str, certificate: bytes, parties: tuple[str, ...], agreement: Agreement, state: str = PAIRED
) -> PeerRow:
    """A row of the peer book."""
    return PeerRow(
        peer=label, endpoint_id=endpoint, identity_der=certificate, name=label.upper(), parties=parties, state=state,
        address=None, descriptor=b"", descriptor_sequence=1, agreement_json=agreement.to_json(), rights_version=1,
        words="one two", paired_at_ms=START_MS, joined_by_us=False,
    )  # fmt: skip


# --- calls ------------------------------------------------------------------------------------------------------


class Line:
    """Stands for an exchange towards a peer: keeps what was sent, and lets `answers` or a service answer it."""

    def __init__(self, peer: Peer, *, answers: Callable[[Call], Answer | None] | None = None) -> None:
        self.peer = peer
        self.is_up = True
        self.calls: list[Call] = []
        self.cancelled: list[bytes] = []
        self.answered: list[Answer] = []
        self._answers = answers
        self.take: Callable[[Peer, Answer], None] = lambda peer, answer: None

    def send_call(self, call: Call) -> None:
        self.calls.append(call)
        answer = self._answers(call) if self._answers else None
        if answer is not None:
            self.take(self.peer, answer)

    def send_cancel(self, call_id: bytes) -> None:
        self.cancelled.append(call_id)

    def send_answer(self, answer: Answer) -> None:
        self.answered.append(answer)


def served_by(incoming: IncomingCalls, asker: Peer) -> Callable[[Call], Answer | None]:
    """Answers a line's calls by the other company's services, at once."""

    def answer(call: Call) -> Answer | None:
        line = Line(asker)
        incoming.on_call(line, call)  # type: ignore[arg-type]  # all that is used of an exchange
        return line.answered[0] if line.answered else None

    return answer


class ScriptedBackend:
    """A backend that answers as it is told, or keeps the question (implements `ports.Backend`)."""

    def __init__(self, decide: Callable[[AuthorizeQuestion], BackendAnswer | NoAnswer | None] | None = None) -> None:
        self.decide = decide or (lambda question: None)
        self.asked: list[tuple[AuthorizeQuestion, Callable[[BackendAnswer | NoAnswer], None]]] = []
        self.events = 0

    def ask_authorize(self, question: AuthorizeQuestion, done: Callable[[BackendAnswer | NoAnswer], None]) -> None:
        self.asked.append((question, done))
        answer = self.decide(question)
        if answer is not None:
            done(answer)

    def events_arrived(self, newest: str) -> None:
        self.events += 1


# --- feeds ------------------------------------------------------------------------------------------------------


class FeedLine:
    """One link's feeds from `publisher` to `follower`, as long as it is pumped."""

    def __init__(self, publisher: Company, follower: Company) -> None:
        self.to = publisher.directory.by_endpoint(follower.identity.endpoint_id)
        self.of = follower.directory.by_endpoint(publisher.identity.endpoint_id)
        assert self.to is not None
        assert self.of is not None
        self.publisher = Publisher(self.to, publisher.store, publisher.directory, publisher.seal, publisher.run_id)
        self.acks: list[FeedAck] = []
        self.payloads: list[bytes] = []
        self.consumed = 0
        self.closed: list[tuple[int, str]] = []
        self.took = 0
        self.follower = Follower(
            self.of,
            follower.store,
            follower.clock,
            self._ack,
            self._took,
            lambda code, why: self.closed.append((code, why)),
        )
        self.follower.begin()

    def _ack(self, ack: FeedAck) -> None:
        self.acks.append(ack)
        self.publisher.on_acks([ack])

    def _took(self) -> None:
        self.took += 1

    def chunk(self) -> bytes | None:
        """The next chunk, on its way."""
        payload = self.publisher.next_chunk()
        if payload is not None:
            self.payloads.append(payload)
        return payload

    def arrive(self, payload: bytes) -> None:
        self.follower.on_chunk(payload, self._consume)

    def _consume(self, outcome: object) -> bool:
        if isinstance(outcome, StoreFull):
            return False
        self.consumed += 1
        return True

    def pump(self, at_most: int = 10_000) -> int:
        """Carry chunks until there are none; how many there were."""
        for number in range(at_most):
            payload = self.chunk()
            if payload is None:
                return number
            self.arrive(payload)
        return at_most

    def wake_all(self) -> None:
        """Something may have been published in any feed."""
        for feed in ("locations", "evse-status", "tariffs", "sessions", "user-credentials"):
            self.publisher.wake(feed)


# --- ledgers ----------------------------------------------------------------------------------------------------


@dataclass
class LedgerLine:
    """One link's ledger from `author` to `receiver`. `lost` receipts are dropped on their way."""

    author: Company
    receiver: Company
    lose_receipts: bool = False
    receipts: list[Receipt] = field(default_factory=list)
    closed: list[tuple[int, str]] = field(default_factory=list)
    wrote_back: list[bool] = field(default_factory=list)
    consumed: int = 0
    settled: int = 0
    without_room: int = 0

    def __post_init__(self) -> None:
        to = self.author.directory.by_endpoint(self.receiver.identity.endpoint_id)
        of = self.receiver.directory.by_endpoint(self.author.identity.endpoint_id)
        assert to is not None
        assert of is not None
        self.to, self.of = to, of
        self.sender = Author(
            to, self.author.store, self.author.signer, self.author.clock, self._settled,
            lambda code, why: self.closed.append((code, why)), self._no_room,
        )  # fmt: skip
        self.taker = Receiver(
            of, self.receiver.store, self.receiver.signer, self.receiver.clock, TakeEntries(self.receiver.random),
            self._receipt, self.wrote_back.append, lambda code, why, until: self.closed.append((code, why)),
        )  # fmt: skip

    def _settled(self) -> None:
        self.settled += 1

    def _no_room(self) -> None:
        self.without_room += 1

    def _receipt(self, receipt: Receipt) -> None:
        self.receipts.append(receipt)
        if not self.lose_receipts:
            self.sender.on_receipt(receipt)

    def shown(self) -> Mark | None:
        """The author's newest head that the receiver holds."""
        return own_head_shown(self.receiver.store.read(lambda cx: marks_for(cx, self.of.label)))

    def begin(self) -> "LedgerLine":
        """The link is up."""
        self.sender.begin(self.shown())
        return self

    def arrive(self, payload: bytes) -> None:
        def settle(outcome: object) -> bool:
            self.consumed += 1
            return True

        self.taker.on_batch(payload, settle)

    def pump(self) -> int:
        """Carry batches until there are none; how many there were."""
        count = 0
        self.sender.behind = True
        while (payload := self.sender.next_batch()) is not None:
            self.arrive(payload)
            count += 1
        return count


def carry(author: Company, receiver: Company) -> LedgerLine:
    """A link of its own that carries everything of one author, and falls."""
    line = LedgerLine(author, receiver).begin()
    line.pump()
    return line


# --- logs -------------------------------------------------------------------------------------------------------


class LogLines:
    """What was logged."""

    def __init__(self, stream: io.StringIO) -> None:
        self._stream = stream

    def of(self, event: str) -> list[dict[str, Any]]:
        """The lines of one event."""
        lines = [json.loads(line) for line in self._stream.getvalue().splitlines()]
        return [line for line in lines if line["event"] == event]

    @property
    def text(self) -> str:
        return self._stream.getvalue()


@contextmanager
def captured() -> Iterator[LogLines]:
    """Everything that is logged meanwhile."""
    stream = io.StringIO()
    configure("debug", stream, console=False)
    try:
        yield LogLines(stream)
    finally:
        configure("info")
