"""Own objects into own feeds, and what peers publish to us."""

import json
from typing import Final
from urllib.parse import quote

from aiohttp import web

from roamd.backend.batch import Batch
from roamd.backend.context import Api
from roamd.backend.examples import OBJECTS
from roamd.backend.requests import (
    fault,
    json_answer,
    ocpi_version,
    page_after,
    page_limit,
    page_text,
    party_parameter,
    peer_in_path,
    warning_header,
)
from roamd.backend.routes import (
    AFTER,
    IDEMPOTENCY_KEY,
    IF_MATCH,
    IF_NONE_MATCH,
    LIMIT,
    OCPI_VERSION,
    ONLY_NEW,
    PARTY,
    TOKEN_TYPE,
    Answer,
    Body,
    Parameter,
    Route,
)
from roamd.clock import rfc3339
from roamd.errors import Fault
from roamd.model.body import compact, is_status_only, tree
from roamd.model.objects import check_evse_status, check_object
from roamd.roaming.operations import (
    DeleteObject,
    GetObject,
    GetPeerObject,
    ListObjects,
    ListPeerObjects,
    Page,
    PatchEvse,
    PatchObject,
    PutObject,
    StoredObject,
)

FEEDS: Final = ("locations", "tariffs", "user-credentials", "sessions", "reservations", "grants")
"""Feeds that have a collection of their own; EVSE status is written and read with its location."""

PEER_FEEDS: Final = (*FEEDS, "session-leases")
"""What is read of peers; a session's lease is roamd's own object."""


PATCH_MAX: Final = 128 * 1024
"""Merging holds a patch's members one by one; who changes more of an object than this may as well PUT it."""


def matches_etag(header: str | None, etag: str) -> bool:
    """Whether an `If-None-Match` header names this version (compared weakly, as RFC 9110 has it for reading)."""
    if header is None:
        return False
    named = [each.strip().removeprefix("W/") for each in header.split(",")]
    return "*" in named or etag.removeprefix("W/") in named


def object_answer(stored: StoredObject, status: int = 200, warnings: tuple[Fault, ...] = ()) -> web.Response:
    """An object with its version and the OCPI version in which it is written."""
    headers = {"ETag": stored.etag, "OCPI-Version": stored.ocpi, **warning_header(warnings)}
    if stored.contract_id is not None:
        headers["Roamd-Contract-Id"] = quote(stored.contract_id)
    return json_answer(stored.body, status, headers)


def read_answer(request: web.Request, stored: StoredObject) -> web.Response:
    """The object, or 304 when the client has it."""
    if matches_etag(request.headers.get("If-None-Match"), stored.etag):
        return web.Response(status=304, headers={"ETag": stored.etag})
    return object_answer(stored)


def page_answer(page: Page) -> web.Response:
    """A page of objects, each as it was published."""
    return json_answer(page_text([stored.body for stored in page.items], page.next))


def token_type(request: web.Request) -> str | None:
    """`?type=`, for credentials that share a uid."""
    return request.query.get("type") or None


def evse_patch(data: bytes, ocpi: str, now_ms: int) -> bytes:
    """A patch of an EVSE, checked. A mere change of status is whole by itself; its time is now if it has none."""
    patch = patch_text(data)
    if is_status_only(patch):
        return check_evse_status(patch, ocpi=ocpi, last_updated=rfc3339(now_ms))
    return patch


def patch_text(data: bytes) -> bytes:
    """A merge patch as compact text. Raises Malformed when it is no object, or has keys twice."""
    patch = compact(data, limit=PATCH_MAX)
    if not isinstance(tree(patch), dict):
        raise fault("$", "must be an object", "type")
    return patch


