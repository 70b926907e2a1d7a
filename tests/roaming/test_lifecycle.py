"""Two companies say of a record what becomes of it, and both show the same."""

from typing import Any

import pytest

from roamd.errors import Conflict, Malformed, NotFound
from roamd.model.objects import CheckedRecord, check_record
from roamd.model.terms import Terms
from roamd.protocol.ledger import EntryKind, LedgerItem, Word
from roamd.roaming.ledger.chain import append_items_txn, own_chain_txn
from roamd.roaming.ledger.words import state_of
from roamd.roaming.lifecycle import DAY_MS, Lifecycle
from roamd.roaming.operations import CreditRecord, GetRecord, JudgeRecord, RecordReply
from roamd.storage import ledgers, records
from tests.model import bodies
from tests.roaming.test_rollback import mend
from tests.support.roaming import Company, LogLines, answer_of, carry


def desk(company: Company) -> Lifecycle:
    return Lifecycle(company.clock, company.store, company.directory, company.random, company.queued.append)


def judge(company: Company, record_id: str, word: str, **more: Any) -> RecordReply:
    reply: RecordReply = answer_of(desk(company).judge, JudgeRecord(record_id, word, **more))
    return reply


def checked(company: Company, value: dict[str, Any]) -> CheckedRecord:
    return check_record("2.3.0", bodies.text(value), own_parties=frozenset({company.party}))


def a_credit(**changes: Any) -> dict[str, Any]:
    return bodies.cdr(id="C-1-C", credit=True, credit_reference_id="C-1", total_cost={"before_taxes": -5}, **changes)


def credit(company: Company, value: dict[str, Any], replacement: dict[str, Any] | None = None) -> RecordReply:
    again = None if replacement is None else checked(company, replacement)
    reply: RecordReply = answer_of(desk(company).credit, CreditRecord("C-1", checked(company, value), again))
    return reply


def both(cso: Company, csp: Company) -> tuple[str, str]:
    return cso.states("out")["C-1"], csp.states("in")["C-1"]


def exchange(cso: Company, csp: Company) -> None:
    """Whatever either has said reaches the other."""
    carry(cso, csp)
    carry(csp, cso)


@pytest.fixture
def delivered(cso: Company, csp: Company) -> tuple[Company, Company]:
    cso.hand_in(bodies.cdr(id="C-1"))
    exchange(cso, csp)
    assert both(cso, csp) == ("DELIVERED", "DELIVERED")
    return cso, csp


def test_an_accepted_record_is_accepted_on_both_sides(delivered: tuple[Company, Company]) -> None:
    cso, csp = delivered
    assert judge(csp, "C-1", "ACCEPTED").state == "ACCEPTED"
    assert both(cso, csp) == ("DELIVERED", "ACCEPTED")
    exchange(cso, csp)
    assert both(cso, csp) == ("ACCEPTED", "ACCEPTED")
    assert judge(csp, "C-1", "ACCEPTED").state == "ACCEPTED", "said twice it is said once"


def test_a_dispute_says_why_on_both_sides_and_may_be_withdrawn(delivered: tuple[Company, Company]) -> None:
    cso, csp = delivered
    judge(csp, "C-1", "DISPUTED", reason="price", detail="0.50 too much", evidence=("20 kWh x 0.25 = 5.00",))
    exchange(cso, csp)
    told = answer_of(cso.records.get, GetRecord("C-1", direction="out"))
    assert (told.state, told.reason) == ("DISPUTED", "disputed by rmd: price (0.50 too much)")
    assert [(said["by"], said["word"], said["evidence"]) for said in told.history] == [
        ("rmd", "DISPUTED", ["20 kWh x 0.25 = 5.00"])
    ]
    judge(csp, "C-1", "ACCEPTED")
    exchange(cso, csp)
    assert both(cso, csp) == ("ACCEPTED", "ACCEPTED")


def test_who_has_accepted_cannot_dispute_any_more(delivered: tuple[Company, Company]) -> None:
    _, csp = delivered
    judge(csp, "C-1", "ACCEPTED")
    with pytest.raises(Conflict, match="is ACCEPTED"):
        judge(csp, "C-1", "DISPUTED", reason="price")


def test_a_dispute_that_comes_after_the_agreed_time_is_refused_and_names_the_term(
    delivered: tuple[Company, Company],
) -> None:
    _, csp = delivered
    csp.clock.wall_ms += 30 * DAY_MS + 1
    with pytest.raises(Conflict, match=r"terms\.dispute_days"):
        judge(csp, "C-1", "DISPUTED", reason="price")


