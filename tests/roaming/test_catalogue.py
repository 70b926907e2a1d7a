"""Own objects as the backend publishes and reads them, and peers' objects as it reads those."""

import json
from typing import Any

import pytest

from roamd.errors import Conflict, Malformed, NotFound, PreconditionFailed
from roamd.model.keys import ObjectKey
from roamd.model.objects import Checked, check_object
from roamd.roaming.catalogue import Catalogue
from roamd.roaming.mirror import Mirror
from roamd.roaming.operations import (
    DeleteObject,
    GetObject,
    GetPeerObject,
    Idempotency,
    ListObjects,
    ListPeerObjects,
    PatchEvse,
    PatchObject,
    PutObject,
    PutObjects,
    StoredObject,
)
from roamd.storage import feeds
from tests.model import bodies
from tests.support.roaming import Company, FeedLine, StillClock, answer_of

PARTIES = frozenset({"DEABC", "DEABD"})
LATER = "2026-02-01T00:00:00Z"


class Shelf:
    """The CSO's catalogue."""

    def __init__(self, cso: Company) -> None:
        self.cso = cso
        self.woken: list[str] = []
        self.catalogue = Catalogue(cso.clock, cso.store, PARTIES, self.woken.append)

    def put(self, feed: str, value: dict[str, Any], **changes: Any) -> StoredObject:
        stored: StoredObject = answer_of(self.catalogue.put, PutObject(feed, checked(feed, value), **changes))
        return stored

    def get(self, feed: str, id_: str, **changes: Any) -> StoredObject:
        stored: StoredObject = answer_of(self.catalogue.get, GetObject(feed, id_, **changes))
        return stored

    def patch_evse(self, uid: str, patch: dict[str, Any] | bytes, **changes: Any) -> StoredObject:
        text = patch if isinstance(patch, bytes) else json.dumps(patch).encode()
        stored: StoredObject = answer_of(
            self.catalogue.patch_evse, PatchEvse(changes.pop("location", "loc-1"), uid, text, "2.3.0", **changes)
        )
        return stored

    def statuses(self) -> dict[str, bytes]:
        rows = self.cso.store.read(lambda cx: feeds.list_published(cx, "evse-status", None, 99))
        return {row.key.sub: row.body or b"" for row in rows}


def checked(feed: str, value: dict[str, Any]) -> Checked:
    return check_object(feed, "2.3.0", bodies.text(value), own_parties=PARTIES)


@pytest.fixture
def shelf(cso: Company) -> Shelf:
    return Shelf(cso)


# --- put, get, list, delete -------------------------------------------------------------------------------------


def test_an_object_is_read_as_it_was_put_in_whatever_case_it_is_named(shelf: Shelf) -> None:
    value = bodies.tariff(price_note=1.10)
    first = shelf.put("tariffs", value)
    assert (first.created, first.changed, first.body) == (True, True, bodies.text(value))
    again = shelf.put("tariffs", value)
    assert (again.created, again.changed, again.etag) == (False, False, first.etag)
    other = shelf.put("tariffs", bodies.tariff(currency="SEK"))
    assert (other.created, other.changed) == (False, True)
    assert other.etag != first.etag
    assert shelf.get("tariffs", "t-1").body == bodies.text(bodies.tariff(currency="SEK"))
    assert shelf.get("tariffs", "T-1").etag == other.etag
    assert shelf.woken == ["tariffs"] * 3
    with pytest.raises(NotFound):
        shelf.get("tariffs", "T-2")


