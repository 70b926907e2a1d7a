"""The digests of our own cards: what each published object holds can be told at any time, and is read by an index."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from roamd.clock import SystemClock
from roamd.roaming.waiting import aside
from roamd.storage import cards
from roamd.storage.cx import Cx
from roamd.storage.store import Store

FIRST, LAST = bytes(16), b"\xff" * 16
A, B = b"A" * 16, b"B" * 16


@pytest.fixture
def store() -> Iterator[Store]:
    with Store.open_memory() as opened:
        yield opened


def add(store: Store, *digests: bytes) -> list[bool]:
    return store.write(lambda cx: [cards.add_txn(cx, digest) for digest in digests])


def remove(store: Store, digest: bytes) -> None:
    store.write(lambda cx: cards.remove_txn(cx, digest))


def settle(store: Store, first: bytes = FIRST, last: bytes = LAST) -> None:
    store.write(lambda cx: cards.settle_txn(cx, first, last))


def held(store: Store) -> tuple[bytes, bytes]:
    """What the segment of everything holds, and what NEW does."""
    return store.read(lambda cx: (cards.in_segment(cx, FIRST, LAST), cards.fresh(cx)))


def test_a_card_is_new_until_it_is_settled(store: Store) -> None:
    assert add(store, A, B, A) == [True, True, False]
    assert held(store) == (b"", A + B)
    settle(store, A, A)
    assert held(store) == (A, B)
    assert add(store, A) == [False]
    assert store.read(cards.count) == 2


def test_a_withdrawn_card_stays_until_its_segment_is_made_anew(store: Store) -> None:
    add(store, A, B)
    settle(store)
    remove(store, A)
    assert held(store) == (A + B, b"")
    assert store.read(cards.count) == 1
    assert store.read(cards.changed) == [int.from_bytes(A[:2], "big")]
    settle(store)
    assert held(store) == (B, b"")
    assert store.read(cards.changed) == []


def test_a_card_that_comes_back_before_that_is_in_its_segment_all_the_time(store: Store) -> None:
    add(store, A)
    settle(store)
    remove(store, A)
    assert add(store, A) == [False]
    settle(store)
    assert held(store) == (A, b"")


def test_a_new_card_that_is_withdrawn_is_forgotten_at_once(store: Store) -> None:
    add(store, A)
    remove(store, A)
    remove(store, B)
    assert held(store) == (b"", b"")
    assert store.read(cards.changed) == []


def test_a_name_that_two_credentials_share_goes_with_the_second(store: Store) -> None:
    add(store, A, A)
    settle(store)
    remove(store, A)
    settle(store)
    assert held(store) == (A, b"")
    remove(store, A)
    settle(store)
    assert held(store) == (b"", b"")


def test_counting_ends_at_its_limit(store: Store) -> None:
    add(store, *(bytes([number]) * 16 for number in range(10)))
    assert store.read(lambda cx: (cards.count_fresh(cx, 3), cards.count_fresh(cx, 100))) == (3, 10)
    store.write(cards.forget_all_txn)
    assert store.read(lambda cx: cards.count_fresh(cx, 3)) == 0


def test_what_has_changed_is_found_without_reading_all_cards(store: Store) -> None:
    """With each new card these are run, in the transaction of the backend's request."""

    class Plans:
        """Notes how SQLite would go about it."""

        def __init__(self, cx: Cx) -> None:
            self.cx, self.plans = cx, list[str]()

        def value(self, sql: str, params: tuple[object, ...] = ()) -> object:
            self.plans += [row[3] for row in self.cx.run(f"EXPLAIN QUERY PLAN {sql}", params)]
            return self.cx.value(sql, params)

    def look(cx: Cx) -> list[str]:
        plans = Plans(cx)
        cards.count_fresh(plans, 5)  # type: ignore[arg-type]  # all that is used of it
        cards.fresh(plans)  # type: ignore[arg-type]
        return plans.plans

    plans = [plan for plan in store.read(look) if "cards" in plan]
    assert len(plans) == 2
    assert all(re.search(r"USING .*INDEX cards_changed \(state=\?", plan) for plan in plans), plans


async def test_what_takes_long_is_read_in_a_thread_over_a_connection_of_its_own(tmp_path: Path) -> None:
    with Store.open(tmp_path / "roamd.db", clock=SystemClock(), ballast_bytes=0) as store:
        await trio.to_thread.run_sync(add, store, A, B)
        assert await aside(store, cards.fresh) == A + B
