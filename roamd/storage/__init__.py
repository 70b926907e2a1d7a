"""The store: synchronous SQL, one writer with group commit; knows no loop, no protocol, no keys.

Read `store` first (how a transaction comes to the disk), then the table modules: feeds, ledgers, records, events,
peers, meta, idempotency, decisions. Their functions take a `Cx` (one transaction); those named `_txn` write.
"""

from roamd.storage.cx import Cx
from roamd.storage.store import Store

__all__ = ["Cx", "Store"]
