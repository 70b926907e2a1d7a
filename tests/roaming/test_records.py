"""Records from the backend: where each goes, that it is taken once, and what a person may decide."""

import hashlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roamd.errors import Conflict, Forbidden, Malformed, NotFound
from roamd.model.objects import CheckedRecord, check_record
from roamd.roaming.directory import PENDING, SUSPENDED
from roamd.roaming.ocpi import OcpiDesk
from roamd.roaming.operations import (
    Driver,
    DropRecord,
    FindDriver,
    GetRecord,
    Idempotency,
    ListRecords,
    PostRecords,
    RetryRecord,
)
from roamd.storage import ledgers, meta, records
from roamd.storage.decisions import DecisionRow
from tests.model import bodies
from tests.support.roaming import Company, Told, answer_of, carry

NOBODYS = {"contract_id": "BE-BEC-C1", "country_code": "BE", "party_id": "BEC"}


def record(number: int = 1, company: str = "DEABC", **changes: Any) -> CheckedRecord:
    return check_record("2.3.0", bodies.text(cdr(number, **changes)), own_parties=frozenset({company}))


def cdr(number: int = 1, **changes: Any) -> dict[str, Any]:
    token = bodies.cdr_token(**changes.pop("token", {}))
    return bodies.cdr(**{"id": f"C-{number}", "authorization_reference": None, "cdr_token": token, **changes})


def post(cso: Company, *values: CheckedRecord, peer: str | None = None, key: str | None = None) -> list[Any]:
    digest = hashlib.sha256(b"".join(value.body for value in values)).digest()
    operation = PostRecords(tuple(values), peer, Idempotency(key, digest) if key else None)
    replies: list[Any] = answer_of(cso.records.post, operation)
    return replies


def where(cso: Company, number: int = 1) -> tuple[str, str | None, str | None]:
    (row,) = cso.store.read(lambda cx: records.find(cx, f"C-{number}"))
    return row.state, row.peer, row.reason


def entries_of(cso: Company) -> int:
    return sum(chain.tail_sequence for chain in cso.chains(own=True))


@pytest.fixture
def tnm(cso: Company, csp: Company) -> Company:
    """A second CSP."""
    company = Company(3, "NLTNM", "csp", clock=cso.clock)
    cso.meets(company, "tnm")
    company.meets(cso, "abc")
    return company


def authorized_by(cso: Company, label: str, reference: str) -> None:
    cso.journal.add(DecisionRow("a", 1, label, "out", "ALLOWED", "", "BACKEND", reference, 1.0))


# --- where it goes ----------------------------------------------------------------------------------------------


def test_the_named_peer_comes_first_then_who_authorized_then_the_contract_then_the_party(
    cso: Company, csp: Company, tnm: Company
) -> None:
    authorized_by(cso, "tnm", "REF-1")
    post(cso, record(1, authorization_reference="REF-1"), peer="rmd")
    post(cso, record(2, authorization_reference="REF-1"))
    post(cso, record(3, authorization_reference="REF-unknown"))
    post(cso, record(4, token={"contract_id": "BE-BEC-C1", "country_code": "NL", "party_id": "TNM"}))
    assert [where(cso, number)[:2] for number in (1, 2, 3, 4)] == [
        ("QUEUED", "rmd"), ("QUEUED", "tnm"), ("QUEUED", "rmd"), ("QUEUED", "tnm"),
    ]  # fmt: skip
    assert cso.queued == ["rmd", "tnm", "rmd", "tnm"]


def test_of_two_csps_that_gave_the_same_reference_the_owner_of_the_contract_is_meant(
    cso: Company, csp: Company, tnm: Company
) -> None:
    authorized_by(cso, "rmd", "1001")
    authorized_by(cso, "tnm", "1001")
    post(cso, record(1, authorization_reference="1001"))
    post(cso, record(2, authorization_reference="1001", token={"contract_id": "NL-TNM-C00000042"}))
    cso.timers.pass_by(1)  # it is the same once they are written
    post(cso, record(3, authorization_reference="1001"))
    assert [where(cso, number)[:2] for number in (1, 2, 3)] == [("QUEUED", "rmd"), ("QUEUED", "tnm"), ("QUEUED", "rmd")]
    post(cso, record(4, authorization_reference="1001", token=NOBODYS))
    assert where(cso, 4) == ("PARKED", None, "several peers gave its authorization_reference: rmd, tnm")


