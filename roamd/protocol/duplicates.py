"""Both sides may dial at once; this decides which of two links stays, so that both sides decide alike.

Only links between the same two daemon instances compete. A peer that comes with a new run id has been started anew: its
older link is dead, whoever dialled it. Between the same two runs the link dialled by the smaller endpoint id stays, and
of two with the same dialler the newest. Only the smaller side closes the other one, after the winner is up, so that two
sides that see the links come up in different order never close both.
"""

from dataclasses import dataclass

from roamd.protocol.codes import GoodbyeCode


@dataclass(frozen=True, slots=True)
class LinkFacts:
    """One link that is up, as one side knows it; `order` grows with each link of this process that went up."""

    dialler: str
    peer_instance: bytes
    peer_run: bytes
    order: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """`closes` ends with `code`: by us when `we_close`, otherwise by the peer, and we only stop using it."""

    stays: LinkFacts
    closes: LinkFacts
    we_close: bool
    code: GoodbyeCode


def resolve(own: str, peer: str, one: LinkFacts, other: LinkFacts) -> Verdict | None:
    """Which of two links to the same peer stays; None when both may (another instance). `own`, `peer`: endpoint ids."""
    if one.peer_instance != other.peer_instance:
        return None
    older, newer = sorted((one, other), key=lambda link: link.order)
    if older.peer_run != newer.peer_run:
        return Verdict(newer, older, we_close=True, code=GoodbyeCode.REPLACED)
    stays = newer if older.dialler == newer.dialler else _dialled_by(min(own, peer), older, newer)
    closes = older if stays is newer else newer
    return Verdict(stays, closes, we_close=own < peer, code=GoodbyeCode.DUPLICATE)


def _dialled_by(dialler: str, older: LinkFacts, newer: LinkFacts) -> LinkFacts:
    return older if older.dialler == dialler else newer
