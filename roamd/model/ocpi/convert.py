"""Objects of one version as the other version would say them: 2.2.1 as 2.3.0 and back.

    convert("Location", body, "2.3.0", "2.2.1") -> (body, losses)

A conversion is a view for a backend that speaks the other version. What is stored, signed and sent stays as its owner
wrote it. The one thing that goes the other way is a change that an owner's backend makes to a part of an object that
the owner published in the other version; records have no such.

How: the two versions' class tables are walked side by side along the object's own text. A member that both know alike
keeps its bytes, numbers their spelling, and what neither knows stays where it is. Where the versions differ the rules
of `convert_rules` say what becomes of it, `convert_prices` does the sums, and whatever the other version cannot say is
a `Loss` with its path in the original. What a version's check accepts, the other version's check accepts when it is
converted.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

import msgspec

from roamd.model.jsontext import child_path, elements, member, parse
from roamd.model.ocpi.check import Row, check, classes, enumerations
from roamd.model.ocpi.convert_prices import (
    limit_to_taxes,
    limit_to_vat,
    price_to_taxes,
    price_to_vat,
    tariff_to_taxes,
    tariff_to_vat,
)
from roamd.model.ocpi.convert_rules import FIELDS, NEW, OLD, RESTRICTED_TO, RULES, VALUES, Loss, Rule
from roamd.model.ocpi.convert_text import Members, loss

__all__ = ["RULES", "Loss", "Rule", "convert", "is_alike", "value_in"]

_STEPS: Final[dict[tuple[str, str, str], Callable[[Members, str, list[Loss]], None]]] = {
    ("Price", "Price", NEW): price_to_taxes,
    ("Price", "PriceLimit", NEW): limit_to_taxes,
    ("Tariff", "Tariff", NEW): tariff_to_taxes,
    ("Price", "Price", OLD): price_to_vat,
    ("PriceLimit", "Price", OLD): limit_to_vat,
    ("Tariff", "Tariff", OLD): tariff_to_vat,
}
"""What is done with a class's members (as source and target call it) before they are walked."""


def convert(kind: str, body: bytes, source: str, target: str) -> tuple[bytes, tuple[Loss, ...]]:
    """A compact body of a class, as the target's version would say it, and what that loses.

    A body that is no object is given back as it is. Raises KeyError for an unknown class or version.
    """
    if source == target or is_alike(kind):
        return body, ()
    walk = _Walk(source, target)
    try:
        text = walk.object(kind, kind, body, "$")
    except ValueError:  # no object, or a key twice: nothing that a check accepted
        return body, ()
    return text or body, tuple(walk.losses)


def value_in(enumeration: str, value: str, target: str) -> str:
    """One value by itself, as the target's version calls it: a token's type in an address, for one."""
    stood_in = VALUES.get((enumeration, value), ("", None))[1] if target == OLD else None
    return stood_in or value


@cache
def is_alike(kind: str) -> bool:
    """Whether both versions say all of this class alike. Raises KeyError for an unknown class."""
    old, new = _rows(OLD, kind), _rows(NEW, kind)
    return old == new and all(_is_alike_type(row.type) for row in old.values())


def _is_alike_type(type_: str) -> bool:
    name = type_.partition("(")[0]
    if name in enumerations(OLD):
        return enumerations(OLD)[name] == enumerations(NEW)[name]
    return name != "Amount" and (name not in classes(OLD) or is_alike(name))


@cache
def _rows(ocpi: str, kind: str) -> dict[str, Row]:
    return {row.name: row for row in classes(ocpi)[kind]}


