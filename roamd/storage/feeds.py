"""Feeds: own objects that peers mirror, and the objects that peers publish to us.

An own object is one row, however many peers follow. A change takes the next version of one counter over all feeds, so
a follower's position is one number, and a snapshot is simply the tail from 0. Content that did not change makes no
version. A withdrawn object stays as a tombstone (body None) until it is purged; `Extent.purged_upto` then says which
cursors have missed one and need a replacing snapshot.

A row's audience says who may see it now: "*" is everyone who follows, any other text is judged by the caller. `seen_by`
is every audience that it ever had: who was in one of them and is not in today's has to be sent a tombstone.
"""

# ruff: noqa: S608 - what is formatted into statements here are constants of this file; values are always bound

import itertools
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from roamd.model.keys import ObjectKey
from roamd.storage import meta
from roamd.storage.cx import NO_LIMIT, Cx, Row, within_bytes

PAGE_BYTES = 4 * 1024 * 1024
"""A page of a list ends when its bodies fill this, however many rows were asked for: a thousand of the largest objects
would be 256 MB.
"""

ALL = "*"
"""The audience of everyone whose rights cover the feed."""


class PublishResult(NamedTuple):
    """The object's version now; `created` if it was not there (or withdrawn), `changed` if the version is new."""

    version: int
    created: bool
    changed: bool


class PublishedRow(NamedTuple):
    """An own object; `body` None is a tombstone."""

    feed: str
    version: int
    key: ObjectKey
    ocpi: str
    body: bytes | None
    audience: str
    seen_by: frozenset[str]


class MirroredRow(NamedTuple):
    """An object of a peer; `version` is ours, counted when it changed here."""

    peer: str
    feed: str
    version: int
    key: ObjectKey
    ocpi: str
    body: bytes


class Extent(NamedTuple):
    """How far own feeds have come: the newest version over all, and per feed the highest whose tombstone is gone.

    A follower whose version is lower than that may have missed it.
    """

    newest: int
    purged_upto: dict[str, int]


class FeedPosition(NamedTuple):
    """How far we follow a peer's feed: its opaque cursor, and the replacing snapshot that is under way, if one is."""

    cursor: bytes
    generation: int
    replacing: bool


_PURGED = "purged:"
_PUBLISHED = "feed, version, party, id, sub, ocpi, body, audience, seen_by"
_MIRRORED = "peer, feed, version, party, id, sub, ocpi, body"


def _published(row: Row) -> PublishedRow:
    feed, version, party, object_id, sub, ocpi, body, audience, seen_by = row
    seen = frozenset(seen_by.split("\n")) if seen_by else frozenset()
    return PublishedRow(feed, version, ObjectKey(party, object_id, sub), ocpi, body, audience, seen)


def _mirrored(row: Row) -> MirroredRow:
    peer, feed, version, party, object_id, sub, ocpi, body = row
    return MirroredRow(peer, feed, version, ObjectKey(party, object_id, sub), ocpi, body)


# --- own objects ------------------------------------------------------------------------------------------------


def publish_txn(cx: Cx, feed: str, key: ObjectKey, ocpi: str, body: bytes, audience: str, now_ms: int) -> PublishResult:
    """Publish an object: a new version, unless body, OCPI version and audience are what they were."""
    old = cx.one(
        "SELECT row_id, version, ocpi, body, audience, seen_by FROM objects"
        " WHERE feed = ? AND id = ? AND party = ? AND sub = ?",
        (feed, key.id, key.party, key.sub),
    )
    if old is None:
        version = meta.next_txn(cx, "version")
        cx.run(
            "INSERT INTO objects (feed, id, party, sub, version, ocpi, audience, seen_by, changed_ms, body)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (feed, key.id, key.party, key.sub, version, ocpi, audience, audience, now_ms, body),
        )
        return PublishResult(version, created=True, changed=True)
    row_id, version, *content, seen_by = old
    if content == [ocpi, body, audience]:
        return PublishResult(version, created=False, changed=False)
    version = meta.next_txn(cx, "version")
    cx.run(
        "UPDATE objects SET version = ?, ocpi = ?, body = ?, audience = ?, seen_by = ?, changed_ms = ?"
        " WHERE row_id = ?",
        (version, ocpi, body, audience, _joined(seen_by, audience), now_ms, row_id),
    )
    return PublishResult(version, created=content[1] is None, changed=True)


