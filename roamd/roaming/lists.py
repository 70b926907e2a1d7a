"""Lists and single look-ups as all operations give them: a page, a cursor, one object or a plain refusal."""

from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeVar
from urllib.parse import quote, unquote

from roamd.errors import Conflict, Fault, Malformed, NotFound, RoamdError
from roamd.model.jsontext import OBJECT_MAX
from roamd.model.keys import ObjectKey
from roamd.roaming.ports import Reply
from roamd.storage.feeds import PAGE_BYTES
from roamd.storage.store import Cx, Store

_CURSOR_MAX: Final = 4096
"""Three quoted names of up to 255 characters have less."""


class Keyed(Protocol):
    """A row with a body that is known by its key."""

    @property
    def key(self) -> ObjectKey: ...
    @property
    def body(self) -> bytes | None: ...


Row = TypeVar("Row", bound=Keyed)


def answer(store: Store, read: Callable[[Cx], object], reply: Reply) -> None:
    """Read and reply; a refusal is a reply too."""
    try:
        result = store.read(read)
    except RoamdError as error:
        reply(error)
        return
    reply(result)


def key_after(cursor: str | None) -> ObjectKey | None:
    """The key that an object list's cursor names; Malformed when this list never gave it."""
    if not cursor:
        return None
    if len(cursor) > _CURSOR_MAX:
        raise bad_cursor()
    parts = [unquote(part) for part in cursor.split("/")]
    if len(parts) != 3:
        raise bad_cursor()
    return ObjectKey(*parts)


def next_key(rows: Sequence[Keyed], limit: int) -> str | None:
    """The cursor behind the last row of a page that is full, by rows or by bytes; a page behind it may be empty."""
    if not rows or not (len(rows) >= limit or sum(len(row.body or b"") for row in rows) > PAGE_BYTES - OBJECT_MAX):
        return None
    return "/".join(quote(part, safe="") for part in rows[-1].key)


def cursor_after(cursor: str | None) -> int:
    """The number in a record list's cursor; Malformed when this list never gave it."""
    if not cursor:
        return 0
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 18):
        raise bad_cursor()
    return int(cursor)


def next_cursor(ids: Sequence[int], limit: int) -> str | None:
    """The cursor behind the last id of a full page."""
    return str(ids[-1]) if ids and len(ids) >= limit else None


def bad_cursor() -> Malformed:
    """For a cursor that was not given here."""
    return Malformed((Fault("after", "is not a cursor that this list gave; begin again without it", "bad-cursor"),))


def choose(rows: Sequence[Row], party: str | None, token_type: str | None) -> Row:
    """The one object of an id; NotFound, or Conflict when party or type must be named.

    They do not repeat the id: of a user credential it is the number of somebody's card.
    """
    if party is not None:
        rows = [row for row in rows if row.key.party == party]
    if token_type is not None:
        rows = [row for row in rows if row.key.sub == token_type.upper()]
    if not rows:
        raise NotFound("There is no object of this id here.", code="unknown-object")
    if len(rows) > 1:
        raise Conflict("Several objects have this id: name `party` or `type`.", code="ambiguous")
    return rows[0]