def test_if_match_and_if_none_match_are_held(shelf: Shelf) -> None:
    first = shelf.put("tariffs", bodies.tariff(), only_new=True)
    with pytest.raises(PreconditionFailed):
        shelf.put("tariffs", bodies.tariff(currency="SEK"), only_new=True)
    for wrong in ('"9999"', '"x", "y"'):
        with pytest.raises(PreconditionFailed):
            shelf.put("tariffs", bodies.tariff(currency="SEK"), if_match=wrong)
    with pytest.raises(PreconditionFailed):
        shelf.put("tariffs", bodies.tariff(id="T-2"), if_match="*")
    second = shelf.put("tariffs", bodies.tariff(currency="SEK"), if_match=f'"x", {first.etag}')
    shelf.put("tariffs", bodies.tariff(currency="DKK"), if_match="*")
    with pytest.raises(PreconditionFailed):
        answer_of(shelf.catalogue.delete, DeleteObject("tariffs", "T-1", if_match=second.etag))
    with pytest.raises(PreconditionFailed):
        answer_of(shelf.catalogue.patch, PatchObject("tariffs", "T-1", b"{}", "2.3.0", if_match=second.etag))
    assert b"DKK" in shelf.get("tariffs", "T-1").body


def test_many_are_put_together(shelf: Shelf) -> None:
    values = [bodies.tariff(id=f"T-{number}") for number in range(3)]
    stored = answer_of(shelf.catalogue.put_many, PutObjects("tariffs", tuple(checked("tariffs", v) for v in values)))
    assert [one.body for one in stored] == [bodies.text(value) for value in values]
    assert shelf.woken == ["tariffs"]


def test_an_id_that_several_have_must_be_told_apart(shelf: Shelf) -> None:
    shelf.put("tariffs", bodies.tariff())
    shelf.put("tariffs", bodies.tariff(party_id="ABD"))
    with pytest.raises(Conflict, match="name `party` or `type`"):
        shelf.get("tariffs", "T-1")
    assert b"ABD" in shelf.get("tariffs", "T-1", party="DEABD").body
    answer_of(shelf.catalogue.delete, DeleteObject("tariffs", "T-1", party="DEABD"))
    assert b"ABD" not in shelf.get("tariffs", "T-1").body
    shelf.put("user-credentials", bodies.token(uid="X"))
    shelf.put("user-credentials", bodies.token(uid="X", type="APP_USER"))
    with pytest.raises(Conflict):
        shelf.get("user-credentials", "x")
    assert b"APP_USER" in shelf.get("user-credentials", "x", token_type="app_user").body


def test_a_list_is_stable_while_objects_come_and_go(shelf: Shelf) -> None:
    for number in range(6):
        shelf.put("tariffs", bodies.tariff(id=f"T/{number} ü"))
    first = answer_of(shelf.catalogue.list, ListObjects("tariffs", None, 3))
    answer_of(shelf.catalogue.delete, DeleteObject("tariffs", "t/2 ü"))
    shelf.put("tariffs", bodies.tariff(id="T/0 ü", currency="SEK"))
    second = answer_of(shelf.catalogue.list, ListObjects("tariffs", first.next, 3))
    third = answer_of(shelf.catalogue.list, ListObjects("tariffs", second.next, 3))
    ids = [json.loads(one.body)["id"] for page in (first, second, third) for one in page.items]
    assert ids == [f"T/{number} ü" for number in range(6)]
    assert third.next is None
    for cursor in ("x", "a/b", "a/b/c/d"):
        with pytest.raises(Malformed):
            answer_of(shelf.catalogue.list, ListObjects("tariffs", cursor))


def test_a_deleted_object_is_gone_and_comes_back_as_new(shelf: Shelf) -> None:
    shelf.put("tariffs", bodies.tariff())
    assert answer_of(shelf.catalogue.delete, DeleteObject("tariffs", "t-1")) is None
    for gone in (GetObject("tariffs", "T-1"), DeleteObject("tariffs", "T-1")):
        with pytest.raises(NotFound):
            answer_of(shelf.catalogue.get if isinstance(gone, GetObject) else shelf.catalogue.delete, gone)
    assert shelf.put("tariffs", bodies.tariff(), only_new=True).created


# --- patch ------------------------------------------------------------------------------------------------------


def patch(shelf: Shelf, text: bytes, feed: str = "tariffs", id_: str = "t-1") -> StoredObject:
    stored: StoredObject = answer_of(shelf.catalogue.patch, PatchObject(feed, id_, text, "2.3.0"))
    return stored


