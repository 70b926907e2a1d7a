"""Feeds, events and records against plain dictionaries, over any order of operations that Hypothesis thinks of."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from roamd.model.keys import ObjectKey
from roamd.storage import events, feeds, records
from roamd.storage.feeds import ALL, FeedPosition
from roamd.storage.records import DELIVERED, FINAL, PARKED, QUEUED
from roamd.storage.store import Store
from tests.storage.doors import record

KEYS = st.builds(ObjectKey, st.just("DEABC"), st.sampled_from(["A", "B", "C"]), st.sampled_from(["", "1"]))
BODIES = st.sampled_from([b"{}", b'{"n":1.0}', b'{"n":1.00}'])
LIMITS = st.tuples(st.integers(1, 4), st.integers(1, 20))

settings.register_profile("storage", max_examples=60, stateful_step_count=40, deadline=None)
SETTINGS = settings.get_profile("storage")


class FeedMachine(RuleBasedStateMachine):
    """A publisher, and one follower that mirrors it with a cursor; the follower may miss the purge of a tombstone."""

    @initialize()
    def begin(self) -> None:
        self.publisher, self.follower = Store.open_memory(), Store.open_memory()
        self.published: dict[ObjectKey, bytes] = {}
        self.newest = 0
        self.snapshot_began = 0
        self.now_ms = 0

    def teardown(self) -> None:
        self.publisher.close()
        self.follower.close()

    @rule(key=KEYS, body=BODIES)
    def publish(self, key: ObjectKey, body: bytes) -> None:
        self.now_ms += 1
        result = self.publisher.write(lambda cx: feeds.publish_txn(cx, "tariffs", key, "2.3.0", body, ALL, self.now_ms))
        changed = self.published.get(key) != body
        assert (result.changed, result.created) == (changed, key not in self.published)
        self.newest += changed
        assert result.version <= self.newest
        self.published[key] = body

    @rule(key=KEYS)
    def withdraw(self, key: ObjectKey) -> None:
        self.now_ms += 1
        version = self.publisher.write(lambda cx: feeds.withdraw_txn(cx, "tariffs", key, self.now_ms))
        existed = self.published.pop(key, None) is not None
        self.newest += existed
        assert version == (self.newest if existed else None)

    @rule()
    def purge(self) -> None:
        self.publisher.write(lambda cx: feeds.purge_tombstones_txn(cx, self.now_ms + 1))

    @rule(limits=LIMITS)
    def follow_a_chunk(self, limits: tuple[int, int]) -> None:
        """What the protocol does over a link: one chunk and its cursor in one transaction, replacing if need be."""
        position = self.follower.read(lambda cx: feeds.get_cursor(cx, "p", "tariffs"))
        version = int(position.cursor or b"0")
        purged = self.publisher.read(feeds.extent).purged_upto.get("tariffs", 0)
        replacing = position.replacing or not position.cursor
        generation = position.generation
        # What was purged before a snapshot began was never in it.
        if position.cursor and purged > (max(version, self.snapshot_began) if replacing else version):
            version, replacing, generation = 0, True, generation + 1
        if version == 0:
            self.snapshot_began = self.newest
        rows = self.publisher.read(
            lambda cx: feeds.tail(cx, "tariffs", version, max_rows=limits[0], max_bytes=limits[1])
        )

        def take_over(cx: Any) -> None:
            for row in rows:
                if row.body is None:
                    feeds.mirror_remove_txn(cx, "p", "tariffs", row.key)
                else:
                    feeds.mirror_put_txn(
                        cx, "p", "tariffs", row.key, ocpi=row.ocpi, body=row.body, generation=generation
                    )
            complete = rows[-1].version if rows else self.newest
            if replacing and not rows:
                feeds.mirror_finish_replacing_txn(cx, "p", "tariffs", generation)
            more = replacing and bool(rows)
            feeds.set_cursor_txn(cx, "p", "tariffs", FeedPosition(b"%d" % complete, generation, replacing=more))

        self.follower.write(take_over)

    @rule()
    def converge(self) -> None:
        """Once everything was followed, the mirror is what is published, byte for byte."""
        for _ in range(100):
            self.follow_a_chunk((3, 20))
            position = self.follower.read(lambda cx: feeds.get_cursor(cx, "p", "tariffs"))
            if position.cursor == b"%d" % self.newest and not position.replacing:
                break
        rows = self.follower.read(lambda cx: feeds.list_mirrored(cx, "p", "tariffs", None, 100))
        assert {row.key: row.body for row in rows} == self.published

    @invariant()
    def own_objects_are_what_was_published(self) -> None:
        rows = self.publisher.read(lambda cx: feeds.list_published(cx, "tariffs", None, 100))
        assert {row.key: row.body for row in rows} == self.published
        assert [row.key for row in rows] == sorted(self.published, key=lambda key: (key.id, key.party, key.sub))
        assert self.publisher.read(feeds.newest_version) == self.newest


class EventMachine(RuleBasedStateMachine):
    """Events against a list; a reader that keeps its cursor learns of every record and every object's last change."""

    @initialize()
    def begin(self) -> None:
        self.store = Store.open_memory()
        self.last_change: dict[str, int] = {}
        self.records: list[int] = []
        self.newest = 0
        self.cursor = 0
        self.seen: list[int] = []
        self.acknowledged: list[tuple[int, int]] = []
        self.minute = 0

    def teardown(self) -> None:
        self.store.close()

    def add(self, type_: str, subject: str) -> int:
        number = self.store.write(
            lambda cx: events.append_txn(
                cx, at_ms=0, peer="p", type=type_, subject=subject, data=b"{}", coalesce=type_.startswith("object.")
            )
        )
        assert number > self.newest
        self.newest = number
        return number

    @rule()
    def record_came_in(self) -> None:
        self.records.append(self.add("record.received", "R"))

    @rule(subject=st.sampled_from("ABC"), removed=st.booleans())
    def object_changed(self, subject: str, removed: bool) -> None:
        self.last_change[subject] = self.add("object.removed" if removed else "object.changed", subject)

    @rule(limit=st.integers(1, 5), noted=st.booleans())
    def read_a_page(self, limit: int, noted: bool) -> None:
        """The note of what was read may come late or get lost in a crash."""
        page = self.store.read(lambda cx: events.page(cx, self.cursor, limit))
        self.seen += [row.id for row in page]
        self.cursor = page[-1].id if page else self.cursor
        if noted:
            self.store.write(lambda cx: events.mark_read_txn(cx, self.cursor))

    @rule()
    def acknowledge(self) -> None:
        self.store.write(lambda cx: events.acknowledge_txn(cx, self.cursor, self.minute * 60_000))
        self.acknowledged.append((self.minute, self.cursor))

    @rule(minutes=st.integers(1, 2000))
    def time_passes(self, minutes: int) -> None:
        self.minute += minutes

    @rule()
    def delete_old(self) -> None:
        self.store.write(lambda cx: events.delete_acknowledged_txn(cx, (self.minute - 1440) * 60_000))

    @rule()
    def restart(self) -> None:
        image = self.store.snapshot_bytes()
        self.store.close()
        self.store = Store.open_memory(image)

    @invariant()
    def nothing_is_missed(self) -> None:
        unread = [row.id for row in self.store.read(lambda cx: events.page(cx, self.cursor, 1000))]
        assert unread == sorted(unread)
        assert set(self.records) <= {*self.seen, *unread}
        assert set(self.last_change.values()) <= {*self.seen, *unread}
        assert not set(self.seen) & set(unread)

    @invariant()
    def nothing_goes_within_a_day_of_its_acknowledgement(self) -> None:
        may_be_gone = max((upto for minute, upto in self.acknowledged if minute < self.minute - 1440), default=0)
        kept = {row.id for row in self.store.read(lambda cx: events.page(cx, 0, 1000))}
        assert {number for number in self.records if number > may_be_gone} <= kept


