"""JSON as text: checked, bounded, and taken apart without losing a byte.

A stranger chooses these bytes. Size, depth, encoding, digits and exponents are bounded before anything believes them,
and no message repeats what stood there, because it may be personal.

    compact      what came in, made canonical; every other function here expects its result
    tree         one parse, to check and to decide on; numbers are int or Decimal, duplicate keys are faults
    spans        where each member of an object stands in its text
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import islice
from typing import Final

import msgspec

from roamd.errors import Fault, Malformed, TooLarge

OBJECT_MAX: Final = 256 * 1024
"""DESIGN section 5: the API answers 413 over this."""

DEPTH_MAX: Final = 64
"""OCPI nests eight deep. Python's own limit depends on the caller's stack, so it would differ between two daemons."""

PARTS_MAX: Final = 32 * 1024
"""Arrays and objects in one body, a part for each eight bytes of the largest; OCPI's own have twenty and more. Each
costs Python an object of its own: 87,000 empty arrays in 256 KiB took 70 ms to parse."""

EXPONENT_MAX: Final = 64
"""`1e999999999` is nine characters to send and a gigabyte to print."""

NAME_MAX: Final = 64
DUPLICATES_MAX: Final = 100
"""Paths go into answers and logs, so their length and number are bounded. OCPI's longest field name has 28 letters."""

_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_KEY: Final = re.compile(rb'"(?:[^"\\]|\\.)*":', re.DOTALL)
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_PLAIN_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OBJECT_TEXT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ARRAY_TEXT: Final = msgspec.json.Decoder(list[msgspec.Raw])


class OutOfRange:
    """A number that is not worth calculating with. It is of no type that any field has, so every check refuses it."""

    __slots__ = ()


class Doubled(dict[str, object]):
    """A JSON object that named a key more than once; the last value stands, `names` are the keys."""

    __slots__ = ("names",)

    def __init__(self, pairs: list[tuple[str, object]]) -> None:
        super().__init__(pairs)
        seen: set[str] = set()
        doubled: dict[str, None] = {}
        for name, _ in pairs:
            if name in seen:
                doubled[name] = None
            seen.add(name)
        self.names = tuple(doubled)


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a body says, and a fault for every duplicate key."""

    value: object
    faults: tuple[Fault, ...] = ()


Span = tuple[str, int, int, int]
"""One member of an object's text: its decoded key, and where its key begins and its value begins and ends."""


# --- reading ----------------------------------------------------------------------------------------------------


def compact(data: bytes, *, at: str = "$", limit: int = OBJECT_MAX) -> bytes:
    """The text without white space outside strings.

    Raises Malformed (not UTF-8, not JSON, too deep, too many arrays and objects) or TooLarge.
    """
    try:
        data.decode()
        body = msgspec.json.format(data, indent=-1)
    except UnicodeDecodeError as error:
        raise _malformed(at, f"not UTF-8 at byte {error.start}", "encoding") from None
    except msgspec.DecodeError as error:
        raise _malformed(at, f"not JSON: {error}", "json") from None
    except RecursionError:
        raise _too_deep(at) from None
    if len(body) > limit:
        raise TooLarge(f"{at}: {len(body)} bytes are more than the {limit} that are allowed")
    if not is_shallow(body):
        raise _too_deep(at)
    if not has_few_parts(body):
        raise _malformed(at, f"more than {PARTS_MAX} arrays and objects", "too-many")
    return body


def parse(body: bytes, *, at: str = "$") -> Parsed:
    """Parse once; duplicate keys are kept apart as faults. Raises Malformed when it is no JSON."""
    try:
        return Parsed(_load(_STRICT, body, at))
    except _DuplicateKeyError:
        value = _load(_COLLECTING, body, at)
        return Parsed(value, tuple(islice(_duplicates(value, at), DUPLICATES_MAX)))


def tree(body: bytes, *, at: str = "$") -> object:
    """Parse once. Raises Malformed when it is not JSON or names a key twice, with every path."""
    parsed = parse(body, at=at)
    if parsed.faults:
        raise Malformed(parsed.faults)
    return parsed.value


def child_path(at: str, name: str) -> str:
    """The JSON path of a member; a name that a stranger made long is cut."""
    name = name if len(name) <= NAME_MAX else name[:NAME_MAX] + "…"
    return f"{at}.{name}" if _PLAIN_NAME.fullmatch(name) else f"{at}[{json.dumps(name)}]"


# --- taking apart -----------------------------------------------------------------------------------------------------


def spans(body: bytes) -> list[Span]:
    """Where the members of a compact object stand. Raises ValueError when it is none, or names a key twice."""
    try:
        values = _OBJECT_TEXT.decode(body)
    except msgspec.DecodeError:
        raise ValueError("not a JSON object") from None
    found: list[Span] = []
    position = 1
    while values:
        key, start = _key_at(body, position)
        value = values.pop(key, None)  # freed as the list grows, so that never both are whole
        if value is None:
            break
        found.append((key, position, start, start + len(value)))
        position = start + len(value) + 1
    if position != len(body) and body != b"{}":
        raise ValueError("not a compact object with distinct keys")
    return found


