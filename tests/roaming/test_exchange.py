"""All patterns over one link: two exchanges, joined by a link that a test can hold and cut."""

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import fields
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from roamd.protocol import events
from roamd.protocol.calls import Service
from roamd.protocol.flow import Pattern
from roamd.protocol.messages import Answer, AnswerStatus, Call, FeedAck, Mark, Receipt
from roamd.roaming.calls import IncomingCalls, OutgoingCalls
from roamd.roaming.dispatch import QUEUED_BULK, Exchange, Parts
from roamd.roaming.ledger import rollback
from roamd.roaming.ledger.forgotten import LedgerFetches
from roamd.roaming.ledger.marks import marks_for
from roamd.roaming.ledger.take import TakeEntries
from roamd.roaming.waiting import Wake
from tests.model import bodies
from tests.support.roaming import Company, LedgerLine, LogLines, Told, carry


class Wire:
    """One end of a link as an exchange sees it (dispatch.LinkPort); what is sent waits until it is carried."""

    def __init__(self) -> None:
        self.out: deque[events.Event] = deque()
        self.granted = {Pattern.LEDGER: 0, Pattern.FEEDS: 0}
        self.sent = {Pattern.LEDGER: 0, Pattern.FEEDS: 0}
        self.closed: list[str] = []
        self.work = Wake()
        self.run: Callable[[Callable[[], Awaitable[None]]], None] | None = None

    def wake(self) -> None:
        self.work.set()

    def start(self, function: Callable[[], Awaitable[None]]) -> None:
        assert self.run is not None
        self.run(function)

    def send_calls(self, calls: list[Call]) -> None:
        self.out.append(events.Calls(calls))

    def send_answers(self, answers: list[Answer]) -> None:
        self.out.append(events.Answers(answers))

    def send_cancels(self, ids: list[bytes]) -> None:
        pass

    def send_ledger(self, payload: bytes) -> None:
        self.sent[Pattern.LEDGER] += len(payload)
        self.out.append(events.BulkLedger(payload, len(payload)))

    def send_feed(self, payload: bytes) -> None:
        self.sent[Pattern.FEEDS] += len(payload)
        self.out.append(events.BulkFeed(payload, len(payload)))

    def send_receipts(self, receipts: list[Receipt]) -> None:
        self.out.append(events.Receipts(receipts))

    def send_feed_acks(self, acks: list[FeedAck]) -> None:
        self.out.append(events.FeedAcks(acks))

    def waiting(self, pattern: Pattern) -> int:
        kind = events.BulkLedger if pattern is Pattern.LEDGER else events.BulkFeed
        return sum(len(event.payload) for event in self.out if isinstance(event, kind))

    def grant(self, pattern: Pattern, amount: int) -> None:
        self.granted[pattern] += amount

    def close(self, code: int, reason: str, until_ms: int = 0) -> None:
        self.closed.append(reason)


class End:
    """A company's exchange."""

    def __init__(self, company: Company, label: str) -> None:
        self.company, self.wire = company, Wire()
        self.peer = company.peer(label)
        self.outgoing = OutgoingCalls(company.clock, company.timers)
        self.events = 0
        fetches = LedgerFetches(company.store)
        known: dict[str, Any] = {
            "store": company.store,
            "clock": company.clock,
            "directory": company.directory,
            "outgoing": self.outgoing,
            "incoming": IncomingCalls(company.clock, company.timers, {Service.LEDGER_FETCH: fetches.answer}),
            "seal": company.seal,
            "signer": company.signer,
            "run_id": company.run_id,
            "random": company.random,
            "take": TakeEntries(company.random),
            **dict.fromkeys(("events_written", "entries_taken", "records_settled"), self._written),
        }
        # What is left are tables of what single feeds do besides, and here none does anything.
        self.parts = Parts(**known, **{field.name: {} for field in fields(Parts) if field.name not in known})

    def _written(self) -> None:
        self.events += 1

    def begin(self, marks: list[Mark], *, chosen: bool = True) -> Exchange:
        self.exchange = Exchange(self.peer, self.wire, self.parts, marks)
        if chosen:
            self.peer.exchange = self.exchange
        return self.exchange

    async def run(self) -> None:
        """Begin it, and give it its turns."""
        async with trio.open_nursery() as nursery:
            self.wire.run = nursery.start_soon
            self.exchange.begin()
            while True:
                await self.wire.work.wait()
                while self.exchange.step():
                    await trio.lowlevel.checkpoint()


class Joined:
    """Two ends and the wire between them."""

    def __init__(self, cso: End, csp: End) -> None:
        self.cso, self.csp = cso, csp

    async def carry(self) -> None:
        """Until nothing is under way."""
        await wait_all_tasks_blocked()
        while self.cso.wire.out or self.csp.wire.out:
            for here, there in ((self.cso, self.csp), (self.csp, self.cso)):
                while here.wire.out:
                    there.exchange.on_event(here.wire.out.popleft())
                here.exchange.wake()
            await wait_all_tasks_blocked()


