"""A month between two companies: the same bytes on both sides, signed by both, and what differs named."""

from typing import Any

import pytest

from roamd.errors import Conflict, Malformed, NotFound
from roamd.model.objects import check_record
from roamd.model.statement import Statement
from roamd.protocol.ledger import EntryKind, LedgerItem
from roamd.roaming.ledger.chain import append_items_txn, own_chain_txn
from roamd.roaming.operations import (
    CreditRecord,
    GetStatement,
    JudgeRecord,
    ListStatements,
    ReadEvents,
    SignStatement,
    StatementReply,
)
from roamd.storage import erasure, ledgers
from tests.model import bodies
from tests.roaming.test_reconcile import Pair, lose, pair, rows, states  # noqa: F401 - the fixture
from tests.support.endpoints import Endpoint, until

MONTH = "2026-10"


async def statement(pair: Pair, side: Endpoint, **more: Any) -> StatementReply:  # noqa: F811
    other = pair.csp if side is pair.cso else pair.cso
    reply: StatementReply = await side.ask(GetStatement(side.peer(other).label, MONTH, **more))
    return reply


async def sign(pair: Pair, side: Endpoint, **more: Any) -> StatementReply:  # noqa: F811
    other = pair.csp if side is pair.cso else pair.cso
    reply: StatementReply = await side.ask(SignStatement(side.peer(other).label, MONTH, **more))
    return reply


def later(pair: Pair) -> None:  # noqa: F811
    """The month is over."""
    for side in (pair.cso, pair.csp):
        side.clock.jump(60 * 86_400)


async def test_both_sides_write_the_same_bytes(pair: Pair) -> None:  # noqa: F811
    await pair.bill(9, total_cost={"before_taxes": 10, "taxes": [{"name": "VAT", "percentage": 19, "amount": 1.9}]})
    await pair.csp.ask(JudgeRecord("C-000", "DISPUTED", reason="price"))
    await until(lambda: states(pair.cso)["C-000"] == "DISPUTED")
    ours, theirs = await statement(pair, pair.cso, lines=True), await statement(pair, pair.csp, lines=True)
    assert bytes(ours.statement) == bytes(theirs.statement)
    assert ours.lines == theirs.lines
    made = Statement.unpack(bytes(ours.statement))
    assert made.between == sorted((pair.cso.endpoint_id, pair.csp.endpoint_id))
    (section,) = made.sections
    assert (section.author, section.currency, section.parties) == (pair.cso.endpoint_id, "EUR", [pair.cso.party])
    assert (section.kinds[0].records, section.before_taxes, section.after_taxes) == (5, "50.00", "59.50")
    assert [(tax.tax, tax.amount) for tax in section.kinds[0].taxes] == [("VAT 19%", "9.50")]
    assert [each.records for each in section.disputed] == [1]


async def test_a_dispute_that_ends_in_a_credit_ends_in_equal_statements(pair: Pair) -> None:  # noqa: F811
    await pair.bill(1, total_cost={"before_taxes": 5})
    await pair.csp.ask(JudgeRecord("C-000", "DISPUTED", reason="price"))
    await until(lambda: states(pair.cso)["C-000"] == "DISPUTED")
    assert Statement.unpack(bytes((await statement(pair, pair.cso)).statement)).sections[0].before_taxes == "0.00"
    party = pair.cso.party
    common = {"country_code": party[:2], "party_id": party[2:], "end_date_time": "2026-10-01T10:00:00Z"}
    common |= {"cdr_token": bodies.cdr_token(country_code=pair.csp.party[:2], party_id=pair.csp.party[2:])}
    credit = bodies.cdr(id="C-0-C", credit=True, credit_reference_id="C-000", total_cost={"before_taxes": -5}, **common)
    again = bodies.cdr(id="C-0-R", total_cost={"before_taxes": 4}, **common)
    own = frozenset({party})
    checked = [check_record("2.3.0", bodies.text(value), own_parties=own) for value in (credit, again)]
    await pair.cso.ask(CreditRecord("C-000", checked[0], checked[1]))
    await until(lambda: states(pair.csp).get("C-000") == "CREDITED" and "QUEUED" not in states(pair.cso).values())
    ours, theirs = await statement(pair, pair.cso), await statement(pair, pair.csp)
    assert bytes(ours.statement) == bytes(theirs.statement)
    (section,) = Statement.unpack(bytes(ours.statement)).sections
    assert [(each.kind, each.before_taxes) for each in section.kinds] == [("CDR", "9.00"), ("CREDIT", "-5.00")]
    assert section.before_taxes == "4.00"


async def test_it_is_proposed_by_one_side_and_agreed_by_the_other(pair: Pair) -> None:  # noqa: F811
    await pair.bill(3)
    later(pair)
    assert (await statement(pair, pair.cso)).state == "OPEN"
    assert (await sign(pair, pair.cso)).state == "SIGNED"
    await until(lambda: _signed_by_peer(pair.csp))
    proposed = await statement(pair, pair.csp)
    assert (proposed.state, proposed.signed["us"]) == ("PROPOSED", None)
    page = await pair.csp.ask(ReadEvents(None, 100))
    assert "statement.received" in {event.type for event in page.items}
    assert (await sign(pair, pair.csp, root=proposed.root)).state == "AGREED"
    await until(lambda: _signed_by_peer(pair.cso))
    agreed = await statement(pair, pair.cso)
    assert (agreed.state, agreed.signed["us"]["root"]) == ("AGREED", agreed.signed["peer"]["root"])
    before = pair.cso.store.read(ledgers.chains)
    assert (await sign(pair, pair.cso)).state == "AGREED"
    assert pair.cso.store.read(ledgers.chains) == before, "the same statement again signs nothing"
    months = await pair.cso.ask(ListStatements(pair.cso.peer(pair.csp).label))
    assert [(each["month"], each["state"]) for each in months] == [("2026-10", "AGREED"), ("2026-11", "OPEN")]


