"""Which places are held for whom, from what our own backend publishes in feed `reservations`.

Kept in memory, because every authorization that names an EVSE asks: only reservations that are RESERVED or PENDING and
not over, and of these only those of one EVSE, for a reservation of "any EVSE there" keeps nobody from another one. What
changed is read from the feed's tail, so a change costs one row, whatever else is reserved.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec

from roamd.model.credentials import canonical_uid
from roamd.model.ids.contract import parse_contract_id
from roamd.model.keys import ObjectKey, fold
from roamd.model.times import time_ms
from roamd.storage import feeds
from roamd.storage.feeds import PublishedRow
from roamd.storage.store import Store

FEED: Final = "reservations"
HOLDING: Final = frozenset({"PENDING", "RESERVED"})
PAGE_ROWS, PAGE_BYTES = 1000, 1024 * 1024


class Held(NamedTuple):
    """One reservation of one EVSE. Folded type, canonical uid and contract."""

    key: ObjectKey
    start_ms: int
    end_ms: int
    type: str
    uid: str
    contract: str
    reference: str | None


class _Driver(msgspec.Struct):
    type: str
    uid: str
    contract_id: str


class _Head(msgspec.Struct):
    status: str
    cdr_token: _Driver
    location_id: str
    start_date_time: str
    end_date_time: str
    evse_uid: str | None = None
    authorization_reference: str | None = None


_decode: Final = msgspec.json.Decoder(_Head).decode

GroupOf = Callable[[str, str], str | None]
"""The driver group of a credential (folded type, canonical uid) at its CSP; None if none is known."""


@dataclass(slots=True)
class HeldPlaces:
    """See the module. `changed` may be called from the trio thread at any time; the next look then reads."""

    store: Store
    _version: int = 0
    _stale: bool = True
    _places: dict[tuple[str, str], dict[ObjectKey, Held]] = field(default_factory=dict)
    _where: dict[ObjectKey, tuple[str, str]] = field(default_factory=dict)

    def changed(self) -> None:
        """Our backend has published reservations."""
        self._stale = True

    def holder(
        self, location_id: str, evse_uid: str | None, now_ms: int, type_: str, uid: str, contract_id: str | None,
        group_of: GroupOf,
    ) -> tuple[str, Held | None]:  # fmt: skip
        """Who holds this place now, as the decision table says it: "none", "own", "group" or "others"."""
        if self._stale:
            self._read()
        if evse_uid is None or not self._places:
            return "none", None
        place = fold(location_id), fold(evse_uid)
        held = [one for one in self._at(place, now_ms) if one.start_ms <= now_ms]
        if not held:
            return "none", None
        contract = parse_contract_id(contract_id).canonical if contract_id else None
        for one in held:
            if (one.type, one.uid) == (type_, uid) or one.contract == contract:
                return "own", one
        group = group_of(type_, uid)
        for one in held:
            if group is not None and group == group_of(one.type, one.uid):
                return "group", one
        return "others", None

    def _at(self, place: tuple[str, str], now_ms: int) -> list[Held]:
        """What is held there from now on; what is over is forgotten."""
        for over in [one.key for one in self._places.get(place, {}).values() if one.end_ms <= now_ms]:
            self._forget(over)
        return list(self._places.get(place, {}).values())

    def _read(self) -> None:
        self._stale = False
        while rows := self.store.read(
            lambda cx: feeds.tail(cx, FEED, self._version, max_rows=PAGE_ROWS, max_bytes=PAGE_BYTES)
        ):
            for row in rows:
                self._take(row)
            self._version = rows[-1].version

    def _take(self, row: PublishedRow) -> None:
        self._forget(row.key)
        head = _decode(row.body) if row.body is not None else None
        if head is None or head.status not in HOLDING or head.evse_uid is None:
            return
        token, place = head.cdr_token, (fold(head.location_id), fold(head.evse_uid))
        self._where[row.key] = place
        self._places.setdefault(place, {})[row.key] = Held(
            row.key, time_ms(head.start_date_time), time_ms(head.end_date_time), fold(token.type),
            canonical_uid(token.type, token.uid), parse_contract_id(token.contract_id).canonical,
            head.authorization_reference,
        )  # fmt: skip

    def _forget(self, key: ObjectKey) -> None:
        place = self._where.pop(key, None)
        if place is not None:
            held = self._places[place]
            del held[key]
            if not held:
                del self._places[place]