def test_a_patch_changes_what_it_names_and_keeps_the_text_of_the_rest(shelf: Shelf) -> None:
    shelf.put("tariffs", bodies.tariff(note=1.50, gone=1))
    merged = patch(shelf, b'{"currency":"SEK", "gone":null}')
    assert merged.body == bodies.text(bodies.tariff(note=1.50, currency="SEK"))
    assert not patch(shelf, b'{"currency":"SEK"}').changed


@pytest.mark.parametrize("text", [b"{", b'{"currency":null}', b'{"id":"T-2"}', b'{"party_id":"XXX"}', b"[]"])
def test_a_patch_that_leads_to_a_fault_changes_nothing(shelf: Shelf, text: bytes) -> None:
    shelf.put("tariffs", bodies.tariff())
    with pytest.raises(Malformed):
        patch(shelf, text)
    assert shelf.get("tariffs", "T-1").body == bodies.text(bodies.tariff())
    assert shelf.woken == ["tariffs"]


# --- EVSE status ------------------------------------------------------------------------------------------------


def test_a_status_is_an_object_of_its_own_and_is_merged_when_the_location_is_read(shelf: Shelf) -> None:
    before = shelf.put("locations", bodies.location())
    evse = shelf.patch_evse("E1", {"status": "CHARGING", "last_updated": LATER})
    assert json.loads(evse.body)["status"] == "CHARGING"
    assert set(shelf.statuses()) == {"E1"}
    read = shelf.get("locations", "Loc-1")
    assert [one["status"] for one in json.loads(read.body)["evses"]] == ["CHARGING", "AVAILABLE"]
    assert read.etag == evse.etag != before.etag
    with pytest.raises(PreconditionFailed):
        shelf.put("locations", bodies.location(), if_match=before.etag)
    assert shelf.woken == ["locations", "evse-status", "evse-status"], "the location itself has not changed"


def test_a_status_without_a_time_gets_ours_and_an_older_one_does_not_show(shelf: Shelf, clock: StillClock) -> None:
    shelf.put("locations", bodies.location())
    clock.pass_by(60)
    evse = json.loads(shelf.patch_evse("e2", {"status": "BLOCKED"}).body)
    assert (evse["status"], evse["last_updated"]) == ("BLOCKED", "2026-01-05T09:01:00.000Z")
    older = shelf.patch_evse("e2", {"status": "CHARGING", "last_updated": "2020-01-01T00:00:00Z"})
    assert json.loads(older.body)["status"] == "AVAILABLE"  # what the location itself says is newer


def test_a_patch_of_more_than_the_status_is_the_locations_own(shelf: Shelf) -> None:
    shelf.put("locations", bodies.location())
    evse = shelf.patch_evse("e1", {"status": "BLOCKED", "floor_level": "2", "last_updated": LATER})
    assert json.loads(evse.body)["floor_level"] == "2"
    assert shelf.statuses() == {}
    assert json.loads(shelf.get("locations", "LOC-1").body)["evses"][0]["floor_level"] == "2"


@pytest.mark.parametrize(
    ("uid", "text"),
    [("E1", b"{"), ("E1", b"[]"), ("E1", b'{"status":5}'), ("E1", b'{"status":"X","last_updated":"soon"}'),
     ("E1", b'{"connectors":null}')],
)  # fmt: skip
def test_a_bad_patch_of_an_evse_changes_nothing(shelf: Shelf, uid: str, text: bytes) -> None:
    shelf.put("locations", bodies.location())
    with pytest.raises(Malformed):
        shelf.patch_evse(uid, text)
    assert shelf.statuses() == {}
    assert shelf.get("locations", "LOC-1").body == bodies.text(bodies.location())


def test_there_is_no_status_of_what_is_not_there(shelf: Shelf) -> None:
    shelf.put("locations", bodies.location())
    for uid, location in (("E9", "LOC-1"), ("E1", "LOC-9")):
        for text in ({"status": "BLOCKED"}, {"status": "BLOCKED", "floor_level": "1"}):
            with pytest.raises(NotFound):
                shelf.patch_evse(uid, text, location=location)
    assert shelf.statuses() == {}