def _joined(seen_by: str, audience: str) -> str:
    """`seen_by` with one more; everyone absorbs all others, nobody adds nothing."""
    audiences = {*seen_by.split("\n"), audience} - {""}
    return ALL if ALL in audiences else "\n".join(sorted(audiences))


def withdraw_txn(cx: Cx, feed: str, key: ObjectKey, now_ms: int) -> int | None:
    """Leave a tombstone in an object's place; its version, or None when there is no such object."""
    row_id = cx.value(
        "SELECT row_id FROM objects WHERE feed = ? AND id = ? AND party = ? AND sub = ? AND body IS NOT NULL",
        (feed, key.id, key.party, key.sub),
    )
    if row_id is None:
        return None
    version = meta.next_txn(cx, "version")
    cx.run("UPDATE objects SET version = ?, body = NULL, changed_ms = ? WHERE row_id = ?", (version, now_ms, row_id))
    return version


def get_published(cx: Cx, feed: str, key: ObjectKey) -> PublishedRow | None:
    """One own object; a withdrawn one is None."""
    found = find_published(cx, feed, key.id, party=key.party, sub=key.sub)
    return found[0] if found else None


def find_published(
    cx: Cx, feed: str, object_id: str, *, party: str | None = None, sub: str | None = None
) -> list[PublishedRow]:
    """Own objects of this id, of one party or one `sub` when named (all EVSE statuses of a location, for one)."""
    named = [(name, value) for name, value in (("party", party), ("sub", sub)) if value is not None]
    where = "".join(f" AND {name} = ?" for name, _ in named)
    rows = cx.run(
        f"SELECT {_PUBLISHED} FROM objects WHERE feed = ? AND id = ?{where} AND body IS NOT NULL ORDER BY party, sub",
        (feed, object_id, *(value for _, value in named)),
    )
    return [_published(row) for row in rows]


def list_published(cx: Cx, feed: str, after: ObjectKey | None, limit: int) -> list[PublishedRow]:
    """A page of own objects in the order of (id, party, sub), which no change elsewhere can shift; see PAGE_BYTES."""
    start = ("", "", "") if after is None else (after.id, after.party, after.sub)
    rows = cx.each(
        f"SELECT {_PUBLISHED} FROM objects WHERE feed = ? AND (id, party, sub) > (?, ?, ?) AND body IS NOT NULL"
        " ORDER BY id, party, sub LIMIT ?",
        (feed, *start, limit),
    )
    return [_published(row) for row in within_bytes(rows, 6, PAGE_BYTES)]


def tail(cx: Cx, feed: str, after_version: int, *, max_rows: int, max_bytes: int) -> list[PublishedRow]:
    """What changed after a version, tombstones too, in version order; at least one row however large it is."""
    rows = cx.each(
        f"SELECT {_PUBLISHED} FROM objects WHERE feed = ? AND version > ? ORDER BY version LIMIT ?",
        (feed, after_version, max_rows),
    )
    return [_published(row) for row in within_bytes(rows, 6, max_bytes)]


def newest_version(cx: Cx) -> int:
    """The newest version over all own feeds."""
    return meta.newest_version(cx)


def count_published(cx: Cx) -> dict[str, int]:
    """How many own objects each feed holds."""
    return dict(cx.run("SELECT feed, COUNT(*) FROM objects WHERE body IS NOT NULL GROUP BY feed"))


