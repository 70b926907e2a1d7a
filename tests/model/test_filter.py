"""The card filter: never "no" to a card that is in it, seldom "perhaps" to one that is not, whoever made it."""

import binascii
import random
import time
import tracemalloc
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roamd.model import filter as cf
from roamd.model.filter import DIGEST, MAX_CARDS, NEW, Segment, digest, marker, names_asked, names_of, pack_cards

KEY = bytes(range(16))
SEEDED = random.Random(5)  # noqa: S311 - a seeded one is the point


def digests(count: int, seed: int = 5) -> bytes:
    return random.Random(seed).randbytes(DIGEST * count)  # noqa: S311


def each(marks: bytes) -> list[bytes]:
    return [marks[at : at + DIGEST] for at in range(0, len(marks), DIGEST)]


def segment(marks: bytes) -> Segment:
    return Segment(len(marks) // DIGEST, pack_cards(marks))


# --- no card is lost --------------------------------------------------------------------------------------------


@given(st.lists(st.binary(min_size=DIGEST, max_size=DIGEST), max_size=300))
def test_every_card_that_is_in_it_is_found(cards: list[bytes]) -> None:
    made = segment(b"".join(cards))
    assert all(made.might_hold(card) for card in cards)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=400), st.integers(0, 2**32 - 1))
def test_cards_that_crowd_into_few_buckets_are_found(tails: list[int], base: int) -> None:
    """As no honest key would ever spread them: hundreds in one bucket, many of them the same."""
    cards = [min(base + tail, 2**32 - 1).to_bytes(4, "little") + bytes(12) for tail in tails]
    made = segment(b"".join(cards))
    assert all(made.might_hold(card) for card in cards)


def test_a_bucket_with_more_cards_than_are_looked_at_at_first_is_looked_at_whole() -> None:
    """All 256 remainders of one bucket, whichever it is; no honest key would put them there."""
    for bucket in (0, 100, 255):
        cards = [
            (-(-(((bucket << 8) + low) << 32) // (256 << 8))).to_bytes(4, "little") + bytes(12) for low in range(256)
        ]
        made = segment(b"".join(cards))
        assert all(made.might_hold(card) for card in cards)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 31, 32, 33, 1000, 16_384, MAX_CARDS])
