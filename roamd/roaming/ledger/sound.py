"""Bit rot: what the disk gives back is believed only if it is what was once committed to.

Every body is hashed before it leaves the store, to the backend, an auditor or a peer, and every entry before it is
signed or sent. That costs microseconds, and a bit that fell over on the disk is never served: neither as a record that
nobody wrote, nor under a head with our signature over a chain that we never made.
"""

import hashlib
import struct

from roamd.errors import StoreDamaged
from roamd.protocol.ledger import commitment, entry_bytes, entry_hash
from roamd.storage import ledgers
from roamd.storage.ledgers import GENESIS, EntryRow
from roamd.storage.records import RecordRow
from roamd.storage.store import Cx


def body_holds(row: EntryRow) -> bool:
    """Whether the body is the one that was committed to, or was erased."""
    if row.body is None or row.salt is None:
        return row.body is row.salt
    return commitment(row.salt, row.body) == row.commitment


def chained_hash(previous_hash: bytes, row: EntryRow) -> bytes | None:
    """The hash that the entry has as it stands; None when it cannot even be laid out."""
    try:
        return entry_hash(entry_bytes(row.sequence, previous_hash, row.kind, row.record_id, row.commitment))
    except (struct.error, ValueError):
        return None


def require_chained(previous_hash: bytes, row: EntryRow) -> None:
    """Raises StoreDamaged unless the entry has the hash that it is stored with."""
    if chained_hash(previous_hash, row) != row.hash:
        raise StoreDamaged(
            f"Entry {row.sequence} of the ledger is damaged on the disk. `roamd ledger verify` names every such place; "
            "bring back a backup from before."
        )


def sound_entry(cx: Cx, chain_id: int, sequence: int) -> EntryRow | None:
    """An entry that is what it was when it was written; raises StoreDamaged, None where there is none."""
    row = ledgers.get_entry(cx, chain_id, sequence)
    if row is None:
        return None
    before = ledgers.get_entry(cx, chain_id, sequence - 1) if sequence > 1 else None
    require_chained(before.hash if before is not None else GENESIS, row)
    if not body_holds(row):
        raise damaged_record(row.record_id)
    return row


def sound_body(row: RecordRow, body: bytes | None) -> bytes | None:
    """The body of a record, if it is the one that was taken in; raises StoreDamaged."""
    if body is not None and hashlib.sha256(body).digest() != row.body_hash:
        raise damaged_record(row.record_id)
    return body


def damaged_record(record_id: str) -> StoreDamaged:
    """For a record whose content is not what was taken in."""
    return StoreDamaged(
        f"The content of record {record_id!r} is damaged on the disk and is not given out. `roamd ledger verify` names "
        "every such place; bring back a backup from before."
    )
