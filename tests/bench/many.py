"""Filling a stopped daemon's store: many peers, many records. Through the store's own functions, for the rows' sake."""

import hashlib
import os
import time
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
    agreement = preset(("cso",), ("csp",), ("FRRMD",)).to_json()

    def txn(cx: Cx) -> None:
        for number, identity in enumerate(identities):
            peers.put_txn(cx, _row(f"peer-{number}", identity, agreement))

    with Store.open(directory / "state" / "roamd.db") as store:
        store.write(txn)


def _row(label: str, identity: Identity, agreement: bytes) -> PeerRow:
    return PeerRow(
        label, identity.endpoint_id, identity.certificate_der, label, ("FRRMD",), "PAIRED", None, b"", 1, agreement,
        1, "", 0, False,
    )  # fmt: skip


def fill(directory: Path, count: int) -> float:
    """Put so many queued CDRs of 3 KB for a peer that is away into a stopped daemon's store; seconds that it took."""
    agreement = preset(("cso",), ("csp",), ("FRRMD",)).to_json()
    away = Identity.create(SystemClock().now_ms())
    with Store.open(directory / "state" / "roamd.db") as store:
        store.write(lambda cx: peers.put_txn(cx, _row("away", away, agreement)))
        began = time.monotonic()
        for first in range(0, count, AT_A_TIME):
            store.write(partial(_fill_txn, range(first, first + AT_A_TIME)))
        return time.monotonic() - began


def _fill_txn(numbers: range, cx: Cx) -> None:
    now_ms = SystemClock().now_ms()
    texts = [bodies.numbered_cdr(number, "OLD") for number in numbers]
    items = [
        LedgerItem(EntryKind.CDR, f"OLD-{number}", os.urandom(SALT_SIZE), text, ocpi="2.3.0")
        for number, text in zip(numbers, texts, strict=True)
    ]
    chain = own_chain_txn(cx, "away", os.urandom)
    last = append_items_txn(cx, chain, items, now_ms)
    for place, (number, text) in enumerate(zip(numbers, texts, strict=True)):
        records.put_txn(
            cx,
            RecordRow(
                "out", "BERMC", f"OLD-{number}", "away", "CDR", QUEUED, None, "2.3.0", hashlib.sha256(text).digest(),
                None, last.chain_id, chain.tail_sequence + 1 + place, None, now_ms, now_ms,
            ),
        )  # fmt: skip
