"""Two companies hold their records against each other, and one round puts right what either lost."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock

from roamd.errors import Conflict, PeerError
from roamd.model.objects import check_record
from roamd.protocol.bulk import pack_fetch_answer, unpack_ledger_batch
from roamd.protocol.calls import Service
from roamd.protocol.messages import AnswerStatus, Call
from roamd.protocol.reconcile import Group, GroupPage, LinePage, Reconcile, RecordLine, Repaired, Step
from roamd.roaming.operations import JudgeRecord, PostRecords, ReconcilePeer
from roamd.roaming.reconcile import compare
from roamd.roaming.reconcile.desk import EVERY_S, LOOK_S
from roamd.storage import erasure, ledgers, records
from roamd.storage.erasure import Erased
from tests.model import bodies
from tests.support.endpoints import Endpoint, Neighbourhood, until

DAYS = ("2026-10-01T10:00:00Z", "2026-10-02T10:00:00Z", "2026-11-02T10:00:00Z")
TABLES = ("records", "entries", "chains")


class Pair:
    """A linked CSO and CSP with records between them."""

    def __init__(self, cso: Endpoint, csp: Endpoint) -> None:
        self.cso, self.csp = cso, csp

    async def bill(self, count: int = 40, **changes: Any) -> None:
        """CDRs of some days; the last one is settled on both sides."""
        party = self.cso.party
        for number in range(count):
            value = bodies.cdr(
                id=f"C-{number:03}",
                country_code=party[:2],
                party_id=party[2:],
                end_date_time=DAYS[number % 3],
                cdr_token=bodies.cdr_token(country_code=self.csp.party[:2], party_id=self.csp.party[2:]),
                **changes,
            )
            record = check_record("2.3.0", bodies.text(value), own_parties=frozenset({party}))
            await self.cso.ask(PostRecords((record,), self.cso.peer(self.csp).label))
        await self.settled(count)

    async def settled(self, count: int) -> None:
        await until(lambda: len(rows(self.csp)) == count and set(states(self.cso).values()).isdisjoint({"QUEUED"}))

    async def reconcile(self, here: Endpoint, there: Endpoint) -> dict[str, Any]:
        report: dict[str, Any] = await here.ask(ReconcilePeer(here.peer(there).label))
        return report


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    async with Neighbourhood() as hood:
        yield Pair(*await hood.linked())


def rows(endpoint: Endpoint) -> list[Any]:
    return endpoint.store.read(lambda cx: records.page(cx, 0, 10_000))


def states(endpoint: Endpoint) -> dict[str, str]:
    return {row.record_id: row.state for row in rows(endpoint)}


def content(endpoint: Endpoint) -> dict[str, Any]:
    """All that the ledger tables hold, but for the numbers that the store gives and the times of arrival."""

    def read(cx: Any) -> dict[str, Any]:
        return {
            "entries": cx.run(
                "SELECT id, kind, record_id, commitment, hash, salt, body, ocpi FROM entries ORDER BY id"
            ),
            "chains": cx.run("SELECT * FROM chains ORDER BY chain_id"),
            "marks": cx.run("SELECT * FROM marks ORDER BY chain_id, kind, sequence"),
            "records": [row._replace(id=0, created_ms=0, updated_ms=0) for row in sorted(records.page(cx, 0, 10_000))],
        }

    return endpoint.store.read(read)


def lose(endpoint: Endpoint, *statements: str) -> None:
    for statement in statements:
        endpoint.store.write(lambda cx, sql=statement: cx.run(sql))  # type: ignore[misc]


ROWS = "DELETE FROM records WHERE record_id BETWEEN 'C-010' AND 'C-026'"
BODIES = "UPDATE entries SET salt = NULL, body = NULL WHERE record_id BETWEEN 'C-010' AND 'C-026'"
ENTRIES = "DELETE FROM entries WHERE record_id BETWEEN 'C-010' AND 'C-026'"
LAST = "DELETE FROM entries WHERE record_id >= 'C-023'"


@pytest.mark.parametrize("loser", ["cso", "csp"])
@pytest.mark.parametrize("asker", ["cso", "csp"])
@pytest.mark.parametrize("lost", [(ROWS,), (ROWS, BODIES), (BODIES,), (ROWS, ENTRIES), (LAST,)])
async def test_17_records_that_one_side_lost_come_back_in_one_round(
    pair: Pair, loser: str, asker: str, lost: tuple[str, ...]
) -> None:
    await pair.bill()
    sides = {"cso": pair.cso, "csp": pair.csp}
    before = {name: content(side) for name, side in sides.items()}
    lose(sides[loser], *lost)
    assert content(sides[loser]) != before[loser]
    other = "csp" if asker == "cso" else "cso"
    report = await pair.reconcile(sides[asker], sides[other])
    assert report["ok"], report
    mended = report["repaired" if loser == asker else "repaired_there"]
    assert mended == {"entries": 0 if lost == (ROWS,) else 17, "records": 17 if ROWS in lost else 0}
    assert {name: content(side) for name, side in sides.items()} == before


async def test_a_round_without_differences_changes_nothing_and_says_what_was_compared(pair: Pair) -> None:
    await pair.bill(6)
    before = content(pair.cso), content(pair.csp)
    report = await pair.reconcile(pair.csp, pair.cso)
    assert (report["ok"], report["groups"], report["records"], report["differed"]) == (True, 3, 6, 0)
    assert (content(pair.cso), content(pair.csp)) == before


async def test_the_report_names_each_record_with_its_day_and_kind(pair: Pair) -> None:
    await pair.bill(6)
    lose(pair.csp, "DELETE FROM records WHERE record_id = 'C-004'")
    report = await pair.reconcile(pair.cso, pair.csp)
    assert report["differences"] == [
        {
            "author": "us",
            "kind": "CDR",
            "day": "2026-10-02",
            "party": pair.cso.party,
            "record_id": "C-004",
            "here": "DELIVERED",
            "there": None,
            "result": "repaired there",
        }
    ]


@pytest.mark.parametrize("lines_a_page", [1, 2, 3, 200])
async def test_a_day_is_compared_page_by_page_whatever_is_missing_on_either_side(
    pair: Pair, lines_a_page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "MAX_LINES", lines_a_page)
    await pair.bill(40)
    before = states(pair.cso)
    lose(pair.cso, "DELETE FROM records WHERE record_id IN ('C-000', 'C-013', 'C-014', 'C-030')")
    lose(pair.csp, "DELETE FROM records WHERE record_id IN ('C-013', 'C-021', 'C-022', 'C-038', 'C-039')")
    lose(pair.csp, "UPDATE records SET state = 'ACCEPTED' WHERE record_id IN ('C-007', 'C-031')")
    report = await pair.reconcile(pair.csp, pair.cso)
    seen = {(one["record_id"], one["here"] is None, one["there"] is None) for one in report["differences"]}
    assert seen == {
        *((record, False, True) for record in ("C-000", "C-014", "C-030")),
        *((record, True, False) for record in ("C-021", "C-022", "C-038", "C-039")),
        *((record, False, False) for record in ("C-007", "C-031")),
    }, "and C-013, which neither has now, is no difference"
    assert report["ok"]
    assert states(pair.cso) == states(pair.csp) == {name: before[name] for name in before if name != "C-013"}


async def test_a_record_that_comes_back_stands_as_both_chains_say(pair: Pair) -> None:
    await pair.bill(3)
    await pair.csp.ask(JudgeRecord("C-001", "DISPUTED", reason="price"))
    await until(lambda: states(pair.cso)["C-001"] == "DISPUTED")
    lose(pair.cso, "DELETE FROM records")
    assert (await pair.reconcile(pair.csp, pair.cso))["ok"]
    assert states(pair.cso) == {"C-000": "DELIVERED", "C-001": "DISPUTED", "C-002": "DELIVERED"}
    lose(pair.csp, "UPDATE records SET state = 'ACCEPTED' WHERE record_id = 'C-001'")
    assert (await pair.reconcile(pair.cso, pair.csp))["ok"]
    assert states(pair.csp)["C-001"] == "DISPUTED"


async def test_a_restored_record_keeps_the_day_of_its_receipt(pair: Pair) -> None:
    """The time for disputes counts from there."""
    await pair.bill(1)
    created = rows(pair.csp)[0].created_ms
    pair.csp.clock.jump(86_400)
    lose(pair.csp, "DELETE FROM records", "DELETE FROM entries")
    assert (await pair.reconcile(pair.csp, pair.cso))["ok"]
    assert abs(rows(pair.csp)[0].created_ms - created) < 1000


async def test_what_was_erased_is_never_refilled(pair: Pair) -> None:
    await pair.bill(3)
    (chain,) = pair.csp.store.read(ledgers.chains)

    def erase(cx: Any) -> None:
        erasure.put_txn(cx, Erased(chain.peer, chain.own, chain.epoch, 2, "C-001", "req", 1, ask=False))
        erasure.erase_entry_txn(cx, chain.chain_id, 2)

    pair.csp.store.write(erase)
    erased = content(pair.csp)
    assert (await pair.reconcile(pair.csp, pair.cso))["ok"]
    assert (await pair.reconcile(pair.cso, pair.csp))["ok"]
    assert content(pair.csp) == erased
    lose(pair.csp, "DELETE FROM entries")
    report = await pair.reconcile(pair.csp, pair.cso)
    assert report["ok"]
    assert content(pair.csp)["entries"] == erased["entries"], "the entry is back, its content is not"


async def test_what_both_sides_lost_is_told_and_changes_nothing(pair: Pair) -> None:
    await pair.bill(3)
    for side in (pair.cso, pair.csp):
        lose(side, "UPDATE entries SET salt = NULL, body = NULL WHERE record_id = 'C-001'")
    report = await pair.reconcile(pair.csp, pair.cso)
    assert report["gone_on_both_sides"] == 1
    for side in (pair.cso, pair.csp):
        lose(side, "DELETE FROM entries WHERE record_id = 'C-002'")
    report = await pair.reconcile(pair.csp, pair.cso)
    assert not report["ok"]
    assert "does not give them back" in report["faults"][0]
    assert any("reconciliation" in alarm for alarm in pair.csp.peer(pair.cso).alarms)


async def test_a_round_with_a_peer_that_is_down_says_so(pair: Pair) -> None:
    await pair.bill(1)
    await pair.csp.stop()
    await until(lambda: pair.cso.peer(pair.csp).exchange is None)
    with pytest.raises(PeerError, match="did not answer"):
        await pair.reconcile(pair.cso, pair.csp)


async def test_two_rounds_at_once_are_one(pair: Pair) -> None:
    await pair.bill(1)
    replies: list[Any] = []
    label = pair.cso.peer(pair.csp).label
    for _ in range(2):
        pair.cso.core.operations.handle(ReconcilePeer(label), replies.append)
    await until(lambda: len(replies) == 2)
    assert sorted(isinstance(reply, Conflict) for reply in replies) == [False, True]


async def test_both_sides_may_begin_at_the_same_time(pair: Pair) -> None:
    await pair.bill()
    lose(pair.cso, "DELETE FROM records WHERE record_id < 'C-005'")
    lose(pair.csp, ENTRIES)
    replies: list[Any] = []
    for here, there in ((pair.cso, pair.csp), (pair.csp, pair.cso)):
        here.core.operations.handle(ReconcilePeer(here.peer(there).label), replies.append)
    await until(lambda: len(replies) == 2)
    assert (await pair.reconcile(pair.cso, pair.csp))["ok"]
    assert states(pair.cso) == states(pair.csp)
    assert len(states(pair.cso)) == 40


async def test_upkeep_reconciles_once_a_day_by_itself(pair: Pair, autojump_clock: object) -> None:
    await pair.bill(3)
    lose(pair.csp, "DELETE FROM records WHERE record_id = 'C-001'")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pair.cso.core.reconciliation.run)
        await trio.sleep(700)
        assert "C-001" in states(pair.csp)
        lose(pair.csp, "DELETE FROM records WHERE record_id = 'C-002'")
        await trio.sleep(23 * 3600)
        assert "C-002" not in states(pair.csp)
        await trio.sleep(2 * 3600)
        assert "C-002" in states(pair.csp)
        nursery.cancel_scope.cancel()


# --- peers that lie ---------------------------------------------------------------------------------------------


def lies(endpoint: Endpoint, service: int, answer: Callable[[Call], bytes | None]) -> None:
    """The endpoint's daemon answers a service otherwise than an honest one."""
    honest = endpoint.core.parts.incoming._services[service]

    def serve(peer: Any, call: Call, deadline_at: float, respond: Any) -> None:
        told = answer(call)
        if told is None:
            honest(peer, call, deadline_at, respond)
        else:
            respond(AnswerStatus.ANSWERED, told)

    endpoint.core.parts.incoming._services[service] = serve


