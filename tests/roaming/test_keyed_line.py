"""The feed of user credentials under hashes, as it arrives: found, replaced, withdrawn, lost and lied about."""

import json
from typing import Any

import pytest

from roamd.model.agreement import Agreement
from roamd.model.keyedlist import keyed_body, uid_hash
from roamd.model.keys import ObjectKey
from roamd.protocol.bulk import FeedItem
from roamd.roaming.privacy.keyed import OwnLists, TheirKeys, standing
from roamd.roaming.privacy.pseudonyms import Pseudonyms
from roamd.roaming.whitelist import Whitelist
from roamd.storage import feeds, listkeys
from tests.model import bodies
from tests.support.roaming import Company, FeedLine

UID, OTHER_UID = "04E2A1B2C3D480", "04E2A1B2C3D481"
SECRET = bytes(32)
FEED = "user-credentials"


class List:
    """The feed of RMD's credentials to ABC, and ABC's look-ups in it."""

    def __init__(self, csp: Company, cso: Company) -> None:
        self.csp, self.cso = csp, cso
        self.agree(keyed_list=True)
        self.keys = TheirKeys(cso.store, cso.directory)
        self.line = self.follow()

    def follow(self, secret: bytes = SECRET) -> FeedLine:
        line = FeedLine(self.csp, self.cso)
        line.publisher.projections = {FEED: standing(self.csp.store, OwnLists(secret).project)}
        line.follower.noted = {FEED: self.keys.noted_txn}
        line.follower.landed = {FEED: self.keys.landed}
        return line

    def agree(self, **changes: Any) -> None:
        peer = self.csp.peer("abc")
        known = {name: getattr(peer.agreement, name) for name in peer.agreement.__struct_fields__}
        text = Agreement(**(known | changes)).to_json()
        row = peer.row._replace(agreement_json=text, rights_version=peer.row.rights_version + 1)
        self.csp.directory.put(row)

    def publish(self, **changes: Any) -> None:
        self.publish_silently(**changes)
        self.pump()

    def publish_silently(self, **changes: Any) -> None:
        """Nothing goes over the line yet."""
        names = {"country_code": "FR", "party_id": "RMD", "uid": UID, "contract_id": "FR-RMD-C00000042-X"}
        self.csp.publish(FEED, bodies.token(**(names | changes)))

    def pump(self) -> None:
        self.line.wake_all()
        self.line.pump()

    def find(self, uid: str = UID, type_: str = "RFID") -> list[Any]:
        found = Whitelist(self.cso.store, self.cso.directory).find(type_, uid)
        return [listed.entry for listed in found.listed]

    def held(self) -> list[dict[str, Any]]:
        return [json.loads(body) for body in self.cso.mirrored("rmd", FEED).values()]


@pytest.fixture
def listing(csp: Company, cso: Company) -> List:
    return List(csp, cso)


def test_a_tapped_card_is_found_by_its_hash_alone(listing: List) -> None:
    listing.publish(whitelist="ALWAYS", group_id="fleet")
    (held,) = listing.held()
    assert held["uid"] != UID
    (found,) = listing.find()
    assert (found.party, found.valid, found.whitelist) == ("FRRMD", True, "ALWAYS")
    assert listing.find(UID[:-1] + "1") == []
    assert listing.find(UID, "OTHER") == []


def test_a_card_in_another_spelling_is_found_and_goes_with_its_tombstone(listing: List) -> None:
    listing.publish(uid="04-e2-a1-b2-c3-d4-80")
    assert len(listing.find()) == 1
    (key,) = (row.key for row in listing.csp.store.read(lambda cx: feeds.list_published(cx, FEED, None, 9)))
    listing.csp.withdraw(FEED, key)
    listing.pump()
    assert listing.held() == listing.find() == []


