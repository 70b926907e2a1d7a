"""The layouts, built a second time by hand, as someone with a shell and the README would."""

from collections.abc import Callable
from hashlib import sha256
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roamd.errors import ProtocolError
from roamd.protocol.ledger import (
    GENESIS,
    EntryKind,
    EpochOpening,
    LedgerItem,
    Refusal,
    chain_items,
    commitment,
    entry_bytes,
    entry_hash,
    head_document,
    mark_document,
    receipt_document,
)
from roamd.protocol.messages import Mark
from tests.support.wire import CLOCK_MS, DIALLER, LISTENER

EPOCH = bytes(range(16))
SALT = bytes(range(16, 32))
HASH = sha256(b"head").digest()


def items(count: int) -> list[LedgerItem]:
    return [LedgerItem(EntryKind.CDR, f"CDR-{number}", SALT, b"body %d" % number) for number in range(count)]


def test_an_entry_is_the_bytes_that_the_specification_names() -> None:
    committed = sha256(SALT + b"{}").digest()
    by_hand = (
        b"roamd entry 1\0\0\0"
        + (258).to_bytes(8, "big")
        + HASH
        + (16).to_bytes(2, "big")
        + (6).to_bytes(2, "big")
        + committed
        + "CDR-ä".encode()
    )
    assert entry_bytes(258, HASH, EntryKind.ACCEPTED, "CDR-ä", commitment(SALT, b"{}")) == by_hand
    assert entry_hash(by_hand) == sha256(by_hand).digest()
    assert len(by_hand) == 92 + 6


@pytest.mark.parametrize(
    ("document", "magic"), [(head_document, b"roamd head 1"), (receipt_document, b"roamd receipt 1")]
)
def test_a_signed_document_is_192_bytes_that_begin_with_its_purpose(
    document: Callable[..., bytes], magic: bytes
) -> None:
    by_hand = magic.ljust(16, b"\0") + DIALLER.encode() + LISTENER.encode() + EPOCH
    by_hand += (7).to_bytes(8, "big") + HASH + CLOCK_MS.to_bytes(8, "big")
    assert document(DIALLER, LISTENER, EPOCH, 7, HASH, CLOCK_MS) == by_hand
    assert len(by_hand) == 192


def test_values_of_a_wrong_size_are_never_padded_into_a_document() -> None:
    for author, epoch, hash_ in (("A" * 55, EPOCH, HASH), (DIALLER, EPOCH[:-1], HASH), (DIALLER, EPOCH, HASH + b"x")):
        with pytest.raises(ValueError, match="instead of"):
            head_document(author, LISTENER, epoch, 1, hash_, CLOCK_MS)
    with pytest.raises(ValueError, match="previous hash"):
        entry_bytes(1, b"", 1, "R", HASH)


def test_each_entry_names_the_hash_of_the_one_before() -> None:
    chained = chain_items(GENESIS, 1, items(5))
    assert chained[0][0][24:56] == GENESIS
    for (_, previous), (entry, _) in pairwise(chained):
        assert entry[24:56] == previous
    assert [int.from_bytes(entry[16:24], "big") for entry, _ in chained] == [1, 2, 3, 4, 5]


@given(cut=st.integers(0, 6))
def test_a_chain_made_in_two_goes_is_the_same_chain(cut: int) -> None:
    whole = chain_items(GENESIS, 1, items(6))
    first = chain_items(GENESIS, 1, items(6)[:cut])
    last = first[-1][1] if first else GENESIS
    assert first + chain_items(last, cut + 1, items(6)[cut:]) == whole


@given(st.integers(0, 4), st.sampled_from(["kind", "record_id", "salt", "body"]))
def test_any_change_changes_every_later_hash(place: int, field: str) -> None:
    changed = items(5)
    old = changed[place]
    fields = {"kind": old.kind, "record_id": old.record_id, "salt": old.salt, "body": old.body}
    fields[field] = {"kind": 2, "record_id": "other", "salt": bytes(16), "body": b"other"}[field]
    changed[place] = LedgerItem(**fields)  # type: ignore[arg-type]  # a mapping of mixed types
    before, after = chain_items(GENESIS, 1, items(5)), chain_items(GENESIS, 1, changed)
    for number in range(5):
        assert (before[number][1] == after[number][1]) is (number < place)


def test_a_mark_is_checked_against_the_document_that_was_signed() -> None:
    head = Mark(True, EPOCH, 7, HASH, CLOCK_MS, b"signature")
    receipt = Mark(False, EPOCH, 7, HASH, CLOCK_MS, b"signature")
    own, peer = DIALLER, LISTENER
    assert mark_document(head, shown_by=peer, shown_to=own) == head_document(own, peer, EPOCH, 7, HASH, CLOCK_MS)
    assert mark_document(receipt, shown_by=peer, shown_to=own) == receipt_document(peer, own, EPOCH, 7, HASH, CLOCK_MS)


def test_an_epoch_opening_is_57_bytes_and_nothing_else() -> None:
    opening = EpochOpening(EPOCH, 42, HASH)
    assert opening.pack() == EPOCH + (42).to_bytes(8, "big") + HASH + b"\0"
    assert EpochOpening.unpack(opening.pack()) == opening
    assert opening.record_id() == EPOCH.hex()
    for wrong in (b"", opening.pack()[:-1], opening.pack() + b"\0"):
        with pytest.raises(ProtocolError):
            EpochOpening.unpack(wrong)


def test_a_refusal_is_json_that_may_grow() -> None:
    refusal = Refusal("DEABC", "unreadable")
    assert Refusal.unpack(refusal.pack()) == refusal
    assert Refusal.unpack(b'{"party":"DEABC","reason":"unreadable","new":1}') == refusal
    for wrong in (b"", b"{}", b'{"party":1,"reason":"x"}', b"\xff", b"[" * 100_000):
        with pytest.raises(ProtocolError):
            Refusal.unpack(wrong)


def test_an_item_needs_salt_and_body_or_a_commitment() -> None:
    with pytest.raises(ValueError, match="salt and body"):
        chain_items(GENESIS, 1, [LedgerItem(1, "R", SALT)])
