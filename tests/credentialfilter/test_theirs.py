"""What a peer publishes about its cards, honest or not: a card is denied only where its filter surely says so."""

import random

import pytest

from roamd.model import filter as cardfilter
from roamd.model.agreement import preset
from roamd.model.filter import NEW, digest, index_at, write_open, write_segment
from roamd.model.keys import ObjectKey
from roamd.protocol.bulk import ChunkFlag, FeedChunk, FeedItem
from roamd.roaming.credentialfilter import theirs
from roamd.roaming.credentialfilter.theirs import FEED, PeerFilter, TheirFilters
from roamd.roaming.directory import Directory, Peer
from roamd.storage import feeds
from roamd.storage.feeds import FeedPosition
from roamd.storage.store import Store
from tests.support.roaming import captured, peer_row

KEY, OTHER_KEY = bytes(16), bytes(range(16))
PARTY = "FRRMD"
CARD, STRANGER = digest("04E2A1B2C3D480"), digest("04FFFFFFFFFF80")
EMPTY = write_segment(PARTY, NEW, KEY, b"")


def whole(**objects: bytes) -> PeerFilter:
    """One segment with the card, an empty NEW, and what is put over them."""
    known = PeerFilter("rmd")
    for name, body in ({"0-0": write_segment(PARTY, "0-0", KEY, CARD), NEW: EMPTY} | objects).items():
        known.put(name, body)
    return known


def test_a_filter_knows_its_card_and_denies_a_strangers() -> None:
    assert whole().might_know(CARD) is True
    assert whole().might_know(STRANGER) is False


def test_a_card_that_is_new_is_known_before_it_is_in_a_segment() -> None:
    known = whole(NEW=write_segment(PARTY, NEW, OTHER_KEY, STRANGER))
    assert known.might_know(STRANGER) is True
    assert known.might_know(CARD) is True


def test_an_open_filter_and_one_without_new_deny_nobody() -> None:
    known = whole(NEW=write_open(PARTY, KEY))
    assert known.might_know(STRANGER) is None
    known.put(NEW, EMPTY)
    assert known.might_know(STRANGER) is False
    known.remove(NEW)
    assert known.might_know(STRANGER) is None


def test_a_card_that_no_segment_covers_is_not_denied() -> None:
    known = PeerFilter("rmd")
    known.put(NEW, EMPTY)
    assert known.might_know(STRANGER) is None
    half = index_at(1, STRANGER)
    known.put(f"1-{half}", write_segment(PARTY, f"1-{half}", KEY, b""))
    assert known.might_know(STRANGER) is False
    known.remove(f"1-{half}")
    known.put(f"1-{1 - half}", write_segment(PARTY, f"1-{1 - half}", KEY, b""))
    assert known.might_know(STRANGER) is None


def test_two_depths_hold_at_a_time_while_segments_are_split() -> None:
    known, half = whole(), index_at(1, CARD)
    known.put(f"1-{half}", write_segment(PARTY, f"1-{half}", OTHER_KEY, b""))
    assert known.might_know(CARD) is True, "the old one still has it"
    known.remove("0-0")
    assert known.might_know(CARD) is False


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[]", b"\xff", EMPTY.replace(b'"key":"', b'"key":"x'), EMPTY[:-1] + b',"cards":70000}',
     write_segment(PARTY, "0-0", KEY, CARD).replace(b'"cards":1', b'"cards":2'), b"[" * 100_000],
)  # fmt: skip
def test_an_object_that_cannot_be_read_makes_a_peer_that_is_asked(body: bytes) -> None:
    with captured() as log:
        assert whole(**{"0-0": body}).might_know(STRANGER) is None
        assert whole(NEW=body).might_know(STRANGER) is None
    assert {line["peer"] for line in log.of("card_filter_unreadable")} == {"rmd"}


def test_many_that_cannot_be_read_are_one_line_of_the_log() -> None:
    with captured() as log:
        whole(**{f"6-{index}": b"{}" for index in range(64)})
    assert len(log.of("card_filter_unreadable")) == 1


def test_a_liar_is_known_for_one_card_in_256_at_most() -> None:
    rng = random.Random(3)  # noqa: S311 - a seeded one is the point
    known = whole(**{"0-0": write_segment(PARTY, "0-0", KEY, rng.randbytes(16 * cardfilter.MAX_CARDS))})
    found = sum(known.might_know(rng.randbytes(16)) is True for _ in range(20_000))
    assert 0.003 < found / 20_000 < 0.005


def test_a_key_for_each_segment_is_held_only_as_long_as_its_segment() -> None:
    known = whole()
    for index in range(64):
        card = bytes([index << 2]) + CARD[1:]
        known.put(f"6-{index}", write_segment(PARTY, f"6-{index}", bytes([index]) * 16, card))
        assert known.might_know(card) is True
    known.remove("0-0")
    assert all(known.might_know(bytes([index << 2]) + CARD[1:]) for index in range(64))


def test_more_than_is_held_of_a_peer_makes_it_one_without_a_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(theirs, "MAX_BYTES", 16_000)
    known = whole()
    assert known.might_know(STRANGER) is False
    for index in range(8):
        known.put(f"3-{index}", write_segment(PARTY, f"3-{index}", KEY, b""))
    assert known.might_know(STRANGER) is None
    for index in range(8):
        known.remove(f"3-{index}")
    assert known.might_know(STRANGER) is False
    for name in ("0-0", NEW, "0-0", "9-1", "nonsense"):
        known.remove(name)
    assert known.size == 0


