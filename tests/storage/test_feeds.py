"""Own objects and mirrored ones, case by case; test_models.py tries the combinations."""

import pytest

from roamd.model.keys import ObjectKey
from roamd.storage import feeds, meta
from roamd.storage.feeds import ALL, FeedPosition, PublishResult
from roamd.storage.store import Store

L1 = ObjectKey("DEABC", "L1")
L2 = ObjectKey("DEABC", "L2")


def publish(store: Store, key: ObjectKey, body: bytes, audience: str = ALL, feed: str = "locations") -> PublishResult:
    return store.write(lambda cx: feeds.publish_txn(cx, feed, key, "2.3.0", body, audience, 5))


def tail(
    store: Store, after: int, feed: str = "locations", rows: int = 100, size: int = 1 << 20
) -> list[tuple[str, bytes | None]]:
    found = store.read(lambda cx: feeds.tail(cx, feed, after, max_rows=rows, max_bytes=size))
    return [(row.key.id, row.body) for row in found]


def test_unchanged_content_makes_no_version(memory: Store) -> None:
    assert publish(memory, L1, b"1") == PublishResult(1, created=True, changed=True)
    assert publish(memory, L1, b"1") == PublishResult(1, created=False, changed=False)
    assert publish(memory, L1, b"2") == PublishResult(2, created=False, changed=True)
    assert publish(memory, L1, b"2", audience="FRRMD") == PublishResult(3, created=False, changed=True)


def test_one_counter_runs_over_all_feeds(memory: Store) -> None:
    publish(memory, L1, b"1")
    publish(memory, L1, b"1", feed="tariffs")
    assert publish(memory, L2, b"1").version == 3
    assert memory.read(feeds.newest_version) == 3


def test_a_body_comes_back_byte_for_byte(memory: Store) -> None:
    body = '{"price":1.10,"näme":"é","big":12345678901234567890.000}'.encode()
    publish(memory, L1, body)
    row = memory.read(lambda cx: feeds.get_published(cx, "locations", L1))
    assert row is not None
    assert row.body == body


def test_the_tail_is_in_version_order_with_tombstones(memory: Store) -> None:
    for key, body in ((L1, b"1"), (L2, b"2"), (L1, b"3")):
        publish(memory, key, body)
    assert memory.write(lambda cx: feeds.withdraw_txn(cx, "locations", L2, 6)) == 4
    assert tail(memory, 0) == [("L1", b"3"), ("L2", None)]
    assert tail(memory, 3) == [("L2", None)]
    assert memory.read(lambda cx: feeds.get_published(cx, "locations", L2)) is None
    assert memory.write(lambda cx: feeds.withdraw_txn(cx, "locations", L2, 6)) is None
    assert publish(memory, L2, b"2") == PublishResult(5, created=True, changed=True)


def test_the_tail_is_bounded_by_rows_and_bytes_but_never_empty(memory: Store) -> None:
    for number in range(5):
        publish(memory, ObjectKey("DEABC", f"L{number}"), bytes(100))
    assert len(tail(memory, 0, rows=2)) == 2
    assert len(tail(memory, 0, size=250)) == 2
    assert len(tail(memory, 0, size=1)) == 1


def test_everyone_who_may_hold_an_object_is_remembered(memory: Store) -> None:
    def seen() -> frozenset[str]:
        (row,) = memory.read(lambda cx: feeds.tail(cx, "sessions", 0, max_rows=9, max_bytes=99))
        return row.seen_by

    publish(memory, L1, b"1", audience="", feed="sessions")
    assert seen() == frozenset()
    publish(memory, L1, b"1", audience="FRRMD BEXYZ", feed="sessions")
    publish(memory, L1, b"1", audience="NLABC", feed="sessions")
    assert seen() == {"FRRMD BEXYZ", "NLABC"}
    memory.write(lambda cx: feeds.withdraw_txn(cx, "sessions", L1, 6))
    assert seen() == {"FRRMD BEXYZ", "NLABC"}
    publish(memory, L1, b"1", audience=ALL, feed="sessions")
    assert seen() == {ALL}


def test_purging_tombstones_tells_which_cursors_missed_one(memory: Store) -> None:
    publish(memory, L1, b"1")
    publish(memory, L2, b"2")
    memory.write(lambda cx: feeds.withdraw_txn(cx, "locations", L1, 10))
    assert memory.write(lambda cx: feeds.purge_tombstones_txn(cx, 10)) == 0
    assert memory.read(feeds.extent) == (3, {})
    assert memory.write(lambda cx: feeds.purge_tombstones_txn(cx, 11)) == 1
    assert memory.read(feeds.extent) == (3, {"locations": 3})