def test_of_a_card_in_two_spellings_the_one_that_is_left_goes_on_counting(listing: List) -> None:
    colons = ":".join(UID[at : at + 2] for at in range(0, len(UID), 2))
    for new, old in ((UID, colons), (colons, UID)):  # whichever came first
        listing.publish(uid=old, whitelist="NEVER")
        listing.publish(uid=new, whitelist="ALWAYS")
        listing.csp.withdraw(FEED, ObjectKey("FRRMD", old, "RFID"))
        listing.pump()
        assert [found.whitelist for found in listing.find()] == ["ALWAYS"]
        listing.publish(uid=old, whitelist="NEVER")
        listing.csp.withdraw(FEED, ObjectKey("FRRMD", old, "RFID"))
        listing.pump()
        assert [found.whitelist for found in listing.find()] == ["ALWAYS"], "what is left, not what came last"
        listing.csp.withdraw(FEED, ObjectKey("FRRMD", new, "RFID"))
        listing.pump()
        assert listing.held() == []


@pytest.mark.parametrize("keyed", [False, True])
def test_of_a_contract_in_two_spellings_that_is_told_by_a_pseudonym_the_one_that_is_left_stands(
    listing: List, keyed: bool
) -> None:
    names = Pseudonyms(listing.csp.store, listing.csp.directory, listing.csp.timers, SECRET)
    named = standing(listing.csp.store, names.before(OwnLists(SECRET).project))
    listing.line.publisher.projections = {FEED: named}
    listing.agree(keyed_list=keyed, pseudonyms=True)
    spelled = ("FR-RMD-C00000042-X", "FRRMDC00000042")
    for uid in spelled:
        listing.publish(uid=uid, type="EMAID", contract_id=spelled[0])
    before = listing.held()
    for uid, left in zip(spelled, (1, 0), strict=True):
        listing.csp.withdraw(FEED, ObjectKey("FRRMD", uid, "EMAID"))
        listing.pump()
        assert len(listing.held()) == left
        assert all(held["contract_id"] == before[0]["contract_id"] for held in listing.held())


def test_no_other_spelling_is_told_to_whom_the_list_is_not_for_any_more(listing: List) -> None:
    listing.publish(uid=UID)
    listing.agree(keyed_list=True, feeds_out=())
    listing.pump()
    assert listing.held() == []
    listing.publish(uid="04-e2-a1-b2-c3-d4-80")
    listing.csp.withdraw(FEED, ObjectKey("FRRMD", UID, "RFID"))
    listing.pump()
    assert listing.held() == []


def test_who_types_what_stands_in_the_list_is_not_let_in_by_it(listing: List) -> None:
    listing.publish(type="OTHER", uid="user-1", whitelist="ALWAYS")
    (held,) = listing.held()
    assert len(listing.find("USER-1", "OTHER")) == 1
    assert listing.find(held["uid"], "OTHER") == []


def test_both_rules_hold_together(listing: List) -> None:
    listing.agree(withheld={FEED: ("group_id",)})
    listing.publish(group_id="fleet")
    (held,) = listing.held()
    assert "group_id" not in held
    assert len(listing.find()) == 1


