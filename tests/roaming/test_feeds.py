"""A publisher and a follower over one link after another: what the follower holds is what it is shown."""

from collections.abc import Callable
from typing import Any

import pytest

from roamd.errors import ProtocolError
from roamd.model.agreement import Agreement
from roamd.model.keys import ObjectKey
from roamd.model.roles import FEEDS
from roamd.protocol.bulk import ChunkFlag, FeedChunk, FeedItem, pack_feed_chunk, squeeze, unpack_feed_chunk
from roamd.protocol.frames import MAX_JOINED
from roamd.protocol.messages import FeedAck
from roamd.roaming import publisher as publisher_module
from roamd.storage import events, feeds
from roamd.storage.feeds import PublishedRow
from roamd.storage.store import Cx
from tests.model import bodies
from tests.support.roaming import Company, FeedLine, LogLines

DAY_MS = 24 * 3600 * 1000
NUMBER = {name: kind.number for name, kind in FEEDS.items()}
PUBLISHED = [name for name, kind in FEEDS.items() if kind.publisher_role == "cso"]


def tariff(number: int, **changes: Any) -> dict[str, Any]:
    return bodies.tariff(id=f"T-{number:04}", **changes)


def key(number: int) -> ObjectKey:
    return ObjectKey("DEABC", f"T-{number:04}")


def texts(*values: dict[str, Any]) -> set[bytes]:
    return {bodies.text(value) for value in values}


def tariffs_of(company: Company, label: str = "abc") -> set[bytes]:
    return set(company.mirrored(label, "tariffs").values())


def chunks_of(line: FeedLine, feed: str = "tariffs") -> list[FeedChunk]:
    return [chunk for chunk in map(unpack_feed_chunk, line.payloads) if chunk.feed == NUMBER[feed]]


def carried(line: FeedLine, feed: str = "tariffs") -> list[tuple[str, bool]]:
    """The ids of the items that went over the line, and whether each was a tombstone."""
    return [(item.id, item.body is None) for chunk in chunks_of(line, feed) for item in chunk.items]


def link(cso: Company, csp: Company) -> FeedLine:
    """A new link that carries everything."""
    line = FeedLine(cso, csp)
    line.pump()
    return line


# --- snapshot and tail ------------------------------------------------------------------------------------------


def test_a_snapshot_and_then_the_tail_bring_everything_byte_for_byte(cso: Company, csp: Company) -> None:
    first, second = tariff(1, price_note=1.10), tariff(2)
    cso.publish("tariffs", first)
    cso.publish("tariffs", second)
    line = link(cso, csp)
    assert tariffs_of(csp) == texts(first, second)
    assert line.publisher.in_sync()["tariffs"]
    changed = tariff(2, currency="SEK")
    cso.publish("tariffs", changed)
    assert line.pump() == 0  # nobody woke it
    line.wake_all()
    assert not line.publisher.in_sync()["tariffs"]
    assert line.pump() == 1
    assert tariffs_of(csp) == texts(first, changed)
    assert line.publisher.in_sync()["tariffs"]
    assert line.closed == []
    assert line.consumed == len(line.payloads)


def test_a_follower_that_was_away_is_sent_only_what_it_does_not_have(cso: Company, csp: Company) -> None:
    for number in range(50):
        cso.publish("tariffs", tariff(number))
    link(cso, csp)
    cso.publish("tariffs", tariff(7, currency="SEK"))
    cso.publish("tariffs", tariff(99))
    again = link(cso, csp)
    assert carried(again) == [("T-0007", False), ("T-0099", False)]
    assert len(csp.mirrored("abc", "tariffs")) == 51
    assert link(cso, csp).payloads == []


def test_content_that_did_not_change_makes_no_version_and_no_traffic(cso: Company, csp: Company) -> None:
    version = cso.publish("tariffs", tariff(1))
    link(cso, csp)
    assert cso.publish("tariffs", tariff(1)) == version
    assert link(cso, csp).payloads == []


