"""Small work on OCPI's JSON texts that leaves every other byte as it was."""

import json
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from roamd.backend.ocpi.envelope import invalid
from roamd.model.body import find_evse, tree, with_fields
from roamd.model.jsontext import compact
from roamd.model.keys import fold
from roamd.model.times import parse_time, time_ms

_object: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_array: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode


class _Evse(msgspec.Struct):
    last_updated: str | None = None


class _Stamps(msgspec.Struct):
    last_updated: str
    evses: list[_Evse] | None = None


_stamps: Final = msgspec.json.Decoder(_Stamps).decode


def object_text(data: bytes) -> tuple[bytes, dict[str, Any]]:
    """A request's body as compact text and parsed; raises Malformed, TooLarge, or Refusal when it is no object."""
    text = compact(data)
    value = tree(text)
    if not isinstance(value, dict):
        raise invalid("$: expected an object")
    return text, value


def stamp_of(value: dict[str, Any]) -> int:
    """`last_updated` in milliseconds; Refusal when it is missing or none."""
    text = value.get("last_updated")
    if not isinstance(text, str) or parse_time(text) is None:
        raise invalid("$.last_updated: is missing or no DateTime")
    return time_ms(text)


def stored_stamp(body: bytes) -> int:
    """`last_updated` of an object that was checked."""
    return time_ms(_stamps(body).last_updated)


def bubbled(location: bytes) -> bytes:
    """The location with a `last_updated` that is not before that of any of its EVSEs.

    A status travels apart from its location, so the location's own stamp does not know of it.
    """
    stamps = _stamps(location)
    newest = max(_texts(stamps), key=time_ms)
    return location if newest == stamps.last_updated else with_stamp(location, newest)


def _texts(stamps: _Stamps) -> Iterable[str]:
    yield stamps.last_updated  # first, so that it wins a draw
    for evse in stamps.evses or ():
        if evse.last_updated is not None and parse_time(evse.last_updated) is not None:
            yield evse.last_updated


def with_stamp(body: bytes, stamp: str) -> bytes:
    """The object with this `last_updated`."""
    return with_fields(body, {"last_updated": json.dumps(stamp).encode()})


def text_field(body: bytes, name: str) -> str | None:
    """One field when it is a text."""
    raw = _member(body, name)
    value = msgspec.json.decode(raw) if raw.startswith(b'"') else None
    return value if isinstance(value, str) else None


def member_text(body: bytes, name: str) -> bytes | None:
    """One field's own text; None when it is absent or null."""
    raw = _member(body, name)
    return None if raw in (b"", b"null") else raw


def _member(body: bytes, name: str) -> bytes:
    """A field's text; empty when there is none, and when the body is no object."""
    return bytes(_object(body).get(name, b"")).strip() if body.lstrip().startswith(b"{") else b""


def parts_of(body: bytes, name: str) -> list[bytes]:
    """The elements of a list field, each as its text; a missing list is an empty one. Refusal when it is no list."""
    raw = _member(body, name)
    if raw in (b"", b"null"):
        return []
    if not raw.startswith(b"["):
        raise invalid(f"$.{name}: expected an array")
    return [bytes(each) for each in _array(raw)]


def find_part(body: bytes, name: str, id_name: str, part_id: str) -> bytes | None:
    """The element with this id (in any case), or None."""
    if name == "evses":
        return find_evse(body, part_id)
    wanted = fold(part_id)
    return next((part for part in parts_of(body, name) if fold(text_field(part, id_name) or "") == wanted), None)


def with_part(body: bytes, name: str, id_name: str, part: bytes) -> bytes:
    """The object with this element in the place of the one with its id, or added; `last_updated` rises with it."""
    wanted = fold(text_field(part, id_name) or "")
    parts = parts_of(body, name)
    ids = [fold(text_field(each, id_name) or "") for each in parts]
    if wanted in ids:
        parts[ids.index(wanted)] = part
    else:
        parts.append(part)
    changed = with_fields(body, {name: b"[" + b",".join(parts) + b"]"})
    ours, theirs = text_field(body, "last_updated"), text_field(part, "last_updated")
    return with_stamp(changed, theirs) if ours and theirs and time_ms(theirs) > time_ms(ours) else changed


def appended_periods(session: bytes, patch: bytes) -> bytes:
    """The patch with the session's charging periods before its own; one that begins at the same time replaces."""
    new = parts_of(patch, "charging_periods")
    if not new:
        return patch
    begun = {text_field(period, "start_date_time") for period in new}
    old = [p for p in parts_of(session, "charging_periods") if text_field(p, "start_date_time") not in begun]
    return with_fields(patch, {"charging_periods": b"[" + b",".join([*old, *new]) + b"]"})