def test_the_statuses_go_with_their_location_and_with_their_evse(shelf: Shelf) -> None:
    shelf.put("locations", bodies.location())
    for uid in ("E1", "E2"):
        shelf.patch_evse(uid, {"status": "CHARGING", "last_updated": LATER})
    shelf.put("locations", bodies.location(evses=[bodies.evse("E2")]))
    assert set(shelf.statuses()) == {"E2"}
    answer_of(shelf.catalogue.delete, DeleteObject("locations", "Loc-1"))
    assert shelf.statuses() == {}


# --- peers' objects ---------------------------------------------------------------------------------------------


def test_a_peers_objects_are_read_with_their_newest_status(shelf: Shelf, cso: Company, csp: Company) -> None:
    shelf.put("locations", bodies.location())
    line = FeedLine(cso, csp)
    line.pump()
    mirror = Mirror(csp.store, csp.directory)
    before = answer_of(mirror.get, GetPeerObject("abc", "locations", "loc-1"))
    assert before.body == bodies.text(bodies.location())
    shelf.patch_evse("E1", {"status": "CHARGING", "last_updated": LATER})
    line.wake_all()
    line.pump()
    after = answer_of(mirror.get, GetPeerObject("abc", "locations", "loc-1"))
    assert after.body == shelf.get("locations", "loc-1").body
    assert after.etag != before.etag
    page = answer_of(mirror.list, ListPeerObjects("abc", "locations"))
    assert ([one.body for one in page.items], page.next) == ([after.body], None)


def test_a_status_that_came_before_its_location_is_held_back(csp: Company, cso: Company) -> None:
    status = bodies.text({"status": "CHARGING", "last_updated": LATER})
    key = ObjectKey("DEABC", "LOC-1", "E1")
    csp.store.write(
        lambda cx: feeds.mirror_put_txn(cx, "abc", "evse-status", key, ocpi="2.3.0", body=status, generation=0)
    )
    mirror = Mirror(csp.store, csp.directory)
    with pytest.raises(NotFound):
        answer_of(mirror.get, GetPeerObject("abc", "locations", "LOC-1"))
    place, text = ObjectKey("DEABC", "LOC-1"), bodies.text(bodies.location())
    csp.store.write(
        lambda cx: feeds.mirror_put_txn(cx, "abc", "locations", place, ocpi="2.3.0", body=text, generation=0)
    )
    assert b"CHARGING" in answer_of(mirror.get, GetPeerObject("abc", "locations", "LOC-1")).body


def test_who_or_what_is_not_there_is_said_plainly(csp: Company, cso: Company) -> None:
    mirror = Mirror(csp.store, csp.directory)
    for operation in (GetPeerObject("nobody", "locations", "L"), GetPeerObject("abc", "places", "L"),
                      GetPeerObject("abc", "locations", "L")):  # fmt: skip
        with pytest.raises(NotFound):
            answer_of(mirror.get, operation)
    for listing in (ListPeerObjects("nobody", "locations"), ListPeerObjects("abc", "places")):
        with pytest.raises(NotFound):
            answer_of(mirror.list, listing)


def test_a_batch_under_a_known_key_is_done_again_and_another_batch_refused(shelf: Shelf) -> None:
    batch = (checked("tariffs", bodies.tariff(id="T-1")),)
    first = PutObjects("tariffs", batch, Idempotency("key", b"a" * 32))
    assert [stored.created for stored in answer_of(shelf.catalogue.put_many, first)] == [True]
    assert [stored.created for stored in answer_of(shelf.catalogue.put_many, first)] == [False]
    other = PutObjects("tariffs", (checked("tariffs", bodies.tariff(id="T-2")),), Idempotency("key", b"b" * 32))
    with pytest.raises(Conflict):
        answer_of(shelf.catalogue.put_many, other)
    with pytest.raises(NotFound):
        shelf.get("tariffs", "T-2")
