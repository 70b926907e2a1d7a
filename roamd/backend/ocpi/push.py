"""What partners publish and settle, pushed to the backend's RECEIVER endpoints: in order, and never forgotten.

A pusher follows the stream of events with a cursor of its own, as a webhook does, and sends what each event is about as
it reads now. So a backend that was away is sent the newest version of everything, once, in the order of the last
changes. Before the first event of a new registration everything that partners publish is sent.

What the backend refuses (a 4xx, or 2xxx in the envelope) is logged and left: the same words again would change nothing,
and it can still fetch the object. While it cannot be reached the pusher waits, for as long as it takes. An answer that
may be another next time (5xx, 3xxx, 401, 429) is tried `TRIES_ANSWERED` times, so that one object at which the backend
always fails does not stop all others.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import msgspec

from roamd.backend.context import Api
from roamd.backend.ocpi.backends import Backend, Backends
from roamd.backend.ocpi.caller import Caller, CallFailed, Reply
from roamd.backend.ocpi.envelope import encode
from roamd.backend.ocpi.face import routing_headers
from roamd.backend.ocpi.offered import CDRS, READ_AT_ONCE, Offered, in_plain, shown
from roamd.backend.ocpi.partners import Partners
from roamd.backend.ocpi.received import FEED
from roamd.backend.ocpi.texts import text_field, with_stamp
from roamd.backend.ocpi.views import View
from roamd.backend.webhooks import IDLE_S, backoff_s
from roamd.clock import rfc3339
from roamd.errors import NotFound, RoamdError
from roamd.log import get_logger
from roamd.model.body import with_fields
from roamd.model.jsontext import compact
from roamd.model.pseudonyms import with_contract
from roamd.model.roles import FEEDS
from roamd.roaming.operations import (
    Event,
    EventPage,
    GetRecord,
    ListPeerObjects,
    Page,
    Partner,
    ReadEvents,
    RecordReply,
    WebhookPosition,
)

log = get_logger(room="backend")

PAGE: Final = 100
TRIES_ANSWERED: Final = 12
"""With back-off this is about half an hour."""

TRIES: Final = {"hubclientinfo": 1}
"""Who is connected is news of the moment, and many name the module but cannot take it: nothing else waits for it."""

MODULES: Final = {feed: module for module, feed in FEED.items()}
SWEPT: Final = ("tariffs", "locations", "tokens", "sessions")
"""The order in which everything is sent: what others refer to comes first."""

_decode_object: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_list: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Named(NamedTuple):
    """What an event is about. Events of older versions do not name the party, nor a token's type."""

    id: str
    party: str | None
    type: str | None


