"""What a finder is, and what it and the board say.

A finder reports *sightings*: one source saw one thing, once. The board merges sightings into *candidates*. Neither
says anything about trust: a sighting is what a stranger claims, and the address that it carries is only ever a place
to try. Who is really there is settled by the TLS handshake against a pinned identity (DESIGN section 6).

How a stranger on the same network learns nothing, and a partner enough: an mDNS service is named by random
characters and shows a salt and a tag, the first 16 bytes of HMAC-SHA-256(key: endpoint id in ASCII, salt). Whoever
holds the endpoint id (all paired peers do) recomputes the tag; an endpoint id is 256 bits of hash, so nobody guesses
it. A new salt per process start keeps one start from being joined with the next. A tag can be copied and shown again
from elsewhere; that costs the peer who believes it one failed handshake.
"""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

Source = Literal["config", "introduction", "dns", "mdns"]

SALT_BYTES = 16
TAG_BYTES = 16


@dataclass(frozen=True, slots=True)
class Veil:
    """An endpoint id that only those who know it can read: a random salt and the tag made with it."""

    salt: bytes
    tag: bytes

    @classmethod
    def over(cls, endpoint_id: str, salt: bytes) -> "Veil":
        """Veil an endpoint id (canonical: 56 upper-case characters) with a fresh random salt."""
        return cls(salt, _tag(endpoint_id, salt))

    def hides(self, endpoint_id: str) -> bool:
        """Whether this is the given endpoint id."""
        return hmac.compare_digest(_tag(endpoint_id, self.salt), self.tag)


def _tag(endpoint_id: str, salt: bytes) -> bytes:
    return hmac.digest(endpoint_id.encode("ascii"), salt, hashlib.sha256)[:TAG_BYTES]


@dataclass(frozen=True, slots=True)
class Sighting:
    """One source saw one thing. `name` tells the things of one source apart and stays the same while the thing lives.

    `addresses` are `host:port` texts (IPv6 in brackets). At most one of `endpoint_id` and `veil` is given; a source
    that has neither knows an address and no more. `gone` takes an earlier sighting of the same name back. `title` is
    what people call it, where that is not its name; `vouched_by` are the peers that told of it.
    """

    source: Source
    name: str
    addresses: tuple[str, ...]
    endpoint_id: str | None = None
    veil: Veil | None = None
    gone: bool = False
    title: str = ""
    parties: tuple[str, ...] = ()
    vouched_by: tuple[str, ...] = ()


Report = Callable[[Sighting], None]
"""Takes a sighting from any thread, at once and without blocking (a port's `send`)."""


class Finder(Protocol):
    """One way to see who is out there.

    An implementer promises that `run` reports each thing when it appears and whenever its addresses change, and takes
    it back when it is gone; that it returns only when there can be nothing more to see; that cancellation leaves
    nothing behind; and that a failure is raised, not logged: the caller logs and starts it again with back-off. It
    says in its docstring on which loop it runs. It need not remember anything from one run to the next, nor avoid
    reporting the same thing twice, nor know who is paired.
    """

    async def run(self, report: Report) -> None:
        """Look until cancelled."""
        ...
