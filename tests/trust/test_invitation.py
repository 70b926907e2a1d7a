"""The invitation's line, and the six words."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roamd.errors import Malformed
from roamd.trust.invitation import DEFAULT_LIFE_MS, Invitation, relay_in, through
from roamd.trust.words import six_words, wordlist
from tests.support.trust import identity

NOW_MS = 1_800_000_000_000
INVITATION = Invitation.create(identity().endpoint_id, "roam.abc.example:63120", NOW_MS, os.urandom)
LINE = INVITATION.line()
WORDS_OF_A_KNOWN_PAIRING = ("major", "goat", "feast", "paint", "craft", "pump")
"""Two versions of roamd that pair must show the same words; a change here is a change of the wire."""


def fault(line: str) -> str:
    with pytest.raises(Malformed) as caught:
        Invitation.parse(line)
    return str(caught.value)


@given(st.binary(min_size=24, max_size=24), st.integers(0, (1 << 48) - 1), st.sampled_from(["h:1", "[::1]:63120"]))
def test_a_line_comes_back(random: bytes, expires_ms: int, address: str) -> None:
    made = Invitation(random[:8], identity().endpoint_id, random[8:], expires_ms, address)
    assert Invitation.parse(made.line()) == made


def test_an_invitation_lives_a_day_and_its_line_fits_a_mail() -> None:
    assert INVITATION.expires_ms == NOW_MS + DEFAULT_LIFE_MS == NOW_MS + 24 * 3600 * 1000
    assert LINE.startswith("roamd-invite-1.")
    assert len(LINE) < 140
    assert set(LINE) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")


def test_the_secret_shows_in_no_repr() -> None:
    assert repr(INVITATION.secret)[2:-1] not in repr(INVITATION)


def test_a_mail_program_may_wrap_the_line() -> None:
    assert Invitation.parse(f"  {LINE[:50]}\r\n  {LINE[50:]}\n") == INVITATION


@given(st.integers(len("roamd-invite-1."), len(LINE) - 2), st.sampled_from("ABCabc019-_.!é"))
def test_no_slip_passes(position: int, character: str) -> None:
    wrong = LINE[:position] + character + LINE[position + 1 :]
    if wrong != LINE:
        assert "damaged or cut short" in fault(wrong)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "copy the whole line"),
        ("hello", "copy the whole line"),
        (LINE[:-5], "damaged or cut short"),
        (LINE + "A", "damaged or cut short"),
        ("roamd-invite-1.", "damaged or cut short"),
        (LINE.replace("invite-1", "invite-2"), "another version"),
        (LINE * 9, "far too long"),
        (Invitation(b"i" * 8, identity().endpoint_id, b"s" * 16, 1, "no address").line(), "not of the form host:port"),
        (Invitation(b"i" * 8, identity().endpoint_id, b"s" * 16, 1, "höst:1").line(), "not of the form host:port"),
    ],
)
def test_a_wrong_line_says_what_is_wrong(line: str, words: str) -> None:
    assert words in fault(line)


def test_the_wordlist_is_short_distinct_words() -> None:
    words = wordlist()
    assert len(words) == len({word[:4] for word in words}) == 1024
    assert all(3 <= len(word) <= 6 and word.isascii() and word.isalpha() and word.islower() for word in words)


def test_the_words_depend_on_everything_and_stay_the_same() -> None:
    base = (b"s" * 16, b"i" * 8, "INVITER", "JOINER")
    assert six_words(*base) == six_words(*base) == WORDS_OF_A_KNOWN_PAIRING
    others = [(b"S" * 16, *base[1:]), (base[0], b"I" * 8, *base[2:]), (*base[:2], "X", "JOINER"), (*base[:3], "X")]
    assert len({six_words(*base), *(six_words(*other) for other in others)}) == 5


def test_an_invitation_may_lead_through_a_clearing_house() -> None:
    house = identity(1).endpoint_id
    line = Invitation.create(identity().endpoint_id, through(house), NOW_MS, os.urandom).line()
    assert Invitation.parse(line).relay_id == house
    assert INVITATION.relay_id is None
    assert relay_in(f"via:{house}:1") is relay_in("via:63119") is relay_in(house) is None
