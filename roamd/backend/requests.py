"""Reading requests and writing answers: the small things that every handler does."""

import json
import re
from collections.abc import Iterable
from typing import Any, Final, TypeVar

import msgspec
from aiohttp import web

from roamd.backend.routes import JSON
from roamd.errors import Fault, Malformed, NotFound, TooLarge
from roamd.model.body import tree
from roamd.model.ids.party import parse_party

T = TypeVar("T")

MAX_BODY: Final = 8 * 1024 * 1024
"""DESIGN section 8; a batch is streamed and may be longer."""

MAX_ELEMENTS: Final = 1000
"""Elements of one array of authorizations or records."""

DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 1000
OCPI_VERSIONS: Final = ("2.2.1", "2.3.0")
DEFAULT_OCPI: Final = "2.3.0"
MAX_WARNINGS_TOLD: Final = 5
"""Warnings spelled out in the header; the count says how many there are. Headers must stay small."""

MAX_SMALL: Final = 16 * 1024
"""A request that carries neither an object nor a record; the largest is an invitation line with a label."""

_PEER: Final = re.compile(r"[a-z0-9-]{1,40}")
_SPACES: Final = b" \t\r\n"

encode: Final = msgspec.json.Encoder().encode


def fault(path: str, message: str, code: str = "invalid") -> Malformed:
    """A refusal with one fault."""
    return Malformed((Fault(path, message, code),))


# --- bodies -------------------------------------------------------------------------------------------------------


def decode_strictly(data: bytes, kind: type[T]) -> T:
    """A small request body as a Struct. Raises TooLarge, or Malformed with a path (also for duplicate keys and NaN)."""
    refuse_larger(data, MAX_SMALL, "a request of this kind")
    value = tree(data)
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `")
        raise fault(path.removesuffix("`") or "$", message, "type") from error


def refuse_larger(data: bytes, limit: int, what: str) -> None:
    """Raises TooLarge. A parsed text takes up to thirty times its size, so the limit comes before the parsing."""
    if len(data) > limit:
        raise TooLarge(f"{len(data)} bytes are more than {what} may have ({limit}).")


async def decode_or_default(request: web.Request, kind: type[T]) -> T:
    """The body as a Struct; an empty body is the Struct's defaults."""
    data = await request.read()
    return decode_strictly(data if data.strip(_SPACES) else b"{}", kind)


def is_array(data: bytes) -> bool:
    """Whether the JSON text is an array, by its first character."""
    return data[:64].lstrip(_SPACES)[:1] == b"[" or data.lstrip(_SPACES)[:1] == b"["


def bounded_array(most: int) -> "msgspec.json.Decoder[Any]":
    """Decodes an array of at most `most` texts, and stops at the first one too many.

    A list with a length limit would be built whole before it is counted: 32 MB for a megabyte of small numbers. A
    struct that is written as an array has places for just so many. An absent element is `ABSENT`.
    """
    places = [(f"_{place}", msgspec.Raw, ABSENT) for place in range(most)]
    return msgspec.json.Decoder(msgspec.defstruct("Elements", places, array_like=True, forbid_unknown_fields=True))


ABSENT: Final = msgspec.Raw(b"")
_raw_elements: Final = bounded_array(MAX_ELEMENTS)


def split_array(data: bytes) -> list[bytes]:
    """The texts of an array's elements, each still to be checked. Raises Malformed."""
    try:
        found = msgspec.structs.astuple(_raw_elements.decode(data))
    except msgspec.ValidationError as error:
        raise fault("$", f"has too many elements; at most {MAX_ELEMENTS} are taken at a time", "too-many") from error
    except UnicodeDecodeError as error:
        raise fault("$", "is not UTF-8", "encoding") from error
    except RecursionError as error:
        raise fault("$", "is nested too deeply", "depth") from error
    except msgspec.DecodeError as error:
        raise fault("$", str(error), "json") from error
    return [bytes(element) for element in found if element is not ABSENT]


