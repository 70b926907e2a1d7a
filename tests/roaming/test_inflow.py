"""A disk that fills up while bulk is on its way: nothing is skipped, the link stays, and it goes on by itself."""

from collections.abc import Callable
from typing import Any

import trio
import trio.testing

from roamd.errors import StoreFull
from roamd.protocol.codes import GoodbyeCode
from roamd.protocol.events import BulkFeed, BulkLedger
from roamd.roaming.inflow import UNDER_WAY, Inflow
from roamd.storage.group import Job
from roamd.storage.store import Store
from tests.model import bodies
from tests.support.roaming import Company, FeedLine, LedgerLine


class SmallDisk(Store):
    """Takes one job at a time when the test says so; the outcomes are told later, as from another thread."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.jobs: list[Job] = []
        self.untold: list[Callable[[], None]] = []
        self.held = False
        self.no_room = False

    @property
    def full(self) -> bool:
        return self.no_room

    def _submit(self, job: Job) -> None:
        if self.held:
            self.jobs.append(job)
        else:
            super()._submit(job)

    def turn(self, *, room: bool) -> None:
        """The writer takes the next job, with or without room for it."""
        job = self.jobs.pop(0)
        if room:
            super()._submit(job._replace(done=lambda outcome: self.untold.append(lambda: job.done(outcome))))
        else:
            self.untold.append(lambda: job.done(StoreFull("full")))

    def tell(self) -> None:
        """The loop hears of all that has happened."""
        untold, self.untold = self.untold, []
        for each in untold:
            each()


def on_small_disk(company: Company) -> SmallDisk:
    """The company's store, on such a disk."""
    company.store = disk = SmallDisk.open_memory(company.store.snapshot_bytes())
    return disk


def tariff(number: int) -> dict[str, Any]:
    return bodies.tariff(id=f"T-{number:04}")


class FeedInflow(Inflow):
    """The chunks of one line, as a link's exchange takes them in."""

    def __init__(self, line: FeedLine, disk: SmallDisk) -> None:
        started: list[object] = []
        super().__init__(
            disk,
            lambda bulk, settle: line.follower.on_chunk(bulk.payload, settle),
            lambda bulk: None,
            self._go_on,
            started.append,
        )
        self.line, self.started = line, started

    def _go_on(self) -> None:
        self.hand_over()

    def take_in(self) -> None:
        """Everything that the publisher has to send comes in, and is handed over."""
        self.line.wake_all()
        while (payload := self.line.chunk()) is not None:
            self.add(BulkFeed(payload, len(payload)))
        self.hand_over()

    def hand_over(self) -> None:
        while self.step():
            pass


async def test_a_chunk_never_passes_over_one_that_found_the_disk_full(
    cso: Company, csp: Company, autojump_clock: trio.testing.MockClock
) -> None:
    disk = on_small_disk(csp)
    line = FeedLine(cso, csp)
    line.pump()
    inflow = FeedInflow(line, disk)
    disk.held = True
    for number in (1, 2):
        cso.publish("tariffs", tariff(number))
        inflow.take_in()
    disk.turn(room=False)
    disk.turn(room=True)  # the disk had room again before anyone was told
    disk.tell()
    assert csp.mirrored("abc", "tariffs") == {}
    cso.publish("tariffs", tariff(3))
    inflow.take_in()
    assert disk.jobs == [], "while some wait, those behind them wait, too"
    assert inflow.started == [inflow.look_for_room], "one looks for room"
    disk.held = False
    async with trio.open_nursery() as nursery:
        nursery.start_soon(inflow.look_for_room)
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    assert set(csp.mirrored("abc", "tariffs").values()) == {bodies.text(tariff(number)) for number in (1, 2, 3)}
    assert line.closed == [], "the link stays"
    assert line.publisher.in_sync()["tariffs"]


