"""Records that are parked when a peer is removed: they leave our chain, whatever epoch they stand in."""

import pytest

from roamd.protocol.ledger import EntryKind, EpochOpening, EpochReason, LedgerItem
from roamd.roaming.ledger.chain import append_items_txn, own_chain_txn
from roamd.roaming.ledger.mending import marker
from roamd.roaming.ledger.takingback import take_back_txn
from roamd.storage import ledgers, meta, records
from roamd.storage.cx import Cx
from roamd.storage.records import PARKED
from tests.roaming.test_rollback import is_rolled_back, mend, sign, signed
from tests.roaming.test_turning import hand_in, learn, opening_of, replace_key, turn
from tests.support.roaming import Company, LedgerLine, carry


def remove_and_pair_anew(cso: Company) -> None:
    """As the peer book does it: what waits is parked and taken back; the next pairing turns the chain if need be."""

    def park(cx: Cx) -> None:
        for row in records.page(cx, 0, 1000, state="QUEUED", peer="rmd", direction="out"):
            records.set_state_txn(cx, row.id, PARKED, "rmd was removed", now_ms=cso.clock.now_ms())
        take_back_txn(cx, "rmd", cso.random, cso.clock.now_ms())

    cso.store.write(park)
    turn(cso, "rmd")


def rotated(cso: Company, csp: Company, *before: int) -> None:
    """C-1 has arrived, others wait in the epoch of the old key, one in that of the new one."""
    hand_in(cso, 1)
    carry(cso, csp)
    hand_in(cso, *before)
    replace_key(cso, 20)
    learn(csp, "abc", cso)
    hand_in(cso, 9)


@pytest.mark.parametrize("before", [(), (2, 3)])
def test_what_waits_in_either_epoch_does_not_go_by_itself(cso: Company, csp: Company, before: tuple[int, ...]) -> None:
    rotated(cso, csp, *before)
    remove_and_pair_anew(cso)
    assert carry(cso, csp).closed == []
    assert csp.states("in") == {"C-1": "DELIVERED"}
    assert cso.states() == {"C-1": "DELIVERED"} | {f"C-{number}": "PARKED" for number in (*before, 9)}


@pytest.mark.parametrize("before", [(), (2, 3)])
def test_the_chain_goes_on_under_the_new_key(cso: Company, csp: Company, before: tuple[int, ...]) -> None:
    rotated(cso, csp, *before)
    remove_and_pair_anew(cso)
    hand_in(cso, 10)
    assert carry(cso, csp).closed == []
    assert csp.states("in") == {"C-1": "DELIVERED", "C-10": "DELIVERED"}
    assert opening_of(csp, own=False).reason == EpochReason.NEW_KEY
    assert [chain.tail_sequence for chain in csp.chains(own=False)] == [1, 2]


async def test_what_the_peer_has_all_the_same_is_mended(cso: Company, csp: Company) -> None:
    rotated(cso, csp, 2)
    line = LedgerLine(cso, csp, lose_receipts=True).begin()
    line.pump()
    remove_and_pair_anew(cso)
    assert is_rolled_back(cso, csp)
    await mend(cso, csp)
    hand_in(cso, 10)
    assert carry(cso, csp).closed == []
    assert csp.states("in") == dict.fromkeys(["C-1", "C-10", "C-2", "C-9"], "DELIVERED")


def test_an_epoch_that_was_receipted_stays(cso: Company, csp: Company) -> None:
    rotated(cso, csp, 2)
    carry(cso, csp)
    hand_in(cso, 10)
    remove_and_pair_anew(cso)
    assert [chain.tail_sequence for chain in cso.chains(own=True)] == [2, 2]
    assert opening_of(cso, own=True).reason == EpochReason.NEW_KEY


def test_what_we_said_of_delivered_records_is_still_said(cso: Company, csp: Company) -> None:
    hand_in(cso, 1)
    carry(cso, csp)
    said = LedgerItem(EntryKind.CREDITED, "C-1", bytes(16), b'{"party":""}')
    cso.store.write(lambda cx: append_items_txn(cx, own_chain_txn(cx, "rmd", cso.random), [said], 0))
    replace_key(cso, 20)
    learn(csp, "abc", cso)
    hand_in(cso, 9)
    remove_and_pair_anew(cso)
    carry(cso, csp)
    kinds = [entry.kind for _, entry in csp.store.read(lambda cx: ledgers.entries_about(cx, "C-1"))]
    assert kinds == [EntryKind.CREDITED]


def test_a_statement_that_is_signed_after_the_next_pairing_is_newer_than_the_one_before(
    cso: Company, csp: Company
) -> None:
    hand_in(cso, 1)
    carry(cso, csp)
    hand_in(cso, 2, 3, 4)
    sign(cso, "rmd", 1)
    remove_and_pair_anew(cso)
    sign(cso, "rmd", 2)
    carry(cso, csp)
    ours, theirs = signed(cso, "rmd", by_us=True), signed(csp, "abc", by_us=False)
    assert ours is not None
    assert theirs is not None
    assert (ours.root, ours.sequence) == (theirs.root, theirs.sequence) == (bytes([2] * 32), 3)


def test_a_chain_of_which_nothing_was_receipted_is_as_new(cso: Company, csp: Company) -> None:
    hand_in(cso, 1)
    replace_key(cso, 20)
    learn(csp, "abc", cso)
    remove_and_pair_anew(cso)
    hand_in(cso, 2)
    assert carry(cso, csp).closed == []
    assert csp.states("in") == {"C-2": "DELIVERED"}
    assert len(cso.chains(own=True)) == 1, "it has no end that could be named"


def test_an_epoch_whose_forerunner_is_forgotten_keeps_the_entry_that_names_it(cso: Company, csp: Company) -> None:
    def forerunner_is_forgotten(cx: Cx) -> None:
        opening = EpochOpening(bytes(16), 7, bytes(32), EpochReason.ROLLED_BACK)
        first = LedgerItem(EntryKind.EPOCH, opening.record_id(), bytes(16), opening.pack())
        append_items_txn(cx, own_chain_txn(cx, "rmd", cso.random), [first], 0)

    cso.store.write(forerunner_is_forgotten)
    hand_in(cso, 9)
    remove_and_pair_anew(cso)
    assert opening_of(cso, own=True).old_sequence == 7
    assert [chain.tail_sequence for chain in cso.chains(own=True)] == [1]


def test_while_a_rollback_is_mended_nothing_is_said_anew(cso: Company, csp: Company) -> None:
    hand_in(cso, 1)
    carry(cso, csp)
    said = LedgerItem(EntryKind.CREDITED, "C-1", bytes(16), b'{"party":""}')
    cso.store.write(lambda cx: append_items_txn(cx, own_chain_txn(cx, "rmd", cso.random), [said], 0))
    cso.store.write(lambda cx: meta.set_txn(cx, marker("rmd"), "00"))
    remove_and_pair_anew(cso)
    assert [chain.tail_sequence for chain in cso.chains(own=True)] == [1]
