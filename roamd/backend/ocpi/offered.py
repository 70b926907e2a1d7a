"""What the partners publish, as lists that the backend fetches page by page.

A client knows of the next page nothing but `offset`, `limit` and the dates, so what makes a crawl stable is kept here:
at offset 0 a snapshot is taken of which objects there are, in what order, and the pages that follow are cut from it
for ten minutes. A new crawl of the same list begins a new snapshot. Objects are read when their page is; one that
has gone since is left out of its page, and the places of the others stay.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple
from urllib.parse import urlencode

import msgspec

from roamd.backend.context import Api
from roamd.backend.ocpi.asked import Asked
from roamd.backend.ocpi.envelope import Answer, encode, not_allowed, not_found
from roamd.backend.ocpi.partners import Partners
from roamd.backend.ocpi.received import FEED, PARTS, part_of
from roamd.backend.ocpi.texts import bubbled, stored_stamp
from roamd.backend.ocpi.uids import turned
from roamd.backend.ocpi.views import view_for
from roamd.errors import Conflict, NotFound
from roamd.model.keyedlist import key_of
from roamd.model.pseudonyms import with_contract
from roamd.model.roles import FEEDS
from roamd.model.times import parse_time, time_ms
from roamd.roaming.operations import (
    GetPeerObject,
    GetRecord,
    ListPeerObjects,
    ListRecords,
    Page,
    Partner,
    RecordReply,
    StoredObject,
)

DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 500
"""X-Limit: 500 locations are about 2 MB."""

CDRS: Final = frozenset({"CDR", "CREDIT"})
"""The kinds of record that are CDRs to OCPI: a credit is one with `credit` set."""

READ_AT_ONCE: Final = 250
SNAPSHOT_S: Final = 600.0
MAX_SNAPSHOTS: Final = 32
TOKEN_TYPES: Final = ("RFID", "APP_USER", "AD_HOC_USER", "OTHER", "EMAID")


class Entry(NamedTuple):
    """One object of a snapshot."""

    at_ms: int
    peer: str
    party: str
    id: str
    sub: str | None


class _Head(msgspec.Struct):
    country_code: str
    party_id: str
    last_updated: str
    id: str = ""
    uid: str = ""
    type: str = ""


_head: Final = msgspec.json.Decoder(_Head).decode


@dataclass(frozen=True, slots=True)
class Window:
    """Which objects a list is for: by `last_updated` from (inclusive) and to (exclusive), and of whom."""

    since_ms: int | None
    until_ms: int | None
    party: str | None

    def holds(self, at_ms: int) -> bool:
        """Whether a time is in it."""
        after = self.since_ms is None or at_ms >= self.since_ms
        return after and (self.until_ms is None or at_ms < self.until_ms)

    @property
    def dated(self) -> bool:
        """Whether times matter."""
        return self.since_ms is not None or self.until_ms is not None


@dataclass(slots=True)
class Snapshots:
    """The newest snapshot of each list of each backend, for a while."""

    monotonic: Callable[[], float]
    _kept: dict[object, tuple[float, list[Entry]]] = field(default_factory=dict)

    def find(self, key: object) -> list[Entry] | None:
        """The snapshot, if it is still held."""
        made_at, entries = self._kept.get(key, (0.0, None))
        return entries if entries is not None and self.monotonic() - made_at < SNAPSHOT_S else None

    def put(self, key: object, entries: list[Entry]) -> None:
        """Hold it; the oldest goes when there are too many."""
        self._kept.pop(key, None)
        self._kept[key] = (self.monotonic(), entries)
        while len(self._kept) > MAX_SNAPSHOTS:
            del self._kept[next(iter(self._kept))]


@dataclass(slots=True)
class Offered:
    """The SENDER interface of locations, tariffs, sessions, cdrs and tokens."""

    api: Api
    partners: Partners
    snapshots: Snapshots

    async def handle(self, asked: Asked) -> Answer:
        """GET of a list or of one object."""
        if asked.method not in ("GET", "HEAD"):
            raise not_allowed(f"{asked.module} takes GET here.")
        return await self._one(asked) if asked.path else await self._page(asked)

    # --- lists ---

    async def _page(self, asked: Asked) -> Answer:
        window = Window(asked.moment("date_from"), asked.moment("date_to"), self._party(asked))
        partners = await self.partners.addressed(asked.party("to"))
        offset, limit = asked.number("offset", 0), min(asked.number("limit", 0) or DEFAULT_LIMIT, MAX_LIMIT)
        key = (asked.presented.backend.settings.name, asked.face, asked.module, window)
        entries = self.snapshots.find(key) if offset else None
        if entries is None:
            entries = await self._snapshot(asked.module, partners, window)
            self.snapshots.put(key, entries)
        bodies = await self._bodies(asked, entries[offset : offset + limit])
        headers = {"X-Total-Count": str(len(entries)), "X-Limit": str(MAX_LIMIT)}
        if offset + limit < len(entries):
            headers["Link"] = f'<{_next_url(asked, offset + limit, limit)}>; rel="next"'
        return Answer(b"[" + b",".join(bodies) + b"]", headers=headers)

    def _party(self, asked: Asked) -> str | None:
        to = asked.party("to")
        return None if to in self.api.own_parties else to

    async def _snapshot(self, module: str, partners: list[Partner], window: Window) -> list[Entry]:
        if module == "cdrs":
            found = await self._received(window)
        else:
            role = FEEDS[FEED[module]].publisher_role
            found = []
            for partner in partners:
                if role in partner.roles:
                    found += await self._published(partner, FEED[module], window)
        found.sort(key=lambda entry: entry.at_ms)
        return found

    async def _published(self, partner: Partner, feed: str, window: Window) -> list[Entry]:
        found: list[Entry] = []
        after: str | None = None
        while True:
            page: Page = await self.api.core.ask(ListPeerObjects(partner.peer, feed, after, READ_AT_ONCE))
            told = (entry_of(partner.peer, feed, each.body) for each in in_plain(feed, page.items))
            found += (entry for entry in told if entry)
            after = page.next
            if after is None:
                wanted = window.party
                return [e for e in found if window.holds(e.at_ms) and wanted in (None, e.party)]

    async def _received(self, window: Window) -> list[Entry]:
        """CDRs in the order in which they came; their own dates are read only when dates matter."""
        found: list[Entry] = []
        after: str | None = None
        while True:
            page: Page = await self.api.core.ask(ListRecords(after, READ_AT_ONCE, direction="in"))
            found += await self._cdr_entries(page.items, window)
            after = page.next
            if after is None:
                return found

    async def _cdr_entries(self, replies: list[RecordReply], window: Window) -> list[Entry]:
        wanted = [each for each in replies if each.kind in CDRS and window.party in (None, each.party)]
        entries = [Entry(_ms(each.created_at), each.peer or "", each.party, each.record_id, None) for each in wanted]
        if not window.dated:
            return entries
        bodies = await self._records(entries)
        dated = [e._replace(at_ms=stored_stamp(body)) for e, (body, _) in zip(entries, bodies, strict=True) if body]
        return [entry for entry in dated if window.holds(entry.at_ms)]

    async def _bodies(self, asked: Asked, entries: list[Entry]) -> list[bytes]:
        read = self._records if asked.module == "cdrs" else partial(self._objects, asked.module)
        found = await read(entries)
        with view_for(asked) as view:
            return [view.of(body, ocpi) for body, ocpi in found if body]

    async def _objects(self, module: str, entries: list[Entry]) -> list[tuple[bytes, str | None]]:
        wanted = [GetPeerObject(e.peer, FEED[module], e.id, e.party, e.sub) for e in entries]
        stored = await self.api.core.ask_many(wanted)
        return [(shown(FEED[module], each), each.ocpi) for each in stored if isinstance(each, StoredObject)]

    async def _records(self, entries: list[Entry]) -> list[tuple[bytes, str | None]]:
        """Every record in its place; the body of one that was erased is empty."""
        replies = await self.api.core.ask_many([GetRecord(entry.id, entry.party, "in") for entry in entries])
        return [record_text(reply) if isinstance(reply, RecordReply) else (b"", None) for reply in replies]

    # --- one ---

    async def _one(self, asked: Asked) -> Answer:
        id_, *parts = asked.path
        if parts and (asked.module != "locations" or len(parts) > len(PARTS)):
            raise not_found("There is nothing at this address.")
        if asked.module == "cdrs":
            return shown_record(asked, await self.api.core.ask(GetRecord(id_, self._party(asked), "in")))
        partners = await self.partners.addressed(asked.party("to"))
        kind = asked.query("type")
        if asked.module == "tokens":
            id_ = turned(asked.presented.backend.settings, kind or "RFID", id_)
        stored = await self.find(partners, FEED[asked.module], id_, kind)
        if stored is None:
            raise not_found("No partner publishes such an object.")
        with view_for(asked) as view:
            body = view.of(shown(FEED[asked.module], stored), stored.ocpi)
        return Answer(part_of(body, tuple(parts)) if parts else body)

    async def find(self, partners: list[Partner], feed: str, id_: str, kind: str | None) -> StoredObject | None:
        """The first partner's object of this id."""
        for partner in partners:
            stored = await self.find_at(partner, feed, id_, kind)
            if stored is not None:
                return stored
        return None

    async def find_at(self, partner: Partner, feed: str, id_: str, kind: str | None) -> StoredObject | None:
        """The partner's object of this id, the first if several are."""
        return next(iter(await self.all_at(partner, feed, id_, kind)), None)

    async def all_at(
        self, partner: Partner, feed: str, id_: str, kind: str | None, party: str | None = None
    ) -> list[StoredObject]:
        """The partner's objects of this id: more than one when its parties, or types of tokens, share it."""
        try:
            return in_plain(feed, [await self.api.core.ask(GetPeerObject(partner.peer, feed, id_, party, kind))])
        except NotFound:
            return []
        except Conflict:
            kinds = TOKEN_TYPES if feed == "user-credentials" and kind is None else (kind,)
            asked = [GetPeerObject(partner.peer, feed, id_, party, each) for party in partner.parties for each in kinds]
            return in_plain(
                feed, [each for each in await self.api.core.ask_many(asked) if isinstance(each, StoredObject)]
            )


