"""The row of a record as it first stands here, from wherever it came."""

from typing import NamedTuple

from roamd.model.objects import CheckedRecord
from roamd.roaming.ledger.chain import record_entry_kind
from roamd.storage.records import RecordRow


class Beginning(NamedTuple):
    """How a record begins: which way it goes, with whom, in which state and why, and when."""

    direction: str
    peer: str | None
    state: str
    reason: str | None
    now_ms: int


def row_of(
    record: CheckedRecord, begins: Beginning, body_hash: bytes, place: tuple[int, int] | None = None
) -> RecordRow:
    """With its body, or with a place (chain id, sequence) where the body stands."""
    chain_id, sequence = place or (None, None)
    return RecordRow(
        direction=begins.direction,
        party=record.party,
        record_id=record.id,
        peer=begins.peer,
        kind=record_entry_kind(record).name,
        state=begins.state,
        reason=begins.reason,
        ocpi=record.ocpi,
        body_hash=body_hash,
        body=None if place else record.body,
        chain_id=chain_id,
        sequence=sequence,
        authorization_reference=record.authorization_reference,
        created_ms=begins.now_ms,
        updated_ms=begins.now_ms,
    )
