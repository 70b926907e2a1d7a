"""The face itself: every request to /ocpi comes through `Face.handle`, and every answer leaves it in an envelope.

    /ocpi/versions                     all that roamd is
    /ocpi/cpo/versions                 roamd as the CPOs behind it (for a backend that is an eMSP)
    /ocpi/emsp/versions                roamd as the eMSPs behind it (for a backend that is a CPO)
    /ocpi[/face]/{version}             version details
    /ocpi[/face]/{version}/credentials
    /ocpi/{face}/{version}/{module}/...

One route takes them all and the path is taken apart here, because slashes are doubled, missing and left over in the
field, and a redirect would lose the token.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from uuid import UUID

from aiohttp import ClientError, web

from roamd import metrics
from roamd.backend.context import Api
from roamd.backend.ocpi.asked import FACES, MAX_SEGMENTS, VERSIONS, Asked, segments_of
from roamd.backend.ocpi.backends import Backend, Backends, Presented
from roamd.backend.ocpi.envelope import Answer, Refusal, encode, not_allowed, not_found, refused
from roamd.backend.ocpi.openapi import face_document
from roamd.backend.ocpi.quirks import note_request
from roamd.errors import RoamdError
from roamd.log import get_logger

log = get_logger(room="backend")

Handler = Callable[[Asked], Awaitable[Answer]]

OFFERED: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "cpo": (
        ("locations", "SENDER"),
        ("tariffs", "SENDER"),
        ("sessions", "SENDER"),
        ("cdrs", "SENDER"),
        ("tokens", "RECEIVER"),
        ("commands", "RECEIVER"),
        ("chargingprofiles", "RECEIVER"),
        ("hubclientinfo", "SENDER"),
    ),
    "emsp": (
        ("locations", "RECEIVER"),
        ("tariffs", "RECEIVER"),
        ("sessions", "RECEIVER"),
        ("cdrs", "RECEIVER"),
        ("tokens", "SENDER"),
        ("commands", "SENDER"),
        ("chargingprofiles", "SENDER"),
        ("hubclientinfo", "SENDER"),
    ),
}
"""The modules of each face, and the interface that it serves."""

MODULES: Final = frozenset(identifier for served in OFFERED.values() for identifier, _ in served) | {"credentials"}

_UNROUTED: Final = frozenset({"credentials", "hubclientinfo"})
"""Modules whose answers carry no routing headers."""

MAX_ECHO: Final = 200


@dataclass(frozen=True, slots=True)
class Served:
    """What one kind of caller is served: each module's requests go to its handler (`modules`: by face and module).

    `backend` is that of a partner without roamd, None where all of ours are meant; `offered` names the modules.
    """

    api: Api
    credentials: Handler
    modules: Mapping[tuple[str, str], Handler]
    backend: Backend | None = None
    offered: frozenset[str] | None = None


class OtherCallers(Protocol):
    """Who else may call than our own backends: partners without roamd (`routes`)."""

    async def identify(self, authorization: str | None) -> tuple[Presented, Served] | None:
        """Who presents this header, and what it is served; None when nobody does."""
        ...


@dataclass(slots=True)
class Face:
    """Serves the documents, and to our backends what `served` says. `urls` is the face's address as each names it."""

    backends: Backends
    served: Served
    others: OtherCallers
    urls: Mapping[str, str]
    random: Callable[[int], bytes]
    _details: dict[tuple[str, str, str, bool], bytes] = field(default_factory=dict)

    @property
    def api(self) -> Api:
        """The API as it is for our own backends."""
        return self.served.api

    async def handle(self, request: web.Request) -> web.Response:
        """Answer anything."""
        if request.raw_path == "/ocpi/openapi.json" and request.method in ("GET", "HEAD"):
            return web.Response(body=face_document(), content_type="application/json")
        routing: dict[str, str] = {}
        noted = Noted()
        try:
            answer = await self._answer(request, routing, noted)
        except RoamdError as error:
            answer = refused(error)
            if answer.status >= 500:
                log.warning("ocpi_request_failed", code=error.code, method=request.method)
        except web.HTTPRequestEntityTooLarge:
            answer = Answer(None, 413, 2001, "The body is larger than 8 MiB.")
        except (ClientError, web.HTTPException, web.RequestPayloadError, web.PayloadAccessError, ConnectionError):
            answer = Answer(None, 400, 2001, "The body could not be read to its end.")
        except asyncio.CancelledError:
            raise
        except Exception:  # the edge: a bug is answered, and logged with its traceback
            log.exception("ocpi_request_broke", method=request.method)
            answer = Answer(None, 500, 3000, "The daemon failed at this request; its log says where.")
        noted.over(request.method, answer)
        return self._response(request, answer, routing)

    async def _answer(self, request: web.Request, routing: dict[str, str], noted: "Noted") -> Answer:
        presented, served = await self._caller(request.headers.get("Authorization"))
        noted.backend = presented.backend.settings.name
        note_request(presented.backend, request, presented.form)
        base = self._base(request, presented, served)
        path = segments_of(request.rel_url.raw_path)[1:]
        if len(path) > MAX_SEGMENTS:
            raise not_found("There is nothing at this address.")
        face = path.pop(0).lower() if path and path[0].lower() in FACES else ""
        if path in ([], ["versions"]):
            return self._document(request, self._versions(base, face))
        version = path.pop(0)
        if version not in VERSIONS:
            raise not_found(f"Version {version[:20]} is not served; GET {base}/versions tells which are.")
        if not path:
            return self._document(request, self._details_of(base, face, version, served))
        if path[0].lower() in MODULES:
            noted.module = path[0].lower()
        return await self._module(
            Asked(request, presented, base, face, version, path[0].lower(), tuple(path[1:])), routing, served
        )

    async def _caller(self, authorization: str | None) -> tuple[Presented, Served]:
        """Refusal (401) when nobody presents this header."""
        try:
            return await self.backends.identify(authorization), self.served
        except Refusal:
            other = await self.others.identify(authorization)
            if other is None:
                raise
            return other

    def _base(self, request: web.Request, presented: Presented, served: Served) -> str:
        """The face's own address, as this caller reaches it."""
        told = served.backend.base if served.backend is not None else self.urls.get(presented.backend.settings.name)
        return told or f"{request.scheme}://{request.host}/ocpi"

    def _document(self, request: web.Request, data: bytes) -> Answer:
        if request.method not in ("GET", "HEAD"):
            raise not_allowed("This document takes GET only.")
        return Answer(data)

    def _versions(self, base: str, face: str) -> bytes:
        prefix = f"{base}/{face}" if face else base
        return encode([{"version": version, "url": f"{prefix}/{version}"} for version in VERSIONS])

    def _details_of(self, base: str, face: str, version: str, served: Served) -> bytes:
        key = (base, face, version, served.offered is None)
        known = self._details.get(key)
        if known is None:
            found = endpoints_of(base, face, version)
            if served.offered is not None:
                found = [each for each in found if each["identifier"] in served.offered | {"credentials"}]
            known = encode({"version": version, "endpoints": found})
            if len(self._details) < 100:
                self._details[key] = known
        return known

    async def _module(self, asked: Asked, routing: dict[str, str], served: Served) -> Answer:
        if asked.module == "credentials":
            return await served.credentials(asked)
        _require_own_token(asked.presented)
        handler = served.modules.get((asked.face, asked.module))
        if handler is None:
            raise not_found("There is nothing at this address; the version details tell what is served where.")
        if asked.module not in _UNROUTED:
            if "OCPI-to-country-code" not in asked.request.headers:
                asked.presented.backend.met("no-routing")
            routing.update(_swapped(asked, min(served.api.own_parties)))
        return await handler(asked)

    def _response(self, request: web.Request, answer: Answer, routing: dict[str, str]) -> web.Response:
        headers = {**routing, **answer.headers}
        for name in ("X-Request-ID", "X-Correlation-ID"):
            given = request.headers.get(name, "")
            usable = given.isprintable() and given.isascii() and 0 < len(given) <= MAX_ECHO
            headers[name] = given if usable else str(UUID(bytes=self.random(16), version=4))
        if answer.status == 401:
            headers["WWW-Authenticate"] = "Token"
        response = web.Response(
            body=answer.text(self.api.clock.now_ms()),
            status=answer.status,
            headers=headers,
            content_type="application/json",
        )
        if len(response.body or b"") > 4096:  # type: ignore[arg-type]
            response.enable_compression()
        return response


