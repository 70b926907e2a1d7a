"""What the backend pushes: locations (at three levels), tariffs, sessions and tokens into our own feeds.

OCPI has no versions, so the rules are those of the field: an object that is older than the stored one is answered with
success and left alone; a PATCH needs `last_updated` and an object to patch. Between reading and writing another
request may come: the write names what was read and begins again when that is gone.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from roamd.backend.context import Api
from roamd.backend.ocpi.asked import Asked
from roamd.backend.ocpi.envelope import Answer, Refusal, invalid, not_allowed, not_found
from roamd.backend.ocpi.lenient import Lenient
from roamd.backend.ocpi.texts import (
    appended_periods,
    bubbled,
    find_part,
    stamp_of,
    stored_stamp,
    text_field,
    with_part,
)
from roamd.backend.ocpi.uids import turned, with_turned
from roamd.backend.ocpi.views import KINDS, View, view_for
from roamd.errors import Conflict, NotFound, PreconditionFailed
from roamd.model.body import is_status_only
from roamd.model.ids.party import party_of
from roamd.model.keys import fold
from roamd.model.objects import Checked, check_object
from roamd.roaming.operations import DeleteObject, GetObject, PatchEvse, PatchObject, PutObject, StoredObject

TRIES: Final = 8
"""Of a write that others come between; each time it is another's that succeeded."""

FEED: Final = {"locations": "locations", "tariffs": "tariffs", "sessions": "sessions", "tokens": "user-credentials"}
PARTS: Final = (("evses", "uid"), ("connectors", "id"))
"""The lists below a location, and what tells their elements apart."""

CLASSES: Final = ("Location", "EVSE", "Connector")
"""What stands at each depth of a location's address."""

DEFAULT_TYPE: Final = "RFID"

Change = Callable[[View, str, bytes | None, str], bytes]
"""A part's new text from its class, its old text and the version in which the location is stored."""


@dataclass(frozen=True, slots=True)
class Place:
    """Which object a path names, and which part of it (EVSE uid, connector id)."""

    feed: str
    party: str
    id: str
    token_type: str | None
    parts: tuple[str, ...]


