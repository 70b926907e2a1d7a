"""Endpoint ids: what people type is corrected or refused."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roamd.errors import Malformed
from roamd.trust.endpoint import (
    display_endpoint_id,
    endpoint_digest,
    endpoint_id,
    endpoint_id_of_digest,
    parse_endpoint_id,
)

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
EXAMPLE = endpoint_id(b"a public key")


def test_an_id_is_the_keys_hash_with_four_check_characters() -> None:
    assert len(EXAMPLE) == 56
    assert endpoint_digest(EXAMPLE) == hashlib.sha256(b"a public key").digest()


def test_the_ids_of_a_release_are_the_ids_of_the_next() -> None:
    assert endpoint_id_of_digest(bytes(range(32))) == "AAAQEAYEAUDAO5CAJBIFQYDIOB4XIBCEQTCQKRMFYMYDENBWHA5DYPQS"


@given(st.binary(min_size=32, max_size=32))
def test_every_id_survives_display_and_typing(digest: bytes) -> None:
    canonical = endpoint_id_of_digest(digest)
    assert parse_endpoint_id(display_endpoint_id(canonical).lower()) == canonical
    assert endpoint_digest(canonical) == digest


@given(st.integers(0, 55), st.sampled_from(ALPHABET))
def test_one_wrong_character_is_always_found(position: int, character: str) -> None:
    wrong = EXAMPLE[:position] + character + EXAMPLE[position + 1 :]
    if wrong == EXAMPLE:
        assert parse_endpoint_id(wrong) == EXAMPLE
    else:
        with pytest.raises(Malformed, match=r"typing error|cannot come from a key"):
            parse_endpoint_id(wrong)


@given(st.integers(0, 54))
def test_two_swapped_neighbours_are_found(position: int) -> None:
    swapped = EXAMPLE[:position] + EXAMPLE[position + 1] + EXAMPLE[position] + EXAMPLE[position + 2 :]
    # Luhn cannot see one pair of values (0 and 31), and a pair across two groups is two wrong groups.
    if swapped != EXAMPLE and {EXAMPLE[position], EXAMPLE[position + 1]} != {"A", "7"}:
        with pytest.raises(Malformed):
            parse_endpoint_id(swapped)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "has 56 characters, this has 0"),
        (EXAMPLE[:-1], "this has 55"),
        (EXAMPLE + "A", "this has 57"),
        ("0" + EXAMPLE[1:], "also has 0"),
        ("É" + EXAMPLE[1:], "also has É"),
    ],
)
def test_a_fault_says_what_is_wrong(text: str, fault: str) -> None:
    with pytest.raises(Malformed, match=fault):
        parse_endpoint_id(text)
