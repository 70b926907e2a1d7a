"""Forgetting a driver: may it be, and then row by row, in groups that hold nobody up.

Nothing is erased before everything was judged: a person who erases wants to hear of a reason against it while all is
still there. Each group is one transaction, so a crash in between leaves part of the work done and none of it half;
erasing again does the rest. Rows that are written meanwhile are found by walking again until a walk finds nothing.

Published credentials are the one thing whose very key is the driver's: they are withdrawn, partners that are linked
get the moment that they need to hear of it, and then the tombstone goes, too. Others get a replacing snapshot.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, TypeVar

import msgspec

from roamd.errors import Conflict
from roamd.model.keys import ObjectKey
from roamd.model.subjects import Identifiers, Subject
from roamd.protocol.ledger import EntryKind
from roamd.roaming.events import record_event_txn
from roamd.roaming.privacy.asks import CONTENTS, erase_place_txn
from roamd.roaming.privacy.search import CREDENTIALS, Hit, Holding
from roamd.storage import erasure, feeds, leases, ledgers, records
from roamd.storage.feeds import PublishedRow
from roamd.storage.records import PARKED, QUEUED
from roamd.storage.store import Cx

T = TypeVar("T")

GROUP: Final = 200
"""Rows in one transaction: some milliseconds of the writer's time."""

RECORDS: Final = frozenset(kind for kind in CONTENTS if kind < EntryKind.ACCEPTED)

PROOFS: Final = frozenset(("entries", "records", "grant_uses", "pseudonyms"))
"""Tables of what is owed, and why; and of the names by which that can be read."""

LIVE: Final = frozenset(("ACTIVE", "PENDING", "RESERVED"))
"""States of sessions and reservations that somebody is in the middle of."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What stands against erasing. `kept_until_ms` is the last day of the records that the law wants kept."""

    kept: int
    kept_until_ms: int
    undelivered: int
    live: int

    def refuse(self) -> None:
        """Raises Conflict with every reason, unless there is none."""
        reasons = []
        if self.kept:
            reasons.append(f"{self.kept} of its records must be kept by law (retention.records_years)")
        if self.undelivered:
            reasons.append(f"{self.undelivered} of its records were not delivered yet and would be lost")
        if self.live:
            reasons.append(f"{self.live} of its sessions or reservations are going on")
        if reasons:
            raise Conflict(
                f"Nothing was erased: {'; '.join(reasons)}. Erase all but the records, or force it.",
                code="must-be-kept",
            )


def without_records(found: Judgement) -> Judgement:
    """What stands against it when records are left as they are."""
    return Judgement(0, 0, 0, found.live)


def judge(cx: Cx, holding: Holding, keep: Callable[[int], int], now_ms: int) -> Judgement:
    """What stands against erasing what was found; `keep` says until when a record of some time must be kept."""
    until = [keep(hit.about["at_ms"]) for hit in holding.of("entries") if hit.about["kind"] in RECORDS]
    until += [keep(hit.about["at_ms"]) for hit in holding.of("grant_uses")]
    kept = [each for each in until if each > now_ms]
    placed = [hit for hit in holding.of("entries") if erasure.undelivered(cx, *ledgers.chain_and_sequence(hit.row))]
    return Judgement(
        len(kept), max(kept, default=0), len(placed) + len(holding.of("records")), sum(map(_is_live, holding.hits))
    )


def _is_live(hit: Hit) -> bool:
    return hit.table in ("objects", "mirror") and hit.field.get("status") in LIVE


