"""Good objects in one pass: every class of the tables as a typed decoder of its JSON text.

Nearly all bodies are good, and for those no path and no message is needed. `good` decodes a text into a struct whose
types are the tables' rows, and gives it only where `check` would find neither fault nor warning and no key stands
twice; a Hypothesis test holds the two together. Whatever is not plainly good (it may still be good, in an unusual
spelling) is for `check`, which walks everything and names each fault.

The decoder alone would let some texts pass, so what it kept is written again and laid beside them:

    a key twice      The decoder keeps the last. With as many quotes in what was written, none was lost. With fewer, an
                     unknown field may be the reason; then an untyped copy is counted in the same way.
    white space      What was written has all the texts and no white space outside them. So equal numbers of spaces mean
                     that there is none to remove.
    odd characters   A text in ASCII without escapes can hold no control character but DEL. Other texts have a decoder
                     of their own, which holds every CiString to ASCII.
    odd numbers      1e-70 or 0e99 is a float like any other. Exponents are left to `check`, and so are forty zeros.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import Annotated, Any, Final, Literal, Protocol, cast

import msgspec
from msgspec import UNSET, Meta, UnsetType

from roamd.model.jsontext import OBJECT_MAX, has_few_parts, is_shallow
from roamd.model.ocpi.judges import Judge, judge_of
from roamd.model.ocpi.rows import Row, classes, enumerations
from roamd.model.times import USUAL

_NUMBER: Final = Annotated[float, Meta(gt=-1e64, lt=1e64)]
"""Within what `jsontext` takes for worth calculating with. The value is never used: a float may round it."""

_TIME: Final = Annotated[str, Meta(pattern=rf"(?a)^(?:{USUAL})\Z")]
_NOT_OF_NUMBERS: Final = bytes(set(range(256)) - set(b'":0123456789eE'))
_EXPONENT: Final = re.compile(rb'":[0-9]+[eE]').search
"""Of a text without signs, points and all that no number has: a third of it is left to be searched."""
_ZEROS: Final = b"0" * 40
_ODD_ESCAPE: Final = re.compile(rb"\\(?!/|u(?:00[a-fA-F]|0[1-9a-fA-F]|[1-9a-fA-F]))").search
"""Allowed are `\\/` and the escapes of characters from U+00A0 on: none of them is a quote or a control character."""

_CONTROL: Final = re.compile(rb"\x7f|\xc2[\x80-\x9f]").search
_ASCII: Final = r"^[\x20-\x7e]*\Z"

_encode: Final = msgspec.json.Encoder().encode
_decode_untyped: Final = msgspec.json.Decoder().decode


class Fields(Protocol):
    """A checked object: what a parser made of it, or a Good, whose numbers may be rounded."""

    def __getitem__(self, name: str, /) -> Any:
        """A field that is there."""

    def get(self, name: str, /) -> Any:
        """A field, or None where the text has none."""


class Good(msgspec.Struct, frozen=True, gc=False):
    """An object as the tables have it, read like a dict of its fields; never encoded back.

    Its numbers may be rounded and must not be used where a record's own text counts.
    """

    __getitem__ = object.__getattribute__

    def get(self, name: str) -> Any:
        """A field, or None where the text has none."""
        value = getattr(self, name)
        return None if value is UNSET else value


@dataclass(frozen=True, slots=True)
class _Form:
    """A compiled class. `judged` are texts that no pattern can judge: where they stand, and by whom."""

    decode: Callable[[bytes], Good]
    judged: tuple[tuple[Callable[[Good], str], Judge], ...]

    def is_judged_good(self, value: Good) -> bool:
        """Whether no judge has anything to say."""
        return all(judge.objection(text(value)) is None for text, judge in self.judged)


def good(kind: str, ocpi: str, data: bytes) -> tuple[bytes, Good] | None:
    """The compact text and the object in it, if there is nothing to say against it. KeyError for an unknown class."""
    if len(data) > OBJECT_MAX:
        return None  # a million of small unknown things would be held at once
    plain = data.isascii() and b"\\" not in data
    if not plain and _has_odd_character(data):
        return None
    form = _form(kind, ocpi, plain)
    try:
        value = form.decode(data)
        written = _with_each_key_once(data, value)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    if written is None or not form.is_judged_good(value):
        return None
    body = data if _is_compact(data, written) else msgspec.json.format(data, indent=-1)
    return None if _has_odd_number(body) else (body, value)


def _with_each_key_once(data: bytes, value: Good) -> bytes | None:
    """What was kept of the text, written again; None when that is not all."""
    quotes = data.count(b'"')  # an escaped one cannot be among them
    written = _encode(value)
    if written.count(b'"') != quotes:
        if not (is_shallow(data) and has_few_parts(data)):
            return None
        written = _encode(_decode_untyped(data))
        if written.count(b'"') != quotes:
            return None
    return written


def _is_compact(data: bytes, written: bytes) -> bool:
    return data.count(b" ") == written.count(b" ") and not (b"\n" in data or b"\r" in data or b"\t" in data)


def _has_odd_number(body: bytes) -> bool:
    return _ZEROS in body or _EXPONENT(body.translate(None, _NOT_OF_NUMBERS)) is not None


def _has_odd_character(data: bytes) -> bool:
    return _ODD_ESCAPE(data) is not None or _CONTROL(data) is not None


# --- compiling --------------------------------------------------------------------------------------------------


@cache
def _form(kind: str, ocpi: str, plain: bool) -> _Form:
    decoder = msgspec.json.Decoder(_struct(kind, ocpi, plain))
    judged = tuple((attrgetter(path), judge) for path, judge in _judged(kind, ocpi))
    return _Form(decoder.decode, judged)


@cache
def _struct(kind: str, ocpi: str, plain: bool) -> type[Good]:
    rows = classes(ocpi)[kind]
    if not rows:
        raise KeyError(kind)
    fields = [_field(row, _type(kind, row, ocpi, plain=plain)) for row in rows]
    return cast("type[Good]", msgspec.defstruct(kind, fields, bases=(Good,), kw_only=True, frozen=True, gc=False))


def _field(row: Row, type_: Any) -> Any:
    """Optional fields may be absent or null; a list that must not be empty is required."""
    match row.card:
        case "1":
            return (row.name, type_)
        case "+":
            return (row.name, Annotated[list[type_], Meta(min_length=1)])
        case "*":
            type_ = list[type_]
    return (row.name, type_ | None | UnsetType, UNSET)


def _type(kind: str, row: Row, ocpi: str, *, plain: bool) -> Any:
    name, _, limit = row.type.rstrip(")").partition("(")
    match name:
        case "string" | "CiString" | "URL":
            return _text(name, row.text_limit, judge_of(kind, row.name), plain=plain)
        case "int":
            return Annotated[int, Meta(gt=-(10 ** int(limit)), lt=10 ** int(limit))] if limit else int
        case "number":
            return _NUMBER
        case "DateTime":
            return _TIME
        case "boolean":
            return bool
        case "Amount":
            return _NUMBER | _struct("Price", ocpi, plain)
    values = enumerations(ocpi).get(name)
    return Literal[tuple(sorted(values))] if values else _struct(name, ocpi, plain)


def _text(name: str, limit: int | None, judge: Judge | None, *, plain: bool) -> Any:
    """A judge's pattern allows nothing but ASCII, so a CiString that has one needs no other."""
    pattern = rf"(?a)^(?:{judge.pattern})\Z" if judge and judge.pattern else None
    if pattern is None and name == "CiString" and not plain:
        pattern = _ASCII
    return Annotated[str, Meta(max_length=limit, pattern=pattern)]


def _judged(kind: str, ocpi: str, at: str = "") -> list[tuple[str, Judge]]:
    """The paths of texts that have to be judged one by one. A list or an optional object has none of them."""
    found = []
    for row in classes(ocpi)[kind]:
        judge = judge_of(kind, row.name)
        if judge is not None and judge.pattern is None:
            found.append((at + row.name, judge))
        elif row.card == "1" and classes(ocpi).get(row.type):
            found += _judged(row.type, ocpi, f"{at}{row.name}.")
    return found