def on_step(step: Step, body: bytes) -> Callable[[Call], bytes | None]:
    return lambda call: body if Reconcile.unpack(call.body).step == step else None


GROUP = Group(False, "CDR", "2026-10-01", 5, bytes(32))
LINE = RecordLine("DEXXX", "MADE-UP", bytes(16), 7, bytes(32), "DELIVERED")


@pytest.mark.parametrize(
    ("step", "body"),
    [
        (Step.DIGESTS, GroupPage([], [GROUP], more=True).pack()),
        (Step.DIGESTS, GroupPage([], [], more=True).pack()),
        (Step.LINES, LinePage([LINE], more=True).pack()),
        (Step.LINES, LinePage([], more=True).pack()),
        (Step.LINES, LinePage([LINE, LINE]).pack()),
        (Step.DIGESTS, b"\xc1"),
        (Step.LINES, b"\xc1"),
        (Step.REPAIR, b"\xc1"),
    ],
)
async def test_pages_that_lead_nowhere_end_the_round_and_are_an_alarm(pair: Pair, step: Step, body: bytes) -> None:
    await pair.bill(3)
    lose(pair.cso, "DELETE FROM records WHERE record_id = 'C-001'")
    lies(pair.csp, Service.RECONCILE, on_step(step, body))
    with pytest.raises(PeerError):
        await pair.reconcile(pair.cso, pair.csp)
    assert any("leads nowhere" in alarm for alarm in pair.cso.peer(pair.csp).alarms)


