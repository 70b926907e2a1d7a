"""Chains between an author and a receiver: everything once, in order, receipted, and nothing ever in the way."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from roamd.errors import ProtocolError
from roamd.protocol.bulk import LedgerBatch, pack_ledger_batch, unpack_ledger_batch
from roamd.protocol.frames import MAX_JOINED
from roamd.protocol.ledger import GENESIS, EntryKind, EpochOpening, LedgerItem, Refusal
from roamd.protocol.messages import Receipt
from roamd.roaming.ledger import author as author_module
from roamd.roaming.ledger.chain import append_items_txn, entry_rows, own_chain_txn
from roamd.roaming.ledger.marks import marks_for, own_head_shown, own_receipt_shown
from roamd.storage import events, ledgers, records
from roamd.storage.cx import Cx
from tests.model import bodies
from tests.support.roaming import Company, LedgerLine, LogLines, carry


def cdr(number: int, **changes: Any) -> dict[str, Any]:
    return bodies.cdr(id=f"C-{number:04}", **changes)


def hand_in(cso: Company, *numbers: int) -> None:
    for number in numbers:
        cso.hand_in(cdr(number))


def batch_of(line: LedgerLine) -> bytes:
    """The next batch, on its way."""
    line.sender.behind = True
    payload = line.sender.next_batch()
    assert payload is not None
    return payload


def forged(cso: Company, csp: Company, batch: LedgerBatch) -> bytes:
    """A batch with a good signature of the author's over whatever is in it."""
    rows = entry_rows(batch.previous_hash, batch.first_sequence, batch.items, 0)
    head = cso.signer.head(csp.identity.endpoint_id, batch.epoch, rows[-1].sequence, rows[-1].hash, batch.time_ms)
    return pack_ledger_batch(replace(batch, signature=head.signature))


def item(number: int, kind: int = EntryKind.CDR, body: bytes | None = None) -> LedgerItem:
    return LedgerItem(
        kind, f"C-{number:04}", bytes(16), bodies.text(cdr(number)) if body is None else body, ocpi="2.3.0"
    )


def law(company: Company) -> tuple[int, int, int, int]:
    """accepted, settled, queued, parked, over all peers."""
    counts = company.store.read(records.counts).values()
    return tuple(sum(each) for each in zip(*counts, strict=True)) or (0, 0, 0, 0)  # type: ignore[return-value]


def event_types(company: Company) -> list[str]:
    return [event.type for event in company.store.read(lambda cx: events.page(cx, 0, 1000))]


# --- the plain way ----------------------------------------------------------------------------------------------


def test_records_arrive_once_byte_for_byte_and_are_receipted(cso: Company, csp: Company) -> None:
    hand_in(cso, 1, 2, 3)
    line = carry(cso, csp)
    assert cso.states() == dict.fromkeys(["C-0001", "C-0002", "C-0003"], "DELIVERED")
    assert csp.states("in") == cso.states()
    (theirs,), (ours,) = csp.chains(own=False), cso.chains(own=True)
    assert (theirs.epoch, theirs.tail_sequence, theirs.tail_hash) == (ours.epoch, 3, ours.tail_hash)
    entries = csp.store.read(lambda cx: ledgers.entries(cx, theirs.chain_id, 0, max_rows=9, max_bytes=1 << 20))
    assert [entry.body for entry in entries] == [bodies.text(cdr(number)) for number in (1, 2, 3)]
    assert (line.consumed, line.settled, line.wrote_back, line.closed) == (1, 1, [False], [])
    assert event_types(csp) == ["record.received"] * 3
    assert event_types(cso) == ["record.state"] * 3
    assert law(cso) == (3, 3, 0, 0)
    assert line.pump() == 0