def test_a_switch_replaces_the_list_and_a_card_never_counts_twice(
    listing: List, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roamd.roaming.publisher.MAX_ROWS", 1)
    for uid in (OTHER_UID, UID):
        listing.publish(uid=uid, whitelist="ALWAYS")
    listing.agree(keyed_list=False)
    listing.publish_silently(uid=OTHER_UID, whitelist="NEVER")
    listing.publish_silently(uid=UID, whitelist="NEVER")
    listing.line.wake_all()
    while len(listing.held()) == 2:
        chunk = listing.line.chunk()
        assert chunk is not None
        listing.line.arrive(chunk)
    assert len(listing.held()) == 3, "the keyed list is still there"
    assert [found.whitelist for found in listing.find(OTHER_UID)] == ["NEVER"], "the newest counts"
    assert [found.whitelist for found in listing.find()] == ["ALWAYS"]
    listing.line.pump()
    assert [("keyed" in each, each["whitelist"]) for each in listing.held()] == [(False, "NEVER")] * 2
    listing.agree(keyed_list=True)
    listing.pump()
    assert ["keyed" in each for each in listing.held()] == [True, True]
    assert len(listing.find()) == 1


def test_a_new_key_takes_the_old_ones_place_and_both_count_meanwhile(listing: List) -> None:
    for uid in (UID, OTHER_UID):
        listing.publish(uid=uid)
    (old,) = listing.cso.directory.list_keys["rmd"]
    line = listing.line = listing.follow(bytes([1]) * 32)  # the publisher has lost its store's secret
    listing.agree()
    line.publisher.wake(FEED)
    line.pump()
    kept = listing.cso.directory.list_keys["rmd"]
    assert (len(kept), kept[0]) == (2, old)
    assert len(listing.find()) == len(listing.find(OTHER_UID)) == 1
    assert {each["keyed"] for each in listing.held()} == {kept[1].hex()}


def test_each_peer_has_a_key_of_its_own(listing: List) -> None:
    listing.csp.meets(Company(3, "NLTNM", "cso"), "tnm")
    lists = OwnLists(SECRET)
    assert lists.key_for(listing.csp.peer("abc")) != lists.key_for(listing.csp.peer("tnm"))


def test_the_keys_are_there_again_after_a_restart_and_go_with_the_peer(listing: List) -> None:
    listing.publish()
    again = TheirKeys(listing.cso.store, listing.cso.directory)
    listing.cso.directory.list_keys = {}
    assert listing.find() == []
    again.load()
    assert len(listing.find()) == 1
    peer = listing.cso.peer("rmd")
    listing.cso.store.write(lambda cx: listkeys.drop_peer_txn(cx, "rmd"))
    listing.cso.directory.remove("rmd")
    again.peer_changed(peer)
    assert listing.cso.directory.list_keys == {}


def test_a_chunk_that_could_not_be_stored_leaves_no_key_and_brings_it_the_next_time(listing: List) -> None:
    """What is kept in memory before the commit would never get to the disk."""
    body = keyed_body(bytes(16), "RFID", UID, bodies.text(bodies.token(uid=UID)))
    key = uid_hash(bytes(16), "RFID", UID)
    item = FeedItem("FRRMD", key, "RFID", "2.3.0", body)

    def txn(cx: Any) -> None:
        listing.keys.noted_txn(cx, "rmd", item, 0)
        raise LookupError

    with pytest.raises(LookupError):
        listing.cso.store.write(txn)
    assert listing.cso.directory.list_keys == {}
    listing.cso.store.write(lambda cx: listing.keys.noted_txn(cx, "rmd", item, 0))
    assert listing.cso.store.read(listkeys.load) == {"rmd": (bytes(16),)}


def test_a_liar_with_a_key_for_each_object_costs_two_hashes_a_tap(listing: List) -> None:
    listing.line.publisher.projections = {
        FEED: lambda row, peer: OwnLists(row.key.id.encode()).project(row, peer),
    }
    for number in range(9):
        listing.publish(uid=f"04E2A1B2C3D4{number:02}")
    assert len(listing.held()) == 9
    assert len(listing.cso.directory.list_keys["rmd"]) == listkeys.KEPT
    assert len(listing.find("04E2A1B2C3D408")) == 1


def test_a_hash_under_another_peers_key_lists_nothing(listing: List) -> None:
    """Two peers that share what they hold: TNM sends, as its own, what RMD's key makes of a card."""
    listing.publish(valid=True)
    (held,) = listing.held()
    copied = bodies.text(held | {"country_code": "NL", "party_id": "TNM"})
    listing.cso.meets(Company(3, "NLTNM", "csp"), "tnm")
    key = ObjectKey("NLTNM", held["uid"], "RFID")
    listing.cso.store.write(
        lambda cx: feeds.mirror_put_txn(cx, "tnm", FEED, key, ocpi="2.3.0", body=copied, generation=0)
    )
    assert [found.party for found in listing.find()] == ["FRRMD"]