async def test_nothing_is_handed_over_while_the_disk_is_full(
    cso: Company, csp: Company, autojump_clock: trio.testing.MockClock
) -> None:
    disk = on_small_disk(csp)
    line = FeedLine(cso, csp)
    inflow = FeedInflow(line, disk)
    cso.publish("tariffs", tariff(1))
    disk.held = disk.no_room = True
    inflow.take_in()
    while disk.jobs:
        disk.turn(room=False)
    disk.tell()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(inflow.look_for_room)
        await trio.sleep(3600)
        assert disk.jobs == []
        disk.held = disk.no_room = False
        await trio.sleep(2)
        nursery.cancel_scope.cancel()
    assert set(csp.mirrored("abc", "tariffs").values()) == {bodies.text(tariff(1))}


async def test_batches_behind_one_that_found_the_disk_full_are_no_gap_in_the_chain(
    cso: Company, csp: Company, autojump_clock: trio.testing.MockClock
) -> None:
    disk = on_small_disk(csp)
    line = LedgerLine(cso, csp).begin()
    started: list[object] = []
    inflow = Inflow(
        disk, lambda bulk, settle: line.taker.on_batch(bulk.payload, settle), lambda bulk: None, lambda: None,
        started.append,
    )  # fmt: skip
    disk.held = True
    for number in (1, 2):
        cso.hand_in(bodies.cdr(id=f"C-{number}"))
        line.sender.behind = True
        payload = line.sender.next_batch()
        assert payload is not None
        inflow.add(BulkLedger(payload, len(payload)))
        inflow.step()
    disk.turn(room=False)
    disk.turn(room=True)
    disk.tell()
    assert line.closed == []
    disk.held = False
    async with trio.open_nursery() as nursery:
        nursery.start_soon(inflow.look_for_room)
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    assert started == [inflow.look_for_room]
    assert inflow.step()
    assert inflow.step()
    assert not inflow.step()
    assert csp.states("in") == {"C-1": "DELIVERED", "C-2": "DELIVERED"} == cso.states()
    assert line.closed == []


def test_a_receipt_that_finds_no_room_at_all_waits_and_the_link_stays(cso: Company, csp: Company) -> None:
    disk = on_small_disk(cso)
    cso.records.store = disk
    cso.hand_in(bodies.cdr(id="C-1"))
    line = LedgerLine(cso, csp).begin()
    disk.held = True
    line.pump()
    disk.turn(room=False)
    disk.tell()
    assert (line.without_room, line.settled, line.closed) == (1, 0, [])
    assert cso.states() == {"C-1": "QUEUED"}
    disk.held = False
    line.sender.keep_again()
    assert cso.states() == {"C-1": "DELIVERED"}
    assert line.settled == 1


def test_any_other_fault_of_the_store_still_ends_the_link(cso: Company, csp: Company) -> None:
    disk = on_small_disk(cso)
    cso.records.store = disk
    cso.hand_in(bodies.cdr(id="C-1"))
    line = LedgerLine(cso, csp).begin()
    disk.held = True
    line.pump()
    disk.jobs.pop().done(RuntimeError("broken"))
    assert [code for code, _ in line.closed] == [GoodbyeCode.INTERNAL]


def test_payloads_that_are_small_on_the_wire_and_large_in_memory_are_opened_a_few_at_a_time() -> None:
    opened: list[Callable[[object], bool]] = []
    credit: list[object] = []
    more: list[None] = []
    inflow = Inflow(
        Store.open_memory(),
        lambda bulk, settle: opened.append(settle),
        credit.append,
        lambda: more.append(None),
        lambda function: None,
    )
    for _ in range(1656):  # a window full of chunks of a megabyte that travel in 121 bytes each
        inflow.add(BulkFeed(b"", 633))
    while inflow.step():
        pass
    assert (len(opened), inflow.is_due) == (UNDER_WAY, False)
    for settle in opened:
        assert settle(1)
    assert len(more) == 1
    assert len(credit) == UNDER_WAY
    while inflow.step():
        pass
    assert len(opened) == 2 * UNDER_WAY
