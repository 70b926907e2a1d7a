"""Filling a stopped daemon's store: many peers, many records. Through the store's own functions, for the rows' sake."""

import hashlib
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from roamd.clock import SystemClock
from roamd.model.agreement import preset
from roamd.protocol.ledger import SALT_SIZE, EntryKind, LedgerItem
from roamd.roaming.ledger.chain import append_items_txn, own_chain_txn
from roamd.storage import peers, records
from roamd.storage.peers import PeerRow
from roamd.storage.records import QUEUED, RecordRow
from roamd.storage.store import Cx, Store
from roamd.trust.identity import Identity
from tests.bench import bodies

AT_A_TIME = 500


def introduce(directory: Path, folder: Path, count: int) -> None:
    """Pair a stopped daemon with so many endpoints, whose identities go into the folder as `0.key`, `0.crt`, ..."""
    Identity.load(directory / "identity.key", directory / "identity.crt").save(folder / "hub.key", folder / "hub.crt")
    identities = [Identity.create(SystemClock().now_ms()) for _ in range(count)]
    for number, identity in enumerate(identities):
        identity.save(folder / f"{number}.key", folder / f"{number}.crt")

    def txn(cx: Cx) -> None:
        for number, identity in enumerate(identities):
            party = _party(number)
            agreement = preset(("cso",), ("csp",), (party,)).to_json()
            peers.put_txn(cx, _row(f"peer-{number}", identity, agreement, party))

    with Store.open(directory / "state" / "roamd.db") as store:
        store.write(txn)


def _party(number: int) -> str:
    """Each has one of its own, or a record would have several owners."""
    letters = [chr(ord("A") + number // 26**place % 26) for place in range(3)]
    return "SE" + "".join(letters)


def _row(label: str, identity: Identity, agreement: bytes, party: str = "FRRMD") -> PeerRow:
    return PeerRow(
        label, identity.endpoint_id, identity.certificate_der, label, (party,), "PAIRED", None, b"", 1, agreement,
        1, "", 0, False,
    )  # fmt: skip


Body = Callable[[int], bytes]


def cdr_of_3_kb(number: int) -> bytes:
    """A CDR of its own."""
    return bodies.numbered_cdr(number, "OLD")


def text_of_300_bytes(number: int) -> bytes:
    """For stores in which it is the number of rows that counts."""
    return b'{"id":"OLD-%d","of":"%s"}' % (number, bodies.drawn(number).randbytes(136).hex().encode())


def fill(directory: Path, count: int, body: Body = cdr_of_3_kb, state: str = QUEUED, party: str = "FRRMD") -> float:
    """Put so many records for a peer that is away into a stopped daemon's store; seconds that it took."""
    agreement = preset(("cso",), ("csp",), (party,)).to_json()
    away = Identity.create(SystemClock().now_ms())
    with Store.open(directory / "state" / "roamd.db") as store:
        store.write(lambda cx: peers.put_txn(cx, _row("away", away, agreement, party)))
        began = time.monotonic()
        for first in range(0, count, AT_A_TIME):
            store.write(partial(_fill_txn, range(first, first + AT_A_TIME), body, state))
        return time.monotonic() - began


def _fill_txn(numbers: range, body: Body, state: str, cx: Cx) -> None:
    now_ms = SystemClock().now_ms()
    texts = [(f"OLD-{number}", body(number)) for number in numbers]
    items = [LedgerItem(EntryKind.CDR, name, os.urandom(SALT_SIZE), text, ocpi="2.3.0") for name, text in texts]
    chain = own_chain_txn(cx, "away", os.urandom)
    append_items_txn(cx, chain, items, now_ms)
    rows = [
        RecordRow(
            "out", "BERMC", name, "away", "CDR", state, None, "2.3.0", hashlib.sha256(text).digest(),
            None, chain.chain_id, sequence, None, now_ms, now_ms,
        )
        for sequence, (name, text) in enumerate(texts, chain.tail_sequence + 1)
    ]  # fmt: skip
    records.put_many_txn(cx, rows)