def in_plain(feed: str, found: list[StoredObject]) -> list[StoredObject]:
    """Without credentials of keyed lists: OCPI has no such thing, and their hashes are nobody's numbers."""
    return [each for each in found if feed != "user-credentials" or key_of(each.body) is None]


def entry_of(peer: str, feed: str, body: bytes) -> Entry | None:
    """An object's place in a snapshot; None for a text that a partner should not have sent."""
    try:
        head = _head(body)
    except msgspec.DecodeError:
        return None
    at_ms = time_ms(head.last_updated) if parse_time(head.last_updated) else 0
    if feed == "locations":
        at_ms = stored_stamp(bubbled(body))
    sub = head.type if feed == "user-credentials" else None
    return Entry(at_ms, peer, (head.country_code + head.party_id).upper(), head.id or head.uid, sub)


def shown(feed: str, stored: StoredObject) -> bytes:
    """As a backend that speaks OCPI knows it: it has one name for a contract, its own."""
    if feed == "locations":
        return bubbled(stored.body)
    return stored.body if stored.contract_id is None else with_contract(stored.body, stored.contract_id)


def record_text(reply: RecordReply) -> tuple[bytes, str | None]:
    """A record's body and its version; empty when it was erased. Of ours it names the contract by its own id."""
    body = b"" if reply.record is None else bytes(reply.record)
    return (body if reply.contract_id is None else with_contract(body, reply.contract_id)), reply.ocpi


