"""What a partner without roamd is told by us: our objects in the order of their versions, and our CDRs, each noted.

Two runners, so that a module that fails at the partner does not hold up the records. Both wait for the same wake-up as
all who follow events: the core gives it when something was published or queued.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

import msgspec

from roamd.backend.context import CoreLink
from roamd.backend.ocpi.caller import CallFailed, Reply
from roamd.backend.ocpi.face import routing_headers
from roamd.backend.ocpi.push import MODULES, TRIES_ANSWERED, Named, Pusher
from roamd.backend.ocpi.views import View
from roamd.backend.webhooks import IDLE_S, backoff_s
from roamd.errors import NotFound
from roamd.log import get_logger
from roamd.model.body import find_evse
from roamd.roaming.operations import StoredObject
from roamd.roaming.plainocpi.asked import Due, DueObjects, DueRecord, GetShown, NextRecord, NotePushed, NoteSent

log = get_logger(room="backend")

TOLD: Final = ("tariffs", "locations", "evse-status", "user-credentials", "sessions")
"""The order in which everything is told: what others refer to comes first."""


@dataclass(slots=True)
class ObjectTeller(Pusher):
    """Tells our objects. `core` is the real core, `label` the partner's; all else as for a backend, seen swapped."""

    core: CoreLink = None  # type: ignore[assignment]  # always given; the fields before it have defaults
    label: str = ""
    _at: dict[str, int] = field(default_factory=dict)

    async def _follow(self) -> None:
        hub = self.api.events
        while not hub.closing and self.backend.registration is not None:
            generation, busy = hub.generation, False
            for feed in TOLD:
                busy = await self._tell(feed) or busy
            if not busy:
                await hub.wait_beyond(generation, IDLE_S)

    async def _tell(self, feed: str) -> bool:
        """The next few of a feed; whether there may be more."""
        module = MODULES.get(feed, "locations")
        if not self.backend.endpoint(module, "RECEIVER"):
            return False
        due: list[Due]
        due, version = await self.core.ask(DueObjects(self.label, feed))
        for each in due:
            await self._tell_one(module, each)
        if self._at.get(feed) == version:
            return False
        await self.core.ask(NotePushed(self.label, feed, version))
        self._at[feed] = version
        return True

    async def _tell_one(self, module: str, due: Due) -> None:
        if due.feed == "evse-status":
            await self._tell_status(due)
        elif due.body is not None:
            await self._put(module, due.body, due.ocpi)
        else:
            (ourselves,) = await self.partners.all()
            await self._withdraw(ourselves, module, Named(due.id, due.party, due.sub or None))

    async def _tell_status(self, due: Due) -> None:
        """By the ids as our location spells them; without the location there is nothing to tell."""
        try:
            stored: StoredObject = await self.core.ask(GetShown(self.label, "locations", due.id, due.party))
        except NotFound:
            return
        body = find_evse(stored.body, due.sub)
        if body is None or due.body is None:
            return
        evse: dict[str, Any] = msgspec.json.decode(body)
        location: dict[str, Any] = msgspec.json.decode(stored.body)
        names = (due.party[:2], due.party[2:], location["id"], evse["uid"])
        where = "".join(f"/{quote(name, safe='')}" for name in names)
        change = msgspec.json.encode({"status": evse["status"], "last_updated": evse["last_updated"]})
        await self._send("PATCH", "locations", where, change, due.party)


@dataclass(slots=True)
class RecordSender:
    """Sends our CDRs, oldest first, and notes each try before it and after it."""

    teller: ObjectTeller
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def run(self) -> None:
        """Until cancelled. What goes wrong is logged and tried again."""
        failures, hub = 0, self.teller.api.events
        while not hub.closing:
            generation = hub.generation
            try:
                failures = await self._next(failures)
            except Exception:  # an edge that restarts: a bug here must not take the daemon down
                log.exception("ocpi_record_failed", peer=self.teller.label)
                failures += 1
            if failures < 0:
                failures = 0
                await hub.wait_beyond(generation, IDLE_S)
            elif failures:
                await self.pause(backoff_s(failures, self.teller.random))

    async def _next(self, failures: int) -> int:
        """How often the oldest record failed now; -1 when there is nothing to do."""
        await self.teller.backends.load()
        endpoint = self.teller.backend.whole_endpoint("cdrs", "RECEIVER")
        due: DueRecord | None = await self.teller.core.ask(NextRecord(self.teller.label))
        if endpoint is None or due is None:
            return -1
        if not due.unsure:
            await self._note(due, "begun")
        try:
            reply = await self._post(endpoint, due)
        except CallFailed as error:
            log.warning("ocpi_record_waits", peer=self.teller.label, why=str(error))
            return failures + 1
        if reply.passing and failures + 1 < TRIES_ANSWERED:
            log.warning("ocpi_record_waits", peer=self.teller.label, why=reply.words)
            return failures + 1
        if reply.good:
            await self._note(due, "taken", f"answered {reply.words}; not signed", reply)
        else:
            earlier = "; an earlier try had no answer, so it may be there" if due.unsure else ""
            await self._note(due, "refused", f"refused with {reply.words}{earlier}", reply)
            log.warning("ocpi_record_refused", peer=self.teller.label, why=reply.words)
        return 0

    async def _post(self, endpoint: str, due: DueRecord) -> Reply:
        teller = self.teller
        kept = teller.backend.registration
        with View(teller.backend, kept.version if kept is not None else due.ocpi, "cdrs") as view:
            body = view.of(due.body, due.ocpi)
        routing = routing_headers(min(teller.api.own_parties), due.party)
        return await teller.caller.call("POST", endpoint, body, routing=routing)

    async def _note(self, due: DueRecord, outcome: Any, reason: str = "", reply: Reply | None = None) -> None:
        told = (None, None, None) if reply is None else (reply.status, reply.code, reply.headers.get("Location"))
        await self.teller.core.ask(NoteSent(self.teller.label, due.number, outcome, reason, *told))