def test_whose_driver_a_reference_stands_for_is_not_guessed(cso: Company, csp: Company, tnm: Company) -> None:
    desk = OcpiDesk(cso.clock, cso.store, cso.directory)
    authorized_by(cso, "rmd", "1001")
    cso.timers.pass_by(1)
    assert answer_of(desk.driver, FindDriver("1001")) == Driver("FRRMD")
    authorized_by(cso, "tnm", "1001")
    cso.timers.pass_by(1)
    assert answer_of(desk.driver, FindDriver("1001")) is None


def test_a_reference_of_a_removed_peer_leads_nowhere_and_the_contract_decides(
    cso: Company, csp: Company, tnm: Company
) -> None:
    authorized_by(cso, "tnm", "REF-1")
    cso.directory.remove("tnm")
    post(cso, record(1, authorization_reference="REF-1"))
    assert where(cso)[:2] == ("QUEUED", "rmd")


def test_two_owners_or_none_park_it_with_the_reason_and_without_a_place(cso: Company, csp: Company) -> None:
    post(cso, record(1, token=NOBODYS))
    cso.meets(Company(3, "FRRMD", "csp"), "other")
    (reply,) = post(cso, record(2))
    assert (reply.state, reply.peer) == ("PARKED", None)
    assert where(cso, 1)[2] == "no peer owns its contract id or its party BEBEC; name one"
    assert where(cso, 2)[2] == "several peers own its contract id: rmd, other"
    assert entries_of(cso) == 0
    assert cso.queued == []
    assert cso.store.read(records.counts)[None] == (2, 0, 0, 2)


def test_an_unconfirmed_peer_gets_nothing_and_a_suspended_ones_records_wait(cso: Company, csp: Company) -> None:
    cso.meets(csp, "rmd", state=SUSPENDED)
    post(cso, record(1))
    cso.meets(csp, "rmd", state=PENDING)
    post(cso, record(2))
    assert [where(cso, number)[0] for number in (1, 2)] == ["QUEUED", "PARKED"]


def test_what_is_not_agreed_is_parked_before_it_has_a_place(cso: Company, csp: Company) -> None:
    cso.meets(csp, "rmd", records_out=("SDR",))
    post(cso, record(1))
    post(cso, record(2), peer="rmd")
    assert {where(cso, number) for number in (1, 2)} == {("PARKED", None, "rmd: not agreed: records.CDR (preset)")}
    with pytest.raises(NotFound):
        post(cso, record(3), peer="nobody")
    assert entries_of(cso) == 0


# --- once -------------------------------------------------------------------------------------------------------


def test_the_same_record_again_is_the_same_and_another_content_a_conflict_that_stores_nothing(
    cso: Company, csp: Company
) -> None:
    first = post(cso, record(1))
    assert post(cso, record(1)) == first
    folded = check_record("2.3.0", bodies.text(cdr(1)).replace(b"C-1", b"c-1"), own_parties=frozenset({"DEABC"}))
    for conflicting in (record(1, total_energy=1), folded):
        with pytest.raises(Conflict) as caught:
            post(cso, record(2), conflicting)
        assert caught.value.reason == "record-differs"
    with pytest.raises(Conflict):
        post(cso, record(3), record(3, total_energy=1))
    assert list(cso.states()) == ["C-1"]
    assert entries_of(cso) == 1


