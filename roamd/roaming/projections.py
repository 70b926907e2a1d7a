"""What a peer is sent of an object, where that is not the object itself (DESIGN section 3: "Keyed or pseudonymous lists
are projections made per peer when sent").

Theory of operation. A feed's objects are stored once, whoever follows. A feed that has a row in the table of
projections (`core.Core._projections`) is sent through it, item by item, at the moment of sending; one that has none is
sent as it is stored, byte for byte, at no cost. Nothing that is projected is stored at the publisher, and cursors know
nothing of it: they count the stored object's versions. From that follow the rules for whoever writes one:

1. *Same row, same peer, same rights: same bytes.* A projection depends on the row, the peer's row and agreement, and
   secrets that are kept in the store. It draws nothing at random and looks at no clock: an item may be made and sent
   any number of times, and what the peer holds is compared with what is made of the row today. (What a row stands for
   may have grown since its version was made; then a newer version of the row must be on its way.)
2. *When the rules change for a peer* (another key, another field policy, another pseudonym), its `rights_version` is
   raised, in the transaction that makes the change. Every cursor carries the rights under which it was given, so the
   peer gets a replacing snapshot: at once over a link that is up (`Publisher.wake`), else when it comes back. Without
   that the peer keeps what it was sent under the old rules.
3. *Keys may be projected too*, and then a tombstone's key by the same rule: a tombstone comes as a row whose body is
   None, and what is given for it takes away what was given for the object. So a projected key depends on the row's key
   and the peer alone, never on the body.
4. *Nothing to send is None.* If something may have been sent for an older version of this row under the same rights,
   the projection gives a tombstone (an item without body) instead.
5. *What takes long is made elsewhere.* A projection is called on the loop, for each row: it gives NOT_READY, has the
   item made in a thread, and wakes the publisher (`Exchange.published`), which asks again. The feed stands still before
   that row meanwhile; other feeds and calls go on.
"""

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Final, Literal

from roamd.protocol.bulk import FeedItem
from roamd.roaming.directory import Peer
from roamd.storage.feeds import PublishedRow


class _Mark(Enum):
    NOT_READY = "not ready"


NOT_READY: Final = _Mark.NOT_READY
"""The item is being made; the publisher is woken when it can be asked for again."""

Projected = FeedItem | Literal[_Mark.NOT_READY] | None

Projection = Callable[[PublishedRow, Peer], Projected]
"""What `peer` is sent for a row that it may see, or for a tombstone of one that it may have seen."""

Projections = Mapping[str, Projection]
"""By feed."""


def as_it_is(row: PublishedRow, _: Peer) -> FeedItem:
    """The projection of feeds that have none."""
    return FeedItem(*row.key, row.ocpi, row.body)