def _signed_by_peer(side: Endpoint) -> bool:
    found = side.store.read(lambda cx: cx.run("SELECT 1 FROM statements WHERE by_us = 0"))
    return bool(found)


async def test_time_that_closes_records_changes_no_statement(pair: Pair) -> None:  # noqa: F811
    await pair.bill(3)
    root = (await statement(pair, pair.cso)).root
    for word in ("ACCEPTED", "FINAL"):
        await pair.csp.ask(JudgeRecord("C-000", word))
    await until(lambda: states(pair.cso)["C-000"] == "FINAL")
    assert (await statement(pair, pair.cso)).root == root
    await pair.csp.ask(JudgeRecord("C-001", "DISPUTED", reason="price"))
    await until(lambda: states(pair.cso)["C-001"] == "DISPUTED")
    assert (await statement(pair, pair.cso)).root != root


async def test_a_difference_is_named_record_by_record(pair: Pair) -> None:  # noqa: F811
    await pair.bill(6)
    later(pair)
    await statement(pair, pair.csp)
    lose(pair.csp, "DELETE FROM records WHERE record_id = 'C-003'")
    assert (await sign(pair, pair.csp)).state == "SIGNED"
    await until(lambda: _signed_by_peer(pair.cso))
    found = await statement(pair, pair.cso, compare=True)
    assert found.state == "DIFFERS"
    assert found.differences is not None
    assert [(each["record_id"], each["here"], each["there"]) for each in found.differences] == [
        ("C-003", "DELIVERED", None)
    ]
    assert (await pair.reconcile(pair.cso, pair.csp))["ok"]
    told = await statement(pair, pair.cso, compare=True)
    assert (told.differences, told.differences_why) == (
        [],
        "the lists are alike by now; the partner has to sign anew",
    )
    await sign(pair, pair.csp)
    await until(lambda: _root_of_peer(pair.cso) == found.root)
    assert (await sign(pair, pair.cso)).state == "AGREED"


def _root_of_peer(side: Endpoint) -> str:
    (row,) = side.store.read(lambda cx: cx.run("SELECT root FROM statements WHERE by_us = 0"))
    return bytes(row[0]).hex()


async def test_with_the_link_down_it_says_why_differences_are_not_known(pair: Pair) -> None:  # noqa: F811
    await pair.bill(3)
    later(pair)
    await statement(pair, pair.csp)
    lose(pair.csp, "DELETE FROM records WHERE record_id = 'C-001'")
    await sign(pair, pair.csp)
    await until(lambda: _signed_by_peer(pair.cso))
    await pair.csp.stop()
    await until(lambda: pair.cso.peer(pair.csp).exchange is None)
    found = await statement(pair, pair.cso, compare=True)
    assert found.differences is None
    assert "did not answer" in (found.differences_why or "")


async def test_what_cannot_be_signed_says_why(pair: Pair) -> None:  # noqa: F811
    await pair.bill(3)
    with pytest.raises(Conflict, match="not over"):
        await pair.cso.ask(SignStatement(pair.cso.peer(pair.csp).label, "2098-01"))
    with pytest.raises(Malformed):
        await pair.cso.ask(GetStatement(pair.cso.peer(pair.csp).label, "2026-13"))
    with pytest.raises(NotFound):
        await pair.cso.ask(GetStatement("nobody", MONTH))
    later(pair)
    with pytest.raises(Conflict, match="has changed"):
        await sign(pair, pair.cso, root="00" * 32)


async def test_an_erased_record_keeps_its_figures(pair: Pair) -> None:  # noqa: F811
    await pair.bill(3)
    before = await statement(pair, pair.csp)
    row = rows(pair.csp)[0]
    pair.csp.store.write(lambda cx: erasure.erase_entry_txn(cx, row.chain_id, row.sequence))
    assert bytes((await statement(pair, pair.csp)).statement) == bytes(before.statement)


@pytest.mark.parametrize(
    ("record_id", "body"),
    [
        ("statement 2026-10", b"\xff"),
        ("statement 2026-10", b'{"format":"x"}'),
        ("statement 2026-09", None),
        ("C-000", None),
    ],
)
async def test_a_statement_that_cannot_be_read_is_kept_in_the_chain_and_ignored(
    pair: Pair,  # noqa: F811
    record_id: str,
    body: bytes | None,
) -> None:
    await pair.bill(1)
    good = bytes((await statement(pair, pair.cso)).statement)
    label = pair.cso.peer(pair.csp).label

    def say(cx: Any) -> None:
        item = LedgerItem(EntryKind.STATEMENT, record_id, bytes(16), body or good)
        append_items_txn(cx, own_chain_txn(cx, label, pair.cso.core.ground.random), [item], 1)

    pair.cso.store.write(say)
    pair.cso.core._queued(label)
    await until(lambda: pair.csp.store.read(ledgers.chains)[0].tail_sequence == 2)
    assert not _signed_by_peer(pair.csp)
    assert len(pair.csp.store.read(ledgers.chains)) == 1, "it is not refused"
