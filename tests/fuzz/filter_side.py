"""Target: a peer's card filter, from its body to an answer about a card."""

import contextlib

from roamd.errors import RoamdError
from roamd.model.filter import MAX_CARDS, digest, marker, read_object, write_open, write_segment
from roamd.model.objects import check_peer_object

KEY = bytes(range(16))
MARKS = [marker(KEY)(digest(str(number))) for number in range(8)]


def card_filter(data: bytes) -> None:
    """As it comes over a link, and as `roaming.credentialfilter.theirs` reads it, whichever of the two is stricter."""
    with contextlib.suppress(RoamdError):
        check_peer_object("credential-filter", "2.3.0", data)
    try:
        read, segment = read_object(data)
    except ValueError:
        return
    for mark in MARKS:
        segment.might_hold(mark)
    assert segment.cards == read.cards <= MAX_CARDS


def card_filter_seeds() -> list[bytes]:
    """A segment of each kind: some cards, none, an open one."""
    cards = b"".join(digest(str(number)) for number in range(40))
    return [
        write_segment("DEABC", "6-47", KEY, cards),
        write_segment("DEABC", "NEW", KEY, b""),
        write_open("DEABC", KEY),
    ]
