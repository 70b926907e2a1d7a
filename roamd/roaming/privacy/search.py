"""Everything that the store holds of one driver: a walk over every table that may name him.

Nothing is indexed by driver, on purpose: an index of people is one more thing to leak, and such a question comes a few
times a year. The walk reads page by page beside everything else, some 100 MB a second; what is written meanwhile
behind its back is found by walking again (see `erase`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import trio

from roamd.model.keyedlist import key_of
from roamd.model.roles import FEEDS
from roamd.model.subjects import NOTHING, Finding, Identifiers, Subject
from roamd.storage import erasure, listkeys
from roamd.storage.erasure import Seen, Source
from roamd.storage.store import Store

_OF_DRIVERS = ("Session", "Token", "Reservation", "Grant")
OF_DRIVERS = frozenset(row.name for row in FEEDS.values() if row.object_class in _OF_DRIVERS)
"""Feeds whose objects are about one driver each. Anything else that names one, a location's directions perhaps, is
told and left: it is not for us to take a station off the map.
"""

CREDENTIALS = "user-credentials"


@dataclass(frozen=True, slots=True)
class Hit:
    """A row that names the subject, or (`finding.found` is "mentioned") only mentions him."""

    table: str
    row: int
    about: dict[str, Any]
    text: bytes | None
    finding: Finding

    @property
    def field(self) -> dict[str, Any]:
        """The texts of the row that links to others are made of; empty when there is none to read."""
        return _as_object(self.text)


@dataclass(slots=True)
class Holding:
    """What was found of one subject."""

    hits: list[Hit] = field(default_factory=list)
    mentions: list[Hit] = field(default_factory=list)
    record_ids: set[str] = field(default_factory=set)
    references: set[str] = field(default_factory=set)
    sessions: set[str] = field(default_factory=set)
    hashes: frozenset[str] = frozenset()
    """What stands for his numbers in the keyed lists of peers."""
    others: dict[tuple[str | None, str | None, str | None], Identifiers] = field(default_factory=dict)
    """Every way in which tokens of his spell his numbers, and the other numbers that stand beside them."""

    def of(self, table: str) -> list[Hit]:
        """The hits in one table."""
        return [hit for hit in self.hits if hit.table == table]

    def add(self, hit: Hit) -> None:
        """Take in a row, with what links it to others."""
        if hit.finding.found == "mentioned":
            self.mentions.append(hit)
            return
        self.hits.append(hit)
        for token in hit.finding.tokens:
            self.others[token.type, token.uid, token.contract_id] = token
        if hit.table == "mirror" and hit.about["feed"] == CREDENTIALS and key_of(hit.text or b"{}") is not None:
            self.hashes |= {hit.about["id"]}
        if hit.table in ("entries", "records"):
            self.record_ids.add(hit.about["record_id"])
        body = hit.field
        self.references.update(_texts(body, "authorization_reference"))
        is_session = hit.about.get("feed") == "sessions"
        self.sessions.update(_texts(body, "id" if is_session else "session_id"))


async def search(store: Store, subject: Subject) -> Holding:
    """Walk over everything; other work goes on in between. Cancelling it changes nothing."""
    keys = {key for kept in store.read(listkeys.load).values() for key in kept}
    holding = Holding(hashes=frozenset(name for key in keys for name in subject.hashed(key)))
    for source in erasure.SOURCES:
        after = 0
        while rows := store.read(lambda cx, source=source, after=after: erasure.page(cx, source, after)):  # type: ignore[misc]
            for hit in _hits(source, rows, subject, holding):
                holding.add(hit)
            after = rows[-1].row
            await trio.lowlevel.checkpoint()
    return holding


def _hits(source: Source, rows: list[Seen], subject: Subject, holding: Holding) -> Iterator[Hit]:
    for seen in rows:
        finding = _finding(source.table, seen, subject, holding)
        if finding.found is not None:
            yield Hit(source.table, seen.row, seen.about, seen.text, finding)


def _finding(table: str, seen: Seen, subject: Subject, holding: Holding) -> Finding:
    found = NOTHING if seen.text is None else subject.look(seen.text)
    match table:
        case "objects" | "mirror":
            return _object_finding(seen, subject, holding, found)
        case "events" if _is_of_his_card(seen, subject, holding):
            return Finding("named")
        case "idempotency" if found.found is None:
            return Finding("named") if _record_ids(seen.text) & holding.record_ids else NOTHING
        case _:
            return found


def _object_finding(seen: Seen, subject: Subject, holding: Holding, found: Finding) -> Finding:
    feed = seen.about["feed"]
    if feed == CREDENTIALS and any(name.encode() in (seen.text or b"") for name in holding.hashes):
        return Finding("named", found.tokens)
    if feed == CREDENTIALS and subject.has_uid(seen.about["sub"], seen.about["id"]):
        return Finding("named", found.tokens)
    if feed not in OF_DRIVERS and found.found == "named":
        return Finding("mentioned")
    return found


def _is_of_his_card(seen: Seen, subject: Subject, holding: Holding) -> bool:
    """An event of a published credential has no body, but its subject is the feed, the party, the type and the uid.

    Events of older versions have the feed and the uid alone.
    """
    feed, _, rest = str(seen.about["subject"]).partition(" ")
    if feed == CREDENTIALS and rest.rpartition(" ")[2] in holding.hashes:
        return True
    if feed != CREDENTIALS or subject.type is None:
        return False
    return any(subject.has_uid(subject.type, uid) for uid in (rest, rest.split(" ", 2)[-1]))


def _record_ids(answer: bytes | None) -> set[str]:
    """The records that a stored answer tells of."""
    try:
        replies = msgspec.json.decode(answer or b"null")
    except msgspec.DecodeError:
        return set()
    found = replies if isinstance(replies, list) else [replies]
    return {reply["record_id"] for reply in found if isinstance(reply, dict) and "record_id" in reply}


def _as_object(text: bytes | None) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(text or b"null")
    except (msgspec.DecodeError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _texts(body: dict[str, Any], name: str) -> list[str]:
    value = body.get(name)
    return [value] if isinstance(value, str) and value else []
