"""Events: in order, never lost before a day after their acknowledgement, coalesced only while unread."""

from roamd.storage import events
from roamd.storage.store import Store

DAY_MS = 86_400_000
NOON = 1_000 * 60_000


def add(store: Store, type_: str = "record.received", subject: str = "s", peer: str | None = "alpha") -> int:
    return store.write(
        lambda cx: events.append_txn(
            cx, at_ms=5, peer=peer, type=type_, subject=subject, data=b"{}", coalesce=type_.startswith("object.")
        )
    )


def kept(store: Store, after: int = 0, limit: int = 100) -> list[int]:
    return [row.id for row in store.read(lambda cx: events.page(cx, after, limit))]


def read_upto(store: Store, upto: int) -> None:
    store.write(lambda cx: events.mark_read_txn(cx, upto))


def test_an_event_comes_back_as_it_was_added(memory: Store) -> None:
    add(memory, "peer.state", "alpha", None)
    assert memory.read(lambda cx: events.page(cx, 0, 9)) == [(1, 5, None, "peer.state", "alpha", b"{}")]


def test_pages_go_on_behind_the_cursor(memory: Store) -> None:
    for _ in range(5):
        add(memory)
    assert kept(memory, 0, 2) == [1, 2]
    assert kept(memory, 2) == [3, 4, 5]
    assert (memory.read(events.oldest), memory.read(events.newest)) == (1, 5)


def test_object_events_coalesce_per_object_while_unread(memory: Store) -> None:
    add(memory, "object.changed", "locations/L1")
    add(memory, "object.changed", "locations/L2")
    add(memory, "object.removed", "locations/L1")
    assert [(row.id, row.type, row.subject) for row in memory.read(lambda cx: events.page(cx, 0, 9))] == [
        (2, "object.changed", "locations/L2"),
        (3, "object.removed", "locations/L1"),
    ]


def test_object_events_of_two_peers_do_not_coalesce(memory: Store) -> None:
    add(memory, "object.changed", "locations/L1", "alpha")
    add(memory, "object.changed", "locations/L1", "beta")
    assert kept(memory) == [1, 2]


def test_what_was_read_stays_and_the_next_change_is_told_behind_it(memory: Store) -> None:
    add(memory, "object.changed")
    read_upto(memory, 1)
    add(memory, "object.changed")
    add(memory, "object.changed")
    assert kept(memory) == [1, 3]


def test_record_events_never_coalesce(memory: Store) -> None:
    add(memory)
    add(memory)
    assert kept(memory) == [1, 2]


def test_acknowledged_events_live_for_a_day_and_then_go(memory: Store) -> None:
    for _ in range(3):
        add(memory)
    memory.write(lambda cx: events.acknowledge_txn(cx, 2, NOON))
    assert memory.write(lambda cx: events.delete_acknowledged_txn(cx, NOON)) == 0
    assert kept(memory) == [1, 2, 3]
    assert memory.write(lambda cx: events.delete_acknowledged_txn(cx, NOON + 60_000)) == 2
    assert kept(memory) == [3]
    assert memory.write(lambda cx: events.delete_acknowledged_txn(cx, NOON + DAY_MS)) == 0


def test_a_later_acknowledgement_does_not_hasten_nor_delay_an_earlier_one(memory: Store) -> None:
    for _ in range(3):
        add(memory)
    memory.write(lambda cx: events.acknowledge_txn(cx, 1, NOON))
    memory.write(lambda cx: events.acknowledge_txn(cx, 3, NOON + 60_000))
    assert memory.read(events.acknowledged_upto) == 3
    memory.write(lambda cx: events.delete_acknowledged_txn(cx, NOON + 60_000))
    assert kept(memory) == [2, 3]
    memory.write(lambda cx: events.delete_acknowledged_txn(cx, NOON + 120_000))
    assert kept(memory) == []


def test_acknowledging_the_future_lets_nothing_go_unread(memory: Store) -> None:
    add(memory)
    memory.write(lambda cx: events.acknowledge_txn(cx, 10**12, NOON))
    add(memory)
    memory.write(lambda cx: events.delete_acknowledged_txn(cx, NOON + DAY_MS))
    assert kept(memory) == [2]


def test_an_acknowledgement_that_goes_back_changes_nothing(memory: Store) -> None:
    for _ in range(3):
        add(memory)
    memory.write(lambda cx: events.acknowledge_txn(cx, 3, NOON))
    memory.write(lambda cx: events.acknowledge_txn(cx, 1, NOON))
    assert memory.read(events.acknowledged_upto) == 3


def test_an_id_is_never_used_twice(memory: Store) -> None:
    add(memory, "object.changed")
    memory.write(lambda cx: events.acknowledge_txn(cx, 1, NOON))
    memory.write(lambda cx: events.delete_acknowledged_txn(cx, NOON + DAY_MS))
    assert kept(memory) == []
    with Store.open_memory(memory.snapshot_bytes()) as restarted:
        assert add(restarted) == 2


def test_webhooks_keep_their_own_positions(memory: Store) -> None:
    assert memory.read(lambda cx: events.get_position(cx, "billing")) == 0
    for position in (4, 9):
        memory.write(lambda cx, position=position: events.set_position_txn(cx, "billing", position))
    assert memory.read(lambda cx: events.get_position(cx, "billing")) == 9
    assert memory.read(lambda cx: events.get_position(cx, "maps")) == 0