@asynccontextmanager
async def joined(cso: Company, csp: Company, marks_of_csp: list[Mark] | None = None) -> AsyncIterator[Joined]:
    """A link that is up, until the block ends."""
    ends = End(cso, "rmd"), End(csp, "abc")
    shown_by_csp = csp.store.read(lambda cx: marks_for(cx, "abc")) if marks_of_csp is None else marks_of_csp
    shown_by_cso = cso.store.read(lambda cx: marks_for(cx, "rmd"))
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            for end, shown in zip(ends, (shown_by_csp, shown_by_cso), strict=True):
                end.begin(shown)
                nursery.start_soon(end.run)
            yield Joined(*ends)
            for end in ends:
                end.exchange.down()
            nursery.cancel_scope.cancel()


def cdr(number: int) -> dict[str, Any]:
    return bodies.cdr(id=f"C-{number}")


async def test_everything_moves_in_both_directions_and_all_of_its_credit_comes_back(cso: Company, csp: Company) -> None:
    cso.hand_in(cdr(1))
    cso.publish("locations", bodies.location())
    csp.publish("user-credentials", bodies.token(country_code="FR", party_id="RMD"))
    async with joined(cso, csp) as link:
        await link.carry()
        assert cso.states() == csp.states("in") == {"C-1": "DELIVERED"}
        assert len(csp.mirrored("abc", "locations")) == len(cso.mirrored("rmd", "user-credentials")) == 1
        for here, there in ((link.cso, link.csp), (link.csp, link.cso)):
            assert there.wire.granted == here.wire.sent
            assert here.wire.closed == []
        assert link.csp.events > 0
        assert all(link.cso.exchange.publisher.in_sync().values())


async def test_what_comes_while_the_link_is_up_goes_at_once(cso: Company, csp: Company) -> None:
    async with joined(cso, csp) as link:
        await link.carry()
        cso.hand_in(cdr(1))
        link.cso.exchange.ledger_grew()
        cso.publish("tariffs", bodies.tariff())
        link.cso.exchange.published("tariffs")
        await link.carry()
        assert csp.states("in") == {"C-1": "DELIVERED"}
        assert len(csp.mirrored("abc", "tariffs")) == 1


async def test_a_refusal_goes_back_over_the_same_link(cso: Company, csp: Company) -> None:
    csp.meets(cso, "abc", records_in=())
    cso.hand_in(cdr(1))
    async with joined(cso, csp) as link:
        await link.carry()
        assert cso.states() == {"C-1": "PARKED"}


async def test_bulk_does_not_pile_up_before_a_link_that_takes_none(cso: Company, csp: Company) -> None:
    for number in range(60):
        cso.publish("tariffs", bodies.tariff(id=f"T-{number}", noise=cso.random(20_000).hex()))
    async with joined(cso, csp) as link:
        await wait_all_tasks_blocked()
        while link.csp.wire.out:
            link.cso.exchange.on_event(link.csp.wire.out.popleft())
        await wait_all_tasks_blocked()
        assert QUEUED_BULK <= link.cso.wire.waiting(Pattern.FEEDS) <= QUEUED_BULK + 400_000
        await link.carry()
        assert len(csp.mirrored("abc", "tariffs")) == 60


async def test_a_rollback_is_mended_over_the_link_before_anything_is_sent(
    cso: Company, csp: Company, log: LogLines
) -> None:
    backup = cso.store.snapshot_bytes()
    cso.hand_in(cdr(1))
    carry(cso, csp)
    restored = cso.restored(backup)
    restored.hand_in(cdr(2))
    async with joined(restored, csp) as link:
        await link.carry()
        assert link.cso.wire.closed == link.csp.wire.closed == []
    assert restored.states() == {"C-1": "DELIVERED", "C-2": "DELIVERED"} == csp.states("in")
    assert len(log.of("ledger_mended")) == 1


async def test_a_claim_without_our_signature_is_ignored_and_logged(cso: Company, csp: Company, log: LogLines) -> None:
    cso.hand_in(cdr(1))
    carry(cso, csp)
    cso.hand_in(cdr(2))
    shown = LedgerLine(cso, csp).shown()
    assert shown is not None
    lie = Mark(True, shown.epoch, 99, b"h" * 32, shown.time_ms, shown.signature)
    async with joined(cso, csp, [lie]) as link:
        await link.carry()
    assert [line["claimed_sequence"] for line in log.of("unsigned_claim_ignored")] == [99]
    assert cso.states() == {"C-1": "DELIVERED", "C-2": "DELIVERED"}
    assert len(cso.chains(own=True)) == 1


