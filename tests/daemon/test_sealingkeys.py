"""Our sealing keys change with the years, and old ones go on opening for as long as partners may know no newer one."""

import os

from roamd.daemon.sealingkeys import KEPT, LIFE_MS, sealing_seeds_txn
from roamd.storage.store import Store

NOW_MS = 1_780_000_000_000


def test_a_start_after_its_time_draws_a_new_key_and_the_old_ones_are_kept_so_long() -> None:
    store = Store.open_memory()

    def started(at_ms: int) -> tuple[bytes, ...]:
        return store.write(lambda cx: sealing_seeds_txn(cx, at_ms, os.urandom))

    first = started(NOW_MS)
    assert len(first) == 1
    assert started(NOW_MS + LIFE_MS) == started(NOW_MS - LIFE_MS) == first, (
        "its time is not over, or the clock is wrong"
    )
    second = started(NOW_MS + LIFE_MS + 1)
    assert second[1:] == first
    assert second[0] != first[0]
    assert started(NOW_MS + LIFE_MS + 2) == second
    for number in range(2, 20):
        last = second
        second = started(NOW_MS + number * (LIFE_MS + 1))
        assert second == (second[0], *last)[:KEPT]
    assert len(second) == KEPT