def purge_tombstones_txn(cx: Cx, before_ms: int, limit: int = NO_LIMIT) -> int:
    """Delete tombstones older than this, the oldest `limit`; how many.

    Cursors below `Extent.purged_upto` then need a replacing snapshot.
    """
    chosen = "SELECT row_id FROM objects WHERE body IS NULL AND changed_ms < ? ORDER BY changed_ms LIMIT ?"
    purged = cx.run(f"DELETE FROM objects WHERE row_id IN ({chosen}) RETURNING feed, version", (before_ms, limit))
    for feed, version in sorted(purged):
        meta.raise_txn(cx, f"{_PURGED}{feed}", version)
    return len(purged)


def extent(cx: Cx) -> Extent:
    """Both in one statement; feeds of which nothing is purged are not named."""
    known = meta.counters(cx)
    purged = {name.removeprefix(_PURGED): value for name, value in known.items() if name.startswith(_PURGED)}
    return Extent(known.get("version", 0), purged)


def newest_in(cx: Cx, names: Sequence[str]) -> dict[str, int]:
    """Of each of these feeds the version of its newest row, 0 when it has none: nothing in it is newer."""
    rows = cx.many("SELECT ?1, COALESCE(MAX(version), 0) FROM objects WHERE feed = ?1", [(name,) for name in names])
    return dict(rows)


# --- mirrored objects -------------------------------------------------------------------------------------------


def mirror_put_txn(
    cx: Cx, peer: str, feed: str, key: ObjectKey, *, ocpi: str, body: bytes, generation: int
) -> int | None:
    """Take over a peer's object; its new version here, or None when nothing but the generation changed."""
    old = cx.one(
        "SELECT row_id, ocpi, body FROM mirror WHERE peer = ? AND feed = ? AND id = ? AND party = ? AND sub = ?",
        (peer, feed, key.id, key.party, key.sub),
    )
    if old is not None and old[1:] == (ocpi, body):
        cx.run(
            "UPDATE mirror SET generation = ? WHERE row_id = ? AND generation <> ?", (generation, old[0], generation)
        )
        return None
    version = meta.next_txn(cx, "mirror")
    cx.run(
        "INSERT INTO mirror (peer, feed, id, party, sub, version, generation, ocpi, body)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (peer, feed, id, party, sub) DO UPDATE SET version = excluded.version,"
        " generation = excluded.generation, ocpi = excluded.ocpi, body = excluded.body",
        (peer, feed, key.id, key.party, key.sub, version, generation, ocpi, body),
    )
    return version


def mirror_remove_txn(cx: Cx, peer: str, feed: str, key: ObjectKey) -> bool:
    """Drop an object that the peer withdrew; False when we never had it."""
    sql = "DELETE FROM mirror WHERE peer = ? AND feed = ? AND id = ? AND party = ? AND sub = ?"
    return cx.change(sql, (peer, feed, key.id, key.party, key.sub)) > 0


def mirror_finish_replacing_txn(cx: Cx, peer: str, feed: str, generation: int) -> list[ObjectKey]:
    """End of a replacing snapshot: what was not in it goes. The keys that went."""
    rows = cx.run(
        "DELETE FROM mirror WHERE peer = ? AND feed = ? AND generation <> ? RETURNING party, id, sub",
        (peer, feed, generation),
    )
    return sorted(ObjectKey._make(row) for row in rows)


def get_cursor(cx: Cx, peer: str, feed: str) -> FeedPosition:
    """Where we stand in a peer's feed; an empty cursor at the very beginning."""
    row = cx.one("SELECT cursor, generation, replacing FROM cursors WHERE peer = ? AND feed = ?", (peer, feed))
    return FeedPosition(b"", 0, replacing=False) if row is None else FeedPosition(row[0], row[1], bool(row[2]))


def cursors_of(cx: Cx, peer: str) -> dict[str, bytes]:
    """The cursor of each of a peer's feeds that ever began."""
    return dict(cx.run("SELECT feed, cursor FROM cursors WHERE peer = ?", (peer,)))


