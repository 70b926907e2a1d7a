"""Puts right what backends write otherwise than OCPI's text has it, where it is plain what is meant.

What a backend hands in is signed or published under our name, and goes to partners that may take the text at its word.
So it is mended here, once, where it comes in; all that is right keeps its bytes. Mended are:

    times       with an offset, a space, or finer than milliseconds: in UTC with Z
    numbers     as texts: "7.50" is 7.50
    booleans    as texts: "true"
    enumerations in another case: accepted is ACCEPTED
    connectors  without max_voltage or max_amperage: 0, which no connector has
    cdr_token   missing: whose driver it is, when an authorization says so, else #NA
    cdr_location without address and the like: from the location, else #NA

#NA is OCPI's own word for a required text whose value does not exist. Nothing else is made up.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Final

import msgspec

from roamd.clock import rfc3339
from roamd.model.body import with_fields
from roamd.model.jsontext import elements, member, spans
from roamd.model.ocpi.check import Row, classes, enumerations
from roamd.model.times import is_usual_time, parse_time, time_ms

NOT_AVAILABLE: Final = b'"#NA"'
NUMBER: Final = re.compile(r"-?(?:0|[1-9]\d{0,17})(?:\.\d{1,18})?", re.ASCII)
PLACE_TEXTS: Final = ("address", "city", "country", "evse_uid", "evse_id", "connector_id")
PLACE_KNOWN: Final = ("id", "address", "city", "country", "coordinates")
LIMITS: Final = ("max_voltage", "max_amperage")

Mender = Callable[[bytes, "Mending"], bytes]


@dataclass(slots=True)
class Mending:
    """What is known beside the body, and what was met while mending it (names of quirks).

    `token`: a CdrToken as text. `location`: the Location that a CDR names. None: not known, and then nothing is put in.
    """

    version: str
    token: bytes | None = None
    location: bytes | None = None
    fill: bool = True
    met: set[str] = field(default_factory=set)


def mend(kind: str, text: bytes, mending: Mending) -> bytes:
    """A compact object of a class, mended. What cannot be understood stays as it is, for the check to name."""
    return _object(kind, text, mending)


def _object(kind: str, text: bytes, mending: Mending) -> bytes:
    if not text.startswith(b"{"):
        return text
    rows = _rows(kind, mending.version)
    changes: dict[str, bytes] = {}
    names: set[str] = set()
    filler = FILLERS.get(kind)
    for name, _, start, end in spans(text):
        value = text[start:end]
        if filler is not None and value != b"null":
            names.add(name)
        row = rows.get(name)
        mended = value if row is None else _value(row, value, mending)
        if mended != value:
            changes[name] = mended
    if filler is not None and mending.fill:
        changes |= filler(text, names, mending)
    return with_fields(text, changes) if changes else text


@cache
def _rows(kind: str, version: str) -> Mapping[str, Row]:
    return {row.name: row for row in classes(version)[kind]}


def _value(row: Row, value: bytes, mending: Mending) -> bytes:
    if row.card not in "*+":
        return _one(row.type, value, mending)
    if not value.startswith(b"["):
        return value
    before = elements(value)
    after = [_one(row.type, each, mending) for each in before]
    return value if after == before else b"[" + b",".join(after) + b"]"


def _one(type_: str, value: bytes, mending: Mending) -> bytes:
    name = type_.partition("(")[0]
    if value.startswith(b"{"):
        kind = "Price" if name == "Amount" else name
        return _object(kind, value, mending) if kind in classes(mending.version) else value
    if not value.startswith(b'"'):
        return value
    mender = _MENDERS.get(name)
    if mender is not None:
        return mender(value, mending)
    return _enumeration(name, value, mending) if name in enumerations(mending.version) else value


def _time(value: bytes, mending: Mending) -> bytes:
    text: str = msgspec.json.decode(value)
    if is_usual_time(text) or parse_time(text.strip()) is None:
        return value
    mending.met.add("times")
    return msgspec.json.encode(rfc3339(time_ms(text.strip())))


def _number(value: bytes, mending: Mending) -> bytes:
    text: str = msgspec.json.decode(value).strip()
    if not NUMBER.fullmatch(text):
        return value
    mending.met.add("numbers")
    return text.encode()


def _boolean(value: bytes, mending: Mending) -> bytes:
    text: str = msgspec.json.decode(value).strip().lower()
    if text not in ("true", "false"):
        return value
    mending.met.add("booleans")
    return text.encode()


def _enumeration(name: str, value: bytes, mending: Mending) -> bytes:
    text: str = msgspec.json.decode(value)
    meant = _spellings(name, mending.version).get(text.strip().upper())
    if meant is None or meant == text:
        return value
    mending.met.add("enumerations")
    return msgspec.json.encode(meant)


@cache
def _spellings(name: str, version: str) -> Mapping[str, str]:
    return {value.upper(): value for value in enumerations(version)[name]}


_MENDERS: Final[dict[str, Mender]] = {
    "DateTime": _time,
    "number": _number,
    "int": _number,
    "Amount": _number,
    "boolean": _boolean,
}


# --- what is missing --------------------------------------------------------------------------------------------


def _connector(text: bytes, names: set[str], mending: Mending) -> dict[str, bytes]:
    missing = {name: b"0" for name in LIMITS if name not in names}
    if missing:
        mending.met.add("connector-limits")
    return missing


def _token(text: bytes, names: set[str], mending: Mending) -> dict[str, bytes]:
    if "cdr_token" in names or mending.token is None:
        return {}
    mending.met.add("cdr-token")
    return {"cdr_token": mending.token}


def _place(text: bytes, names: set[str], mending: Mending) -> dict[str, bytes]:
    missing: dict[str, bytes] = {}
    for name in dict.fromkeys((*PLACE_KNOWN, *PLACE_TEXTS)):
        if name in names:
            continue
        known = member(mending.location, name) if mending.location is not None and name in PLACE_KNOWN else None
        if known is not None:
            missing[name] = known
        elif name in PLACE_TEXTS:
            missing[name] = NOT_AVAILABLE
    if missing:
        mending.met.add("cdr-location")
    return missing


FILLERS: Final[dict[str, Callable[[bytes, set[str], Mending], dict[str, bytes]]]] = {
    "Connector": _connector,
    "Session": _token,
    "CDR": _token,
    "CdrLocation": _place,
}


# --- explicit nulls ---------------------------------------------------------------------------------------------


def without_nulls(text: bytes) -> bytes:
    """The object without members that are null, at every depth."""
    if b"null" not in text:
        return text
    if text.startswith(b"["):
        return b"[" + b",".join(without_nulls(each) for each in elements(text)) + b"]"
    if not text.startswith(b"{"):
        return text
    kept = [(text[begin:start], text[start:end]) for _, begin, start, end in spans(text) if text[start:end] != b"null"]
    return b"{" + b",".join(key + without_nulls(value) for key, value in kept) + b"}"


def with_nulls(kind: str, version: str, text: bytes) -> bytes:
    """The object with null for every optional field that it has not, at every depth; an absent list stays absent."""
    if not text.startswith(b"{") or kind not in classes(version):
        return text
    rows, changes, names = _rows(kind, version), {}, set()
    for name, _, start, end in spans(text):
        names.add(name)
        row = rows.get(name)
        value = text[start:end]
        mended = value if row is None else _nulled(row, version, value)
        if mended != value:
            changes[name] = mended
    changes |= {name: b"null" for name, row in rows.items() if row.card == "?" and name not in names}
    return with_fields(text, changes) if changes else text


def _nulled(row: Row, version: str, value: bytes) -> bytes:
    kind = row.type.partition("(")[0]
    if row.card in "*+" and value.startswith(b"["):
        return b"[" + b",".join(with_nulls(kind, version, each) for each in elements(value)) + b"]"
    return with_nulls(kind, version, value)