@dataclass(slots=True)
class Noted:
    """What is counted and logged of a request. A stranger's is only counted."""

    backend: str = ""
    module: str = "documents"

    def over(self, method: str, answer: Answer) -> None:
        """It is answered. What is merely not there is no news."""
        metrics.child(metrics.ocpi_requests, self.backend, self.module, str(answer.ocpi_status)).inc()
        if self.backend and answer.ocpi_status >= 2000 and answer.status != 404:
            status, code = answer.status, answer.ocpi_status
            log.info("ocpi_request_refused", backend=self.backend, module=self.module, method=method, status=status,
                     ocpi_status=code)  # fmt: skip


def endpoints_of(base: str, face: str, version: str) -> list[dict[str, Any]]:
    """The endpoints of a version; the common document has those of both faces.

    Modules end in a slash: some clients put what follows right behind it, and those that add a slash of their own make
    a double one, which means nothing here.
    """
    own = f"{base}/{face}" if face else base
    found = [{"identifier": "credentials", "role": "SENDER", "url": f"{own}/{version}/credentials"}]
    seen = set()
    for each in (face,) if face else FACES:
        for identifier, role in OFFERED[each]:
            if (identifier, role) not in seen:
                seen.add((identifier, role))
                found.append({"identifier": identifier, "role": role, "url": f"{base}/{each}/{version}/{identifier}/"})
    return found


def _swapped(asked: Asked, own: str) -> dict[str, str]:
    """The answer's routing headers: to whoever asked, from whoever was asked."""
    to, origin = asked.party("from") or own, asked.party("to") or own
    return routing_headers(to, origin)


def routing_headers(to: str, origin: str) -> dict[str, str]:
    """The four headers for two canonical parties."""
    return {
        "OCPI-to-country-code": to[:2],
        "OCPI-to-party-id": to[2:],
        "OCPI-from-country-code": origin[:2],
        "OCPI-from-party-id": origin[2:],
    }


def _require_own_token(presented: Presented) -> None:
    if presented.kind == "first":
        raise Refusal(401, 2001, "This token opens versions and credentials only; register first.")
