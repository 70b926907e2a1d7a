"""What received records are held against: what their authors published, their stations' time zones, their agreements.

This is read on the loop's thread, so it reads little: of a record's text the names that it gives, of each tariff and
location that several records name one row, and a tariff's text is understood once for as long as it stays the same. A
record that no tariff is known for, as wherever tariffs are not exchanged, is never decoded.
"""

from collections.abc import Callable, Mapping
from datetime import tzinfo
from decimal import Decimal
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from roamd.errors import StoreDamaged
from roamd.model.keys import ObjectKey, fold
from roamd.model.pricing.tariff import Tariff, UnreadableTariffError, read_tariff
from roamd.model.terms import Terms
from roamd.model.times import time_ms
from roamd.roaming.ledger.sound import sound_body
from roamd.storage import feeds, ledgers, records
from roamd.storage.records import RecordRow
from roamd.storage.store import Cx

decode_exactly: Final[Callable[[bytes], dict[str, Any]]] = msgspec.json.Decoder(
    dict[str, Any], float_hook=Decimal
).decode
"""For bodies that were checked when they came."""

_NONE: Final[Mapping[str, Tariff]] = MappingProxyType({})
_TARIFFS: Final = 64
"""Tariffs that are kept as understood; a text has at most 256 KiB, and most have one."""


class Asked(NamedTuple):
    """A record with what it is held against, read in one go."""

    row: RecordRow
    text: bytes
    terms: Terms
    published: Mapping[str, Tariff] = _NONE
    zone: tzinfo | None = None
    credited: bytes | None = None
    """The text of what a credit takes back."""
    unknown: str | None = None
    """Not None: no tariff is known for it; the one that it names, or "" for none."""


class _Period(msgspec.Struct):
    tariff_id: str | None = None


class _Place(msgspec.Struct):
    id: str | None = None


class _Names(msgspec.Struct):
    """What a CDR names, without any of its numbers."""

    start_date_time: str
    charging_periods: list[_Period]
    tariffs: msgspec.Raw = msgspec.Raw(b"null")
    cdr_location: _Place | None = None

    @property
    def tariff_ids(self) -> list[str]:
        """The tariffs that its periods name, in their order."""
        return list(dict.fromkeys(period.tariff_id for period in self.charging_periods if period.tariff_id))


_decode_names: Final = msgspec.json.Decoder(_Names).decode


class Reading:
    """Reads records from one state of the store, and what they have in common once. `terms(peer)` is what is agreed."""

    def __init__(self, cx: Cx, terms: Callable[[str | None], Terms]) -> None:
        self._cx = cx
        self._terms = terms
        self._tariffs: dict[tuple[str, str, str], tuple[int, Tariff] | None] = {}
        self._zones: dict[tuple[str, str, str], tzinfo | None] = {}

    def asked(self, found: list[tuple[RecordRow, bytes | None]]) -> list[Asked]:
        """These records, without what was erased or what the disk has changed: nothing to check."""
        texts = [(row, _sound(row, text)) for row, text in found]
        return [self._asked(row, text) for row, text in texts if text is not None]

    def _asked(self, row: RecordRow, text: bytes) -> Asked:
        terms = self._terms(row.peer)
        if row.kind == "SDR":
            return Asked(row, text, terms)
        if row.kind == "CREDIT":
            return Asked(row, text, terms, credited=self._credited(row, text))
        names = _decode_names(text)
        ids = names.tariff_ids
        published = self._published(row, ids, time_ms(names.start_date_time)) if ids else _NONE
        if not published and bytes(names.tariffs) in (b"null", b"[]"):
            return Asked(row, text, terms, unknown=ids[0] if ids else "")
        place = names.cdr_location.id if names.cdr_location is not None else None
        return Asked(row, text, terms, published, self._zone(row, place) if place is not None else None)

    def _credited(self, row: RecordRow, text: bytes) -> bytes | None:
        named = decode_exactly(text).get("credit_reference_id") or ""
        credited = records.get(self._cx, "in", row.party, str(named), peer=row.peer)
        return None if credited is None else _sound(credited, credited.body or self._entry_of(credited))

    def _entry_of(self, row: RecordRow) -> bytes | None:
        """The text that stands at a record's place in its chain."""
        return None if row.chain_id is None else ledgers.get_body(self._cx, row.chain_id, row.sequence or 0)

    def _published(self, row: RecordRow, ids: list[str], began_ms: int) -> dict[str, Tariff]:
        """The peer's published tariffs that the record names, where they are not younger than the session."""
        found = {}
        for name in ids:
            known = self._tariff(row.peer or "", row.party, fold(name))
            if known is not None and known[0] <= began_ms:
                found[name] = known[1]
        return found

    def _tariff(self, peer: str, party: str, name: str) -> tuple[int, Tariff] | None:
        place = (peer, party, name)
        if place not in self._tariffs:
            mirrored = feeds.get_mirrored(self._cx, peer, "tariffs", ObjectKey(party, name))
            self._tariffs[place] = None if mirrored is None else _understood(mirrored.body)
        return self._tariffs[place]

    def _zone(self, row: RecordRow, location: str) -> tzinfo | None:
        place = (row.peer or "", row.party, fold(location))
        if place not in self._zones:
            peer, party, name = place
            mirrored = feeds.get_mirrored(self._cx, peer, "locations", ObjectKey(party, name))
            self._zones[place] = None if mirrored is None else _zone_of(mirrored.body)
        return self._zones[place]


def _sound(row: RecordRow, text: bytes | None) -> bytes | None:
    try:
        return sound_body(row, text)
    except StoreDamaged:
        return None


@lru_cache(_TARIFFS)
def _understood(text: bytes) -> tuple[int, Tariff] | None:
    """When a published tariff was last changed, and what it says; None where the record's own copy is judged."""
    body = decode_exactly(text)
    try:
        return time_ms(body["last_updated"]), read_tariff(body)
    except (UnreadableTariffError, ValueError):
        return None


class _Zoned(msgspec.Struct):
    time_zone: str = ""


def _zone_of(location: bytes) -> tzinfo | None:
    """The station's time zone, as its location says."""
    try:
        return ZoneInfo(msgspec.json.decode(location, type=_Zoned).time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