def _key_at(body: bytes, position: int) -> tuple[str, int]:
    """The key whose text begins at `position`, and where its value begins."""
    end = body.find(b'":', position + 1)
    plain = body[position + 1 : end]
    if b"\\" not in plain:
        return plain.decode(errors="replace"), end + 2
    match = _KEY.match(body, position)
    return (json.loads(match[0][:-1]), match.end()) if match else ("", position)


def member(body: bytes, key: str) -> bytes | None:
    """The text of one member's value, or None. Raises ValueError like `spans`."""
    return next((body[start:end] for name, _, start, end in spans(body) if name == key), None)


def elements(body: bytes) -> list[bytes]:
    """The texts of a compact array's elements. Raises ValueError when it is none."""
    return [bytes(element) for element in _ARRAY_TEXT.decode(body)]


# --- inside -----------------------------------------------------------------------------------------------------


class _DuplicateKeyError(Exception):
    """Ends the fast parse; the slow one then finds every place."""


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _DuplicateKeyError
    return found


def _collected(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    return found if len(found) == len(pairs) else Doubled(pairs)


def _number(text: str) -> Decimal | OutOfRange:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return _OUT_OF_RANGE
    return number if -EXPONENT_MAX <= number.adjusted() <= EXPONENT_MAX else _OUT_OF_RANGE


_OUT_OF_RANGE: Final = OutOfRange()
"""One for all: a body may hold fifty thousand."""


def _no_constant(_name: str) -> object:
    raise ValueError("NaN and Infinity are not JSON")


_STRICT: Final = json.JSONDecoder(object_pairs_hook=_distinct, parse_float=_number, parse_constant=_no_constant)
_COLLECTING: Final = json.JSONDecoder(object_pairs_hook=_collected, parse_float=_number, parse_constant=_no_constant)


def _load(decoder: json.JSONDecoder, body: bytes, at: str) -> object:
    _refuse_half_characters(body, at)
    try:
        return decoder.decode(body.decode())
    except UnicodeDecodeError as error:
        raise _malformed(at, f"not UTF-8 at byte {error.start}", "encoding") from None
    except json.JSONDecodeError as error:
        raise _malformed(at, f"not JSON: {error.msg} at character {error.pos}", "json") from None
    except ValueError:
        raise _malformed(at, "a number is not JSON or has too many digits", "json") from None
    except RecursionError:
        raise _too_deep(at) from None


def _refuse_half_characters(body: bytes, at: str) -> None:
    """Python's parser takes half a surrogate pair, which no store and no link can then take as text."""
    if _SURROGATE.search(body) is None:
        return
    try:
        msgspec.json.format(body)
    except msgspec.DecodeError as error:
        raise _malformed(at, f"not JSON: {error}", "json") from None
    except RecursionError:
        raise _too_deep(at) from None


def _duplicates(value: object, at: str) -> Iterator[Fault]:
    if isinstance(value, Doubled):
        for name in value.names:
            yield Fault(child_path(at, name), "the key stands twice", "duplicate-key")
    if isinstance(value, dict):
        for name, inner in value.items():
            if isinstance(inner, dict | list):
                yield from _duplicates(inner, child_path(at, name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            if isinstance(inner, dict | list):
                yield from _duplicates(inner, f"{at}[{index}]")


def is_shallow(body: bytes) -> bool:
    """Whether it nests at most DEPTH_MAX deep.

    Cheap: a pass strips one or two innermost levels of all brackets. Brackets in strings make it count exactly, unless
    they were laid out to look balanced; such a text meets the parser's own limit, which is caught as well.
    """
    brackets = body.translate(None, _NOT_BRACKETS)
    for _ in range(DEPTH_MAX // 2):
        if not brackets:
            return True
        brackets = brackets.replace(b"{}", b"").replace(b"[]", b"")
    return not brackets or _depth(body) <= DEPTH_MAX


def has_few_parts(body: bytes) -> bool:
    """Whether it has at most PARTS_MAX arrays and objects. Strings are left out where they could matter."""
    if body.count(b"[") + body.count(b"{") <= PARTS_MAX:
        return True
    bare = _without_strings(body)
    return bare.count(b"[") + bare.count(b"{") <= PARTS_MAX


def _depth(body: bytes) -> int:
    deepest = level = 0
    for bracket in _without_strings(body).translate(None, _NOT_BRACKETS):
        if bracket in b"[{":
            level += 1
            deepest = max(deepest, level)
        else:
            level -= 1
    return deepest


def _without_strings(body: bytes) -> bytes:
    return _STRING.sub(b"", body)


def _malformed(at: str, message: str, code: str) -> Malformed:
    return Malformed((Fault(at, message, code),))


def _too_deep(at: str) -> Malformed:
    return _malformed(at, f"nested more than {DEPTH_MAX} deep", "too-deep")