async def test_receipts_of_two_epochs_in_one_frame_both_count(cso: Company, csp: Company) -> None:
    cso.hand_in(cdr(1))
    LedgerLine(cso, csp, lose_receipts=True).begin().pump()
    backup = cso.store.snapshot_bytes()
    cso.hand_in(cdr(2))
    LedgerLine(cso, csp, lose_receipts=True).begin().pump()
    restored = cso.restored(backup)
    async with joined(restored, csp) as link:
        await wait_all_tasks_blocked()
        for _ in range(20):  # everything but the receipts is carried; they wait and come together
            receipts = [event for event in link.csp.wire.out if isinstance(event, events.Receipts)]
            for event in list(link.csp.wire.out):
                if event not in receipts:
                    link.csp.wire.out.remove(event)
                    link.cso.exchange.on_event(event)
            while link.cso.wire.out:
                link.csp.exchange.on_event(link.cso.wire.out.popleft())
            await wait_all_tasks_blocked()
        together = [receipt for event in receipts for receipt in event.receipts]
        assert len({receipt.epoch for receipt in together}) == 2
        link.csp.wire.out.clear()
        link.cso.exchange.on_event(events.Receipts(together))
    for chain in restored.chains(own=True):
        assert chain.receipted_sequence == chain.tail_sequence


async def test_only_the_link_that_was_chosen_is_followed_and_the_other_when_it_takes_over(
    cso: Company, csp: Company
) -> None:
    async with trio.open_nursery() as nursery:
        first, second = End(csp, "abc"), End(csp, "abc")
        first.begin([])
        second.begin([], chosen=False)
        nursery.start_soon(first.run)
        nursery.start_soon(second.run)
        await wait_all_tasks_blocked()
        assert len(first.wire.out) > 0
        assert len(second.wire.out) == 0
        csp.peer("abc").exchange = second.exchange
        second.exchange.ledger_grew()
        await wait_all_tasks_blocked()
        assert len(second.wire.out) > 0
        csp.peer("abc").exchange = first.exchange  # back again: it may have missed chunks
        first.exchange.ledger_grew()
        await wait_all_tasks_blocked()
        assert first.wire.closed == ["the feeds were followed over another link meanwhile"]
        nursery.cancel_scope.cancel()


async def test_an_answer_whose_asker_fails_does_not_swallow_the_next_one(
    cso: Company, csp: Company, log: LogLines
) -> None:
    async with joined(cso, csp) as link:
        told = Told()

        def fail(outcome: Answer | None) -> None:
            raise LookupError("no")

        for number, done in ((1, fail), (2, told)):
            call = Call(bytes([number]) * 16, 99, 1000, b"")
            link.cso.outgoing.start(link.cso.peer, call, cso.clock.seconds + 1, done)
        await link.carry()
        assert told.one.status == AnswerStatus.MALFORMED
        assert len(log.of("call_outcome_not_taken")) == 1


async def test_nothing_is_acknowledged_over_a_link_that_has_ended(cso: Company, csp: Company) -> None:
    cso.hand_in(cdr(1))
    async with joined(cso, csp) as link:
        await wait_all_tasks_blocked()
        link.csp.exchange.down()
        while link.cso.wire.out:
            link.csp.exchange.on_event(link.cso.wire.out.popleft())
        link.csp.wire.out.clear()
        await wait_all_tasks_blocked()
        assert not [event for event in link.csp.wire.out if isinstance(event, events.Receipts | events.FeedAcks)]
        assert set(link.csp.wire.granted.values()) == {0}
        assert csp.states("in") == {"C-1": "DELIVERED"}  # committed, and its receipt comes over the next link


@pytest.mark.parametrize("count", [1, 300])
async def test_many_records_and_objects_share_the_link(cso: Company, csp: Company, count: int) -> None:
    for number in range(count):
        cso.hand_in(cdr(number))
        cso.publish("tariffs", bodies.tariff(id=f"T-{number}"))
    async with joined(cso, csp) as link:
        await link.carry()
    assert len(csp.states("in")) == len(csp.mirrored("abc", "tariffs")) == count
    assert set(cso.states().values()) == {"DELIVERED"}


async def test_links_that_come_up_together_mend_a_rollback_once(
    cso: Company, csp: Company, log: LogLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollback, "PAGE", 1)
    backup = cso.store.snapshot_bytes()
    for number in range(6):
        cso.hand_in(cdr(number))
    carry(cso, csp)
    restored = cso.restored(backup)
    restored.hand_in(cdr(9))
    async with trio.open_nursery() as nursery, joined(restored, csp) as link:
        other = End(restored, "rmd")
        other.parts = link.cso.parts
        other.begin(csp.store.read(lambda cx: marks_for(cx, "abc")), chosen=False)
        nursery.start_soon(other.run)
        await link.carry()
        assert link.cso.wire.closed == link.csp.wire.closed == other.wire.closed == []
        nursery.cancel_scope.cancel()
    assert len(log.of("ledger_mended")) == 1
    assert restored.states() == csp.states("in")
    assert [chain.tail_sequence for chain in restored.chains(own=True)] == [6, 2]