async def test_records_that_a_peer_makes_up_are_not_made_here(pair: Pair) -> None:
    await pair.bill(3)
    before = content(pair.cso)
    epoch = pair.cso.store.read(ledgers.chains)[0].epoch
    taken = RecordLine(pair.cso.party, "C-000", epoch, 2, bytes(32), "DELIVERED")
    lies(pair.csp, Service.RECONCILE, on_step(Step.LINES, LinePage([taken, LINE]).pack()))
    lies(pair.csp, Service.RECONCILE, on_step(Step.DIGESTS, GroupPage([], [GROUP]).pack()))
    report = await pair.reconcile(pair.cso, pair.csp)
    assert report["repaired"] == {"entries": 0, "records": 0}
    assert content(pair.cso) == before


@pytest.mark.parametrize("lost", [BODIES, ENTRIES, LAST])
async def test_what_never_stood_in_the_ledger_is_not_taken(pair: Pair, lost: str) -> None:
    """Right places, good form, other content: only our own copy's hashes can tell."""
    await pair.bill()
    lose(pair.csp, lost)
    left = content(pair.csp)
    honest = pair.cso.core.parts.incoming._services[Service.LEDGER_FETCH]

    def other(peer: Any, call: Call, deadline_at: float, respond: Any) -> None:
        def changed(status: int, body: bytes) -> None:
            batch = unpack_ledger_batch(body)
            items = [msgspec.structs.replace(item, body=item.body + b" ") for item in batch.items]
            respond(status, pack_fetch_answer(replace(batch, items=items)))

        honest(peer, call, deadline_at, changed)

    pair.cso.core.parts.incoming._services[Service.LEDGER_FETCH] = other
    report = await pair.reconcile(pair.csp, pair.cso)
    assert not report["ok"]
    assert report["repaired"] == {"entries": 0, "records": 0}
    assert content(pair.csp) == left