def test_a_withdrawn_object_goes_and_may_come_back(cso: Company, csp: Company) -> None:
    cso.publish("tariffs", tariff(1))
    line = link(cso, csp)
    cso.withdraw("tariffs", key(1))
    line.wake_all()
    line.pump()
    assert tariffs_of(csp) == set()
    cso.publish("tariffs", tariff(1))
    line.wake_all()
    line.pump()
    assert tariffs_of(csp) == texts(tariff(1))


def test_feeds_take_turns(cso: Company, csp: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher_module, "MAX_ROWS", 1)
    for number in range(3):
        cso.publish("tariffs", tariff(number))
        cso.publish("locations", bodies.location(id=f"L{number}"))
    line = link(cso, csp)
    order = [unpack_feed_chunk(payload).feed for payload in line.payloads]
    assert order[: len(PUBLISHED)] == [NUMBER[feed] for feed in PUBLISHED]
    assert 3 <= order.count(NUMBER["locations"]) <= 4
    assert len(csp.mirrored("abc", "locations")) == len(csp.mirrored("abc", "tariffs")) == 3


def test_a_newcomer_is_sent_no_tombstones(cso: Company, csp: Company) -> None:
    for number in (1, 2):
        cso.publish("tariffs", tariff(number))
    cso.withdraw("tariffs", key(1))
    assert carried(link(cso, csp)) == [("T-0002", False)]


def test_an_empty_publisher_empties_the_follower(cso: Company, csp: Company) -> None:
    cso.publish("tariffs", tariff(1))
    link(cso, csp)
    fresh = Company(1, "DEABC", "cso", clock=cso.clock)  # everything was lost, also the secret of its cursors
    fresh.meets(csp, "rmd")
    line = link(fresh, csp)
    assert tariffs_of(csp) == set()
    assert chunks_of(line)[0].flags == ChunkFlag.REPLACING_FIRST | ChunkFlag.REPLACING_LAST | ChunkFlag.CAUGHT_UP
    assert line.publisher.in_sync()["tariffs"]


def test_a_follower_of_nothing_is_told_so_once(cso: Company, csp: Company) -> None:
    assert len(link(cso, csp).payloads) == len(PUBLISHED)
    assert link(cso, csp).payloads == []


# --- cursors ----------------------------------------------------------------------------------------------------


def flags(line: FeedLine) -> list[ChunkFlag]:
    return [chunk.flags & ~ChunkFlag.CAUGHT_UP for chunk in chunks_of(line)]


def test_a_cursor_of_an_earlier_run_goes_on_where_it_stood(cso: Company, csp: Company) -> None:
    cso.publish("tariffs", tariff(1))
    link(cso, csp)
    cso.begin_run()
    cso.publish("tariffs", tariff(2))
    line = link(cso, csp)
    assert carried(line) == [("T-0002", False)]
    assert flags(line) == [ChunkFlag.NONE]


def test_a_run_that_a_restored_backup_has_forgotten_makes_a_replacing_snapshot(
    cso: Company, csp: Company, log: LogLines
) -> None:
    cso.publish("tariffs", tariff(1))
    backup = cso.store.snapshot_bytes()
    cso.begin_run()
    cso.publish("tariffs", tariff(2))
    link(cso, csp)
    restored = cso.restored(backup)
    restored.publish("tariffs", tariff(3))
    line = link(restored, csp)
    assert tariffs_of(csp) == texts(tariff(1), tariff(3))
    assert flags(line) == [ChunkFlag.REPLACING_FIRST | ChunkFlag.REPLACING_LAST]
    assert {entry["feed"] for entry in log.of("feed_replaced")} >= {"tariffs"}


def test_a_version_behind_the_end_of_its_run_makes_a_replacing_snapshot(cso: Company, csp: Company) -> None:
    cso.publish("tariffs", tariff(1))
    backup = cso.store.snapshot_bytes()
    cso.publish("tariffs", tariff(2))  # in the same run, after the backup
    link(cso, csp)
    restored = cso.restored(backup)
    restored.publish("tariffs", tariff(3))
    restored.publish("tariffs", tariff(4))
    link(restored, csp)
    assert tariffs_of(csp) == texts(tariff(1), tariff(3), tariff(4))