def within(path: str, faults: Iterable[Fault]) -> list[Fault]:
    """Faults of an element as faults of what it stands in: `$.uid` in `$[3]` is `$[3].uid`."""
    return [Fault(path + each.path.removeprefix("$"), each.message, each.code) for each in faults]


# --- parameters ---------------------------------------------------------------------------------------------------


def page_limit(request: web.Request) -> int:
    """`limit`, clamped."""
    return min(whole_number(request, "limit", DEFAULT_LIMIT, 1), MAX_LIMIT)


def whole_number(request: web.Request, name: str, default: int, least: int) -> int:
    """A query parameter as a number of at least `least`."""
    text = request.query.get(name)
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) >= least):
        raise fault(name, f"must be a whole number from {least}", "parameter")
    return int(text)


def page_after(request: web.Request) -> str | None:
    """The cursor, None at the start."""
    return request.query.get("after") or None


def party_parameter(request: web.Request) -> str | None:
    """`?party=DE*ABC` in its canonical form."""
    text = request.query.get("party")
    return canonical_party(text) if text else None


def canonical_party(text: str) -> str:
    """A party as it is known inside; raises Malformed."""
    try:
        return parse_party(text).canonical
    except (Malformed, ValueError) as error:
        raise fault("party", "must be a party id such as DE*ABC", "parameter") from error


def peer_parameter(request: web.Request) -> str | None:
    """`?peer=`; raises Malformed when it cannot be a label."""
    label = request.query.get("peer")
    return checked_peer(label) if label else None


def checked_peer(label: str) -> str:
    """A peer's label; raises Malformed."""
    if not _PEER.fullmatch(label):
        raise fault("peer", "must match [a-z0-9-]{1,40}", "parameter")
    return label


def peer_in_path(request: web.Request) -> str:
    """The peer that the path names; one that cannot exist is not found."""
    label = request.match_info["peer"]
    if not _PEER.fullmatch(label):
        raise NotFound("There is no such peer.")
    return label


def direction_parameter(request: web.Request) -> str | None:
    """`?direction=in|out`."""
    value = request.query.get("direction") or None
    if value not in (None, "in", "out"):
        raise fault("direction", "must be in or out", "parameter")
    return value


def ocpi_version(request: web.Request) -> str:
    """The version in which the request's object is written."""
    return checked_ocpi(request.headers.get("OCPI-Version") or DEFAULT_OCPI)


def checked_ocpi(version: str) -> str:
    """A version that is spoken here; raises Malformed."""
    if version not in OCPI_VERSIONS:
        raise fault("OCPI-Version", "must be 2.2.1 or 2.3.0", "ocpi-version")
    return version


# --- answers ------------------------------------------------------------------------------------------------------


def json_answer(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """Ready JSON text as an answer."""
    return web.Response(body=body, status=status, headers=headers, content_type=JSON)


def value_answer(value: Any, status: int = 200) -> web.Response:
    """Plain values and Structs as an answer."""
    return json_answer(encode(value), status)


def page_text(items: Iterable[bytes], following: str | None) -> bytes:
    """`{items, next}` of ready JSON texts."""
    return b'{"items":[' + b",".join(items) + b'],"next":' + encode(following) + b"}"


def warning_values(warnings: Iterable[Fault]) -> list[dict[str, str]]:
    """Warnings as they stand in an answer's body."""
    return [{"path": each.path, "message": each.message, "code": each.code} for each in warnings]


def warning_header(warnings: tuple[Fault, ...]) -> dict[str, str]:
    """`Roamd-Warnings: {"count": n, "first": [...]}`, or nothing. Without the messages, which may quote the body."""
    if not warnings:
        return {}
    first = [{"path": each.path[:120], "code": each.code} for each in warnings[:MAX_WARNINGS_TOLD]]
    return {"Roamd-Warnings": json.dumps({"count": len(warnings), "first": first}, separators=(",", ":"))}
