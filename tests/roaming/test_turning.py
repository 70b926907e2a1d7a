"""Chains under new keys: the old epoch ends where it stands, the next one names it, and nothing is lost between."""

from dataclasses import replace
from typing import Any

import pytest

from roamd.errors import ProtocolError
from roamd.protocol.bulk import unpack_ledger_batch
from roamd.protocol.ledger import EntryKind, EpochOpening, EpochReason, LedgerItem
from roamd.roaming.ledger.chain import append_items_txn
from roamd.roaming.ledger.mending import is_recovering, marker
from roamd.roaming.ledger.signer import Signer
from roamd.roaming.ledger.turning import turn_txn
from roamd.storage import ledgers, meta
from roamd.storage.cx import Cx
from roamd.trust.signing import verify
from roamd.trust.succession import appoint, read_succession
from tests.model import bodies
from tests.roaming.test_rollback import is_rolled_back, mend
from tests.support.roaming import Company, LedgerLine, LogLines, carry
from tests.support.trust import identity

OVERLAP_MS = 1_000_000


def hand_in(cso: Company, *numbers: int) -> None:
    for number in numbers:
        cso.hand_in(bodies.cdr(id=f"C-{number}"))


def replace_key(company: Company, number: int) -> None:
    """The company signs with its next key; its own chain is turned over, as at the start of its process."""
    now_ms = company.clock.now_ms()
    appointed = appoint(company.identity, identity(number), now_ms, now_ms + OVERLAP_MS)
    company.identity = replace(identity(number), endpoint_id=appointed.endpoint_id, succession=appointed.packed())
    succession = read_succession(company.identity.succession, company.identity.certificate_der)
    company.signer = Signer(succession, company.identity.sign, verify)
    for peer in company.directory:
        turn(company, peer.label)


def turn(company: Company, label: str) -> bool:
    numbers = (company.signer.succession.in_use, company.peer(label).succession.in_use)
    return company.store.write(lambda cx: turn_txn(cx, label, *numbers, company.random, company.clock.now_ms()))


def learn(company: Company, label: str, other: Company) -> None:
    """It has been told of the other one's keys."""
    row = company.peer(label).row
    company.directory.put(
        row._replace(identity_der=other.identity.certificate_der, succession=other.identity.succession)
    )


def opening_of(company: Company, *, own: bool) -> EpochOpening:
    newest = company.chains(own=own)[-1]
    entry = company.store.read(lambda cx: ledgers.get_entry(cx, newest.chain_id, 1))
    assert entry is not None and entry.kind == EntryKind.EPOCH and entry.body is not None  # noqa: PT018
    return EpochOpening.unpack(entry.body)


def test_a_new_key_opens_an_epoch_that_names_the_end_of_the_one_before(cso: Company, csp: Company) -> None:
    hand_in(cso, 1, 2)
    carry(cso, csp)
    replace_key(cso, 20)
    learn(csp, "abc", cso)
    hand_in(cso, 3)
    assert carry(cso, csp).closed == []
    old, new = cso.chains(own=True)
    assert (old.closed, old.tail_sequence, new.tail_sequence) == (True, 2, 2)
    assert opening_of(cso, own=True) == EpochOpening(old.epoch, 2, old.tail_hash, EpochReason.NEW_KEY)
    assert cso.states() == dict.fromkeys(["C-1", "C-2", "C-3"], "DELIVERED")
    assert csp.states("in") == cso.states()


def test_what_was_not_sent_yet_is_sent_in_its_old_place_and_before_the_new_epoch(cso: Company, csp: Company) -> None:
    hand_in(cso, 1, 2)
    replace_key(cso, 20)
    learn(csp, "abc", cso)
    hand_in(cso, 3)
    assert carry(cso, csp).closed == []
    assert [chain.tail_sequence for chain in csp.chains(own=False)] == [2, 2]
    assert cso.states() == dict.fromkeys(["C-1", "C-2", "C-3"], "DELIVERED")


def test_it_is_no_rollback_and_is_not_told_as_one(cso: Company, csp: Company, log: LogLines) -> None:
    hand_in(cso, 1)
    carry(cso, csp)
    replace_key(cso, 20)
    learn(csp, "abc", cso)
    carry(cso, csp)
    assert log.of("peer_turned_epoch")
    assert not log.of("peer_opened_new_epoch")


def test_the_receivers_chain_is_turned_over_too(cso: Company, csp: Company) -> None:
    hand_in(cso, 1)
    carry(cso, csp)
    replace_key(csp, 20)
    learn(cso, "rmd", csp)
    assert turn(cso, "rmd")
    assert not turn(cso, "rmd"), "once is enough"
    hand_in(cso, 2)
    assert carry(cso, csp).closed == []
    assert opening_of(csp, own=False).reason == EpochReason.NEW_KEY
    assert cso.states() == {"C-1": "DELIVERED", "C-2": "DELIVERED"}


def test_an_empty_chain_has_nothing_to_name(cso: Company, csp: Company) -> None:
    replace_key(cso, 20)
    assert cso.chains(own=True) == []
    learn(csp, "abc", cso)
    hand_in(cso, 1)
    assert carry(cso, csp).closed == []
    assert len(cso.chains(own=True)) == 1


def test_who_does_not_know_the_new_key_takes_nothing_by_it(cso: Company, csp: Company) -> None:
    replace_key(cso, 20)
    hand_in(cso, 1)
    with pytest.raises(ProtocolError, match="signature of a head"):
        carry(cso, csp)
    assert csp.states("in") == {}


