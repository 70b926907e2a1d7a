"""Chains keep their order and their evidence."""

from collections.abc import Sequence

import pytest

from roamd.storage import ledgers, verify
from roamd.storage.ledgers import GENESIS, Chain, EntryRow, SignedMark
from roamd.storage.store import Store
from tests.storage.doors import entry, hash_of


@pytest.fixture
def chain(memory: Store) -> Chain:
    return memory.write(lambda cx: ledgers.open_chain_txn(cx, "alpha", own=True, epoch=b"e" * 16))


def append(store: Store, chain: Chain, previous: bytes, rows: Sequence[EntryRow]) -> None:
    store.write(lambda cx: ledgers.append_many_txn(cx, chain.chain_id, previous, rows))


def sequences(store: Store, chain: Chain, after: int = 0, rows: int = 100, size: int = 1 << 20) -> list[int]:
    found = store.read(lambda cx: ledgers.entries(cx, chain.chain_id, after, max_rows=rows, max_bytes=size))
    return [row.sequence for row in found]


def mark(sequence: int, signature: bytes = b"s") -> SignedMark:
    return SignedMark(sequence, hash_of(sequence), 9, signature)


def test_entries_come_back_in_order_as_they_were_appended(memory: Store, chain: Chain) -> None:
    rows = [entry(1), entry(2, b'{"n":1.10}'), entry(3, None)]
    append(memory, chain, GENESIS, rows)
    assert memory.read(lambda cx: ledgers.entries(cx, chain.chain_id, 0, max_rows=9, max_bytes=9999)) == rows
    assert memory.read(lambda cx: ledgers.get_entry(cx, chain.chain_id, 2)) == rows[1]
    tail = memory.read(lambda cx: ledgers.get_chain(cx, chain.chain_id))
    assert tail is not None
    assert (tail.tail_sequence, tail.tail_hash) == (3, hash_of(3))


@pytest.mark.parametrize(
    ("previous", "rows"),
    [
        (hash_of(1), [entry(3)]),
        (hash_of(1), [entry(1)]),
        (hash_of(7), [entry(2)]),
        (GENESIS, [entry(2)]),
        (hash_of(1), [entry(2), entry(4)]),
    ],
    ids=["gap", "doubled", "branch", "from the start", "gap inside"],
)
def test_what_does_not_continue_the_tail_is_refused_whole(
    memory: Store, chain: Chain, previous: bytes, rows: list[EntryRow]
) -> None:
    append(memory, chain, GENESIS, [entry(1)])
    with pytest.raises(ValueError, match="chain"):
        append(memory, chain, previous, rows)
    assert sequences(memory, chain) == [1]


def test_a_closed_chain_takes_nothing_and_the_next_epoch_is_current(memory: Store, chain: Chain) -> None:
    memory.write(lambda cx: ledgers.close_chain_txn(cx, chain.chain_id))
    with pytest.raises(ValueError, match="closed"):
        append(memory, chain, GENESIS, [entry(1)])
    assert memory.read(lambda cx: ledgers.current_chain(cx, "alpha", own=True)) is None
    following = memory.write(lambda cx: ledgers.open_chain_txn(cx, "alpha", own=True, epoch=b"f" * 16))
    assert memory.read(lambda cx: ledgers.current_chain(cx, "alpha", own=True)) == following
    assert memory.read(lambda cx: ledgers.chain_of_epoch(cx, "alpha", own=True, epoch=b"e" * 16)) is not None


def test_chains_of_both_directions_and_other_peers_do_not_mix(memory: Store, chain: Chain) -> None:
    others = [
        memory.write(lambda cx: ledgers.open_chain_txn(cx, "alpha", own=False, epoch=b"e" * 16)),
        memory.write(lambda cx: ledgers.open_chain_txn(cx, "beta", own=True, epoch=b"e" * 16)),
    ]
    append(memory, chain, GENESIS, [entry(1), entry(2)])
    append(memory, others[1], GENESIS, [entry(1)])
    assert [sequences(memory, one) for one in (chain, *others)] == [[1, 2], [], [1]]
    assert [one.chain_id for one in memory.read(lambda cx: ledgers.chains(cx, "alpha"))] == [1, 2]
    assert len(memory.read(ledgers.chains)) == 3