@dataclass(slots=True)
class Pusher:
    """Serves one backend. `pause` sleeps and `random` jitters; both come from outside for the tests."""

    api: Api
    backends: Backends
    backend: Backend
    caller: Caller
    partners: Partners
    offered: Offered
    random: Callable[[int], bytes]
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep

    @property
    def name(self) -> str:
        """Under which its position is kept."""
        return f"ocpi:{self.backend.settings.name}"

    async def run(self) -> None:
        """Until cancelled or the API stops. What goes wrong is logged and tried again: it stops nothing else."""
        failures = 0
        while not self.api.events.closing:
            try:
                await self._registered()
                await self._follow()
            except RoamdError as error:
                log.warning("ocpi_push_interrupted", backend=self.backend.settings.name, code=error.code)
            except Exception:  # an edge that restarts: a bug here must not take the daemon down
                log.exception("ocpi_push_failed", backend=self.backend.settings.name)
            else:
                continue
            failures += 1
            await self.pause(backoff_s(failures, self.random))

    async def _registered(self) -> None:
        await self.backends.load()
        while self.backend.registration is None:
            self.backend.changed.clear()
            await self.backend.changed.wait()

    async def _follow(self) -> None:
        hub = self.api.events
        if not self._registration_is_swept():
            await self._sweep()
        at = await self.api.core.ask(WebhookPosition(self.name)) or None
        while not hub.closing and self.backend.registration is not None and self._registration_is_swept():
            generation = hub.generation
            page: EventPage = await self.api.core.ask(ReadEvents(at, PAGE))
            for event in page.items:
                await self._push(event)
                await self.api.core.ask(WebhookPosition(self.name, event.cursor))
            at = page.next
            if not page.items:
                await hub.wait_beyond(generation, IDLE_S)

    def _registration_is_swept(self) -> bool:
        return self.backend.registration is not None and self.backend.registration.swept

    # --- everything ---

    async def _sweep(self) -> None:
        for partner in await self.partners.all():
            await self._client_info(partner.peer)
            for module in SWEPT:
                if FEEDS[FEED[module]].publisher_role in partner.roles and self.backend.endpoint(module, "RECEIVER"):
                    await self._sweep_feed(partner, module)
        async with self.backend.lock:
            kept = self.backend.registration
            if kept is not None:
                await self.backends.keep(self.backend, msgspec.structs.replace(kept, swept=True))

    async def _sweep_feed(self, partner: Partner, module: str) -> None:
        after: str | None = None
        while True:
            page: Page = await self.api.core.ask(ListPeerObjects(partner.peer, FEED[module], after, READ_AT_ONCE))
            for stored in in_plain(FEED[module], page.items):
                await self._put(module, shown(FEED[module], stored), stored.ocpi)
            after = page.next
            if after is None:
                return

    # --- one event ---

    async def _push(self, event: Event) -> None:
        data = _decode_object(event.data)
        match event.type:
            case "object.changed" | "object.removed":
                module = MODULES.get(_text(data["feed"]))
                partner = await self._partner(event.peer)
                if module is not None and partner is not None and self.backend.endpoint(module, "RECEIVER"):
                    key = Named(_text(data["id"]), _text_in(data, "party"), _text_in(data, "type"))
                    await (self._withdraw if event.type == "object.removed" else self._changed)(partner, module, key)
            case "record.received":
                await self._record(data)
            case "peer.state":
                await self._client_info(event.peer)

    async def _partner(self, label: str | None) -> Partner | None:
        return next((partner for partner in await self.partners.all() if partner.peer == label), None)

    async def _changed(self, partner: Partner, module: str, key: Named) -> None:
        for stored in await self.offered.all_at(partner, FEED[module], key.id, key.type, key.party):
            await self._put(module, shown(FEED[module], stored), stored.ocpi)

    async def _put(self, module: str, body: bytes, ocpi: str | None = None) -> None:
        """`ocpi` is the version in which the body is written; None for the backend's own."""
        body = self._viewed(module, body, ocpi)
        country, party_id = text_field(body, "country_code") or "", text_field(body, "party_id") or ""
        id_ = text_field(body, "uid" if module == "tokens" else "id") or ""
        query = f"?type={quote(text_field(body, 'type') or '')}" if module == "tokens" else ""
        where = f"/{quote(country, safe='')}/{quote(party_id, safe='')}/{quote(id_, safe='')}{query}"
        await self._send("PUT", module, where, body, (country + party_id).upper())

    async def _withdraw(self, partner: Partner, module: str, key: Named) -> None:
        """A tariff is deleted. For the others OCPI has no deletion: EVSEs become REMOVED, tokens invalid."""
        for party in [key.party] if key.party else partner.parties:
            query = f"?type={quote(key.type)}" if key.type and module == "tokens" else ""
            where = f"/{party[:2]}/{party[2:]}/{quote(key.id, safe='')}{query}"
            if module == "tariffs":
                await self._send("DELETE", module, where, None, party)
            elif module in ("locations", "tokens"):
                reply = await self._send("GET", module, where, None, party)
                changed = gone(module, reply.one(), rfc3339(self.api.clock.now_ms())) if reply is not None else None
                if changed is not None:
                    await self._put(module, changed)

    def _viewed(self, module: str, body: bytes, ocpi: str | None) -> bytes:
        kept = self.backend.registration
        with View(self.backend, kept.version if kept is not None else ocpi or "", module) as view:
            return view.of(body, ocpi)

    async def _record(self, data: Mapping[str, msgspec.Raw]) -> None:
        record = bytes(data.get("record", msgspec.Raw(b"null")))
        if _text(data["kind"]) in CDRS and record != b"null":
            party = _text(data["party"])
            if "contract_id" in data:
                record = with_contract(record, _text(data["contract_id"]))
            body = self._viewed("cdrs", record, await self._record_version(_text(data["record_id"]), party))
            await self._send("POST", "cdrs", "", body, party)

    async def _record_version(self, record_id: str, party: str) -> str | None:
        """In which version a received record is written; None when nobody knows it any more."""
        try:
            kept: RecordReply = await self.api.core.ask(GetRecord(record_id, party, "in"))
        except NotFound:
            return None
        return kept.ocpi

    async def _client_info(self, label: str | None) -> None:
        partner = await self._partner(label)
        for info in self.partners.infos_of(partner) if partner is not None else ():
            where = f"/{info['country_code']}/{info['party_id']}"
            await self._send("PUT", "hubclientinfo", where, encode(info), None)

    # --- sending ---

    async def _send(self, method: str, module: str, where: str, body: bytes | None, party: str | None) -> Reply | None:
        """Until it is taken (its reply), or refused for good or not wanted (None). CallFailed when it has left."""
        routing = {} if party is None else routing_headers(min(self.api.own_parties), party)
        failures = 0
        while True:
            named = self.backend.endpoint if where else self.backend.whole_endpoint
            endpoint = named(module, "RECEIVER")
            if endpoint is None:
                return None
            try:
                reply = await self.caller.call(method, endpoint + where, body, routing=routing)
            except CallFailed as error:
                if self.backend.registration is None:
                    raise
                words = str(error)
            else:
                if reply.good:
                    return reply
                words = reply.words
                if not reply.passing or failures >= TRIES.get(module, TRIES_ANSWERED):
                    if reply.status != 404 or method in ("PUT", "POST"):
                        log.warning("ocpi_push_refused", backend=self.backend.settings.name, module=module, why=words)
                    return None
            failures += 1
            log.warning("ocpi_push_waits", backend=self.backend.settings.name, module=module, why=words)
            await self.pause(backoff_s(failures, self.random))


def gone(module: str, body: bytes, stamp: str) -> bytes | None:
    """The object as one that is no more; None for a text that cannot be read."""
    try:
        body = compact(body)
        if module == "tokens":
            return with_stamp(with_fields(body, {"valid": b"false"}), stamp)
        raw = _decode_object(body).get("evses")
        evses = _decode_list(raw) if raw is not None and bytes(raw) != b"null" else []
        left = [with_stamp(with_fields(bytes(evse), {"status": b'"REMOVED"'}), stamp) for evse in evses]
        return with_stamp(with_fields(body, {"evses": b"[" + b",".join(left) + b"]"}), stamp)
    except (msgspec.DecodeError, RoamdError, ValueError):
        return None


def _text_in(data: Mapping[str, msgspec.Raw], name: str) -> str | None:
    return _text(data[name]) if name in data else None


def _text(raw: msgspec.Raw) -> str:
    value: Any = msgspec.json.decode(raw)
    return value if isinstance(value, str) else ""