def test_a_withdrawn_body_is_gone_from_the_file(store: Store) -> None:
    secret = b"the driver's secret itinerary"
    publish(store, L1, secret * 1000)
    publish(store, L2, secret)
    for key in (L1, L2):
        store.write(lambda cx, key=key: feeds.withdraw_txn(cx, "locations", key, 6))
    path = store.path
    store.close()
    assert path is not None
    assert secret not in path.read_bytes()


def test_objects_are_found_by_id_and_narrowed_by_what_is_named(memory: Store) -> None:
    for key in (ObjectKey("DEABC", "T", "RFID"), ObjectKey("DEABC", "T", "APP_USER"), ObjectKey("DEXYZ", "T", "RFID")):
        publish(memory, key, b"1", feed="user-credentials")

    def found(**named: str) -> list[tuple[str, str]]:
        rows = memory.read(lambda cx: feeds.find_published(cx, "user-credentials", "T", **named))
        return [(row.key.party, row.key.sub) for row in rows]

    assert found() == [("DEABC", "APP_USER"), ("DEABC", "RFID"), ("DEXYZ", "RFID")]
    assert found(sub="RFID") == [("DEABC", "RFID"), ("DEXYZ", "RFID")]
    assert found(party="DEABC", sub="RFID") == [("DEABC", "RFID")]


def test_pages_of_own_objects_are_stable_under_change(memory: Store) -> None:
    for number in (1, 3, 5, 7):
        publish(memory, ObjectKey("DEABC", f"L{number}"), b"1")
    first = memory.read(lambda cx: feeds.list_published(cx, "locations", None, 2))
    publish(memory, ObjectKey("DEABC", "L0"), b"1")
    publish(memory, ObjectKey("DEABC", "L1"), b"changed")
    memory.write(lambda cx: feeds.withdraw_txn(cx, "locations", ObjectKey("DEABC", "L5"), 6))
    second = memory.read(lambda cx: feeds.list_published(cx, "locations", first[-1].key, 2))
    assert [row.key.id for row in (*first, *second)] == ["L1", "L3", "L7"]


# --- mirrored ---------------------------------------------------------------------------------------------------


def mirror(store: Store, key: ObjectKey, body: bytes, generation: int = 0, peer: str = "alpha") -> int | None:
    return store.write(
        lambda cx: feeds.mirror_put_txn(cx, peer, "locations", key, ocpi="2.3.0", body=body, generation=generation)
    )


def mirrored(store: Store, peer: str = "alpha") -> dict[str, bytes]:
    rows = store.read(lambda cx: feeds.list_mirrored(cx, peer, "locations", None, 100))
    return {row.key.id: row.body for row in rows}


def test_only_a_change_is_a_new_version_here(memory: Store) -> None:
    assert mirror(memory, L1, b"1") == 1
    assert mirror(memory, L1, b"1") is None
    assert mirror(memory, L1, b"1", generation=7) is None
    assert mirror(memory, L1, b"2") == 2


def test_a_replacing_snapshot_removes_what_was_not_in_it(memory: Store) -> None:
    mirror(memory, L1, b"1")
    mirror(memory, L2, b"2")
    mirror(memory, L2, b"2", peer="beta")
    mirror(memory, L1, b"1", generation=1)
    gone = memory.write(lambda cx: feeds.mirror_finish_replacing_txn(cx, "alpha", "locations", 1))
    assert gone == [L2]
    assert mirrored(memory) == {"L1": b"1"}
    assert mirrored(memory, "beta") == {"L2": b"2"}


def test_a_cursor_is_kept_with_its_snapshot(memory: Store) -> None:
    assert memory.read(lambda cx: feeds.get_cursor(cx, "alpha", "locations")) == (b"", 0, False)
    for position in (FeedPosition(b"a", 1, replacing=True), FeedPosition(b"b", 1, replacing=False)):
        memory.write(lambda cx, position=position: feeds.set_cursor_txn(cx, "alpha", "locations", position))
        assert memory.read(lambda cx: feeds.get_cursor(cx, "alpha", "locations")) == position


def test_all_cursors_of_a_peer_are_read_at_once(memory: Store) -> None:
    for peer, feed in (("alpha", "locations"), ("alpha", "tariffs"), ("beta", "locations")):
        at = FeedPosition(f"{peer} {feed}".encode(), 1, replacing=False)
        memory.write(lambda cx, peer=peer, feed=feed, at=at: feeds.set_cursor_txn(cx, peer, feed, at))
    assert memory.read(lambda cx: feeds.cursors_of(cx, "alpha")) == {
        "locations": b"alpha locations",
        "tariffs": b"alpha tariffs",
    }
    assert memory.read(lambda cx: feeds.cursors_of(cx, "gamma")) == {}


