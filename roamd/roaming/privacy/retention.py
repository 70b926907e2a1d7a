"""How long service records are kept: at least as long as the law wants them, and their content no longer by itself.

The operator sets years (`retention.records_years`). A year counts as 366 days from the entry's own time, so nothing is
erased a day early. No years set means that no law is known here: then nothing of a ledger is erased without a person
who asks for it, and nothing stands against it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple

from roamd.roaming.privacy.asks import CONTENTS, erase_place_txn
from roamd.roaming.waiting import write
from roamd.storage import erasure, ledgers, meta
from roamd.storage.ledgers import Chain
from roamd.storage.store import Cx, Store

YEAR_MS: Final = 366 * 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class Retention:
    """Reads the years anew each time, for the configuration may be reloaded."""

    years: Callable[[], int]

    def kept_until(self, at_ms: int) -> int:
        """Until when the law wants an entry of this time kept (ms); 0 where there is no such law."""
        years = self.years()
        return at_ms + years * YEAR_MS if years else 0

    def kept_from_peers(self, at_ms: int) -> int | None:
        """The same for a peer who asks; None: it is for the operator alone."""
        return self.kept_until(at_ms) or None

    def over_before(self, now_ms: int) -> int | None:
        """Entries from before this moment have been kept long enough; None where nothing goes by itself."""
        years = self.years()
        return now_ms - years * YEAR_MS if years else None


# --- what was kept long enough --------------------------------------------------------------------------------------


class _Place(NamedTuple):
    """How far a walk along a chain has come. `settled`: everything before it is erased, and need not be looked at."""

    after: int
    settled: bool
    erased: int = 0
    ended: bool = False


async def forget_contents(store: Store, before_ms: int, now_ms: int) -> int:
    """Erase what was written into any ledger before a moment, in groups; how many entries.

    What is not delivered, parked or disputed is left until that is over. Peers are not asked: each has its own times.
    """
    erased = 0
    for chain in store.read(ledgers.chains):
        place = _Place(store.read(partial(_settled_upto, chain_id=chain.chain_id)), settled=True)
        while not place.ended:
            place = await write(store, partial(_forget_txn, chain=chain, at=place, before_ms=before_ms, now_ms=now_ms))
            erased += place.erased
    return erased


def _forget_txn(cx: Cx, chain: Chain, at: _Place, before_ms: int, now_ms: int) -> _Place:
    """One page of a chain. Its order is that of time, so the first entry that is too young ends the walk."""
    rows = ledgers.entries(cx, chain.chain_id, at.after, max_rows=erasure.PAGE_ROWS, max_bytes=erasure.PAGE_BYTES)
    after, settled, erased = at.after, at.settled, 0
    for row in rows:
        if row.at_ms >= before_ms:
            break
        if row.body is not None and row.kind in CONTENTS:
            if erasure.is_open(cx, chain.chain_id, row.sequence):
                settled = False
            else:
                erase_place_txn(cx, chain, row, request="", ask=False, now_ms=now_ms)
                erased += 1
        after = row.sequence
        if settled:
            meta.set_txn(cx, _name(chain.chain_id), str(after))
    return _Place(after, settled, erased, ended=not rows or after < rows[-1].sequence)


def _settled_upto(cx: Cx, chain_id: int) -> int:
    return int(meta.get(cx, _name(chain_id)) or 0)


def _name(chain_id: int) -> str:
    """The name in `meta` of the sequence up to which a chain need not be looked at again."""
    return f"forgotten-upto:{chain_id}"