def test_a_follower_whose_own_backup_was_restored_goes_on_from_there(cso: Company, csp: Company) -> None:
    cso.publish("tariffs", tariff(1))
    link(cso, csp)
    backup = csp.store.snapshot_bytes()
    cso.withdraw("tariffs", key(1))
    cso.publish("tariffs", tariff(2))
    link(cso, csp)
    restored = csp.restored(backup)
    assert tariffs_of(restored) == texts(tariff(1))
    link(cso, restored)
    assert tariffs_of(restored) == texts(tariff(2))


def test_a_cursor_older_than_the_purged_tombstones_makes_a_replacing_snapshot(cso: Company, csp: Company) -> None:
    for number in (1, 2):
        cso.publish("tariffs", tariff(number))
    link(cso, csp)
    cso.withdraw("tariffs", key(1))
    now = cso.clock.now_ms()
    assert cso.store.write(lambda cx: feeds.purge_tombstones_txn(cx, now + 1)) == 1
    line = link(cso, csp)
    assert tariffs_of(csp) == texts(tariff(2))
    assert flags(line) == [ChunkFlag.REPLACING_FIRST, ChunkFlag.REPLACING_LAST]


def test_a_purged_tombstone_that_the_follower_had_seen_costs_nothing(cso: Company, csp: Company) -> None:
    cso.publish("tariffs", tariff(1))
    link(cso, csp)
    cso.withdraw("tariffs", key(1))
    link(cso, csp)
    cso.store.write(lambda cx: feeds.purge_tombstones_txn(cx, cso.clock.now_ms() + 1))
    assert link(cso, csp).payloads == []


def test_a_tombstone_that_was_purged_before_a_link_that_stood_still_had_sent_it_is_made_up_for(
    cso: Company, csp: Company
) -> None:
    for number in (1, 2):
        cso.publish("tariffs", tariff(number))
    line = link(cso, csp)
    cso.withdraw("tariffs", key(1))
    cso.store.write(lambda cx: feeds.purge_tombstones_txn(cx, cso.clock.now_ms() + 1))
    line.wake_all()
    line.pump()
    assert tariffs_of(csp) == texts(tariff(2))
    assert link(cso, csp).payloads == []


