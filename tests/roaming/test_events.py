"""What came in, as the backend reads it."""

import json

import pytest

from roamd.errors import Malformed
from roamd.model.keys import ObjectKey
from roamd.roaming import events as events_module
from roamd.roaming.events import EventDesk, object_event_txn, peer_event_txn
from roamd.roaming.operations import AcknowledgeEvents, EventPage, ReadEvents, WebhookPosition
from roamd.storage import events, ledgers
from tests.model import bodies
from tests.support.roaming import Company, answer_of, carry

DAY_MS = 24 * 3600 * 1000


@pytest.fixture
def desk(csp: Company) -> EventDesk:
    return EventDesk(csp.clock, csp.store)


def read(desk: EventDesk, after: str | None = None, limit: int = 100) -> EventPage:
    page: EventPage = answer_of(desk.read, ReadEvents(after, limit))
    return page


def changed(csp: Company, object_id: str, type_: str = "object.changed", party: str = "DEABC") -> None:
    csp.store.write(lambda cx: object_event_txn(cx, "abc", "tariffs", ObjectKey(party, object_id), "7", type_, 1))


def test_a_records_event_carries_the_whole_record_byte_for_byte(cso: Company, csp: Company, desk: EventDesk) -> None:
    value = bodies.cdr(id="C-1", note=1.10)
    cso.hand_in(value)
    carry(cso, csp)
    (event,) = read(desk).items
    assert (event.type, event.peer, event.id) == ("record.received", "abc", event.cursor)
    assert bytes(event.data).endswith(b',"record":' + bodies.text(value) + b"}")
    data = json.loads(bytes(event.data))
    assert (data["record_id"], data["state"], data["kind"]) == ("C-1", "DELIVERED", "CDR")


def test_what_was_erased_in_the_ledger_is_erased_in_its_event(cso: Company, csp: Company, desk: EventDesk) -> None:
    cso.hand_in(bodies.cdr(id="C-1"))
    carry(cso, csp)
    (chain,) = csp.chains(own=False)
    csp.store.write(lambda cx: ledgers.erase_entry_txn(cx, chain.chain_id, 1))
    assert json.loads(bytes(read(desk).items[0].data))["record"] is None


def test_unread_changes_of_one_object_are_one_event_and_read_ones_stay(csp: Company, desk: EventDesk) -> None:
    changed(csp, "T-1")
    changed(csp, "T-2")
    changed(csp, "T-1", "object.removed")
    first = read(desk)
    assert [(event.type, b"T-1" in bytes(event.data)) for event in first.items] == [
        ("object.changed", False), ("object.removed", True),
    ]  # fmt: skip
    changed(csp, "T-1")
    assert len(read(desk).items) == 3
    assert [event.type for event in read(desk, first.next).items] == ["object.changed"]


def test_who_reads_from_a_cursor_of_another_store_does_not_keep_later_changes_apart(
    csp: Company, desk: EventDesk
) -> None:
    far = str(10**15)
    assert read(desk, far) == EventPage([], far, more=False)
    for _ in range(3):
        changed(csp, "T-1")
    assert len(read(desk).items) == 1, "nobody has read them, so they are one"


def test_objects_of_two_parties_with_one_id_are_two_and_each_says_whose_it_is(csp: Company, desk: EventDesk) -> None:
    changed(csp, "T-1")
    changed(csp, "T-1", party="DEABD")
    assert [json.loads(bytes(event.data))["party"] for event in read(desk).items] == ["DEABC", "DEABD"]
    card = ObjectKey("FRXYZ", "04AA", "RFID")
    csp.store.write(lambda cx: object_event_txn(cx, "abc", "user-credentials", card, "8", "object.removed", 1))
    assert json.loads(bytes(read(desk).items[-1].data)) == {
        "feed": "user-credentials", "id": "04AA", "version": "8", "party": "FRXYZ", "type": "RFID",
    }  # fmt: skip


def test_reading_again_from_a_cursor_gives_the_same_and_the_next_one_goes_on(csp: Company, desk: EventDesk) -> None:
    for number in range(5):
        csp.store.write(lambda cx, number=number: peer_event_txn(cx, f"p{number}", "PAIRED", "UP", 1))
    first = read(desk, limit=2)
    assert read(desk, limit=2) == first
    second = read(desk, first.next, limit=2)
    assert [event.peer for event in first.items + second.items] == ["p0", "p1", "p2", "p3"]
    last = read(desk, second.next)
    assert read(desk, last.next) == EventPage([], last.next, more=False)
    assert read(desk, "").items == read(desk, None).items
    assert len(read(desk, limit=0).items) == 1
    assert len(read(desk, limit=10**6).items) == 5


def test_a_page_is_bounded_by_bytes_and_never_empty_for_that(
    cso: Company, csp: Company, desk: EventDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_module, "MAX_PAGE_BYTES", 3000)
    for number in range(5):
        cso.hand_in(bodies.cdr(id=f"C-{number}", note="x" * 1000))
    carry(cso, csp)
    seen, after = 0, None
    while (page := read(desk, after)).items:
        assert 1 <= len(page.items) <= 2
        seen, after = seen + len(page.items), page.next
    assert seen == 5
    monkeypatch.setattr(events_module, "MAX_PAGE_BYTES", 1)
    assert len(read(desk).items) == 1


def test_acknowledged_events_may_go_after_a_day_and_not_before(csp: Company, desk: EventDesk) -> None:
    changed(csp, "T-1")
    cursor = read(desk).next
    changed(csp, "T-2")
    assert answer_of(desk.acknowledge, AcknowledgeEvents(cursor)) is None
    assert len(read(desk).items) == 2
    now = csp.clock.now_ms()
    assert csp.store.write(lambda cx: events.delete_acknowledged_txn(cx, now)) == 0
    assert csp.store.write(lambda cx: events.delete_acknowledged_txn(cx, now + 2 * 60_000)) == 1
    assert len(read(desk).items) == 1


def test_a_cursor_that_is_none_of_ours_is_refused(desk: EventDesk) -> None:
    for cursor in ("x", "-1", "1" * 30, "\u0661"):
        for handle, operation in ((desk.read, ReadEvents(cursor)), (desk.acknowledge, AcknowledgeEvents(cursor))):
            with pytest.raises(Malformed):
                answer_of(handle, operation)


def test_a_webhook_keeps_its_place(csp: Company, desk: EventDesk) -> None:
    assert answer_of(desk.webhook_position, WebhookPosition("w")) == "0"
    assert answer_of(desk.webhook_position, WebhookPosition("w", "17")) == "17"
    assert answer_of(EventDesk(csp.clock, csp.store).webhook_position, WebhookPosition("w")) == "17"
    assert answer_of(desk.webhook_position, WebhookPosition("other")) == "0"


def test_the_newest_is_told(csp: Company, desk: EventDesk) -> None:
    assert desk.newest() == "0"
    changed(csp, "T-1")
    assert desk.newest() == read(desk).next