async def test_a_peer_that_asks_too_often_is_not_answered(pair: Pair) -> None:
    await pair.bill(1)
    desk, peer = pair.cso.core.reconciliation, pair.cso.peer(pair.csp)
    answers: list[int] = []

    def ask(question: Reconcile) -> None:
        call = Call(bytes(16), Service.RECONCILE, 1000, question.pack())
        desk.answer(peer, call, 0.0, lambda status, body: answers.append(status))

    for _ in range(3):
        ask(Reconcile(Step.REPAIR))
    await until(lambda: len(answers) == 3)
    assert sorted(answers) == [AnswerStatus.ANSWERED, AnswerStatus.NO_ANSWER, AnswerStatus.NO_ANSWER]
    answers.clear()
    for _ in range(700):
        ask(Reconcile(Step.LINES, "2026-10-01", kind="CDR"))
    await until(lambda: len(answers) == 700)
    assert answers.count(AnswerStatus.NO_ANSWER) >= 90
    ask(Reconcile(9))
    await until(lambda: len(answers) == 701)
    assert answers[-1] == AnswerStatus.MALFORMED
    assert Repaired.unpack(Repaired(1, 2, 3).pack()) == Repaired(1, 2, 3)


async def test_the_daily_round_does_not_wait_for_a_wall_clock_that_was_set_back(
    pair: Pair, autojump_clock: MockClock
) -> None:
    await pair.bill(3)
    reconciliation = pair.cso.core.reconciliation
    pair.cso.clock.jump(400 * 86_400)
    pair.cso.start(reconciliation.run)
    await trio.sleep(LOOK_S + 1)
    pair.cso.clock.jump(-400 * 86_400)
    lose(pair.cso, ROWS, "DELETE FROM records WHERE record_id = 'C-001'")
    await trio.sleep(EVERY_S + LOOK_S)
    assert "C-001" in states(pair.cso)