def set_cursor_txn(cx: Cx, peer: str, feed: str, position: FeedPosition) -> None:
    """Keep the position, in the transaction that took over the objects before it."""
    cx.run(
        "INSERT INTO cursors (peer, feed, cursor, generation, replacing) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (peer, feed) DO UPDATE SET cursor = excluded.cursor,"
        " generation = excluded.generation, replacing = excluded.replacing",
        (peer, feed, position.cursor, position.generation, int(position.replacing)),
    )


def get_mirrored(cx: Cx, peer: str, feed: str, key: ObjectKey) -> MirroredRow | None:
    """One object of a peer."""
    row = cx.one(
        f"SELECT {_MIRRORED} FROM mirror WHERE peer = ? AND feed = ? AND id = ? AND party = ? AND sub = ?",
        (peer, feed, key.id, key.party, key.sub),
    )
    return _mirrored(row) if row else None


def find_mirrored(
    cx: Cx, feed: str, object_id: str, sub: str | None = None, *, peer: str | None = None
) -> list[MirroredRow]:
    """Mirrored objects of this id, of all peers or one, of whatever party, of one `sub` when named."""
    named = [(name, value) for name, value in (("sub", sub), ("peer", peer)) if value is not None]
    where = "".join(f" AND {name} = ?" for name, _ in named)
    rows = cx.run(
        f"SELECT {_MIRRORED} FROM mirror WHERE feed = ? AND id = ?{where} ORDER BY peer, party, sub",
        (feed, object_id, *(value for _, value in named)),
    )
    return [_mirrored(row) for row in rows]


def find_mirrored_any(cx: Cx, feed: str, object_ids: Sequence[str]) -> list[MirroredRow]:
    """Mirrored objects of any of these ids, of all peers, in no order."""
    # Unsorted: SQLite's sorter costs 7 us though there is hardly ever a row, and every authorization looks.
    rows: list[Row] = []
    for at in range(0, len(object_ids), MOST_IDS):
        some = object_ids[at : at + MOST_IDS]
        size = 1 << (len(some) - 1).bit_length()
        rows += cx.run(_find_any_sql(size), (feed, *some, *itertools.repeat(some[-1], size - len(some))))
    return [_mirrored(row) for row in rows]


MOST_IDS = 1024
"""In one statement. Their number is filled up to a power of two, so that a few statements are prepared once."""


@cache
def _find_any_sql(count: int) -> str:
    """The same text each time: it is looked up by that in the connection's cache of statements."""
    marks = ", ".join("?" * count)
    return f"SELECT {_MIRRORED} FROM mirror WHERE feed = ? AND id IN ({marks})"


def list_mirrored(cx: Cx, peer: str, feed: str, after: ObjectKey | None, limit: int) -> list[MirroredRow]:
    """A page of a peer's objects in the order of (id, party, sub); see PAGE_BYTES."""
    start = ("", "", "") if after is None else (after.id, after.party, after.sub)
    rows = cx.each(
        f"SELECT {_MIRRORED} FROM mirror WHERE peer = ? AND feed = ? AND (id, party, sub) > (?, ?, ?)"
        " ORDER BY id, party, sub LIMIT ?",
        (peer, feed, *start, limit),
    )
    return [_mirrored(row) for row in within_bytes(rows, 7, PAGE_BYTES)]


def count_mirrored(cx: Cx) -> dict[tuple[str, str], int]:
    """How many objects we mirror, by (peer, feed)."""
    rows = cx.run("SELECT peer, feed, COUNT(*) FROM mirror GROUP BY peer, feed")
    return {(peer, feed): count for peer, feed, count in rows}


def drop_peer_txn(cx: Cx, peer: str) -> None:
    """Forget everything that a peer published, and where we stood."""
    cx.run("DELETE FROM mirror WHERE peer = ?", (peer,))
    cx.run("DELETE FROM cursors WHERE peer = ?", (peer,))
