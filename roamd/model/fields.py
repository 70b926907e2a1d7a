"""Which fields of a published object may be kept from a peer: those that OCPI lets the owner leave out.

A peer refuses an object that lacks a required field, so those cannot be withheld; nor can the few optional ones by
which daemons find their way: the EVSEs that a status belongs to, and the reference that joins a session to what was
asked for.
"""

from collections.abc import Iterable
from typing import Final

from roamd.errors import Fault, Malformed
from roamd.model.ocpi.rows import VERSIONS, classes
from roamd.model.roles import FEEDS

FEEDS_WITH_FIELDS: Final = ("locations", "tariffs", "sessions", "user-credentials")

_NEEDED: Final = frozenset(("evses", "authorization_reference"))


def withholdable(feed: str) -> frozenset[str]:
    """The fields of a feed's objects that are optional in every version. KeyError for an unknown feed."""
    name = FEEDS[feed].object_class
    rows = [row for ocpi in VERSIONS for row in classes(ocpi)[name]]
    required = {row.name for row in rows if row.card in ("1", "+")}
    return frozenset(row.name for row in rows) - required - _NEEDED


def checked_fields(feed: str, names: Iterable[str]) -> tuple[str, ...]:
    """The names, sorted, each once. Raises Malformed with every one that cannot be withheld, and what could be."""
    if feed not in FEEDS_WITH_FIELDS:
        fault = Fault("$.feed", f"fields can be withheld of {', '.join(FEEDS_WITH_FIELDS)}", "feed")
        raise Malformed((fault,))
    given, allowed = sorted(set(names)), withholdable(feed)
    faults = [
        Fault("$.withhold", f"{name!r} cannot be withheld; these can: {', '.join(sorted(allowed))}", "field")
        for name in given
        if name not in allowed
    ]
    if faults:
        raise Malformed(tuple(faults))
    return tuple(given)