class OwnFeed:
    """One own collection."""

    def __init__(self, api: Api, feed: str) -> None:
        self._api = api
        self._feed = feed
        self._batch = Batch(api, feed)

    async def put(self, request: web.Request) -> web.Response:
        """Publish the whole object."""
        only_new = request.headers.get("If-None-Match")
        if only_new not in (None, "*"):
            raise fault("If-None-Match", "only * makes sense with PUT", "header")
        checked = check_object(
            self._feed,
            ocpi_version(request),
            await request.read(),
            own_parties=self._api.own_parties,
            path_id=request.match_info["id"],
        )
        asked = PutObject(self._feed, checked, request.headers.get("If-Match"), only_new=only_new is not None)
        stored: StoredObject = await self._api.core.ask(asked)
        return object_answer(stored, 201 if stored.created else 200, checked.warnings)

    async def get(self, request: web.Request) -> web.Response:
        """The object as it was published."""
        asked = GetObject(self._feed, request.match_info["id"], party_parameter(request), token_type(request))
        return read_answer(request, await self._api.core.ask(asked))

    async def patch(self, request: web.Request) -> web.Response:
        """Merge into the object (RFC 7396)."""
        asked = PatchObject(
            self._feed,
            request.match_info["id"],
            patch_text(await request.read()),
            ocpi_version(request),
            party_parameter(request),
            token_type(request),
            request.headers.get("If-Match"),
        )
        return object_answer(await self._api.core.ask(asked))

    async def delete(self, request: web.Request) -> web.Response:
        """Withdraw the object."""
        asked = DeleteObject(
            self._feed,
            request.match_info["id"],
            party_parameter(request),
            token_type(request),
            request.headers.get("If-Match"),
        )
        await self._api.core.ask(asked)
        return web.Response(status=204)

    async def page(self, request: web.Request) -> web.Response:
        """A page of own objects."""
        return page_answer(await self._api.core.ask(ListObjects(self._feed, page_after(request), page_limit(request))))

    async def patch_evse(self, request: web.Request) -> web.Response:
        """Merge into one EVSE: its status, most often."""
        if "If-Match" in request.headers:
            raise fault("If-Match", "is not taken for an EVSE; use it on the location", "header")
        ocpi = ocpi_version(request)
        patch = evse_patch(await request.read(), ocpi, self._api.clock.now_ms())
        location, evse = request.match_info["id"], request.match_info["uid"]
        asked = PatchEvse(location, evse, patch, ocpi, party_parameter(request))
        return object_answer(await self._api.core.ask(asked))

    def routes(self) -> list[Route]:
        """The table's rows, in an order in which their examples work."""
        feed, example = self._feed, OBJECTS[self._feed]
        own = _own_parameters(feed)
        path, one = f"/v1/{feed}/{{id}}", {"id": str(example.get("id", example.get("uid")))}
        line = json.dumps(example) + "\n"
        rows = [
            Route("PUT", path, self.put, feed, "Publish an object.", _WRITTEN, Body(_SCHEMAS[feed], example),
                  (OCPI_VERSION, IF_MATCH, ONLY_NEW), one),
            Route("GET", path, self.get, feed, "An own object as it was published.", (_OBJECT,),
                  parameters=(*own, IF_NONE_MATCH), example=one),
            Route("PATCH", path, self.patch, feed, "Merge into an own object (RFC 7396).", (_OBJECT,),
                  Body("Patch", {"last_updated": "2026-11-22T12:00:00Z"}), (*own, OCPI_VERSION, IF_MATCH), one),
            Route("GET", f"/v1/{feed}", self.page, feed, "Own objects, stable under change.",
                  (Answer(200, "A page.", "ObjectPage"),), parameters=(AFTER, LIMIT)),
            Route("POST", f"/v1/{feed}/batch", self._batch.post, feed,
                  "Publish any number of objects, one a line; good lines are stored even if others are not.",
                  (Answer(200, "All lines are stored.", "BatchSummary"),
                   Answer(422, "Some lines are not; the same summary says which and why.", "BatchSummary"),
                   Answer(507, "The disk is full; the summary says from which line to repeat.", "BatchSummary")),
                  Body(_SCHEMAS[feed], line, "application/x-ndjson"), (OCPI_VERSION, IDEMPOTENCY_KEY)),
        ]  # fmt: skip
        if feed == "locations":
            rows.append(
                Route("PATCH", f"{path}/evses/{{uid}}", self.patch_evse, feed, "Change one EVSE, such as its status.",
                      (Answer(200, "The EVSE as it now reads.", "EVSE"),),
                      Body("EvseStatus", {"status": "CHARGING", "last_updated": "2026-11-22T12:00:00Z"}),
                      (PARTY, OCPI_VERSION), {**one, "uid": "3256"})
            )  # fmt: skip
        rows.append(
            Route("DELETE", path, self.delete, feed, *_WITHDRAWING.get(feed, _WITHDRAWN),
                  parameters=(*own, IF_MATCH), example=one)
        )  # fmt: skip
        return rows


class PeerFeed:
    """What a peer publishes to us in one feed."""

    def __init__(self, api: Api, feed: str) -> None:
        self._api = api
        self._feed = feed

    async def get(self, request: web.Request) -> web.Response:
        """One object, byte for byte as the peer published it (with its EVSEs' newest status)."""
        asked = GetPeerObject(
            peer_in_path(request),
            self._feed,
            request.match_info["id"],
            party_parameter(request),
            token_type(request),
        )
        return read_answer(request, await self._api.core.ask(asked))

    async def page(self, request: web.Request) -> web.Response:
        """A page of them."""
        asked = ListPeerObjects(peer_in_path(request), self._feed, page_after(request), page_limit(request))
        return page_answer(await self._api.core.ask(asked))

    def routes(self) -> list[Route]:
        """The table's rows."""
        path, tag, peer = f"/v1/peers/{{peer}}/{self._feed}", "peers", {"peer": "xyz"}
        return [
            Route("GET", path, self.page, tag, f"The {self._feed} that a peer publishes to us, stable under change.",
                  (Answer(200, "A page.", "ObjectPage"),), parameters=(AFTER, LIMIT), example=peer),
            Route("GET", f"{path}/{{id}}", self.get, tag, "One object that a peer publishes to us.", (_OBJECT,),
                  parameters=(*_own_parameters(self._feed), IF_NONE_MATCH), example={**peer, "id": "THEIRS-1"}),
        ]  # fmt: skip


def _own_parameters(feed: str) -> tuple[Parameter, ...]:
    return (PARTY, TOKEN_TYPE) if feed == "user-credentials" else (PARTY,)


_OBJECT: Final = Answer(200, "The object; its version is the ETag.", "Object")
_WRITTEN: Final = (Answer(201, "It is new.", "Object"), Answer(200, "It is replaced, or was the same.", "Object"))
_WITHDRAWN: Final = ("Withdraw an own object; peers are told.", (Answer(204, "It is withdrawn."),))
_WITHDRAWING: Final = {
    "grants": (
        "Revoke a grant: a signed revocation takes its place until it would have ended.",
        (Answer(204, "It is revoked, for good."),),
    ),
}
_SCHEMAS: Final = {
    "locations": "Location",
    "tariffs": "Tariff",
    "user-credentials": "Token",
    "sessions": "Session",
    "reservations": "Reservation",
    "grants": "Grant",
}
