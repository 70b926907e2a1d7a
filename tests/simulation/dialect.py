"""Which version of the protocol a node speaks: ours, a later one that still knows ours, or one that does not."""

from dataclasses import dataclass
from typing import Any

import msgspec

from roamd.peering.maker import LinkMaker
from roamd.protocol.connection import VERSION
from roamd.protocol.messages import Hello
from roamd.roaming.directory import Peer


@dataclass(frozen=True, slots=True)
class Dialect:
    """The versions that a node names in its Hello, best first, and whether that says more than ours does."""

    versions: tuple[int, ...]
    says_more: bool


OURS = Dialect((VERSION,), says_more=False)
LATER = Dialect((VERSION + 1, VERSION), says_more=True)
FOREIGN = Dialect((VERSION + 1, VERSION + 2), says_more=True)


class LaterHello(Hello, array_like=True, frozen=True):
    """A Hello of a later version: what it says more stands behind what we know."""

    regions: list[str]
    limits: dict[str, int]


class LaterMaker(LinkMaker):
    """Makes links of another dialect."""

    dialect: Dialect = OURS

    def hello(self, peer: Peer) -> Hello:
        """Our own words, and more."""
        said: dict[str, Any] = msgspec.structs.asdict(super().hello(peer))
        said |= {"versions": list(self.dialect.versions)}
        if self.dialect.says_more:
            said |= {"features": ["later"], "regions": ["EU"], "limits": {"calls": 7}}
            return LaterHello(**said)
        return Hello(**said)


def speaking(maker: LinkMaker, dialect: Dialect) -> LinkMaker:
    """The same maker, in another dialect."""
    if dialect is OURS:
        return maker
    later = LaterMaker(
        maker.endpoint_id, maker.instance, maker.run_id, maker.own, maker.clock, maker.store, maker.random, maker.timing
    )
    later.dialect = dialect
    return later