def test_of_a_peer_that_publishes_far_more_nothing_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(theirs, "MAX_BYTES", 10_000)
    known = whole()
    with captured() as log:
        for index in range(64):
            known.put(f"6-{index}", write_segment(PARTY, f"6-{index}", KEY, b""))
    assert (known.size, known.might_know(CARD), len(log.of("card_filter_too_large"))) == (0, None, 1)
    for name in ("0-0", NEW, "6-1"):
        known.remove(name)
    known.put(NEW, EMPTY)
    assert (known.size, known.might_know(STRANGER)) == (0, None)


# --- as it comes ------------------------------------------------------------------------------------------------


def one_peer() -> tuple[Store, TheirFilters, Peer]:
    """A CSO with a CSP that has published nothing."""
    store, directory = Store.open_memory(), Directory()
    peer = directory.put(peer_row("rmd", "E1", b"", (PARTY,), preset(["cso"], ["csp"], [PARTY])))
    filters = TheirFilters(store, directory)
    filters.load()
    return store, filters, peer


def land(store: Store, filters: TheirFilters, peer: Peer, flags: ChunkFlag, **objects: bytes) -> None:
    """A chunk, committed as the follower does."""
    items = [FeedItem(PARTY, name, "", "2.3.0", body) for name, body in objects.items()]
    replacing = ChunkFlag.REPLACING_LAST not in flags
    for item in items:
        assert item.body is not None
        key, body = ObjectKey(PARTY, item.id), item.body
        store.write(lambda cx: feeds.mirror_put_txn(cx, "rmd", FEED, key, ocpi="2.3.0", body=body, generation=1))  # noqa: B023
    store.write(lambda cx: feeds.set_cursor_txn(cx, "rmd", FEED, FeedPosition(b"c", 1, replacing)))
    filters.landed(peer, FeedChunk(10, flags, b"c", items), items)


def waves(filters: TheirFilters, peer: Peer, uid: str) -> list[list[Peer]]:
    return [list(wave) for wave in filters("RFID", uid, [peer])]


def test_during_a_snapshot_a_peer_is_asked_about_every_card() -> None:
    store, filters, peer = one_peer()
    land(store, filters, peer, ChunkFlag.REPLACING_FIRST, NEW=EMPTY, **{"0-0": write_segment(PARTY, "0-0", KEY, CARD)})
    assert waves(filters, peer, "04FFFFFFFFFF80") == [[], [peer]]
    again = TheirFilters(store, filters.directory)
    again.load()
    assert waves(again, peer, "04FFFFFFFFFF80") == [[], [peer]], "also after a restart"
    land(store, filters, peer, ChunkFlag.REPLACING_LAST)  # the last chunk of a snapshot has no items, mostly
    assert waves(filters, peer, "04FFFFFFFFFF80") == [[], []]
    assert waves(filters, peer, "04:e2:a1:b2:c3:d4:80") == [[peer], []]


def test_the_end_of_a_snapshot_that_never_began_is_not_worth_reading_everything_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, filters, peer = one_peer()
    snapshot = ChunkFlag.REPLACING_FIRST | ChunkFlag.REPLACING_LAST
    land(store, filters, peer, snapshot, NEW=EMPTY, **{"0-0": write_segment(PARTY, "0-0", KEY, CARD)})
    monkeypatch.setattr(TheirFilters, "_mirrored", lambda self, label: pytest.fail("it is read"))
    land(store, filters, peer, ChunkFlag.REPLACING_LAST)
    assert waves(filters, peer, "04:e2:a1:b2:c3:d4:80") == [[peer], []]


def test_what_is_mirrored_of_a_filter_is_read_only_as_far_as_it_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    store, filters, peer = one_peer()
    snapshot = ChunkFlag.REPLACING_FIRST | ChunkFlag.REPLACING_LAST
    many = {f"6-{index}": write_segment(PARTY, f"6-{index}", KEY, b"") for index in range(64)}
    monkeypatch.setattr(theirs, "PAGE", 8)
    monkeypatch.setattr(theirs, "MAX_BYTES", 10_000)
    looks: list[object] = []
    list_mirrored = feeds.list_mirrored
    monkeypatch.setattr(feeds, "list_mirrored", lambda *asked: looks.append(asked) or list_mirrored(*asked))
    land(store, filters, peer, snapshot, NEW=EMPTY, **many)
    assert len(looks) == 1, "the first page says it all"
    assert waves(filters, peer, "04FFFFFFFFFF80") == [[], [peer]]


def test_a_contract_goes_to_the_party_in_its_prefix_whatever_the_filter_says() -> None:
    store, filters, peer = one_peer()
    snapshot = ChunkFlag.REPLACING_FIRST | ChunkFlag.REPLACING_LAST
    land(store, filters, peer, snapshot, NEW=EMPTY, **{"0-0": write_segment(PARTY, "0-0", KEY, CARD)})
    assert waves(filters, peer, "FR-RMD-C00000042-X") == [[peer], []]
    assert waves(filters, peer, "FR-XYZ-C00000042-W") == [[], []]


def test_a_peer_whose_filter_we_may_not_follow_has_none() -> None:
    store, filters, peer = one_peer()
    snapshot = ChunkFlag.REPLACING_FIRST | ChunkFlag.REPLACING_LAST
    land(store, filters, peer, snapshot, NEW=EMPTY, **{"0-0": write_segment(PARTY, "0-0", KEY, CARD)})
    peer.agreement = preset(["cso"], ["cso"], [PARTY])
    assert waves(filters, peer, "04FFFFFFFFFF80") == [[], [peer]]
