"""The fold of both chains: one state, in whatever order words arrive."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roamd.model.lifecycle import AUTHOR_WORDS, RECEIVER_WORDS, folded, moved
from roamd.model.pricing.check import Rounding
from roamd.model.terms import Terms


@pytest.mark.parametrize(
    ("receiver", "author", "state"),
    [
        ([], [], "DELIVERED"),
        (["ACCEPTED"], [], "ACCEPTED"),
        (["DISPUTED"], [], "DISPUTED"),
        (["DISPUTED", "ACCEPTED"], [], "ACCEPTED"),
        (["ACCEPTED", "DISPUTED"], [], "ACCEPTED"),
        (["ACCEPTED", "FINAL"], [], "FINAL"),
        (["FINAL", "DISPUTED"], [], "FINAL"),
        (["DISPUTED", "FINAL"], [], "DISPUTED"),
        (["DISPUTED"], ["CORRECTED"], "CREDITED"),
        (["FINAL"], ["CREDITED"], "CREDITED"),
        ([], ["CREDITED", "CREDITED"], "CREDITED"),
    ],
)
def test_a_state_is_what_both_chains_make_it(receiver: list[str], author: list[str], state: str) -> None:
    assert folded(receiver, author) == state


@given(
    st.lists(st.sampled_from(RECEIVER_WORDS), max_size=6),
    st.lists(st.sampled_from(AUTHOR_WORDS), max_size=3),
    st.randoms(use_true_random=False),
)
def test_words_as_they_arrive_come_to_the_fold_whatever_the_order_between_the_chains(
    receiver: list[str], author: list[str], random: Random
) -> None:
    waiting = [list(receiver), list(author)]
    state = "DELIVERED"
    while any(waiting):
        word = random.choice([words for words in waiting if words]).pop(0)
        state = moved(state, word) or state
    assert state == folded(receiver, author)


def test_who_speaks_of_a_queued_record_has_it() -> None:
    assert moved("QUEUED", "ACCEPTED") == "ACCEPTED"
    assert moved("QUEUED", "CREDITED") == "CREDITED"


@pytest.mark.parametrize("word", [*RECEIVER_WORDS, *AUTHOR_WORDS])
def test_nothing_is_said_of_a_record_that_was_parked_or_credited(word: str) -> None:
    assert moved("PARKED", word) is None
    assert moved("CREDITED", word) is None


def test_terms_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="dispute_days"):
        Terms(dispute_days=10, final_days=9)
    with pytest.raises(ValueError, match="level"):
        Rounding(level="SOMETIMES")