def test_an_idempotency_key_gives_the_stored_reply_also_after_a_restart(cso: Company, csp: Company) -> None:
    replies = post(cso, record(1), record(2), key="k1")
    carry(cso, csp)
    again = cso.restored(cso.store.snapshot_bytes())
    assert post(again, record(1), record(2), key="k1") == replies
    assert [reply.state for reply in replies] == ["QUEUED", "QUEUED"]
    with pytest.raises(Conflict, match="another request"):
        post(again, record(9), key="k1")
    assert entries_of(again) == 2
    with pytest.raises(Conflict):
        post(again, record(5), record(1, total_energy=1), key="k2")
    assert [reply.record_id for reply in post(again, record(5), key="k2")] == ["C-5"]


def test_a_record_of_an_open_store_and_of_a_reopened_one_is_one(cso: Company, csp: Company) -> None:
    post(cso, record(1))
    again = cso.restored(cso.store.snapshot_bytes())
    post(again, record(1))
    carry(again, csp)
    assert csp.states("in") == {"C-1": "DELIVERED"}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 1)), min_size=1, max_size=4), max_size=12))
def test_the_law_holds_whatever_is_handed_in(deliveries: list[list[tuple[int, int]]]) -> None:
    cso, csp = Company(1, "DEABC", "cso"), Company(2, "FRRMD", "csp")
    cso.meets(csp, "rmd")
    csp.meets(cso, "abc")
    model: dict[int, int] = {}
    for delivery in deliveries:
        told = Told()
        cso.records.post(PostRecords(tuple(record(number, total_energy=content) for number, content in delivery)), told)
        merged = dict(model)
        fits = all(merged.setdefault(number, content) == content for number, content in delivery)
        assert isinstance(told.all[0], Conflict) is not fits
        model = merged if fits else model
        carry(cso, csp)
    assert cso.states() == {f"C-{number}": "DELIVERED" for number in model}
    assert csp.states("in") == cso.states()


# --- looking ----------------------------------------------------------------------------------------------------


def test_a_record_is_given_back_with_its_text_and_the_outline_of_its_evidence(cso: Company, csp: Company) -> None:
    post(cso, record(1))
    queued = answer_of(cso.records.get, GetRecord("c-1"))
    assert bytes(queued.record) == record(1).body
    assert (queued.evidence["sequence"], queued.evidence["receipt"]) == (1, None)
    carry(cso, csp)
    delivered = answer_of(cso.records.get, GetRecord("C-1"))
    assert delivered.evidence["receipt"]["sequence"] == delivered.evidence["head"]["sequence"] == 1
    received = answer_of(csp.records.get, GetRecord("C-1", direction="in"))
    assert (received.direction, received.peer, bytes(received.record)) == ("in", "abc", record(1).body)
    with pytest.raises(NotFound):
        answer_of(cso.records.get, GetRecord("C-2"))
    post(cso, record(2, token=NOBODYS))
    parked = answer_of(cso.records.get, GetRecord("C-2"))
    assert (parked.evidence, bytes(parked.record)) == (None, record(2, token=NOBODYS).body)


def test_an_id_that_several_records_have_must_be_told_apart(clock: Any) -> None:
    both = Company(1, "DEABC", "cso", "csp", clock=clock)
    other = Company(2, "FRRMD", "cso", "csp", clock=clock)
    both.meets(other, "rmd")
    other.meets(both, "abc")
    both.hand_in(cdr(1))
    value = cdr(
        1,
        country_code="FR",
        party_id="RMD",
        token={"contract_id": "DE-ABC-C1", "country_code": "DE", "party_id": "ABC"},
    )
    other.hand_in(value)
    carry(other, both)
    with pytest.raises(Conflict, match="name party and direction"):
        answer_of(both.records.get, GetRecord("C-1"))
    assert answer_of(both.records.get, GetRecord("C-1", direction="in")).party == "FRRMD"
    assert answer_of(both.records.get, GetRecord("C-1", party="DEABC")).direction == "out"


