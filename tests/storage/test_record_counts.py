"""The counts of own records that the store keeps: true from the start, whatever had been there before."""

import apsw

from roamd.storage import migrate, records
from roamd.storage.cx import Cx
from roamd.storage.records import PARKED, QUEUED, Counts
from tests.storage.doors import record

BEFORE = 13
"""The newest migration that knew of no counts."""


def test_records_of_an_older_store_are_counted_when_it_is_migrated() -> None:
    connection, every = apsw.Connection(":memory:"), migrate.load()
    migrate.migrate(connection, every[:BEFORE], 1, lambda number: None)
    cx = Cx(connection)
    for name, peer, state in (("A", "alpha", QUEUED), ("B", "alpha", "FINAL"), ("C", None, PARKED)):
        records.put_txn(cx, record(name, peer=peer, state=state))
    records.put_txn(cx, record("D", direction="in"))
    migrate.migrate(connection, every, 2, lambda number: None)
    assert records.counts(cx) == {"alpha": Counts(2, 1, 1, 0), None: Counts(1, 0, 0, 1)}
    records.put_txn(cx, record("C", peer="alpha", state=QUEUED))
    assert records.counts(cx) == {"alpha": Counts(3, 1, 2, 0)}