def test_only_the_receiver_judges_and_only_the_author_credits(delivered: tuple[Company, Company]) -> None:
    cso, csp = delivered
    with pytest.raises(NotFound):
        judge(cso, "C-1", "ACCEPTED")
    with pytest.raises(NotFound):
        answer_of(desk(csp).credit, CreditRecord("C-1", checked(cso, a_credit())))


def test_a_dispute_ends_in_a_credit_and_a_replacement(delivered: tuple[Company, Company]) -> None:
    cso, csp = delivered
    judge(csp, "C-1", "DISPUTED", reason="energy")
    exchange(cso, csp)
    assert credit(cso, a_credit(), bodies.cdr(id="C-2")).state == "CREDITED"
    exchange(cso, csp)
    assert both(cso, csp) == ("CREDITED", "CREDITED")
    assert csp.states("in") == {"C-1": "CREDITED", "C-1-C": "DELIVERED", "C-2": "DELIVERED"}
    told = answer_of(csp.records.get, GetRecord("C-1", direction="in"))
    assert told.reason == "credited by C-1-C, replaced by C-2"
    assert credit(cso, a_credit(), bodies.cdr(id="C-2")).state == "CREDITED", "a repeat is the same credit"
    assert len(cso.states("out")) == 3


@pytest.mark.parametrize(
    ("changes", "where"),
    [({"credit": False}, "$.credit.credit"), ({"credit_reference_id": "C-9"}, "$.credit.credit_reference_id")],
)
def test_what_is_no_credit_of_the_record_stores_nothing(
    delivered: tuple[Company, Company], changes: dict[str, Any], where: str
) -> None:
    cso, _ = delivered
    with pytest.raises(Malformed) as refused:
        credit(cso, {**a_credit(), **changes}, bodies.cdr(id="C-2"))
    assert [fault.path for fault in refused.value.faults] == [where]
    assert cso.states("out") == {"C-1": "DELIVERED"}


def test_a_credit_that_cannot_be_takes_its_replacement_with_it(delivered: tuple[Company, Company]) -> None:
    """One transaction: a second credit of the same record leaves nothing behind."""
    cso, _ = delivered
    credit(cso, a_credit())
    with pytest.raises(Conflict, match="is CREDITED"):
        credit(cso, {**a_credit(), "id": "C-1-D"}, bodies.cdr(id="C-3"))
    assert set(cso.states("out")) == {"C-1", "C-1-C"}


def test_a_credit_and_an_acceptance_that_cross_end_as_credited_on_both_sides(
    delivered: tuple[Company, Company],
) -> None:
    cso, csp = delivered
    judge(csp, "C-1", "ACCEPTED")
    credit(cso, a_credit())
    exchange(cso, csp)
    assert both(cso, csp) == ("CREDITED", "CREDITED")


def test_time_closes_what_nobody_disputed(delivered: tuple[Company, Company]) -> None:
    cso, csp = delivered
    cso.hand_in(bodies.cdr(id="C-2"))
    exchange(cso, csp)
    judge(csp, "C-2", "DISPUTED", reason="double")
    csp.clock.wall_ms += Terms().final_days * DAY_MS - 1
    desk(csp).close_due()
    assert csp.states("in") == {"C-1": "DELIVERED", "C-2": "DISPUTED"}
    csp.clock.wall_ms += 2
    desk(csp).close_due()
    exchange(cso, csp)
    assert cso.states("out") == {"C-1": "FINAL", "C-2": "DISPUTED"}


def test_many_records_are_closed_in_groups(cso: Company, csp: Company) -> None:
    for number in range(300):
        cso.hand_in(bodies.cdr(id=f"C-{number}"))
    exchange(cso, csp)
    csp.clock.wall_ms += Terms().final_days * DAY_MS + 1
    desk(csp).close_due()
    exchange(cso, csp)
    assert set(cso.states("out").values()) == {"FINAL"}


# --- peers that lie, and disks that forget ----------------------------------------------------------------------


def lie(company: Company, peer: str, kind: EntryKind, body: bytes) -> None:
    """An entry that this company's own daemon would not write."""

    def txn(cx: Any) -> None:
        item = LedgerItem(kind, "C-1", company.random(16), body)
        append_items_txn(cx, own_chain_txn(cx, peer, company.random), [item], company.clock.now_ms())

    company.store.write(txn)