def test_a_feed_without_news_is_not_read_when_a_link_comes_up(
    cso: Company, csp: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    cso.publish("tariffs", tariff(1))
    link(cso, csp)
    cso.publish("locations", bodies.location())
    link(cso, csp)
    reads: list[str] = []
    tail = feeds.tail

    def counted(cx: Cx, feed: str, after_version: int, **most: int) -> list[PublishedRow]:
        reads.append(feed)
        return tail(cx, feed, after_version, **most)

    monkeypatch.setattr(feeds, "tail", counted)
    line = link(cso, csp)
    assert (line.payloads, reads) == ([], [])
    cso.publish("tariffs", tariff(2))
    line.wake_all()
    line.pump()
    assert carried(line) == [("T-0002", False)]


@pytest.mark.parametrize("cursor", [b"x", bytes(56), b"x" * 64])
def test_a_cursor_that_was_not_made_here_makes_a_replacing_snapshot(cso: Company, csp: Company, cursor: bytes) -> None:
    cso.publish("tariffs", tariff(1))
    line = FeedLine(cso, csp)
    line.publisher._following.clear()
    line.publisher.on_acks([FeedAck(NUMBER["tariffs"], cursor)])
    line.pump()
    assert flags(line) == [ChunkFlag.REPLACING_FIRST | ChunkFlag.REPLACING_LAST]


# --- interrupted ------------------------------------------------------------------------------------------------


def test_an_interrupted_replacing_snapshot_goes_on_over_the_next_link_and_loses_nothing(
    cso: Company, csp: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(12):
        cso.publish("tariffs", tariff(number))
    link(cso, csp)
    for number in range(6):
        cso.withdraw("tariffs", key(number))
    cso.store.write(lambda cx: feeds.purge_tombstones_txn(cx, cso.clock.now_ms() + 1))
    monkeypatch.setattr(publisher_module, "MAX_ROWS", 2)
    broken = FeedLine(cso, csp)
    broken.pump(at_most=2)  # it falls in the middle of the snapshot
    assert len(tariffs_of(csp)) == 12
    cso.withdraw("tariffs", key(7))  # was in the part that arrived
    cso.publish("tariffs", tariff(8, currency="SEK"))
    cso.publish("tariffs", tariff(20))
    line = link(cso, csp)
    assert ChunkFlag.REPLACING_FIRST not in flags(line)[0]
    assert tariffs_of(csp) == texts(tariff(6), tariff(8, currency="SEK"), *map(tariff, (9, 10, 11, 20)))


def test_a_chunk_that_was_committed_and_never_acknowledged_is_not_sent_again(
    cso: Company, csp: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher_module, "MAX_ROWS", 1)
    for number in range(3):
        cso.publish("tariffs", tariff(number))
    line = FeedLine(cso, csp)
    line.follower.send = lambda ack: None  # lost on its way
    line.pump(at_most=2)
    again = link(cso, csp)
    assert len(carried(line)) + len(carried(again)) == 3
    assert len(tariffs_of(csp)) == 3


def test_a_chunk_that_never_arrived_is_sent_again(cso: Company, csp: Company) -> None:
    cso.publish("tariffs", tariff(1))
    line = FeedLine(cso, csp)
    while line.chunk() is not None:
        pass
    assert tariffs_of(csp) == set()
    assert not line.publisher.in_sync()["tariffs"]
    link(cso, csp)
    assert tariffs_of(csp) == texts(tariff(1))


def test_what_an_older_link_still_carries_replaces_nothing_newer(cso: Company, csp: Company) -> None:
    cso.publish("tariffs", tariff(1))
    old = FeedLine(cso, csp)
    under_way = list(iter(old.chunk, None))
    cso.publish("tariffs", tariff(1, currency="SEK"))
    new = link(cso, csp)
    for payload in under_way:
        old.arrive(payload)
    assert old.consumed == len(under_way)
    assert tariffs_of(csp) == texts(tariff(1, currency="SEK"))
    cso.publish("tariffs", tariff(2))
    new.wake_all()
    new.pump()
    assert tariffs_of(csp) == texts(tariff(1, currency="SEK"), tariff(2))


# --- who sees what ----------------------------------------------------------------------------------------------


def session(number: int = 1, contract: str = "FR-RMD-C00000042-X") -> dict[str, Any]:
    party = {"country_code": contract[:2], "party_id": contract[3:6]}
    return bodies.session(id=f"S-{number}", cdr_token=bodies.cdr_token(contract_id=contract, **party))


@pytest.fixture
def tnm(cso: Company, csp: Company) -> Company:
    """A second CSP."""
    company = Company(3, "NLTNM", "csp", clock=cso.clock)
    cso.meets(company, "tnm")
    company.meets(cso, "abc")
    return company


def test_one_change_is_read_and_compressed_once_however_many_follow(
    cso: Company, csp: Company, tnm: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    cso.publish("tariffs", tariff(1))
    lines = link(cso, csp), link(cso, tnm)
    did: list[str] = []

    def counted(what: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            did.append(what)
            return function(*arguments, **named)

        return call

    monkeypatch.setattr(feeds, "tail", counted("read", feeds.tail))
    monkeypatch.setattr(publisher_module, "squeeze", counted("squeezed", squeeze))
    cso.publish("tariffs", tariff(2))
    payloads = []
    for line in lines:
        line.publisher.wake("tariffs")
        payloads.append(line.chunk())
        assert line.chunk() is None, "there is nothing behind the newest version"
    assert did == ["read", "squeezed"]
    for line, payload in zip(lines, payloads, strict=True):
        assert payload is not None
        assert ChunkFlag.CAUGHT_UP in unpack_feed_chunk(payload).flags
        line.arrive(payload)
    assert tariffs_of(csp) == tariffs_of(tnm) == texts(tariff(1), tariff(2))


def test_a_session_is_shown_to_its_home_alone(cso: Company, csp: Company, tnm: Company) -> None:
    cso.publish("sessions", session(1))
    cso.publish("sessions", session(2, "NL-TNM-C00000001-X"))
    cso.publish("sessions", session(3, "BE-BEC-C00000001-X"))
    link(cso, csp)
    link(cso, tnm)
    assert list(csp.mirrored("abc", "sessions")) == [ObjectKey("DEABC", "S-1")]
    assert list(tnm.mirrored("abc", "sessions")) == [ObjectKey("DEABC", "S-2")]


def test_a_session_that_turns_out_to_be_anothers_is_taken_back(cso: Company, csp: Company, tnm: Company) -> None:
    cso.publish("sessions", session())
    lines = link(cso, csp), link(cso, tnm)
    cso.publish("sessions", session(1, "NL-TNM-C00000001-X"))
    for line in lines:
        line.wake_all()
        line.pump()
    assert csp.mirrored("abc", "sessions") == {}
    assert len(tnm.mirrored("abc", "sessions")) == 1
    assert carried(lines[1], "sessions") == [("S-1", False)]


def test_a_session_that_was_anothers_is_withdrawn_without_a_word_to_whom_it_was_never_shown(
    cso: Company, csp: Company, tnm: Company
) -> None:
    cso.publish("sessions", session())
    lines = link(cso, csp), link(cso, tnm)
    cso.withdraw("sessions", ObjectKey("DEABC", "S-1"))
    for line in lines:
        line.wake_all()
        line.pump()
    assert carried(lines[0], "sessions") == [("S-1", False), ("S-1", True)]
    assert carried(lines[1], "sessions") == []


def test_what_a_peer_may_not_see_is_passed_over_and_a_long_silence_is_broken(
    cso: Company, csp: Company, tnm: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher_module, "SILENT_VERSIONS", 20)
    link(cso, tnm)
    for number in range(50):
        cso.publish("sessions", session(number))
    line = link(cso, tnm)
    assert tnm.mirrored("abc", "sessions") == {}
    assert 1 <= len(chunks_of(line, "sessions")) <= 3
    assert carried(line, "sessions") == []
    again = FeedLine(cso, tnm)
    assert again.publisher._following[NUMBER["sessions"]].version == 50
    for number in range(5):
        cso.publish("sessions", session(100 + number))
    assert chunks_of(link(cso, tnm), "sessions") == []


def test_a_feed_that_is_not_agreed_is_refused_and_logged(cso: Company, csp: Company, log: LogLines) -> None:
    cso.meets(csp, "rmd", feeds_out=("locations",))
    cso.publish("tariffs", tariff(1))
    line = link(cso, csp)
    assert tariffs_of(csp) == set()
    assert {entry["feed"] for entry in log.of("feed_refused")} == {*PUBLISHED} - {"locations"}
    line.publisher.on_acks([FeedAck(200, b"")])
    assert log.of("feed_refused")[-1]["feed"] == "200"


def rights_changed(cso: Company, **changes: Any) -> None:
    peer = cso.peer("rmd")
    agreement = Agreement(**{name: getattr(peer.agreement, name) for name in Agreement.__struct_fields__} | changes)
    row = peer.row._replace(agreement_json=agreement.to_json(), rights_version=peer.row.rights_version + 1)
    cso.directory.put(row)


@pytest.mark.parametrize("over_the_same_link", [True, False])
def test_a_change_of_rights_replaces_what_was_shown_under_the_old_ones(
    cso: Company, csp: Company, over_the_same_link: bool
) -> None:
    cso.publish("sessions", session(1))
    cso.publish("sessions", session(2, "BE-BEC-C00000001-X"))
    line = link(cso, csp)
    assert len(csp.mirrored("abc", "sessions")) == 1
    rights_changed(cso, contract_prefixes=("BEBEC",))
    if over_the_same_link:
        line.pump()
    else:
        line = link(cso, csp)
    assert list(csp.mirrored("abc", "sessions")) == [ObjectKey("DEABC", "S-2")]
    assert link(cso, csp).payloads == []


def test_a_feed_that_is_no_longer_agreed_is_emptied_over_the_link_that_is_up(cso: Company, csp: Company) -> None:
    cso.publish("tariffs", tariff(1))
    line = link(cso, csp)
    rights_changed(cso, feeds_out=("locations",))
    line.pump()
    assert tariffs_of(csp) == set()


# --- what may be believed ---------------------------------------------------------------------------------------


def crafted(line: FeedLine, *items: FeedItem, feed: str = "tariffs", cursor: bytes = b"c") -> None:
    """A chunk that a well-behaved publisher would not make."""
    line.arrive(pack_feed_chunk(FeedChunk(NUMBER[feed], ChunkFlag.NONE, cursor, items)))


def item(number: int, party: str = "DEABC", **changes: Any) -> FeedItem:
    return FeedItem(party, f"T-{number:04}", "", "2.3.0", bodies.text(tariff(number, **changes)))


def test_a_foreign_partys_object_is_refused_and_its_neighbours_are_taken(
    cso: Company, csp: Company, log: LogLines
) -> None:
    line = FeedLine(cso, csp)
    crafted(
        line,
        item(1),
        item(2, "NLTNM", country_code="NL", party_id="TNM"),
        item(3, "DEABC", country_code="NL", party_id="TNM"),
        FeedItem("DEABC", "T-0009", "", "2.3.0", bodies.text(tariff(4))),
        FeedItem("DEABC", "T-0005", "", "2.3.0", b'{"id": 5}'),
        FeedItem("DEABC", "T-0006", "", "9.9", bodies.text(tariff(6))),
        item(7),
    )
    assert set(csp.mirrored("abc", "tariffs")) == {key(1), key(7)}
    told = {line["reason"]: line["count"] for line in log.of("object_refused")}
    assert sum(told.values()) == 5
    assert told["foreign-party"] == 1


def test_thousands_of_objects_that_are_refused_in_one_chunk_are_one_line_of_the_log(
    cso: Company, csp: Company, log: LogLines
) -> None:
    line = FeedLine(cso, csp)
    crafted(line, *[FeedItem("NLTNM", "", "", "")] * 4096)
    assert [each["count"] for each in log.of("object_refused")] == [4096]
    assert line.acks[-1] == FeedAck(NUMBER["tariffs"], b"c")


def test_the_end_of_a_snapshot_that_never_began_makes_nobody_look_for_what_is_over(
    cso: Company, csp: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = FeedLine(cso, csp)
    crafted(line, item(1))
    monkeypatch.setattr(feeds, "mirror_finish_replacing_txn", lambda *asked: pytest.fail("that reads all there is"))
    line.arrive(pack_feed_chunk(FeedChunk(NUMBER["tariffs"], ChunkFlag.REPLACING_LAST, b"d", [])))
    assert line.acks[-1] == FeedAck(NUMBER["tariffs"], b"d")
    assert set(csp.mirrored("abc", "tariffs")) == {key(1)}


def test_a_foreign_partys_tombstone_removes_nothing(cso: Company, csp: Company, tnm: Company) -> None:
    line = FeedLine(cso, csp)
    crafted(line, item(1))
    crafted(line, FeedItem("NLTNM", "T-0001", "", "2.3.0", None))
    assert set(csp.mirrored("abc", "tariffs")) == {key(1)}


def test_a_feed_in_the_wrong_direction_ends_the_link(cso: Company, csp: Company) -> None:
    line = FeedLine(cso, csp)
    for number in (NUMBER["user-credentials"], 99):
        with pytest.raises(ProtocolError, match=r"not agreed: feeds\.user-credentials|not known here"):
            line.arrive(pack_feed_chunk(FeedChunk(number, ChunkFlag.NONE, b"c", [])))


def test_a_status_is_held_back_until_its_location_is_there(cso: Company, csp: Company) -> None:
    status = FeedItem(
        "DEABC", "LOC-1", "E1", "2.3.0", bodies.text({"status": "CHARGING", "last_updated": bodies.STAMP})
    )
    line = FeedLine(cso, csp)
    crafted(line, status, feed="evse-status")
    assert event_types(csp) == []
    place = FeedItem("DEABC", "LOC-1", "", "2.3.0", bodies.text(bodies.location()))
    crafted(line, place, feed="locations")
    assert event_types(csp) == ["object.changed"]


def event_types(company: Company) -> list[str]:
    return [event.type for event in company.store.read(lambda cx: events.page(cx, 0, 1000))]


def test_the_backend_is_told_once_per_object_what_changed_and_what_went(cso: Company, csp: Company) -> None:
    cso.publish("tariffs", tariff(1))
    cso.publish("tariffs", tariff(2))
    line = link(cso, csp)
    assert event_types(csp) == ["object.changed"] * 2
    assert line.took == 1
    cso.publish("tariffs", tariff(1, currency="SEK"))
    cso.withdraw("tariffs", key(2))
    line.wake_all()
    line.pump()
    assert event_types(csp) == ["object.changed", "object.removed"]
    assert b"T-0001" in csp.store.read(lambda cx: events.page(cx, 0, 1))[0].data


# --- size -------------------------------------------------------------------------------------------------------


def incompressible(number: int, size: int) -> dict[str, Any]:
    """A tariff whose text zstd cannot shrink much."""
    noise = Company(9, "DEABC", "cso").random(size // 2).hex()
    return tariff(number, noise=f"{number}{noise}")


def test_payloads_stay_within_their_limit_however_badly_they_compress(
    cso: Company, csp: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher_module, "MAX_BYTES", 10_000_000)
    values = [incompressible(number, 60_000) for number in range(24)]
    for value in values:
        cso.publish("tariffs", value)
    line = link(cso, csp)
    assert tariffs_of(csp) == texts(*values)
    assert all(len(payload) <= MAX_JOINED for payload in line.payloads)


def test_the_largest_object_goes_alone(cso: Company, csp: Company) -> None:
    values = [tariff(1), incompressible(2, 255_000), tariff(3)]
    for value in values:
        cso.publish("tariffs", value)
    link(cso, csp)
    assert tariffs_of(csp) == texts(*values)


def test_many_small_objects_with_long_names_are_cut_where_they_fit(cso: Company, csp: Company) -> None:
    values = [bodies.tariff(id=f"{number:036}") for number in range(1000)]
    for value in values:
        cso.publish("tariffs", value)
    line = link(cso, csp)
    assert tariffs_of(csp) == texts(*values)
    assert len(carried(line)) == 1000
    assert len(chunks_of(line)) < 10


def test_what_was_passed_over_while_a_feed_was_not_agreed_comes_by_a_replacing_snapshot(
    cso: Company, csp: Company
) -> None:
    cso.publish("tariffs", tariff(1))
    line = link(cso, csp)
    others = tuple(feed for feed in csp.peer("abc").agreement.feeds_in if feed != "tariffs")
    csp.meets(cso, "abc", feeds_in=others)
    cso.publish("tariffs", tariff(2))
    line.wake_all()
    line.pump()
    assert (len(tariffs_of(csp)), line.closed) == (1, []), "it was agreed when the feed began: nobody broke a rule"
    csp.meets(cso, "abc")
    cso.publish("tariffs", tariff(3))
    line.wake_all()
    line.pump()
    assert len(tariffs_of(csp)) == 1, "behind a gap nothing counts"
    peer = cso.peer("rmd")
    cso.directory.put(peer.row._replace(rights_version=peer.row.rights_version + 1))
    line.wake_all()
    line.pump()
    assert len(tariffs_of(csp)) == 3