def test_lists_are_paged_and_filtered(cso: Company, csp: Company) -> None:
    for number in range(5):
        post(cso, record(number))
    post(cso, record(9, token=NOBODYS))
    seen, after = [], None
    while True:
        page = answer_of(cso.records.list, ListRecords(after, 2))
        seen += [reply.record_id for reply in page.items]
        if page.next is None:
            break
        after = page.next
    assert seen == ["C-0", "C-1", "C-2", "C-3", "C-4", "C-9"]
    parked = answer_of(cso.records.list, ListRecords(state="PARKED"))
    assert [reply.record_id for reply in parked.items] == ["C-9"]
    assert answer_of(cso.records.list, ListRecords(peer="rmd", direction="in")).items == []
    with pytest.raises(Malformed):
        answer_of(cso.records.list, ListRecords("x"))


# --- a person's decisions ---------------------------------------------------------------------------------------


def test_a_parked_record_goes_where_it_is_sent(cso: Company, csp: Company, tnm: Company) -> None:
    post(cso, record(1, token=NOBODYS))
    with pytest.raises(Conflict, match="reroute"):
        answer_of(cso.records.retry, RetryRecord("C-1"))
    with pytest.raises(NotFound):
        answer_of(cso.records.retry, RetryRecord("C-1", peer="nobody"))
    reply = answer_of(cso.records.retry, RetryRecord("C-1", peer="tnm"))
    assert (reply.state, reply.peer, reply.reason) == ("QUEUED", "tnm", None)
    assert cso.queued == ["tnm"]
    carry(cso, tnm)
    assert tnm.states("in") == {"C-1": "DELIVERED"}
    for operation in (RetryRecord("C-1"), DropRecord("C-1")):
        with pytest.raises(Conflict, match="DELIVERED"):
            answer_of(cso.records.retry if isinstance(operation, RetryRecord) else cso.records.drop, operation)


def test_a_refused_record_may_be_sent_again_to_the_same_peer_and_is_delivered_once_it_is_agreed(
    cso: Company, csp: Company
) -> None:
    csp.meets(cso, "abc", records_in=())
    post(cso, record(1))
    carry(cso, csp)
    carry(csp, cso)
    assert where(cso)[0] == "PARKED"
    csp.meets(cso, "abc")
    assert answer_of(cso.records.retry, RetryRecord("C-1")).state == "QUEUED"
    carry(cso, csp)
    carry(csp, cso)
    assert where(cso)[0] == "DELIVERED"
    assert entries_of(cso) == 2
    assert csp.states("in") == {"C-1": "DELIVERED"}


def test_a_retry_is_held_to_the_agreement_and_needs_a_content(cso: Company, csp: Company, tnm: Company) -> None:
    csp.meets(cso, "abc", records_in=())
    post(cso, record(1))
    carry(cso, csp)
    carry(csp, cso)
    cso.meets(tnm, "tnm", records_out=())
    with pytest.raises(Forbidden):
        answer_of(cso.records.retry, RetryRecord("C-1", peer="tnm"))
    (chain,) = cso.chains(own=True)
    cso.store.write(lambda cx: ledgers.erase_entry_txn(cx, chain.chain_id, 1))
    with pytest.raises(Conflict, match="erased"):
        answer_of(cso.records.retry, RetryRecord("C-1"))


def test_only_what_was_never_in_the_ledger_can_be_dropped(cso: Company, csp: Company) -> None:
    post(cso, record(1, token=NOBODYS))
    assert answer_of(cso.records.drop, DropRecord("C-1")).state == "PARKED"
    assert cso.states() == {}
    csp.meets(cso, "abc", records_in=())
    post(cso, record(2))
    carry(cso, csp)
    carry(csp, cso)
    with pytest.raises(Conflict, match="ledger"):
        answer_of(cso.records.drop, DropRecord("C-2"))


def test_while_a_rollback_is_mended_records_wait_without_a_place(cso: Company, csp: Company) -> None:
    cso.store.write(lambda cx: meta.set_txn(cx, "recovering:rmd", "00"))
    (reply,) = post(cso, record(1))
    assert reply.state == "QUEUED"
    assert entries_of(cso) == 0
    assert bytes(answer_of(cso.records.get, GetRecord("C-1")).record) == record(1).body
