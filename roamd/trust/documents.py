"""msgpack documents of strangers: packed by position, unpacked within strict bounds.

Everything here is an array whose elements are read by `Fields`, one typed step after the other; elements that a newer
version appends are ignored. Maps and extension types are refused, so there are no duplicate keys to worry about.
Signed documents are kept as the bytes that were signed; nothing is packed again for a check.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Final, TypeVar, cast

import msgpack  # type: ignore[import-untyped]  # it ships no types

from roamd.errors import NotTrusted

MAX_DOCUMENT: Final = 16 * 1024
"""A descriptor with a certificate, 32 parties and 8 addresses stays under 4 KiB; the rest is for later versions."""

MAX_ELEMENTS: Final = 64
_BOUNDS: Final = {"max_array_len": MAX_ELEMENTS, "max_map_len": 0, "max_ext_len": 0}

_Kind = TypeVar("_Kind", str, bytes, int, bool)


def pack(elements: Sequence[object]) -> bytes:
    """An array as msgpack."""
    return cast(bytes, msgpack.packb(elements, use_bin_type=True))


def unpack(data: bytes, limit: int = MAX_DOCUMENT) -> "Fields":
    """The elements of a packed array of at most `limit` bytes; raises NotTrusted("malformed") for anything else."""
    if len(data) > limit:
        raise _malformed(f"larger than {limit} bytes")
    try:
        elements = msgpack.unpackb(data, raw=False, use_list=False, **_BOUNDS)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise _malformed(str(error) or type(error).__name__) from error
    if not isinstance(elements, tuple):
        raise _malformed("not an array")
    return Fields(elements)


class Fields:
    """Takes the elements in order, each with its type and its limit; raises NotTrusted("malformed")."""

    def __init__(self, elements: tuple[object, ...]) -> None:
        self._left: Iterator[object] = iter(elements)

    def text(self, limit: int) -> str:
        """A string of 1 to `limit` characters, none of them a control character."""
        value = self._next(str)
        if not 0 < len(value) <= limit or not value.isprintable():
            raise _malformed(f"a text is empty, unprintable or longer than {limit} characters")
        return value

    def data(self, limit: int, *, exactly: bool = False) -> bytes:
        """At most, or exactly, `limit` bytes."""
        value = self._next(bytes)
        if len(value) > limit or (exactly and len(value) != limit):
            raise _malformed(f"{len(value)} bytes where {limit} are the limit")
        return value

    def last_data(self, limit: int) -> bytes:
        """Bytes that were appended by a later version: empty where a document ends before them."""
        try:
            first = next(self._left)
        except StopIteration:
            return b""
        self._left = itertools.chain((first,), self._left)
        return self.data(limit)

    def last_flag(self) -> bool:
        """A flag that was appended by a later version: False where a document ends before it."""
        try:
            first = next(self._left)
        except StopIteration:
            return False
        self._left = itertools.chain((first,), self._left)
        return self.flag()

    def number(self) -> int:
        """An unsigned number below 2**63."""
        value = self._next(int)
        if isinstance(value, bool) or not 0 <= value < 1 << 63:
            raise _malformed("a number is out of range")
        return value

    def flag(self) -> bool:
        return self._next(bool)

    def texts(self, count: int, limit: int) -> tuple[str, ...]:
        """Up to `count` distinct strings."""
        value = next(self._left, None)
        if not isinstance(value, tuple) or len(value) > count:
            raise _malformed(f"not a list of at most {count} elements")
        inner = Fields(value)
        texts = tuple(inner.text(limit) for _ in value)
        if len(set(texts)) != len(texts):
            raise _malformed("a list names something twice")
        return texts

    def _next(self, kind: type[_Kind]) -> _Kind:
        value = next(self._left, None)
        if not isinstance(value, kind):
            raise _malformed(f"{type(value).__name__} where {kind.__name__} belongs")
        return value


def _malformed(why: str) -> NotTrusted:
    return NotTrusted("malformed", f"The document cannot be read: {why}.")