@dataclass(slots=True)
class Received:
    """The RECEIVER interface of the modules whose objects the backend owns."""

    api: Api
    lenient: Lenient = field(init=False)

    def __post_init__(self) -> None:
        self.lenient = Lenient(self.api)

    async def handle(self, asked: Asked) -> Answer:
        """GET, PUT, PATCH, and DELETE of tariffs."""
        place = self._place(asked)
        handlers: dict[str, Callable[[Asked, Place], Awaitable[Answer]]] = {
            "GET": self._get,
            "HEAD": self._get,
            "PUT": self._put_part if place.parts else self._put,
            "PATCH": self._patch_part if place.parts else self._patch,
        }
        if asked.module == "tariffs":
            handlers["DELETE"] = self._delete
        if asked.method not in handlers:
            raise not_allowed(f"{asked.module} takes {', '.join(handlers)} here.")
        return await handlers[asked.method](asked, place)

    def _place(self, asked: Asked) -> Place:
        deepest = 5 if asked.module == "locations" else 3
        if not 3 <= len(asked.path) <= deepest:
            raise not_found(f"Name the object: {asked.endpoint}/country_code/party_id/id.")
        country, party_id, id_, *parts = asked.path
        party = party_of(country.upper(), party_id.upper())
        if party is None or party not in self.api.own_parties:
            raise Refusal(404, 2001, "The country_code and party_id of the address are none of this backend's.")
        kind = (asked.query("type") or "").upper() or None if asked.module == "tokens" else None
        if asked.module == "tokens":
            id_ = turned(asked.presented.backend.settings, kind or DEFAULT_TYPE, id_)
        return Place(FEED[asked.module], party, id_, kind, tuple(parts))

    # --- whole objects ---

    async def _get(self, asked: Asked, place: Place) -> Answer:
        stored = await self._stored(place)
        with view_for(asked) as view:
            body = view.of(bubbled(stored.body) if place.feed == "locations" else stored.body, stored.ocpi)
        return Answer(part_of(body, place.parts) if place.parts else body)

    async def _put(self, asked: Asked, place: Place) -> Answer:
        own = frozenset({place.party})
        data = with_turned(asked.presented.backend.settings, asked.module, await asked.body())
        backend, to = asked.presented.backend, asked.party("to")
        addressee = None if to in self.api.own_parties else to
        checked = await self.lenient.object(backend, place.feed, asked.version, data, own, place.id, addressee)
        if place.token_type not in (None, checked.key.sub):
            raise invalid("$.type: differs from the type in the address")
        return await self.take(place.feed, checked)

    async def take(self, feed: str, checked: Checked) -> Answer:
        """Publish a whole object, unless a newer one is stored; status 201 when it is new."""
        place = Place(feed, checked.key.party, checked.key.id, checked.key.sub or None, ())
        stamp = stored_stamp(checked.body)

        async def write() -> Answer:
            kept = await self._kept(place)
            if kept is not None and stored_stamp(kept.body) > stamp:
                return Answer(message="older than what is stored: left alone")
            match = None if kept is None else kept.etag
            asked_for = PutObject(feed, checked, match, only_new=kept is None)
            stored: StoredObject = await self.api.core.ask(asked_for)
            return Answer(status=201 if stored.created else 200)

        return await _again(write)

    async def _patch(self, asked: Asked, place: Place) -> Answer:
        patch, value = await self._part(asked, KINDS[asked.module])
        stamp = stamp_of(value)

        async def write() -> Answer:
            kept = await self._stored(place)
            _keep_identity(kept.body, value)
            if stored_stamp(kept.body) > stamp:
                return Answer(message="older than what is stored: left alone")
            change = appended_periods(kept.body, patch) if place.feed == "sessions" else patch
            if kept.ocpi != asked.version:
                return await self._patch_other(asked, place, kept, change)
            kind = text_field(kept.body, "type") if place.feed == "user-credentials" else None
            await self.api.core.ask(
                PatchObject(place.feed, place.id, change, asked.version, place.party, kind, kept.etag)
            )
            return Answer()

        return await _again(write)

    async def _patch_other(self, asked: Asked, place: Place, kept: StoredObject, change: bytes) -> Answer:
        """What is stored in the other version stays in it; only what the patch names is converted."""
        with view_for(asked) as view:
            text = view.patched(KINDS[asked.module], kept.body, change, kept.ocpi)
        own = frozenset({place.party})
        checked = check_object(place.feed, kept.ocpi, text, own_parties=own, path_id=place.id)
        await self.api.core.ask(PutObject(place.feed, checked, kept.etag))
        return Answer()

    async def _delete(self, asked: Asked, place: Place) -> Answer:
        await self.api.core.ask(DeleteObject(place.feed, place.id, place.party))
        return Answer()

    # --- EVSEs and connectors ---

    async def _part(self, asked: Asked, kind: str) -> tuple[bytes, dict[str, Any]]:
        """A body that is no whole object, as text and parsed; only that of a PUT has all its fields."""
        backend, whole = asked.presented.backend, asked.method == "PUT"
        data = with_turned(backend.settings, asked.module, await asked.body())
        return self.lenient.part(backend, kind, asked.version, data, whole=whole)

    async def _put_part(self, asked: Asked, place: Place) -> Answer:
        text, value = await self._part(asked, CLASSES[len(place.parts)])
        id_name = PARTS[len(place.parts) - 1][1]
        if fold(str(value.get(id_name))) != fold(place.parts[-1]):
            raise invalid(f"$.{id_name}: differs from the id in the address")
        stamp = stamp_of(value)

        def given(view: View, kind: str, _old: bytes | None, ocpi: str) -> bytes:
            return view.back(kind, text, ocpi)

        return await _again(lambda: self._write_part(asked, place, stamp, given))

    async def _patch_part(self, asked: Asked, place: Place) -> Answer:
        patch, value = await self._part(asked, CLASSES[len(place.parts)])
        stamp = stamp_of(value)
        id_name = PARTS[len(place.parts) - 1][1]
        if id_name in value and fold(str(value[id_name])) != fold(place.parts[-1]):
            raise invalid(f"$.{id_name}: differs from the id in the address")
        if len(place.parts) == 1 and is_status_only(patch):
            return await self._patch_status(asked, place, patch, stamp)

        def merged(view: View, kind: str, old: bytes | None, ocpi: str) -> bytes:
            if old is None:
                raise not_found(f"The location has no such {PARTS[len(place.parts) - 1][0][:-1]}.")
            return view.patched(kind, old, patch, ocpi)

        return await _again(lambda: self._write_part(asked, place, stamp, merged))

    async def _patch_status(self, asked: Asked, place: Place, patch: bytes, stamp: int) -> Answer:
        """The status of an EVSE alone, by far the most frequent PATCH, need not touch its location."""
        kept = await self._stored(place)
        if _is_newer(part_of(kept.body, place.parts), stamp):
            return Answer(message="older than what is stored: left alone")
        await self.api.core.ask(PatchEvse(place.id, place.parts[0], patch, asked.version, place.party))
        return Answer()

    async def _write_part(self, asked: Asked, place: Place, stamp: int, change: Change) -> Answer:
        kept = await self._stored(place)
        parents = [kept.body]
        for (name, id_name), part_id in zip(PARTS, place.parts[:-1], strict=False):
            parents.append(_required(find_part(parents[-1], name, id_name, part_id), name))
        name, id_name = PARTS[len(place.parts) - 1]
        old = find_part(parents[-1], name, id_name, place.parts[-1])
        if old is not None and _is_newer(old, stamp):
            return Answer(message="older than what is stored: left alone")
        with view_for(asked) as view:
            text = change(view, CLASSES[len(place.parts)], old, kept.ocpi)
        for parent, (name, id_name) in zip(reversed(parents), reversed(PARTS[: len(parents)]), strict=True):
            text = with_part(parent, name, id_name, text)
        own = frozenset({place.party})
        checked = check_object(place.feed, kept.ocpi, text, own_parties=own, path_id=place.id)
        await self.api.core.ask(PutObject(place.feed, checked, kept.etag))
        return Answer(status=201 if old is None else 200)

    # --- reading ---

    async def _stored(self, place: Place) -> StoredObject:
        """Raises NotFound."""
        wanted = GetObject(place.feed, place.id, place.party, place.token_type)
        try:
            stored: StoredObject = await self.api.core.ask(wanted)
        except Conflict:  # several types share the uid, and none was named
            stored = await self.api.core.ask(GetObject(place.feed, place.id, place.party, DEFAULT_TYPE))
        return stored

    async def _kept(self, place: Place) -> StoredObject | None:
        try:
            return await self._stored(place)
        except NotFound:
            return None


def part_of(location: bytes, parts: tuple[str, ...]) -> bytes:
    """An EVSE or a connector of a location; Refusal (404) when it has none."""
    body = location
    for (name, id_name), part_id in zip(PARTS, parts, strict=False):
        body = _required(find_part(body, name, id_name, part_id), name)
    return body


def _required(part: bytes | None, name: str) -> bytes:
    if part is None:
        raise not_found(f"There is no such {name[:-1]}.")
    return part


def _is_newer(part: bytes, stamp: int) -> bool:
    return stored_stamp(part) > stamp


def _keep_identity(body: bytes, patch: dict[str, Any]) -> None:
    for name in ("country_code", "party_id", "id", "uid", "type"):
        if name in patch and (kept := text_field(body, name)) is not None and fold(str(patch[name])) != fold(kept):
            raise invalid(f"$.{name}: cannot be changed by a PATCH")


async def _again(write: Callable[[], Awaitable[Answer]]) -> Answer:
    """Write; begin again while others come between."""
    for _ in range(TRIES - 1):
        try:
            return await write()
        except PreconditionFailed:
            continue
    return await write()