# --- the work -----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Work:
    """What one request erases, and how much of it was. `ask` says whether a peer can be asked about its copies.

    `withdrawing` has the services that look at own objects that are about to go, by feed.
    """

    request: str
    now_ms: int
    ask: Callable[[str], bool]
    withdrawing: Mapping[str, Callable[[Cx, PublishedRow], None]]
    keep_records: bool = False
    done: dict[str, int] = field(default_factory=dict)
    peers: set[str] = field(default_factory=set)
    tombstones: list[int] = field(default_factory=list)

    def groups(self, holding: Holding) -> Iterator[Callable[[Cx], None]]:
        """The transactions that erase what was found."""
        hits = [hit for hit in holding.hits if self._erases(hit)]
        for group in grouped(hits):
            yield lambda cx, group=group: self._erase_txn(cx, group)  # type: ignore[misc]
        if not self.keep_records:
            yield lambda cx: self._links_txn(cx, holding)

    def left(self, holding: Holding) -> bool:
        """Whether a further walk has found something that this work erases."""
        return any(map(self._erases, holding.hits))

    def _erases(self, hit: Hit) -> bool:
        return not (self.keep_records and hit.table in PROOFS)

    def _erase_txn(self, cx: Cx, hits: Sequence[Hit]) -> None:
        for hit in hits:
            self._row_txn(cx, hit)
            self.done[hit.table] = self.done.get(hit.table, 0) + 1

    def _row_txn(self, cx: Cx, hit: Hit) -> None:
        match hit.table:
            case "entries":
                self._entry_txn(cx, hit)
            case "records":
                self._record_txn(cx, hit)
            case "objects":
                self._object_txn(cx, hit)
            case "mirror":
                self._mirrored_txn(cx, hit)
            case "grant_uses":
                erasure.erase_use_txn(cx, hit.row)
            case table:
                erasure.delete_txn(cx, table, [hit.row])

    def _links_txn(self, cx: Cx, holding: Holding) -> None:
        for table in erasure.LINKED:
            rows = [seen.row for seen in erasure.linked(cx, table, holding.references, holding.sessions)]
            erasure.delete_txn(cx, table, rows)
            if rows:
                self.done[table] = self.done.get(table, 0) + len(rows)

    def _entry_txn(self, cx: Cx, hit: Hit) -> None:
        chain_id, sequence = ledgers.chain_and_sequence(hit.row)
        chain, entry = ledgers.get_chain(cx, chain_id), ledgers.get_entry(cx, chain_id, sequence)
        if chain is None or entry is None:
            return
        lost = erasure.undelivered(cx, chain_id, sequence)
        ask = self.ask(chain.peer)
        erase_place_txn(cx, chain, entry, request=self.request, ask=ask, now_ms=self.now_ms)
        if ask:
            self.peers.add(chain.peer)
        if lost is not None and lost.state == QUEUED:
            self._park_txn(cx, lost.id)

    def _record_txn(self, cx: Cx, hit: Hit) -> None:
        erasure.erase_record_txn(cx, hit.row)
        self._park_txn(cx, hit.row)

    def _park_txn(self, cx: Cx, record: int) -> None:
        """It can never be delivered now, and says so."""
        reason = "its content was erased before it was delivered"
        records.set_state_txn(cx, record, PARKED, reason, now_ms=self.now_ms)
        row = records.get_by_id(cx, record)
        if row is not None:
            record_event_txn(cx, row, "record.state", self.now_ms)

    def _object_txn(self, cx: Cx, hit: Hit) -> None:
        key, feed = _key(hit.about), hit.about["feed"]
        published = feeds.get_published(cx, feed, key)
        if published is not None and feed in self.withdrawing:
            self.withdrawing[feed](cx, published)
        feeds.withdraw_txn(cx, feed, key, self.now_ms)
        if feed == CREDENTIALS:
            self.tombstones.append(hit.row)
        if feed == "sessions":
            feeds.withdraw_txn(cx, "session-leases", key, self.now_ms)

    def _mirrored_txn(self, cx: Cx, hit: Hit) -> None:
        erasure.delete_txn(cx, "mirror", [hit.row])
        if hit.about["feed"] == "sessions":
            leases.remove_txn(cx, hit.about["peer"], hit.about["party"], hit.about["id"])


def drop_tombstones_txn(cx: Cx, rows: Iterable[int]) -> None:
    """The last step: nothing is left even of the keys of published credentials."""
    for row in rows:
        erasure.drop_tombstone_txn(cx, row)


def grouped(items: Iterable[T]) -> Iterator[list[T]]:
    """In groups of a transaction each."""
    iterator = iter(items)
    while group := list(islice(iterator, GROUP)):
        yield group


def _key(about: dict[str, Any]) -> ObjectKey:
    return ObjectKey(about["party"], about["id"], about["sub"])


def place_of(hit: Hit) -> dict[str, Any]:
    """Where something stands, for a person to look it up."""
    return {"table": hit.table, **{name: hit.about[name] for name in _TOLD if hit.about.get(name) is not None}}


_TOLD: Final = ("direction", "peer", "feed", "party", "id", "kind", "record_id", "type")


def beside(named: Subject, tokens: Iterable[Identifiers]) -> list[dict[str, str]]:
    """Tokens of his that bear another number, too: he may want to be forgotten under that one as well."""
    found = {token.canonical: token.as_json() for token in tokens if is_more(named, token)}
    return [found[key] for key in sorted(found, key=str)]


def is_more(named: Subject, token: Identifiers) -> bool:
    """Whether a token bears a number that the subject was not named by."""
    other_uid = token.type is not None and token.uid is not None and not named.has_uid(token.type, token.uid)
    return other_uid or (token.contract_id is not None and not named.has_contract(token.contract_id))


class Erasing(msgspec.Struct, frozen=True, omit_defaults=True):
    """What `roamd subject erase` answers.

    `erased` counts rows by table; `mentions` are places that hold a number of his and are somebody else's, or nobody's:
    they were left. `others` are other numbers that stood beside his: ask about them, too. `log_emptied` False: somebody
    reads the store (a backup?), so the data may still stand in its log for a while.
    """

    request: str
    erased: dict[str, int]
    kept_records: int
    mentions: list[dict[str, Any]]
    others: list[dict[str, str]]
    asked: dict[str, int]
    backups: list[str]
    log_emptied: bool
    note: str
