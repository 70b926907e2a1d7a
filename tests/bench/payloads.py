"""What the link and the bare loop carry, ready-made: the same bytes for both."""

import itertools
from functools import cache

from roamd.clock import SystemClock
from roamd.protocol.bulk import LedgerBatch, pack_ledger_batch
from roamd.protocol.calls import AuthorizeAnswer, AuthorizeRequest, Service
from roamd.protocol.ledger import GENESIS, EntryKind, LedgerItem
from roamd.protocol.messages import Call
from tests.bench import bodies

RECORDS_IN_BATCH = 32
_numbers = itertools.count(1)

REQUESTS = [
    AuthorizeRequest(
        "RFID",
        bodies.uid(bodies.drawn(number)),
        bodies.contract_id(bodies.drawn(number)),
        "RMC-CANAL",
        "RMC-CANAL-1",
        "1",
        party="BERMC",
    ).pack()
    for number in range(64)
]
ANSWER = AuthorizeAnswer("ALLOWED", "", "BACKEND", "BENCH-000001").pack()


def call() -> Call:
    """An authorization, as a Call with an id of its own."""
    number = next(_numbers)
    return Call(number.to_bytes(16, "big"), Service.AUTHORIZATION, 3000, REQUESTS[number % 64])


def batch_of(count: int) -> LedgerBatch:
    """So many CDRs of 3 KB as the author of a chain sends them."""
    items = [
        LedgerItem(EntryKind.CDR, f"CDR-{number}", number.to_bytes(16, "big"), bodies.numbered_cdr(number))
        for number in range(count)
    ]
    return LedgerBatch(bytes(16), 1, GENESIS, SystemClock().now_ms(), bytes(range(72)), items)


@cache
def ledger_payload() -> bytes:
    """A packed batch; the receiving end of a bare link does not open it."""
    return pack_ledger_batch(batch_of(RECORDS_IN_BATCH))