def test_a_segment_of_any_size_finds_all_of_its_cards(count: int) -> None:
    marks = marker(KEY)(digests(count))
    made = segment(marks)
    assert all(made.might_hold(mark) for mark in each(marks)[:: max(1, count // 5000)])


def test_the_order_in_which_cards_come_changes_nothing() -> None:
    cards = each(digests(500))
    shuffled = SEEDED.sample(cards, len(cards))
    assert pack_cards(b"".join(cards)) == pack_cards(b"".join(shuffled))


# --- few others are found ---------------------------------------------------------------------------------------


def test_one_foreign_card_in_256_is_taken_for_one_of_them() -> None:
    made = segment(marker(KEY)(digests(5_000)))
    found = sum(made.might_hold(mark) for mark in each(marker(KEY)(digests(50_000, seed=6))))
    assert 0.0031 < found / 50_000 < 0.0047


def test_an_empty_segment_holds_nothing() -> None:
    made = segment(b"")
    assert not any(made.might_hold(mark) for mark in each(digests(100)))


def test_a_card_costs_ten_bits() -> None:
    assert len(pack_cards(digests(16_000))) == 20_000
    assert segment(digests(16_000)).size <= 16_000 * 1.32


def test_filters_of_two_keys_err_about_different_cards() -> None:
    cards, strangers = digests(1000), digests(20_000, seed=7)
    wrong = []
    for key in (KEY, KEY[::-1]):
        mark = marker(key)
        made = segment(mark(cards))
        wrong.append({stranger for stranger in each(strangers) if made.might_hold(mark(stranger))})
    assert len(wrong[0] & wrong[1]) < 10 < min(len(one) for one in wrong)


# --- whatever a peer makes up -----------------------------------------------------------------------------------


@given(st.integers(-5, MAX_CARDS + 5), st.binary(max_size=400), st.binary(min_size=DIGEST, max_size=DIGEST))
def test_bytes_of_a_liar_are_refused_or_can_be_asked(cards: int, packed: bytes, mark: bytes) -> None:
    try:
        made = Segment(cards, packed)
    except ValueError:
        return
    assert made.might_hold(mark) in (True, False)


@pytest.mark.parametrize("cards", [1, 2, 7, 24])
@pytest.mark.parametrize("seed", range(3))
def test_no_bytes_make_a_segment_that_holds_more_values_than_cards(cards: int, seed: int) -> None:
    """Ones in any places, any low bytes: of the 256 values that each bucket has, as many as cards match in all."""
    rng = random.Random(seed)  # noqa: S311
    places = set(rng.sample(range(2 * cards), cards))
    bits = "".join("01"[at in places] for at in range((2 * cards + 7) // 8 * 8))
    made = Segment(cards, int(bits, 2).to_bytes(len(bits) // 8, "big") + rng.randbytes(cards))
    span = cards << 8
    values = (-(-(value << 32) // span) for value in range(span))
    assert sum(made.might_hold(x.to_bytes(4, "little") + bytes(12)) for x in values) <= cards


def test_a_filter_full_of_ones_is_refused() -> None:
    with pytest.raises(ValueError, match="another number"):
        Segment(80, b"\xff" * 100)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"cards": 9}, "length"),
        ({"cards": MAX_CARDS + 1}, "<= 65535"),
        ({"cards": -1}, ">= 0"),
        ({"cards": "8"}, "int"),
        ({"key": "00"}, "key"),
        ({"key": "g" * 32}, "key"),
        ({"filter": "not base64"}, "base64"),
        ({"filter": "AAAA"}, "length"),
        ({"id": "17-0"}, "segment"),
        ({"id": "2-4"}, "segment"),
        ({"id": "02-1"}, "segment"),
        ({"id": "2-1-1"}, "segment"),
        ({"id": "٢-1"}, "segment"),
    ],
)
def test_an_object_that_is_none_says_why(change: dict[str, object], why: str) -> None:
    good = msgspec.json.decode(cf.write_segment("FRRMD", "2-1", KEY, digests(8)))
    cf.read_object(msgspec.json.encode(good))
    with pytest.raises((ValueError, binascii.Error), match=f"(?i){why}"):
        cf.read_object(msgspec.json.encode(good | change))


def test_the_largest_object_is_read_in_little_time_and_memory() -> None:
    body = cf.write_segment("FRRMD", "0-0", KEY, digests(MAX_CARDS))
    tracemalloc.start()
    began = time.thread_time()
    _, made = cf.read_object(body)
    took = time.thread_time() - began
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert took < 0.2
    assert peak < 4 * len(body)
    assert made.size < len(body)


# --- names ------------------------------------------------------------------------------------------------------


def test_a_card_has_the_same_name_whatever_reads_it() -> None:
    texts = {name.text for uid in ("04:e2:a1:b2:c3:d4:80", "04E2A1B2C3D480", "04-E2-A1-B2-C3-D4-80")
             for name in names_of(uid, None)}  # fmt: skip
    assert texts == {"04E2A1B2C3D480"}


def test_a_contract_is_found_by_each_of_its_spellings() -> None:
    published = {name.text for name in names_of("04E2A1B2C3D480", "FR-XYZ-C00000042-W")}
    for spelling in ("FRXYZC00000042W", "frxyzc00000042", "FR*XYZ*C00000042*W"):
        assert {name.text for name in names_asked(spelling, None)} & published == {"FRXYZC00000042"}
    assert names_asked("FRXYZC00000042W", None)[0].provider == "FRXYZ"


def test_a_contract_that_nobody_could_read_from_a_car_is_no_name() -> None:
    assert [name.text for name in names_of("04E2A1B2C3D480", "customer 4711")] == ["04E2A1B2C3D480"]


def test_the_uid_of_an_app_is_a_name_of_its_own() -> None:
    assert names_of("user-7", None) == names_asked("USER-7", None) == (cf.Name("USER-7", None),)


def test_a_text_that_is_none_has_a_digest_all_the_same() -> None:
    assert len(digest("\ud800")) == DIGEST


# --- segments ---------------------------------------------------------------------------------------------------


@given(st.binary(min_size=DIGEST, max_size=DIGEST), st.integers(0, cf.MAX_DEPTH))
def test_the_segments_of_a_depth_share_out_all_cards(card: bytes, depth: int) -> None:
    index = cf.index_at(depth, card)
    assert cf.place_of(cf.segment_id(depth, index)) == (depth, index)


def test_a_deeper_tree_splits_each_segment_in_two() -> None:
    cards = sorted(each(digests(1000)))
    indexes = [cf.index_at(5, card) for card in cards]
    assert all(one <= other for one, other in pairwise(indexes))
    assert all(cf.index_at(4, card) == index // 2 for card, index in zip(cards, indexes, strict=True))


def test_what_stands_beside_the_segments_is_no_segment() -> None:
    assert cf.place_of(NEW) is None
    read, made = cf.read_object(cf.write_open("FRRMD", KEY))
    assert (read.matches_all, made.cards) == (True, 0)


@settings(max_examples=20)
@given(st.integers(0, 200))
def test_an_object_says_what_was_put_into_it(count: int) -> None:
    cards = digests(count)
    read, made = cf.read_object(cf.write_segment("FRRMD", "0-0", KEY, cards))
    mark = marker(bytes.fromhex(read.key))
    assert (read.country_code, read.party_id, read.cards) == ("FR", "RMD", count)
    assert all(made.might_hold(mark(card)) for card in each(cards))