@dataclass(slots=True)
class _Walk:
    """One conversion. `restrictions` is what 2.2.1 calls the parking places of the location that is walked."""

    source: str
    target: str
    losses: list[Loss] = field(default_factory=list)
    restrictions: dict[str, str] = field(default_factory=dict)

    def object(self, kind: str, as_kind: str, body: bytes, at: str) -> bytes | None:
        """An object; None when it has no counterpart. Raises ValueError for a text that is none."""
        if not body.startswith(b"{"):
            return body
        members = Members(body)
        if self._is_unsayable(kind, members, at):
            return None
        if kind == "Location" and self.target == OLD:
            self.restrictions = _restrictions(members.text("parking_places"))
        if kind == "EVSE" and self.restrictions:
            self._tell_parking(members, at)
        step = _STEPS.get((kind, as_kind, self.target))
        if step is not None:
            step(members, at, self.losses)
        known, wanted = _rows(self.source, kind), _rows(self.target, as_kind)
        for name in members.names():
            self._member(members, name, known.get(name), wanted.get(name), as_kind, at)
        return self._whole(kind, body, members, at)

    def _member(self, members: Members, name: str, known: Row | None, wanted: Row | None, kind: str, at: str) -> None:
        text, path = members.text(name) or b"", child_path(at, name)
        if known is not None and wanted is not None:
            changed = self._value(known, wanted, text, path)
            if changed is None:
                members.drop(name)
            else:
                members.put(name, changed)
        elif known is not None:
            members.drop(name)
            if text != b"null":
                self.losses.append(Loss(path, RULES[FIELDS.get((kind, name), "field-of-other-version")]))
        elif wanted is not None and self._is_misfit(kind, name, members):
            members.drop(name)
            self.losses.append(Loss(path, RULES["field-of-other-version"]))

    def _is_misfit(self, kind: str, name: str, members: Members) -> bool:
        """Whether the target's version would refuse this member."""
        value: Any = parse(members.text(name) or b"null").value
        faults = check(kind, self.target, {name: value}).faults if _rows(self.target, kind) else []
        path = child_path("$", name)
        return any(fault.path.startswith(path) and fault.code != "required" for fault in faults)

    # --- values ---

    def _value(self, known: Row, wanted: Row, text: bytes, at: str) -> bytes | None:
        """A member's value; None when nothing is left of it."""
        name, as_name = known.type.partition("(")[0], wanted.type.partition("(")[0]
        if name == as_name and _is_alike_type(name):
            return text
        if known.card in "*+":
            return self._list(name, as_name, text, at)
        return self._one(name, as_name, text, at)

    def _list(self, name: str, as_name: str, text: bytes, at: str) -> bytes:
        if not text.startswith(b"["):
            return text
        old = elements(text)
        new = [self._one(name, as_name, each, f"{at}[{i}]", listed=True) for i, each in enumerate(old)]
        return text if new == old else b"[" + b",".join(each for each in new if each is not None) + b"]"

    def _one(self, name: str, as_name: str, text: bytes, at: str, *, listed: bool = False) -> bytes | None:
        if name in enumerations(self.source):
            return self._enumerated(name, text, at, listed=listed)
        if name == "Amount":
            name = as_name = "Price"
        return self.object(name, as_name, text, at)

    def _enumerated(self, name: str, text: bytes, at: str, *, listed: bool) -> bytes | None:
        found = VALUES.get((name, _text(text))) if self.target == OLD else None
        if found is None:
            return text
        code, instead = found
        self.losses.append(Loss(at, RULES[code]))
        if instead is None:
            return None if listed else text
        return b'"' + instead.encode() + b'"'

    # --- locations ---

    def _is_unsayable(self, kind: str, members: Members, at: str) -> bool:
        if kind == "Connector" and self.target == OLD and members.text("standard") == b'"MCS"':
            self.losses.append(Loss(at, RULES["connector-type-none"]))
            return True
        return False

    def _whole(self, kind: str, body: bytes, members: Members, at: str) -> bytes | None:
        """The object; None for an EVSE none of whose connectors can be told."""
        text = members.join()
        if kind == "EVSE" and members.text("connectors") == b"[]" and member(body, "connectors") != b"[]":
            self.losses = [each for each in self.losses if not each.path.startswith(f"{at}.")]
            self.losses.append(Loss(at, RULES["connector-type-none"]))
            return None
        return text

    def _tell_parking(self, evse: Members, at: str) -> None:
        """An EVSE whose every place is for one kind of driver alone says so as 2.2.1 does."""
        links = evse.text("parking") or b""
        ids = [_text(member(link, "parking_id")) for link in _objects(links)]
        found = {self.restrictions.get(id_.upper(), "") for id_ in ids}
        kept = evse.text("parking_restrictions") or b"[]"
        (restriction,) = found if len(found) == 1 else ("",)
        if not restriction or not kept.startswith(b"["):
            return
        told, word = elements(kept), f'"{restriction}"'.encode()
        if word not in told:
            evse.put("parking_restrictions", b"[" + b",".join([*told, word]) + b"]", before="images")
            self.losses.append(loss(at, "parking_restrictions", "parking-told-as-restriction"))


def _restrictions(places: bytes | None) -> dict[str, str]:
    """By the id of each place that is for one type of vehicle alone: what 2.2.1 calls that."""
    found = {}
    for place in _objects(places or b""):
        types = member(place, "vehicle_types") or b""
        names = [_text(each) for each in elements(types)] if types.startswith(b"[") else []
        if member(place, "restricted_to_type") == b"true" and len(names) == 1 and names[0] in RESTRICTED_TO:
            found[_text(member(place, "id")).upper()] = RESTRICTED_TO[names[0]]
    return found


def _objects(texts: bytes) -> list[bytes]:
    return [each for each in elements(texts) if each.startswith(b"{")] if texts.startswith(b"[") else []


def _text(raw: bytes | None) -> str:
    """A text's value; empty for anything else."""
    return msgspec.json.decode(raw, type=str) if raw is not None and raw.startswith(b'"') else ""