def test_one_head_and_one_receipt_cover_a_batch(cso: Company, csp: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(author_module, "MAX_ROWS", 2)
    hand_in(cso, *range(5))
    line = carry(cso, csp)
    assert [receipt.sequence for receipt in line.receipts] == [2, 4, 5]
    for company, own in ((cso, True), (csp, False)):
        (chain,) = company.chains(own=own)
        for kind in ("head", "receipt"):
            marks = company.store.read(lambda cx, chain=chain, kind=kind: ledgers.marks(cx, chain.chain_id, kind))
            assert [mark.sequence for mark in marks] == [2, 4, 5]


def test_only_the_last_of_many_receipts_need_arrive(
    cso: Company, csp: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(author_module, "MAX_ROWS", 1)
    hand_in(cso, 1, 2, 3)
    line = LedgerLine(cso, csp, lose_receipts=True).begin()
    line.pump()
    line.sender.on_receipt(line.receipts[-1])
    assert law(cso) == (3, 3, 0, 0)


def test_behind_a_batch_that_reaches_the_end_nothing_more_is_looked_for(cso: Company, csp: Company) -> None:
    hand_in(cso, 1, 2)
    line = LedgerLine(cso, csp).begin()
    batch_of(line)
    assert not line.sender.behind


def test_nothing_is_sent_before_the_link_has_begun_and_a_first_record_is_sent_later(cso: Company, csp: Company) -> None:
    line = LedgerLine(cso, csp)
    hand_in(cso, 1)
    assert line.sender.next_batch() is None
    cso2, csp2 = cso, csp
    late = LedgerLine(cso2, csp2).begin()
    assert late.pump() == 1


def test_a_chain_that_is_opened_while_the_link_is_up_is_sent(cso: Company, csp: Company) -> None:
    line = LedgerLine(cso, csp).begin()
    assert line.pump() == 0
    hand_in(cso, 1)
    assert line.pump() == 1
    assert law(cso) == (1, 1, 0, 0)


def test_batches_stay_within_their_limit_however_badly_they_compress(
    cso: Company, csp: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(author_module, "MAX_BYTES", 10_000_000)
    for number in range(24):
        cso.hand_in(cdr(number, noise=cso.random(30_000).hex()))
    cso.hand_in(cdr(99, noise=cso.random(125_000).hex()))
    line = LedgerLine(cso, csp).begin()
    while (payload := line.sender.next_batch()) is not None:
        assert len(payload) <= MAX_JOINED
        line.arrive(payload)
    assert law(cso) == (25, 25, 0, 0)


# --- repeats, gaps, forks ---------------------------------------------------------------------------------------


def test_a_repeat_gets_the_stored_receipt_byte_for_byte(cso: Company, csp: Company) -> None:
    hand_in(cso, 1, 2)
    line = LedgerLine(cso, csp, lose_receipts=True).begin()
    line.pump()
    assert law(cso) == (2, 0, 2, 0)
    csp.clock.pass_by(60)
    again = LedgerLine(cso, csp).begin()
    assert again.pump() == 1
    assert again.receipts == line.receipts
    assert again.wrote_back == []
    assert law(cso) == (2, 2, 0, 0)
    assert event_types(csp) == ["record.received"] * 2


def test_a_repeat_of_a_part_gets_the_receipt_of_the_smallest_sequence_that_covers_it(
    cso: Company, csp: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand_in(cso, 1, 2, 3)
    line = LedgerLine(cso, csp, lose_receipts=True).begin()
    line.pump()
    monkeypatch.setattr(author_module, "MAX_ROWS", 1)
    again = LedgerLine(cso, csp, lose_receipts=True).begin()
    assert again.pump() == 3
    assert again.receipts == line.receipts * 3


def test_a_batch_that_repeats_some_and_brings_some_is_taken_from_where_it_is_new(cso: Company, csp: Company) -> None:
    hand_in(cso, 1, 2)
    LedgerLine(cso, csp, lose_receipts=True).begin().pump()
    hand_in(cso, 3)
    again = LedgerLine(cso, csp).begin()
    assert again.pump() == 1
    assert [receipt.sequence for receipt in again.receipts] == [3]
    assert csp.states("in") == dict.fromkeys(["C-0001", "C-0002", "C-0003"], "DELIVERED")


def test_a_gap_ends_the_link_and_stores_nothing(cso: Company, csp: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(author_module, "MAX_ROWS", 1)
    hand_in(cso, 1, 2, 3)
    line = LedgerLine(cso, csp).begin()
    line.arrive(batch_of(line))
    batch_of(line)  # lost
    line.arrive(batch_of(line))
    assert [why for _, why in line.closed] == ["a batch leaves a gap in the chain"]
    assert list(csp.states("in")) == ["C-0001"]
    carry(cso, csp)
    assert law(cso) == (3, 3, 0, 0)


def test_a_head_with_another_signature_ends_the_link(cso: Company, csp: Company) -> None:
    hand_in(cso, 1)
    line = LedgerLine(cso, csp).begin()
    batch = unpack_ledger_batch(batch_of(line))
    for changed in (replace(batch, signature=csp.identity.sign(b"?")), replace(batch, time_ms=batch.time_ms + 1)):
        with pytest.raises(ProtocolError, match="signature of a head"):
            line.arrive(pack_ledger_batch(changed))
    assert csp.chains(own=False) == []


def fork_of(csp: Company) -> list[ledgers.SignedMark]:
    (chain,) = csp.chains(own=False)
    return csp.store.read(lambda cx: ledgers.marks(cx, chain.chain_id, "fork"))


def test_another_entry_at_a_known_place_is_a_fork_whose_evidence_is_kept(
    cso: Company, csp: Company, log: LogLines
) -> None:
    hand_in(cso, 1)
    line = LedgerLine(cso, csp).begin()
    batch = unpack_ledger_batch(batch_of(line))
    line.arrive(pack_ledger_batch(batch))
    other = forged(cso, csp, replace(batch, items=[item(2)]))
    line.arrive(other)
    (mark,) = fork_of(csp)
    assert cso.signer.own_head_holds(csp.identity.endpoint_id, batch.epoch, mark)
    assert len(log.of("ledger_fork_found")) == 1
    assert csp.peer("abc").alarms == ["fork of its ledger at sequence 1"]
    assert "fork" in line.closed[0][1]
    assert list(csp.states("in")) == ["C-0001"]


def test_a_continuation_of_another_past_is_a_fork_too(cso: Company, csp: Company) -> None:
    hand_in(cso, 1)
    line = carry(cso, csp)
    (chain,) = cso.chains(own=True)
    other = LedgerBatch(chain.epoch, 2, b"o" * 32, 5, b"", [item(2)])
    line.arrive(forged(cso, csp, other))
    assert [mark.sequence for mark in fork_of(csp)] == [2]
    assert list(csp.states("in")) == ["C-0001"]


def test_a_peer_cannot_write_on_in_an_epoch_that_another_has_followed(cso: Company, csp: Company) -> None:
    hand_in(cso, 1)
    line = carry(cso, csp)
    (old,) = cso.chains(own=True)
    opening = EpochOpening(old.epoch, old.tail_sequence, old.tail_hash)
    first = LedgerItem(EntryKind.EPOCH, opening.record_id(), bytes(16), opening.pack())
    line.arrive(forged(cso, csp, LedgerBatch(b"n" * 16, 1, GENESIS, 5, b"", [first])))
    assert line.closed == []
    line.arrive(forged(cso, csp, LedgerBatch(old.epoch, 2, old.tail_hash, 5, b"", [item(2)])))
    assert "another one has followed" in line.closed[0][1]


@pytest.mark.parametrize(
    ("first", "why"),
    [
        (item(5), "does not say which one it follows"),
        (LedgerItem(EntryKind.EPOCH, "x", bytes(16), EpochOpening(b"e" * 16, 9, b"h" * 32).pack()), "another head"),
    ],
)
def test_a_new_epoch_must_follow_the_newest_head_that_we_hold(
    cso: Company, csp: Company, first: LedgerItem, why: str
) -> None:
    hand_in(cso, 1)
    line = carry(cso, csp)
    line.arrive(forged(cso, csp, LedgerBatch(b"n" * 16, 1, GENESIS, 5, b"", [first])))
    assert why in line.closed[0][1]
    assert len(csp.chains(own=False)) == 1


def test_a_new_epoch_begins_at_its_beginning(cso: Company, csp: Company) -> None:
    line = LedgerLine(cso, csp)
    line.arrive(forged(cso, csp, LedgerBatch(b"n" * 16, 2, b"p" * 32, 5, b"", [item(1)])))
    assert "its beginning" in line.closed[0][1]


# --- receipts ---------------------------------------------------------------------------------------------------


def test_a_receipt_that_does_not_hold_or_covers_what_is_not_there_ends_the_link(cso: Company, csp: Company) -> None:
    hand_in(cso, 1)
    line = LedgerLine(cso, csp, lose_receipts=True).begin()
    line.pump()
    (receipt,) = line.receipts
    with pytest.raises(ProtocolError, match="does not hold"):
        line.sender.on_receipt(msgspec.structs.replace(receipt, time_ms=receipt.time_ms + 1))
    for sequence in (0, 2, 1 << 50):
        with pytest.raises(ProtocolError, match="not in our chain"):
            line.sender.on_receipt(msgspec.structs.replace(receipt, sequence=sequence))
    assert law(cso) == (1, 0, 1, 0)


def test_a_receipt_of_an_unknown_epoch_is_ignored(cso: Company, csp: Company, log: LogLines) -> None:
    hand_in(cso, 1)
    line = LedgerLine(cso, csp).begin()
    line.sender.on_receipt(Receipt(b"?" * 16, 1, 1, b"s" * 70))
    assert len(log.of("receipt_ignored")) == 1


def test_a_repeated_receipt_changes_nothing(cso: Company, csp: Company) -> None:
    hand_in(cso, 1)
    line = carry(cso, csp)
    line.sender.on_receipt(line.receipts[0])
    assert event_types(cso) == ["record.state"]


# --- a receiver that was restored -------------------------------------------------------------------------------


def test_a_receiver_that_was_restored_is_sent_the_same_entries_and_no_epoch_is_opened(
    cso: Company, csp: Company
) -> None:
    hand_in(cso, 1)
    carry(cso, csp)
    backup = csp.store.snapshot_bytes()
    hand_in(cso, 2, 3)
    carry(cso, csp)
    restored = csp.restored(backup)
    hand_in(cso, 4)
    carry(cso, restored)
    (chain,) = restored.chains(own=False)
    assert chain.tail_hash == cso.chains(own=True)[0].tail_hash
    assert list(restored.states("in")) == ["C-0001", "C-0002", "C-0003", "C-0004"]
    assert law(cso) == (4, 4, 0, 0)


def test_a_receiver_that_lost_everything_is_sent_everything(cso: Company, csp: Company) -> None:
    hand_in(cso, 1, 2)
    carry(cso, csp)
    empty = Company(2, "FRRMD", "csp", clock=csp.clock)
    empty.meets(cso, "abc")
    carry(cso, empty)
    assert len(empty.states("in")) == 2


# --- refusals ---------------------------------------------------------------------------------------------------


def append(cso: Company, *items: LedgerItem) -> None:
    """Entries that our own intake would never make."""
    cso.store.write(lambda cx: append_items_txn(cx, own_chain_txn(cx, "rmd", cso.random), items, cso.clock.now_ms()))


def refusals_of(csp: Company) -> list[str]:
    """The record ids in the receiver's own chain's refusals."""

    def read(cx: Cx) -> list[ledgers.EntryRow]:
        own = [chain.chain_id for chain in ledgers.chains(cx) if chain.own]
        return [entry for chain in own for entry in ledgers.entries(cx, chain, 0, max_rows=99, max_bytes=1 << 20)]

    entries = csp.store.read(read)
    assert all(entry.kind == EntryKind.REFUSED for entry in entries)
    return [entry.record_id for entry in entries]


BAD = {
    "not JSON": item(1, body=b"{"),
    "not UTF-8": item(1, body=b"\xff"),
    "white space": item(1, body=b'{ "id": "C-0001"}'),
    "faults": item(1, body=b'{"id":"C-0001"}'),
    "no body at all": item(1, body=b""),
    "foreign party": item(1, body=bodies.text(cdr(1, country_code="NL", party_id="TNM"))),
    "another id": item(1, body=bodies.text(cdr(7))),
    "another kind": item(1, EntryKind.SDR),
    "a credit as a CDR": item(1, body=bodies.text(cdr(1, credit=True, credit_reference_id="C-0"))),
    "an unknown kind": item(1, 999),
    "an unknown version": LedgerItem(EntryKind.CDR, "C-0001", bytes(16), bodies.text(cdr(1)), ocpi="7.0"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_entry_is_receipted_all_the_same_refused_and_stands_in_nobodys_way(
    cso: Company, csp: Company, what: str, log: LogLines
) -> None:
    append(cso, BAD[what])
    hand_in(cso, 2)
    line = carry(cso, csp)
    assert [receipt.sequence for receipt in line.receipts] == [2]
    assert csp.states("in") == {"C-0002": "DELIVERED"}
    assert line.wrote_back == [True]
    assert refusals_of(csp) == ["C-0001"]
    assert line.closed == []


def test_a_record_without_agreement_is_refused_and_parked_at_its_author_with_the_reason(
    cso: Company, csp: Company
) -> None:
    csp.meets(cso, "abc", records_in=("SDR",))
    hand_in(cso, 1)
    cso.hand_in(bodies.sdr(id="S-1"))
    carry(cso, csp)
    assert law(cso) == (2, 2, 0, 0)
    carry(csp, cso)
    assert cso.states() == {"C-0001": "PARKED", "S-1": "DELIVERED"}
    (row,) = cso.store.read(lambda cx: records.find(cx, "C-0001"))
    assert row.reason == "refused by rmd: not-agreed (not agreed: records.CDR (preset))"
    assert law(cso) == (2, 1, 0, 1)
    assert event_types(cso) == ["record.state"] * 3
    assert refusals_of(csp) == ["C-0001"]
    assert cso.chains(own=False)[0].tail_sequence == 1  # the refusal is not refused in turn
    assert cso.chains(own=True)[0].tail_sequence == 2


def test_a_refusal_parks_only_the_record_of_the_party_and_peer_that_it_is_about(
    cso: Company, csp: Company, log: LogLines
) -> None:
    stranger = Company(3, "NLTNM", "csp", clock=cso.clock)
    cso.meets(stranger, "tnm")
    stranger.meets(cso, "abc")
    hand_in(cso, 1)
    carry(cso, csp)
    body = b"\xff not a refusal"
    stranger.store.write(
        lambda cx: append_items_txn(
            cx, own_chain_txn(cx, "abc", stranger.random),
            [LedgerItem(EntryKind.REFUSED, "C-0001", bytes(16), text) for text in (REFUSAL, body)], 1,
        )
    )  # fmt: skip
    carry(stranger, cso)
    assert cso.states() == {"C-0001": "DELIVERED"}
    assert len(log.of("refusal_unreadable")) == 1


REFUSAL = Refusal("DEABC", "because", "of this").pack()


def test_the_same_record_in_another_entry_is_one_record_and_another_content_is_refused(
    cso: Company, csp: Company
) -> None:
    append(cso, item(1), item(1), item(1, body=bodies.text(cdr(1, total_energy=1))))
    carry(cso, csp)
    assert csp.states("in") == {"C-0001": "DELIVERED"}
    assert event_types(csp) == ["record.received"]
    assert refusals_of(csp) == ["C-0001"]


def test_an_erased_entry_keeps_the_chain_whole(cso: Company, csp: Company) -> None:
    hand_in(cso, 1, 2)
    (chain,) = cso.chains(own=True)
    cso.store.write(lambda cx: ledgers.erase_entry_txn(cx, chain.chain_id, 1))
    line = carry(cso, csp)
    assert csp.states("in") == {"C-0002": "DELIVERED"}
    assert (line.closed, refusals_of(csp)) == ([], [])
    assert csp.chains(own=False)[0].tail_hash == chain.tail_hash


# --- marks ------------------------------------------------------------------------------------------------------


def test_each_side_shows_the_newest_that_it_holds_of_the_other(cso: Company, csp: Company) -> None:
    assert csp.store.read(lambda cx: marks_for(cx, "abc")) == []
    hand_in(cso, 1)
    carry(cso, csp)
    hand_in(cso, 2)
    LedgerLine(cso, csp, lose_receipts=True).begin().pump()
    head = own_head_shown(csp.store.read(lambda cx: marks_for(cx, "abc")))
    receipt = own_receipt_shown(cso.store.read(lambda cx: marks_for(cx, "rmd")))
    assert head is not None
    assert receipt is not None
    assert (head.sequence, receipt.sequence) == (2, 1)
    assert own_head_shown(cso.store.read(lambda cx: marks_for(cx, "rmd"))) is None


def test_thousands_of_entries_that_are_refused_in_one_batch_are_one_line_of_the_log(
    cso: Company, csp: Company, log: LogLines
) -> None:
    strange = [LedgerItem(999, "", bytes(16), b"")] * 300
    cso.store.write(lambda cx: append_items_txn(cx, own_chain_txn(cx, "rmd", cso.random), strange, 0))
    line = carry(cso, csp)
    assert line.closed == []
    assert sum(each["count"] for each in log.of("record_refused")) == 300
    assert len(log.of("record_refused")) == len(line.wrote_back) < 10


@pytest.mark.parametrize("kind", [EntryKind.REFUSED, EntryKind.AGREEMENT_DECLINED, EntryKind.ACCEPTED])
def test_what_a_peer_says_of_one_id_again_and_again_is_not_looked_through_each_time(
    cso: Company, csp: Company, monkeypatch: pytest.MonkeyPatch, kind: EntryKind
) -> None:
    looked: list[str] = []
    entries_about = ledgers.entries_about
    monkeypatch.setattr(
        ledgers, "entries_about", lambda cx, record_id: looked.append(record_id) or entries_about(cx, record_id)
    )
    body = Refusal("", "x").pack() if kind == EntryKind.REFUSED else b'{"party":"DEABC"}'
    again = [LedgerItem(kind, "C-1", bytes(16), body)] * 300
    csp.store.write(lambda cx: append_items_txn(cx, own_chain_txn(cx, "abc", csp.random), again, 0))
    assert carry(csp, cso).closed == []
    assert looked == [], "300 looks at 300 entries each"