@pytest.mark.parametrize("sequence", [1 << 40, (1 << 40) + 1, (1 << 64) - 1])
def test_a_sequence_that_nobody_has_finds_nothing_even_in_the_next_chain(
    memory: Store, chain: Chain, sequence: int
) -> None:
    following = memory.write(lambda cx: ledgers.open_chain_txn(cx, "beta", own=True, epoch=b"f" * 16))
    append(memory, following, GENESIS, [entry(1)])
    memory.write(lambda cx: ledgers.put_receipt_txn(cx, chain.chain_id, mark(1)))
    assert memory.read(lambda cx: ledgers.get_entry(cx, chain.chain_id, sequence)) is None
    assert sequences(memory, chain, after=sequence) == []
    assert memory.read(lambda cx: ledgers.covering_receipt(cx, chain.chain_id, sequence)) is None


def test_entries_are_bounded_by_rows_and_bytes_but_never_none(memory: Store, chain: Chain) -> None:
    append(memory, chain, GENESIS, [entry(number, bytes(100)) for number in range(1, 6)])
    assert sequences(memory, chain, rows=2) == [1, 2]
    assert sequences(memory, chain, after=2, size=250) == [3, 4]
    assert sequences(memory, chain, after=2, size=1) == [3]


def test_a_repeat_gets_the_receipt_of_the_smallest_sequence_that_covers_it(memory: Store, chain: Chain) -> None:
    for sequence in (3, 8, 5):
        memory.write(lambda cx, sequence=sequence: ledgers.put_receipt_txn(cx, chain.chain_id, mark(sequence)))
    covering = [memory.read(lambda cx, n=n: ledgers.covering_receipt(cx, chain.chain_id, n)) for n in (1, 3, 4, 8, 9)]
    assert [one.sequence if one else None for one in covering] == [3, 3, 5, 8, None]
    newest = memory.read(lambda cx: ledgers.newest_receipt(cx, chain.chain_id))
    stored = memory.read(lambda cx: ledgers.get_chain(cx, chain.chain_id))
    assert newest == mark(8)
    assert stored is not None
    assert stored.receipted_sequence == 8


def test_the_first_signature_over_a_place_is_the_one_that_is_kept(memory: Store, chain: Chain) -> None:
    assert memory.write(lambda cx: ledgers.put_head_txn(cx, chain.chain_id, mark(1, b"first")))
    assert not memory.write(lambda cx: ledgers.put_head_txn(cx, chain.chain_id, mark(1, b"second")))
    assert memory.read(lambda cx: ledgers.newest_head(cx, chain.chain_id)) == mark(1, b"first")


def test_a_fork_is_kept_as_evidence_and_never_counts_as_a_head(memory: Store, chain: Chain) -> None:
    memory.write(lambda cx: ledgers.put_head_txn(cx, chain.chain_id, mark(1)))
    forged = SignedMark(2, b"other".ljust(32), 9, b"s")
    memory.write(lambda cx: ledgers.put_fork_txn(cx, chain.chain_id, forged))
    assert memory.read(lambda cx: ledgers.newest_head(cx, chain.chain_id)) == mark(1)
    assert memory.read(lambda cx: ledgers.marks(cx, chain.chain_id, "fork")) == [forged]


def test_whoever_signs_one_fork_after_the_other_fills_no_disk(memory: Store, chain: Chain) -> None:
    for number in range(ledgers.MAX_FORKS + 9):
        forged = SignedMark(2, number.to_bytes(32, "big"), 9, b"s")
        kept = memory.write(lambda cx, forged=forged: ledgers.put_fork_txn(cx, chain.chain_id, forged))  # type: ignore[misc]
        assert kept is (number < ledgers.MAX_FORKS)
    assert len(memory.read(lambda cx: ledgers.marks(cx, chain.chain_id, "fork"))) == ledgers.MAX_FORKS


def test_erasure_takes_body_and_salt_and_leaves_the_chain(memory: Store, chain: Chain) -> None:
    append(memory, chain, GENESIS, [entry(1, b"private"), entry(2)])
    assert memory.write(lambda cx: ledgers.erase_entry_txn(cx, chain.chain_id, 1))
    assert not memory.write(lambda cx: ledgers.erase_entry_txn(cx, chain.chain_id, 1))
    erased = memory.read(lambda cx: ledgers.get_entry(cx, chain.chain_id, 1))
    assert erased == entry(1)._replace(salt=None, body=None)


