"""What a backend no longer lists is removed here as well, but never in masses on the word of one list.

OCPI has no deletion of locations and no other of what is only fetched: what a whole list does not name is no longer
valid. A list that is short because something broke at the backend looks just the same. So what was once listed is
removed only when the list that lacks it was fetched whole (to its end, with every object readable, as many as it said),
and when not more than a tenth is missing, or one object of several. Otherwise all of it stays, an alarm says so, and an
operator may confirm it: `roamd ocpi removals NAME MODULE`.

What was listed is kept as digests of keys, for a key may be a card's number. Objects that came in another way, pushed
or by the native API, are never removed by a list.
"""

import contextlib
import hashlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Final

import msgspec

from roamd import metrics
from roamd.backend.context import Api
from roamd.backend.ocpi.backends import Backend, Held
from roamd.backend.ocpi.received import FEED
from roamd.errors import NotFound
from roamd.log import get_logger
from roamd.model.keys import ObjectKey, fold
from roamd.roaming.operations import DeleteObject, FindUnlisted, ForgetListed, ListObjects, NoteListed, Page, Unlisted

log = get_logger(room="backend")

REMOVED: Final = ("tariffs", "locations", "tokens")
"""Sessions and CDRs are never removed."""

SHARE: Final = 10
"""Not more than one in so many goes without being asked about."""

AT_ONCE: Final = 500


class _Head(msgspec.Struct):
    country_code: str
    party_id: str
    id: str = ""
    uid: str = ""
    type: str = ""


_head: Final = msgspec.json.Decoder(_Head).decode


def key_of(module: str, body: bytes) -> ObjectKey | None:
    """The key in an object, also in one that has other faults; None when it has none."""
    try:
        head = _head(body)
    except (msgspec.DecodeError, RecursionError):
        return None
    id_, sub = (head.uid, fold(head.type)) if module == "tokens" else (head.id, "")
    return ObjectKey(fold(head.country_code + head.party_id), fold(id_), sub) if id_ else None


def digest_of(key: ObjectKey) -> bytes:
    """What is kept of a key."""
    return hashlib.blake2b("\0".join(key).encode(), digest_size=16, person=b"roamd listed").digest()


def is_few(missing: int, total: int) -> bool:
    """Whether so many may go by themselves."""
    return missing <= total // SHARE or (missing == 1 and total > 1)


@dataclass(slots=True)
class Vanished:
    """Looks after one backend's lists. `generation` is one whole fetch of one; later ones are greater."""

    api: Api
    backend: Backend

    async def listed(self, module: str, generation: int, keys: Iterable[ObjectKey]) -> None:
        """These were in it."""
        name, feed = self.backend.settings.name, FEED[module]
        await self.api.core.ask(NoteListed(name, feed, generation, tuple(map(digest_of, keys))))

    async def finished(self, module: str, generation: int, *, whole: bool) -> None:
        """It is over. What it lacks goes, or is held back when it was not whole or lacks too much."""
        name, feed = self.backend.settings.name, FEED[module]
        unlisted: Unlisted = await self.api.core.ask(FindUnlisted(name, feed, generation))
        keys = (
            [key async for key in self._own(module) if digest_of(key) in unlisted.digests] if unlisted.digests else []
        )
        if whole and is_few(len(keys), unlisted.total):
            self._hold(module, None)
            await self._remove(module, generation, keys)
        elif keys:
            held = Held(tuple(keys), unlisted.total, generation)
            self._hold(module, held)
            confirm = f"roamd ocpi removals {name} {module}"
            told = {"missing": len(keys), "listed": held.total, "whole": whole, "confirm": confirm}
            log.error("ocpi_removal_held", backend=name, module=module, **told)

    async def confirm(self, module: str) -> int:
        """Remove what is held back, because somebody said so; how many."""
        held = self.backend.held.get(module)
        if held is None:
            return 0
        await self._remove(module, held.generation, held.keys)
        self._hold(module, None)
        return len(held.keys)

    def _hold(self, module: str, held: Held | None) -> None:
        if held is None:
            self.backend.held.pop(module, None)
        else:
            self.backend.held[module] = held
        count = 0 if held is None else len(held.keys)
        metrics.ocpi_removals_held.labels(self.backend.settings.name, module).set(count)

    async def _remove(self, module: str, generation: int, keys: Iterable[ObjectKey]) -> None:
        name, feed, count = self.backend.settings.name, FEED[module], 0
        for key in keys:
            with contextlib.suppress(NotFound):
                await self.api.core.ask(DeleteObject(feed, key.id, key.party, key.sub or None))
                count += 1
        await self.api.core.ask(ForgetListed(name, feed, generation))
        if count:
            log.info("ocpi_unlisted_removed", backend=name, module=module, count=count)

    async def _own(self, module: str) -> AsyncIterator[ObjectKey]:
        after: str | None = None
        while True:
            page: Page = await self.api.core.ask(ListObjects(FEED[module], after, AT_ONCE))
            for stored in page.items:
                key = key_of(module, stored.body)
                if key is not None:
                    yield key
            after = page.next
            if after is None:
                return
