"""The digests of our own cards, for the filter that peers get (see `roamd.model.filter`).

A row is one name of a card. It is SETTLED once the segment that was last published has it, FRESH until then, and GONE
when the card was withdrawn and the segment still has it. So what each published object holds can be told at any time:
a segment what is not FRESH, the object NEW what is. `tokens` counts the credentials that share the name.
"""

# ruff: noqa: S608 - what is formatted into statements here are constants of this file; values are always bound

from typing import Final

from roamd.storage.cx import Cx

SETTLED: Final = 0
FRESH: Final = 1
GONE: Final = 2
# They stand in the statements as they are, with the very condition of the index of changed rows: SQLite concludes
# neither from a bound value nor from another condition that this index serves, and would read a million rows.
_CHANGED: Final = "state <> 0"


def add_txn(cx: Cx, digest: bytes) -> bool:
    """One more credential has this name; whether no published object knows it yet."""
    row = cx.one("SELECT state, tokens FROM cards WHERE digest = ?", (digest,))
    if row is None:
        cx.run("INSERT INTO cards (digest, state, tokens) VALUES (?, ?, 1)", (digest, FRESH))
        return True
    state, tokens = row
    state = SETTLED if state == GONE else state
    cx.run("UPDATE cards SET state = ?, tokens = ? WHERE digest = ?", (state, tokens + 1, digest))
    return False


def remove_txn(cx: Cx, digest: bytes) -> None:
    """One credential less has this name. A name that nobody has and no segment shows is forgotten at once."""
    row = cx.one("SELECT state, tokens FROM cards WHERE digest = ?", (digest,))
    if row is None:
        return
    state, tokens = row
    if tokens > 1:
        cx.run("UPDATE cards SET tokens = ? WHERE digest = ?", (tokens - 1, digest))
    elif state == FRESH:
        cx.run("DELETE FROM cards WHERE digest = ?", (digest,))
    else:
        cx.run("UPDATE cards SET state = ?, tokens = 0 WHERE digest = ?", (GONE, digest))


def forget_all_txn(cx: Cx) -> None:
    """No card is known."""
    cx.run("DELETE FROM cards")


def settle_txn(cx: Cx, first: bytes, last: bytes) -> None:
    """The segment from one digest to another (both included) is published as it is now."""
    cx.run(f"DELETE FROM cards WHERE {_CHANGED} AND state = {GONE} AND digest BETWEEN ? AND ?", (first, last))
    cx.run(
        f"UPDATE cards SET state = {SETTLED} WHERE {_CHANGED} AND state = {FRESH} AND digest BETWEEN ? AND ?",
        (first, last),
    )


def in_segment(cx: Cx, first: bytes, last: bytes) -> bytes:
    """The digests of a published segment, one after the other. The database joins them: a row each costs ten times."""
    sql = f"SELECT group_concat(hex(digest), '') FROM cards WHERE digest BETWEEN ? AND ? AND state <> {FRESH}"
    return bytes.fromhex(cx.value(sql, (first, last)) or "")


def fresh(cx: Cx) -> bytes:
    """The digests that are in no segment yet, one after the other."""
    return bytes.fromhex(
        cx.value(f"SELECT group_concat(hex(digest), '') FROM cards WHERE {_CHANGED} AND state = {FRESH}") or ""
    )


def count_fresh(cx: Cx, at_most: int) -> int:
    """How many there are of those; counting ends at a limit."""
    count: int = cx.value(
        f"SELECT COUNT(*) FROM (SELECT 1 FROM cards WHERE {_CHANGED} AND state = {FRESH} LIMIT ?)", (at_most,)
    )
    return count


def count(cx: Cx) -> int:
    """How many names there are. Reads them all."""
    total: int = cx.value(f"SELECT COUNT(*) FROM cards WHERE state <> {GONE}")
    return total


def changed(cx: Cx) -> list[int]:
    """The first two bytes of what is FRESH or GONE, as numbers, each once. Reads all of those."""
    rows = cx.run(f"SELECT DISTINCT substr(digest, 1, 2) FROM cards WHERE {_CHANGED}")
    return [int.from_bytes(row[0], "big") for row in rows]