@pytest.mark.parametrize(
    ("kind", "body", "reason"),
    [
        (EntryKind.FINAL, b"\xff", "unreadable"),
        (EntryKind.DISPUTED, b'{"party":"DEABC","evidence":' + b"[" * 50 + b"]" * 50 + b"}", "unreadable"),
        (EntryKind.CREDITED, Word("DEABC", credit="C-1-C").pack(), None),
        (EntryKind.ACCEPTED, Word("XXYYY").pack(), None),
    ],
)
def test_a_word_that_is_not_the_speakers_to_say_changes_nothing(
    delivered: tuple[Company, Company], log: LogLines, kind: EntryKind, body: bytes, reason: str | None
) -> None:
    cso, csp = delivered
    lie(csp, "abc", kind, body)
    exchange(cso, csp)
    assert cso.states("out") == {"C-1": "DELIVERED"}
    assert [line["reason"] for line in log.of("record_word_ignored")] == ([reason] if reason else [])
    assert not cso.store.read(
        lambda cx: [e for _, e in ledgers.entries_about(cx, "C-1") if e.kind == EntryKind.REFUSED]
    )


def test_a_word_out_of_turn_is_kept_and_changes_nothing(delivered: tuple[Company, Company], log: LogLines) -> None:
    cso, csp = delivered
    judge(csp, "C-1", "ACCEPTED")
    lie(csp, "abc", EntryKind.DISPUTED, Word("DEABC", "price").pack())
    exchange(cso, csp)
    assert cso.states("out") == {"C-1": "ACCEPTED"}
    assert [line["reason"] for line in log.of("record_word_ignored")] == ["the record is ACCEPTED"]


def test_a_receiver_that_forgot_everything_has_the_states_again(delivered: tuple[Company, Company]) -> None:
    """Its own words are in a chain that it forgot, and come back before or after the records."""
    cso, csp = delivered
    backup = csp.store.snapshot_bytes()
    judge(csp, "C-1", "DISPUTED", reason="price")
    cso.hand_in(bodies.cdr(id="C-2"))
    exchange(cso, csp)
    judge(csp, "C-2", "ACCEPTED")
    exchange(cso, csp)
    restored = csp.restored(backup)
    assert restored.states("in") == {"C-1": "DELIVERED"}
    carry(cso, restored)
    assert restored.states("in") == {"C-1": "DELIVERED", "C-2": "DELIVERED"}


async def test_what_a_restored_receiver_had_said_comes_back_with_its_chain(delivered: tuple[Company, Company]) -> None:
    cso, csp = delivered
    judge(csp, "C-1", "ACCEPTED")
    exchange(cso, csp)
    backup = csp.store.snapshot_bytes()
    cso.hand_in(bodies.cdr(id="C-2"))
    exchange(cso, csp)
    judge(csp, "C-2", "DISPUTED", reason="price")
    exchange(cso, csp)
    restored = csp.restored(backup)
    await mend(restored, cso)
    carry(cso, restored)
    assert restored.states("in") == {"C-1": "ACCEPTED", "C-2": "DISPUTED"} == cso.states("out")


def test_the_states_of_all_records_are_the_fold_of_the_chains(delivered: tuple[Company, Company]) -> None:
    """Laid anew from the chains, each state is what the table of records says."""
    cso, csp = delivered
    judge(csp, "C-1", "DISPUTED", reason="price")
    credit(cso, a_credit())
    exchange(cso, csp)
    for company, direction in ((cso, "out"), (csp, "in")):
        for row in company.store.read(lambda cx, d=direction: records.page(cx, 0, 100, direction=d)):  # type: ignore[misc]
            assert company.store.read(lambda cx, r=row: state_of(cx, r)) == (row.state, row.reason)  # type: ignore[misc]


def test_a_word_that_spells_the_record_otherwise_counts_neither_now_nor_when_folded_anew(
    delivered: tuple[Company, Company], log: LogLines
) -> None:
    cso, csp = delivered
    word = LedgerItem(EntryKind.ACCEPTED, "c-1", bytes(16), Word(cso.party).pack())
    csp.store.write(lambda cx: append_items_txn(cx, own_chain_txn(cx, "abc", csp.random), [word], 0))
    exchange(cso, csp)
    assert both(cso, csp) == ("DELIVERED", "DELIVERED")
    (row,) = cso.store.read(lambda cx: records.find(cx, "C-1"))
    assert cso.store.read(lambda cx: state_of(cx, row)) == ("DELIVERED", None)
    assert len(log.of("record_word_ignored")) == 1