def test_a_head_by_the_old_key_is_taken_to_the_end_of_the_overlap(cso: Company, csp: Company) -> None:
    hand_in(cso, 1)
    before = cso.signer
    replace_key(cso, 20)
    learn(csp, "abc", cso)
    cso.signer = before
    csp.clock.wall_ms += OVERLAP_MS + 1
    with pytest.raises(ProtocolError, match="signature of a head"):
        carry(cso, csp)
    csp.clock.wall_ms -= OVERLAP_MS
    assert carry(cso, csp).closed == []


def test_a_receipt_of_the_old_key_counts_for_ever(cso: Company, csp: Company) -> None:
    """The author was restored, and is answered with what the receiver signed long ago."""
    hand_in(cso, 1)
    backup = cso.store.snapshot_bytes()
    carry(cso, csp)
    replace_key(csp, 20)
    restored = cso.restored(backup)
    learn(restored, "rmd", csp)
    restored.clock.wall_ms += OVERLAP_MS + 1
    assert carry(restored, csp).closed == []
    assert restored.states() == {"C-1": "DELIVERED"}


async def test_a_backup_of_before_the_new_key_is_mended_like_any_other(cso: Company, csp: Company) -> None:
    hand_in(cso, 1)
    carry(cso, csp)
    backup = cso.store.snapshot_bytes()
    hand_in(cso, 2)
    carry(cso, csp)
    replace_key(cso, 20)
    learn(csp, "abc", cso)
    hand_in(cso, 3)
    carry(cso, csp)
    restored = cso.restored(backup)
    restored.identity, restored.signer = cso.identity, cso.signer
    turn(restored, "rmd")
    assert is_rolled_back(restored, csp)
    await mend(restored, csp)
    assert not restored.store.read(lambda cx: is_recovering(cx, "rmd"))
    assert restored.states() == dict.fromkeys(["C-1", "C-2", "C-3"], "DELIVERED")
    hand_in(restored, 4)
    assert carry(restored, csp).closed == []
    assert csp.states("in") == dict.fromkeys(["C-1", "C-2", "C-3", "C-4"], "DELIVERED")


async def test_a_chain_that_is_being_mended_gets_its_new_epoch_from_that(cso: Company, csp: Company) -> None:
    hand_in(cso, 1)
    carry(cso, csp)
    backup = cso.store.snapshot_bytes()
    hand_in(cso, 2)
    carry(cso, csp)
    restored = cso.restored(backup)
    epoch = restored.chains(own=True)[0].epoch
    restored.store.write(lambda cx: meta.set_txn(cx, marker("rmd"), epoch.hex()))
    replace_key(restored, 20)
    learn(csp, "abc", restored)
    assert len(restored.chains(own=True)) == 1
    await mend(restored, csp)
    assert opening_of(restored, own=True).reason == EpochReason.ROLLED_BACK
    assert not turn(restored, "rmd"), "that epoch stands under the new key"
    hand_in(restored, 3)
    assert carry(restored, csp).closed == []
    assert restored.states() == dict.fromkeys(["C-1", "C-2", "C-3"], "DELIVERED")


@pytest.mark.parametrize("changes", [{"old_sequence": 1}, {"old_hash": bytes(32)}, {"old_epoch": bytes(16)}])
def test_an_epoch_that_follows_another_end_is_not_taken(cso: Company, csp: Company, changes: dict[str, Any]) -> None:
    """A lying author leaves something out, or makes a past of its own."""
    hand_in(cso, 1, 2)
    carry(cso, csp)
    (old,) = cso.chains(own=True)

    def lie(cx: Cx) -> None:
        ledgers.close_chain_txn(cx, old.chain_id)
        chain = ledgers.open_chain_txn(cx, "rmd", own=True, epoch=cso.random(16))
        opening = replace(EpochOpening(old.epoch, 2, old.tail_hash, EpochReason.NEW_KEY), **changes)
        append_items_txn(cx, chain, [LedgerItem(EntryKind.EPOCH, opening.record_id(), bytes(16), opening.pack())], 0)

    cso.store.write(lie)
    hand_in(cso, 3)
    assert carry(cso, csp).closed
    assert len(csp.chains(own=False)) == 1
    assert csp.states("in") == {"C-1": "DELIVERED", "C-2": "DELIVERED"}


async def test_what_an_earlier_key_of_ours_signed_is_ours(cso: Company, csp: Company) -> None:
    """The peer shows a head by the old key to who was restored and has the new one."""
    hand_in(cso, 1)
    carry(cso, csp)
    backup = cso.store.snapshot_bytes()
    hand_in(cso, 2)
    carry(cso, csp)
    restored = cso.restored(backup)
    replace_key(restored, 20)
    learn(csp, "abc", restored)
    assert is_rolled_back(restored, csp)
    await mend(restored, csp)
    assert restored.states() == dict.fromkeys(["C-1", "C-2"], "DELIVERED")


def test_what_the_old_epoch_lacks_is_sent_and_not_all_of_it(cso: Company, csp: Company) -> None:
    hand_in(cso, 1, 2)
    carry(cso, csp)
    hand_in(cso, 3)
    replace_key(cso, 20)
    learn(csp, "abc", cso)
    hand_in(cso, 4)
    LedgerLine(cso, csp, lose_receipts=True).begin().pump()  # it has all
    line = LedgerLine(cso, csp).begin()
    first = line.sender.next_batch()
    assert first is not None
    assert unpack_ledger_batch(first).first_sequence == 3
    line.arrive(first)
    line.pump()
    assert line.closed == []
    assert set(cso.states().values()) == {"DELIVERED"}
