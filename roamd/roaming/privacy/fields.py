"""What a peer need not see of what we publish: some fields are left out when an object is sent to it.

The rule is part of the agreement with a peer (`roamd peers fields`). It is for feeds alone: service records are signed
byte for byte, so what a record says it says to its receiver. An object that is sent under no rule is sent as it is
stored; else its members are cut out of the text, and all others keep their bytes. A rule that changes raises the
peer's `rights_version`, so that everything which was sent under the old one is replaced.
"""

from roamd.model.body import without_fields
from roamd.protocol.bulk import FeedItem
from roamd.roaming.directory import Peer
from roamd.roaming.projections import as_it_is
from roamd.storage.feeds import PublishedRow


def without_withheld(row: PublishedRow, peer: Peer) -> FeedItem:
    """The projection of every feed with fields that may be withheld (projections.Projection)."""
    withheld = peer.agreement.withheld.get(row.feed)
    if not withheld or row.body is None:
        return as_it_is(row, peer)
    return FeedItem(*row.key, row.ocpi, without_fields(row.body, withheld))
