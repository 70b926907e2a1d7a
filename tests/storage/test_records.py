"""Records: one row each, wherever they go, and counts that come straight from them."""

from roamd.storage import ledgers, records
from roamd.storage.ledgers import GENESIS
from roamd.storage.records import DELIVERED, PARKED, QUEUED, Counts, RecordRow
from roamd.storage.store import Store
from tests.storage.doors import entry, record


def put(store: Store, row: RecordRow) -> int:
    return store.write(lambda cx: records.put_txn(cx, row))


def ids(rows: list[RecordRow]) -> list[str]:
    return [row.record_id for row in rows]


def test_a_record_comes_back_as_it_was_put(memory: Store) -> None:
    row = record("Cdr-1", authorization_reference="ref", reason="why")
    number = put(memory, row)
    assert memory.read(lambda cx: records.get(cx, "out", "DEABC", "Cdr-1")) == row._replace(id=number)
    assert memory.read(lambda cx: records.get_by_id(cx, number)) == row._replace(id=number)


def test_ids_are_compared_folded_and_kept_as_spelled(memory: Store) -> None:
    put(memory, record("Cdr-1"))
    found = memory.read(lambda cx: records.get(cx, "out", "DEABC", "cDR-1"))
    assert found is not None
    assert found.record_id == "Cdr-1"
    put(memory, record("CDR-1", state=PARKED, created_ms=99))
    (row,) = memory.read(lambda cx: records.find(cx, "cdr-1"))
    assert (row.record_id, row.state, row.created_ms) == ("Cdr-1", PARKED, 1)


def test_an_own_record_is_one_whatever_peer_it_goes_to(memory: Store) -> None:
    first = put(memory, record("R", peer=None, state=PARKED))
    assert put(memory, record("R", peer="beta")) == first
    assert put(memory, record("R", peer="beta", party="DEXYZ")) != first


def test_received_records_of_two_peers_are_two(memory: Store) -> None:
    for peer in ("alpha", "beta"):
        put(memory, record("R", direction="in", peer=peer, state=DELIVERED))
    assert len(memory.read(lambda cx: records.find(cx, "R", direction="in"))) == 2
    found = memory.read(lambda cx: records.get(cx, "in", "DEABC", "R", peer="beta"))
    assert found is not None
    assert found.peer == "beta"


def test_many_records_are_numbered_in_their_order_and_a_known_one_gets_no_number(memory: Store) -> None:
    # More than one block of every size, so that the seams between them are crossed.
    rows = [record(f"r-{number}", direction="in") for number in range(2 * 64 + 16 + 4 + 3)]
    known = put(memory, rows[70])
    numbers = memory.write(lambda cx: records.add_many_txn(cx, [*rows, rows[3]]))
    fresh = [number for number in numbers if number]
    assert [place for place, number in enumerate(numbers) if not number] == [70, len(rows)]
    assert fresh == sorted({*fresh} - {known})
    assert ids(memory.read(lambda cx: records.page(cx, known, 1000))) == [r.record_id for r in rows if r != rows[70]]


def test_own_records_are_found_among_many_keys(memory: Store) -> None:
    put(memory, record("r-1"))
    put(memory, record("R-66"))
    put(memory, record("r-2", direction="in"))
    put(memory, record("r-3", party="DEXYZ"))
    found = memory.read(lambda cx: records.own_of(cx, [("DEABC", f"R-{number}") for number in range(67)]))
    assert {key: row.record_id for key, row in found.items()} == {("DEABC", "R-1"): "r-1", ("DEABC", "R-66"): "R-66"}


def test_pages_are_narrowed_by_what_is_named(memory: Store) -> None:
    put(memory, record("A"))
    put(memory, record("B", state=PARKED))
    put(memory, record("C", peer="beta"))
    put(memory, record("D", direction="in"))
    assert ids(memory.read(lambda cx: records.page(cx, 0, 9))) == ["A", "B", "C", "D"]
    assert ids(memory.read(lambda cx: records.page(cx, 1, 2))) == ["B", "C"]
    assert ids(memory.read(lambda cx: records.page(cx, 0, 9, state=QUEUED, peer="alpha", direction="out"))) == ["A"]


def test_a_receipt_delivers_what_it_covers_once(memory: Store) -> None:
    for sequence in (1, 2, 3):
        put(memory, record(f"R{sequence}", chain_id=7, sequence=sequence, body=None))
    put(memory, record("other chain", chain_id=8, sequence=1))
    put(memory, record("received", direction="in", chain_id=7, sequence=1, state=QUEUED))
    deliver = lambda: memory.write(lambda cx: records.mark_delivered_txn(cx, 7, 2, now_ms=50))  # noqa: E731
    changed = deliver()
    assert ids(changed) == ["R1", "R2"]
    assert {(row.state, row.updated_ms) for row in changed} == {(DELIVERED, 50)}
    assert deliver() == []


def test_a_parked_record_is_not_delivered_by_a_receipt(memory: Store) -> None:
    put(memory, record("R", chain_id=7, sequence=1, state=PARKED))
    assert memory.write(lambda cx: records.mark_delivered_txn(cx, 7, 5, now_ms=50)) == []


def test_the_law_is_counted_per_peer_and_for_own_records_only(memory: Store) -> None:
    for number, state in enumerate([QUEUED, *records.SETTLED, PARKED, PARKED]):
        put(memory, record(f"R{number}", state=state))
    put(memory, record("homeless", peer=None, state=PARKED))
    put(memory, record("received", direction="in", state=DELIVERED))
    assert memory.read(records.counts) == {"alpha": Counts(8, 5, 1, 2), None: Counts(1, 0, 0, 1)}
    assert memory.read(records.count_received) == {("alpha", DELIVERED): 1}


def test_only_a_record_without_a_place_in_a_chain_can_be_dropped(memory: Store) -> None:
    placed = put(memory, record("placed", chain_id=1, sequence=1))
    loose = put(memory, record("loose", state=PARKED))
    assert not memory.write(lambda cx: records.drop_txn(cx, placed))
    assert memory.write(lambda cx: records.drop_txn(cx, loose))
    assert ids(memory.read(lambda cx: records.page(cx, 0, 9))) == ["placed"]


def test_a_displaced_record_takes_its_body_along_and_waits_without_a_place(memory: Store) -> None:
    chain = memory.write(lambda cx: ledgers.open_chain_txn(cx, "alpha", own=True, epoch=bytes(16)))
    memory.write(lambda cx: ledgers.append_many_txn(cx, chain.chain_id, GENESIS, [entry(1, b"one"), entry(2, b"two")]))
    for sequence in (1, 2):
        put(memory, record(f"R{sequence}", chain_id=chain.chain_id, sequence=sequence, body=None))
    displaced = memory.write(lambda cx: records.displace_txn(cx, chain.chain_id, 1, now_ms=9))
    waiting = memory.read(lambda cx: records.without_place(cx, "alpha"))
    assert waiting == displaced
    assert [(row.record_id, row.body, row.chain_id, row.sequence) for row in waiting] == [("R2", b"two", None, None)]