def test_the_newest_row_of_each_feed_is_known_tombstones_too(memory: Store) -> None:
    publish(memory, L1, b"1")
    publish(memory, L2, b"2")
    memory.write(lambda cx: feeds.withdraw_txn(cx, "locations", L1, 10))
    assert memory.read(lambda cx: feeds.newest_in(cx, ["tariffs", "locations"])) == {"locations": 3, "tariffs": 0}


def test_dropping_a_peer_leaves_the_others(memory: Store) -> None:
    for peer in ("alpha", "beta"):
        mirror(memory, L1, b"1", peer=peer)
        memory.write(
            lambda cx, peer=peer: feeds.set_cursor_txn(cx, peer, "locations", FeedPosition(b"c", 0, replacing=False))
        )
    memory.write(lambda cx: feeds.drop_peer_txn(cx, "alpha"))
    assert (mirrored(memory), mirrored(memory, "beta")) == ({}, {"L1": b"1"})
    assert memory.read(lambda cx: feeds.get_cursor(cx, "alpha", "locations")).cursor == b""
    assert memory.read(lambda cx: feeds.get_cursor(cx, "beta", "locations")).cursor == b"c"


def test_a_credential_is_found_over_all_peers(memory: Store) -> None:
    for peer in ("beta", "alpha"):
        mirror(memory, ObjectKey("FRRMD", "UID", "RFID"), peer.encode(), peer=peer)
    rows = memory.read(lambda cx: feeds.find_mirrored(cx, "locations", "UID", "RFID"))
    assert [(row.peer, row.body) for row in rows] == [("alpha", b"alpha"), ("beta", b"beta")]
    assert memory.read(lambda cx: feeds.find_mirrored(cx, "locations", "UID", "APP_USER")) == []
    assert len(memory.read(lambda cx: feeds.find_mirrored(cx, "locations", "UID", peer="beta"))) == 1


def test_many_ids_are_looked_up_together_however_many_they_are(memory: Store) -> None:
    for number in (0, 4, 1023, 1024, 1499):
        mirror(memory, ObjectKey("FRRMD", f"C{number}"), b"1")
    for count, expected in ((0, 0), (1, 1), (5, 2), (1024, 3), (1025, 4), (1500, 5)):
        ids = [f"C{number}" for number in range(count)]
        rows = memory.read(lambda cx, ids=ids: feeds.find_mirrored_any(cx, "locations", ids))
        assert len({row.key.id for row in rows}) == len(rows) == expected


# --- runs -------------------------------------------------------------------------------------------------------


def test_a_run_ends_where_the_next_begins_and_an_unknown_run_has_no_end(memory: Store) -> None:
    assert memory.write(lambda cx: meta.begin_run_txn(cx, b"one", 1)) == 1
    publish(memory, L1, b"1")
    publish(memory, L1, b"2")
    assert memory.read(lambda cx: meta.run_end(cx, b"one")) == 2
    assert memory.write(lambda cx: meta.begin_run_txn(cx, b"two", 2)) == 3
    publish(memory, L1, b"3")
    assert memory.read(lambda cx: meta.run_end(cx, b"one")) == 2
    assert memory.read(lambda cx: meta.run_end(cx, b"two")) == 3
    assert memory.read(lambda cx: meta.run_end(cx, b"never")) is None


def test_a_version_that_a_restored_backup_forgot_lies_beyond_its_runs_end(memory: Store) -> None:
    memory.write(lambda cx: meta.begin_run_txn(cx, b"one", 1))
    publish(memory, L1, b"1")
    backup = memory.snapshot_bytes()
    forgotten = publish(memory, L1, b"2").version
    with Store.open_memory(backup) as restored:
        restored.write(lambda cx: meta.begin_run_txn(cx, b"two", 2))
        publish(restored, L1, b"3")
        publish(restored, L1, b"4")
        end = restored.read(lambda cx: meta.run_end(cx, b"one"))
    assert end is not None
    assert forgotten > end


def test_a_run_id_is_drawn_once(memory: Store) -> None:
    memory.write(lambda cx: meta.begin_run_txn(cx, b"one", 1))
    with pytest.raises(Exception, match="UNIQUE"):
        memory.write(lambda cx: meta.begin_run_txn(cx, b"one", 1))
