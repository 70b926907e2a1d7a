"""Records that are taken in together: one chain, and nobody spoils another's."""

from collections.abc import Iterator

import pytest

from roamd.errors import Conflict
from roamd.model.objects import CheckedRecord, check_record
from roamd.roaming.intake import Destination, Handed, take_in_txn
from roamd.roaming.ledger.mending import marker
from roamd.storage import ledgers, meta, records
from roamd.storage.records import PARKED, QUEUED
from roamd.storage.store import Store
from tests.model.bodies import cdr, text

CSP, OTHER, NOWHERE = Destination("csp"), Destination("other"), Destination(None, "nobody owns it")


@pytest.fixture
def store() -> Iterator[Store]:
    with Store.open_memory() as store:
        yield store


def record(name: str, **changes: object) -> CheckedRecord:
    return check_record("2.3.0", text(cdr(id=name, **changes)), own_parties=frozenset({"DEABC"}))


def take_in(store: Store, *handed: list[tuple[CheckedRecord, Destination]]) -> list[object]:
    return list(store.write(lambda cx: take_in_txn(cx, [Handed(each, 5) for each in handed], bytes)))


def entries(store: Store, peer: str) -> list[str]:
    chain = store.read(lambda cx: ledgers.current_chain(cx, peer, own=True))
    assert chain is not None
    rows = store.read(lambda cx: ledgers.entries(cx, chain.chain_id, 0, max_rows=100, max_bytes=1 << 20))
    assert [row.sequence for row in rows] == list(range(1, chain.tail_sequence + 1))
    return [row.record_id for row in rows]


def placed(store: Store, name: str) -> tuple[str, int | None]:
    row = store.read(lambda cx: records.get(cx, "out", "DEABC", name))
    assert row is not None
    return row.state, row.sequence


def test_each_gets_its_place_in_its_peers_chain_in_the_order_in_which_it_was_handed_in(store: Store) -> None:
    take_in(store, [(record("A"), CSP), (record("B"), OTHER)], [(record("C"), NOWHERE), (record("D"), CSP)])
    assert entries(store, "csp") == ["A", "D"]
    assert entries(store, "other") == ["B"]
    assert placed(store, "D") == (QUEUED, 2)
    assert placed(store, "C") == (PARKED, None)


def test_the_same_record_again_is_the_one_that_is_there(store: Store) -> None:
    take_in(store, [(record("A"), CSP)])
    again = take_in(store, [(record("A"), CSP), (record("B"), CSP), (record("B"), CSP)], [(record("b"), CSP)])
    assert isinstance(again[1], Conflict), "another spelling of the id is other content"
    assert entries(store, "csp") == ["A", "B"]


def test_one_contradiction_stores_nothing_of_its_delivery_and_all_of_the_others(store: Store) -> None:
    first = [(record("A"), CSP)]
    torn = [(record("B"), CSP), (record("A", currency="CHF"), CSP)]
    last = [(record("B", currency="CHF"), CSP)]
    outcomes = take_in(store, first, torn, last)
    assert [isinstance(outcome, Conflict) for outcome in outcomes] == [False, True, False]
    assert entries(store, "csp") == ["A", "B"]


def test_while_a_rollback_is_mended_records_wait_without_a_place(store: Store) -> None:
    store.write(lambda cx: meta.set_txn(cx, marker("csp"), "00"))
    take_in(store, [(record("A"), CSP)])
    assert placed(store, "A") == (QUEUED, None)