def shown_record(asked: Asked, reply: RecordReply) -> Answer:
    """One record as the answer to a request; null when it was erased."""
    body, ocpi = record_text(reply)
    with view_for(asked) as view:
        return Answer(view.of(body, ocpi) if body else b"null")


def _ms(stamp: str | None) -> int:
    return time_ms(stamp) if stamp else 0


def _next_url(asked: Asked, offset: int, limit: int) -> str:
    kept = {name: value for name in ("date_from", "date_to") if (value := asked.query(name))}
    return f"{asked.endpoint}?{urlencode({**kept, 'offset': offset, 'limit': limit})}"


@dataclass(slots=True)
class ClientInfos:
    """hubclientinfo."""

    partners: Partners

    async def handle(self, asked: Asked) -> Answer:
        """GET of all."""
        if asked.method not in ("GET", "HEAD"):
            raise not_allowed("hubclientinfo takes GET here.")
        if asked.path:
            raise not_found("There is nothing below hubclientinfo.")
        infos = await self.partners.client_infos()
        offset, limit = asked.number("offset", 0), min(asked.number("limit", 0) or DEFAULT_LIMIT, MAX_LIMIT)
        headers = {"X-Total-Count": str(len(infos)), "X-Limit": str(MAX_LIMIT)}
        if offset + limit < len(infos):
            headers["Link"] = f'<{_next_url(asked, offset + limit, limit)}>; rel="next"'
        return Answer(encode(infos[offset : offset + limit]), headers=headers)
