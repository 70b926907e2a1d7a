"""What becomes of a record once both sides have it: a table, and the state as the fold of both chains.

Theory of operation. The receiver of a record (who pays) accepts, disputes or closes it; its author credits it, alone or
with a replacement. Each says so in its own chain, which is signed and in order; between the two chains there is no
order. So the fold must not need one: the receiver's words move along the table below, in the order of its chain alone,
and whatever they came to, a credit ends it. Both sides hold both chains in the end, so both show the same state, in
whatever order the words arrived. Words that the table does not know from where the record stands change nothing, on
either side.
"""

from collections.abc import Iterable
from typing import Final

DELIVERED, ACCEPTED, DISPUTED, CREDITED, FINAL = "DELIVERED", "ACCEPTED", "DISPUTED", "CREDITED", "FINAL"

RECEIVER_WORDS: Final = (ACCEPTED, DISPUTED, FINAL)
AUTHOR_WORDS: Final = ("CREDITED", "CORRECTED")
"""CORRECTED is credited and replaced by another record."""

MOVES: Final[dict[tuple[str, str], str]] = {
    (DELIVERED, ACCEPTED): ACCEPTED,
    (DELIVERED, DISPUTED): DISPUTED,
    (DELIVERED, FINAL): FINAL,
    (DISPUTED, ACCEPTED): ACCEPTED,
    (DISPUTED, DISPUTED): DISPUTED,
    (ACCEPTED, FINAL): FINAL,
}
"""(where it stands, the receiver's word) -> where it stands then. Who has accepted cannot dispute any more: that is
what accepting is for; who disputes may come round, or say more."""

_SETTLED: Final = (DELIVERED, ACCEPTED, DISPUTED, FINAL)


def moved(state: str, word: str) -> str | None:
    """The state after one word, None when the word changes nothing there.

    A record that is QUEUED here stands as DELIVERED: who speaks of it has it.
    """
    before = DELIVERED if state == "QUEUED" else state
    if word in AUTHOR_WORDS:
        return CREDITED if before in _SETTLED else None
    return MOVES.get((before, word))


def folded(receiver_words: Iterable[str], author_words: Iterable[str]) -> str:
    """A delivered record's state from what both chains say of it, each in its own order."""
    state = DELIVERED
    for word in receiver_words:
        state = MOVES.get((state, word), state)
    return CREDITED if any(word in AUTHOR_WORDS for word in author_words) else state