def test_entries_that_the_peer_never_had_can_be_taken_back(memory: Store, chain: Chain) -> None:
    append(memory, chain, GENESIS, [entry(number) for number in range(1, 6)])
    for sequence in (2, 5):
        memory.write(lambda cx, sequence=sequence: ledgers.put_head_txn(cx, chain.chain_id, mark(sequence)))
    memory.write(lambda cx: ledgers.put_receipt_txn(cx, chain.chain_id, mark(2)))
    with pytest.raises(ValueError, match="cut back"):
        memory.write(lambda cx: ledgers.truncate_txn(cx, chain.chain_id, 1))
    cut = memory.write(lambda cx: ledgers.truncate_txn(cx, chain.chain_id, 3))
    assert (cut.tail_sequence, cut.tail_hash) == (3, hash_of(3))
    assert memory.read(lambda cx: ledgers.get_chain(cx, chain.chain_id)) == cut
    assert sequences(memory, chain) == [1, 2, 3]
    assert memory.read(lambda cx: ledgers.newest_head(cx, chain.chain_id)) == mark(2)
    append(memory, chain, hash_of(3), [entry(4)])
    assert memory.write(lambda cx: ledgers.truncate_txn(cx, chain.chain_id, 99)).tail_sequence == 4


def test_taking_back_everything_leaves_an_empty_chain(memory: Store, chain: Chain) -> None:
    append(memory, chain, GENESIS, [entry(1)])
    cut = memory.write(lambda cx: ledgers.truncate_txn(cx, chain.chain_id, 0))
    assert (cut.tail_sequence, cut.tail_hash) == (0, GENESIS)
    append(memory, chain, GENESIS, [entry(1)])


def test_what_is_said_about_a_record_is_found_over_all_chains(memory: Store, chain: Chain) -> None:
    theirs = memory.write(lambda cx: ledgers.open_chain_txn(cx, "alpha", own=False, epoch=b"t" * 16))
    record, word = entry(1, record_id="R"), entry(2, record_id="R")._replace(kind=19)
    append(memory, chain, GENESIS, [record, word])
    append(memory, theirs, GENESIS, [entry(1, None, record_id="R")._replace(kind=17)])
    found = memory.read(lambda cx: ledgers.entries_about(cx, "R"))
    assert [(number, row.sequence) for number, row in found] == [(chain.chain_id, 2), (theirs.chain_id, 1)]


def test_words_are_found_by_an_index_that_holds_no_records(memory: Store, chain: Chain) -> None:
    said = [entry(number, record_id=f"R-{number}")._replace(kind=17 if number % 9 else 1) for number in range(1, 91)]
    append(memory, chain, GENESIS, said)
    found = memory.read(lambda cx: ledgers.spoken_of(cx, [f"R-{number}" for number in range(200)], {16, 17}))
    assert found == {row.record_id for row in said if row.kind == 17}
    assert memory.read(lambda cx: ledgers.spoken_of(cx, ["R-1"], {16})) == set()
    sql = "EXPLAIN QUERY PLAN SELECT id FROM entries WHERE record_id = ? AND kind > 3 ORDER BY id"
    plan = memory.read(lambda cx: cx.run(sql, ("R-1",)))
    assert [row[3] for row in plan] == ["SEARCH entries USING INDEX entries_about_records (record_id=?)"]


def test_a_walk_gives_every_entry_once_in_pages(memory: Store, chain: Chain) -> None:
    append(memory, chain, GENESIS, [entry(number) for number in range(1, 701)])
    pages = list(verify.pages(memory.read, chain.chain_id))
    assert [row.sequence for page in pages for row in page] == list(range(1, 701))
    assert len(pages) == 3


def test_entries_without_a_chain_are_shown(memory: Store, chain: Chain) -> None:
    append(memory, chain, GENESIS, [entry(1)])
    assert memory.read(verify.orphans) == []
    memory.write(lambda cx: cx.run("DELETE FROM chains"))
    assert memory.read(verify.orphans) == [chain.chain_id]
