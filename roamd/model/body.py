"""Bodies: the JSON text that the backend wrote, minus white space, and nothing done to it ever after.

What is signed is stored and sent byte for byte (DESIGN section 3), so nothing here decodes and encodes again. Bodies
are changed by cutting and joining their text: whatever a change does not name keeps its bytes, also the spelling of
its numbers, escapes and keys. Every function but `compact` expects bodies that `compact` and `tree` accepted.
"""

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec

from roamd.model.jsontext import OBJECT_MAX, compact, elements, member, spans, tree
from roamd.model.keys import fold
from roamd.model.times import parse_time

__all__ = [
    "OBJECT_MAX",
    "compact",
    "find_evse",
    "is_status_only",
    "merge_evse",
    "merge_evse_status",
    "merge_patch",
    "same_content",
    "tree",
    "with_fields",
    "without_fields",
]

STATUS_FIELDS: Final = frozenset(("status", "last_updated"))
"""What the feed evse-status carries of an EVSE."""


_STATUS_MAX: Final = 1024
"""Two short texts have a tenth of it; a longer patch is not searched for its names."""


class _EvseHead(msgspec.Struct):
    """What decides whether a status replaces the one inside a location."""

    uid: str
    last_updated: str


_EARLIEST: Final = datetime.min.replace(tzinfo=UTC)
_decode_head = msgspec.json.Decoder(_EvseHead).decode


def same_content(one: bytes, other: bytes) -> bool:
    """Whether two compact bodies are the same content: the same bytes."""
    return one == other


def merge_patch(body: bytes, patch: bytes, *, at: str = "$") -> bytes:
    """RFC 7396, recursive; what the patch does not name keeps its exact text. Raises Malformed for a bad patch."""
    patch = compact(patch, at=at)
    tree(patch, at=at)
    return _merged(body, patch)


def with_fields(body: bytes, fields: Mapping[str, bytes]) -> bytes:
    """Replace or append top-level members by ready JSON texts; all else stays. Raises ValueError if it is no object."""
    left = dict(fields)
    pieces: list[bytes] = []
    kept = 0
    for key, _, start, end in spans(body):
        if key in left:
            pieces += (body[kept:start], left.pop(key))
            kept = end
    pieces.append(body[kept:-1])
    for key, value in left.items():
        pieces += (b"" if pieces == [b"{"] else b",", msgspec.json.encode(key), b":", value)
    return b"".join(pieces) + b"}"


def without_fields(body: bytes, names: Collection[str]) -> bytes:
    """The object without these top-level members; all others keep their bytes. Raises ValueError if it is no object."""
    members = spans(body)
    kept = [body[begin:end] for key, begin, _, end in members if key not in names]
    return body if len(kept) == len(members) else b"{" + b",".join(kept) + b"}"


def _merged(target: bytes, patch: bytes) -> bytes:
    if not patch.startswith(b"{"):
        return patch
    changes = {key: (patch[begin:start], patch[start:end]) for key, begin, start, end in spans(patch)}
    parts: list[bytes] = []
    for key, begin, start, end in spans(target) if target.startswith(b"{") else ():
        _, change = changes.pop(key, (b"", None))
        if change is None:
            parts.append(target[begin:end])
        elif change != b"null":
            parts.append(target[begin:start] + _merged(target[start:end], change))
    parts += [key_text + _merged(b"", value) for key_text, value in changes.values() if value != b"null"]
    return b"{" + b",".join(parts) + b"}"


# --- EVSEs in a location ----------------------------------------------------------------------------------------


def merge_evse_status(location: bytes, statuses: Mapping[str, bytes]) -> bytes:
    """The location with the status and last_updated of its EVSEs, by folded uid, where they are newer or equal.

    All other bytes stay, the location's own `last_updated` included: it is the publisher's to raise.
    """
    return _with_evses(location, lambda evse: _with_status(evse, statuses)) if statuses else location


def find_evse(location: bytes, uid: str) -> bytes | None:
    """The text of one EVSE; uids compare folded."""
    wanted = fold(uid)
    evses = member(location, "evses")
    return next((evse for evse in _evse_texts(evses or b"") if fold(_decode_head(evse).uid) == wanted), None)


def merge_evse(location: bytes, uid: str, patch: bytes, *, at: str = "$") -> bytes | None:
    """The location with `patch` merged into one EVSE, or None when it has no such EVSE. Raises Malformed."""
    evse = find_evse(location, uid)
    if evse is None:
        return None
    wanted, merged = fold(uid), merge_patch(evse, patch, at=at)
    return _with_evses(location, lambda text: merged if fold(_decode_head(text).uid) == wanted else text)


def is_status_only(patch: bytes) -> bool:
    """Whether a compact patch of an EVSE touches nothing but what the feed evse-status carries."""
    if len(patch) > _STATUS_MAX:
        return False
    named = {key for key, *_ in spans(patch)}
    return "status" in named and named <= STATUS_FIELDS


def _evse_texts(evses: bytes) -> list[bytes]:
    return elements(evses) if evses.startswith(b"[") else []


def _with_evses(location: bytes, change: Callable[[bytes], bytes]) -> bytes:
    evses = member(location, "evses")
    if evses is None or not (texts := _evse_texts(evses)):
        return location
    return with_fields(location, {"evses": b"[" + b",".join(map(change, texts)) + b"]"})


def _with_status(evse: bytes, statuses: Mapping[str, bytes]) -> bytes:
    head = _decode_head(evse)
    body = statuses.get(fold(head.uid))
    if body is None:
        return evse
    fields = {key: body[start:end] for key, _, start, end in spans(body) if key in STATUS_FIELDS}
    held, offered = _time_of(head.last_updated), _time_of(msgspec.json.decode(fields["last_updated"], type=str))
    return evse if offered < held else with_fields(evse, fields)


def _time_of(text: str) -> datetime:
    """Checked bodies hold only times that parse; what does not is older than everything."""
    return parse_time(text) or _EARLIEST
