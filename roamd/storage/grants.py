"""Grants by credential, for the feed's objects are found by their id only; and how often each was used.

An own grant (peer "") stands here for its end alone, so that it can be withdrawn then. A use is committed before the
driver is let in, with the signed text that let him in: it is the proof that the home-CSP promised to pay.
"""

# ruff: noqa: S608 - what is formatted into statements here are constants of this file; values are always bound

from collections.abc import Sequence
from typing import NamedTuple

from roamd.storage.cx import Cx

OWN = ""


class GrantRow(NamedTuple):
    """A grant of a peer, as the feed brought it."""

    peer: str
    party: str
    id: str
    body: bytes


class UseRow(NamedTuple):
    """One start under a grant; `body` is None when it was erased. `uid` is canonical."""

    peer: str
    party: str
    id: str
    authorization_id: str
    at_ms: int
    reference: str
    uid: str | None
    body: bytes | None


def put_txn(cx: Cx, peer: str, party: str, id_: str, type_: str, uid: str, until_ms: int) -> None:
    """Keep a grant; folded type, canonical uid."""
    cx.run(
        "INSERT INTO grants (peer, party, id, type, uid, until_ms) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (peer, party, id) DO UPDATE SET type = excluded.type, uid = excluded.uid,"
        " until_ms = excluded.until_ms",
        (peer, party, id_, type_, uid, until_ms),
    )


def remove_txn(cx: Cx, peer: str, party: str, id_: str) -> None:
    """It was withdrawn."""
    cx.run("DELETE FROM grants WHERE peer = ? AND party = ? AND id = ?", (peer, party, id_))


def drop_peer_txn(cx: Cx, peer: str) -> None:
    """Forget a peer's; what was used stays, as its records do."""
    cx.run("DELETE FROM grants WHERE peer = ?", (peer,))


def are_some(cx: Cx) -> bool:
    """Whether any peer has granted anything."""
    return bool(cx.value("SELECT EXISTS (SELECT 1 FROM grants WHERE peer <> ?)", (OWN,)))


def find(cx: Cx, type_: str, uids: Sequence[str]) -> list[GrantRow]:
    """Peers' grants of a credential, under any of these canonical uids."""
    marks = ", ".join("?" for _ in uids)
    rows = cx.run(
        "SELECT g.peer, g.party, g.id, m.body FROM grants g"
        " JOIN mirror m ON m.peer = g.peer AND m.feed = 'grants' AND m.id = g.id AND m.party = g.party AND m.sub = ''"
        f" WHERE g.uid IN ({marks}) AND g.type = ? AND g.peer <> ? ORDER BY g.peer, g.party, g.id",
        (*uids, type_, OWN),
    )
    return [GrantRow._make(row) for row in rows]


def ended(cx: Cx, before_ms: int) -> list[tuple[str, str]]:
    """Own grants that ended before a moment: party and id."""
    return cx.run("SELECT party, id FROM grants WHERE peer = ? AND until_ms < ?", (OWN, before_ms))


def uses(cx: Cx, peer: str, party: str, id_: str) -> int:
    """How often a grant was used."""
    count: int = cx.value("SELECT COUNT(*) FROM grant_uses WHERE peer = ? AND party = ? AND id = ?", (peer, party, id_))
    return count


_COLUMNS = ", ".join(UseRow._fields)


def use_txn(cx: Cx, row: UseRow) -> None:
    """Count a start."""
    cx.run(f"INSERT INTO grant_uses ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)


def give_back_txn(cx: Cx, authorization_id: str) -> None:
    """The driver was not let in after all."""
    cx.run("DELETE FROM grant_uses WHERE authorization_id = ?", (authorization_id,))


def use_of(cx: Cx, authorization_id: str) -> UseRow | None:
    """The use by one authorization."""
    row = cx.one(f"SELECT {_COLUMNS} FROM grant_uses WHERE authorization_id = ?", (authorization_id,))
    return UseRow._make(row) if row else None


def peer_of_reference(cx: Cx, reference: str) -> str | None:
    """Whose grant a start with this authorization reference was under; known from before the driver was let in."""
    peer: str | None = cx.value(
        "SELECT peer FROM grant_uses WHERE reference = ? ORDER BY row_id DESC LIMIT 1", (reference,)
    )
    return peer


def peers_of_reference(cx: Cx, reference: str) -> set[str]:
    """All whose grants' uses had this authorization reference."""
    return {row[0] for row in cx.run("SELECT peer FROM grant_uses WHERE reference = ?", (reference,))}


def erase_txn(cx: Cx, uid: str) -> int:
    """Take a driver out of the uses (canonical uid): the count stays, the signed text goes; how many."""
    return cx.change("UPDATE grant_uses SET uid = NULL, body = NULL WHERE uid = ?", (uid,))


def purge_uses_txn(cx: Cx, before_ms: int) -> int:
    """Forget old uses; how many. Not before their grants have ended, or starts would be counted anew."""
    return cx.change(
        "DELETE FROM grant_uses WHERE at_ms < ? AND NOT EXISTS (SELECT 1 FROM grants g WHERE g.peer = grant_uses.peer"
        " AND g.party = grant_uses.party AND g.id = grant_uses.id)",
        (before_ms,),
    )