class RecordMachine(RuleBasedStateMachine):
    """The law of records against a dictionary."""

    known = Bundle("known")

    @initialize()
    def begin(self) -> None:
        self.store = Store.open_memory()
        self.rows: dict[str, tuple[str | None, str, int | None]] = {}
        self.tails: dict[str, int] = {}

    def teardown(self) -> None:
        self.store.close()

    @rule(target=known, name=st.sampled_from("abcdefgh"), peer=st.sampled_from(["p", "q", None]))
    def accept(self, name: str, peer: str | None) -> Any:
        if name in self.rows:
            return multiple()
        sequence = None
        if peer is not None:
            sequence = self.tails[peer] = self.tails.get(peer, 0) + 1
        self.put(name, peer, QUEUED if peer else PARKED, sequence)
        return name

    def put(self, name: str, peer: str | None, state: str, sequence: int | None) -> None:
        chain = None if peer is None or sequence is None else {"p": 1, "q": 2}[peer]
        row = record(name, peer=peer, state=state, chain_id=chain, sequence=sequence)
        self.store.write(lambda cx: records.put_txn(cx, row))
        self.rows[name] = (peer, state, sequence)

    @rule(name=known, state=st.sampled_from([PARKED, FINAL, QUEUED]))
    def move(self, name: str, state: str) -> None:
        found = self.store.read(lambda cx: records.get(cx, "out", "DEABC", name.upper()))
        if found is None:
            return
        self.store.write(lambda cx: records.set_state_txn(cx, found.id, state, "why", now_ms=2))
        self.rows[name] = (self.rows[name][0], state, self.rows[name][2])

    @rule(peer=st.sampled_from(["p", "q"]), upto=st.integers(0, 8))
    def receipt(self, peer: str, upto: int) -> None:
        changed = self.store.write(lambda cx: records.mark_delivered_txn(cx, {"p": 1, "q": 2}[peer], upto, now_ms=3))
        due = {n for n, (p, s, q) in self.rows.items() if p == peer and s == QUEUED and q is not None and q <= upto}
        assert {row.record_id for row in changed} == due
        for name in due:
            self.rows[name] = (peer, DELIVERED, self.rows[name][2])

    @rule(name=known, peer=st.sampled_from(["p", "q"]))
    def retry_elsewhere(self, name: str, peer: str) -> None:
        if name in self.rows and self.rows[name][1] == PARKED:
            sequence = self.tails[peer] = self.tails.get(peer, 0) + 1
            self.put(name, peer, QUEUED, sequence)

    @rule(name=known)
    def drop(self, name: str) -> None:
        found = self.store.read(lambda cx: records.get(cx, "out", "DEABC", name))
        dropped = found is not None and self.store.write(lambda cx: records.drop_txn(cx, found.id))
        assert dropped == (name in self.rows and self.rows[name][2] is None)
        if dropped:
            del self.rows[name]

    @invariant()
    def the_law_holds(self) -> None:
        counted = self.store.read(records.counts)
        for peer in {peer for peer, _, _ in self.rows.values()}:
            states = [state for owner, state, _ in self.rows.values() if owner == peer]
            law = counted.pop(peer)
            assert law.accepted == len(states) == law.settled + law.queued + law.parked
            assert (law.queued, law.parked) == (states.count(QUEUED), states.count(PARKED))
        assert counted == {}


TestFeeds = FeedMachine.TestCase
TestFeeds.settings = SETTINGS
TestEvents = EventMachine.TestCase
TestEvents.settings = SETTINGS
TestRecords = RecordMachine.TestCase
TestRecords.settings = SETTINGS
