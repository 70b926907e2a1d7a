"""The credentials handshake.

What is promised: the state is changed by one commit, after the backend's own addresses have been read with the token
that it gave and before it is answered. So a failed call-back leaves the old state, and after a crash the backend's
next try finds a token of its own open (`backends` says which).
"""

import asyncio
import contextlib
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from roamd.backend.context import Api
from roamd.backend.ocpi.asked import Asked
from roamd.backend.ocpi.backends import Backends, Endpoint, Registration, token_hash
from roamd.backend.ocpi.caller import Access, Caller, CallFailed, Reply
from roamd.backend.ocpi.envelope import (
    CALLBACK_FAILED,
    NO_ENDPOINTS,
    UNSUPPORTED_VERSION,
    Answer,
    Refusal,
    encode,
    invalid,
    not_allowed,
)
from roamd.backend.ocpi.partners import Partners, credentials_roles
from roamd.backend.requests import refuse_larger
from roamd.errors import RoamdError
from roamd.log import get_logger
from roamd.model.body import tree
from roamd.model.jsontext import compact

log = get_logger(room="backend")

CALL_BACK_S: Final = 1.8
"""For both documents together: whoever registers expects our answer within two seconds."""

TOKEN_BYTES: Final = 32
MAX_CREDENTIALS: Final = 64 * 1024
MAX_ENDPOINTS: Final = 100
MAX_URL: Final = 1000


@dataclass(slots=True)
class Credentials:
    """Handles the module; `callers` has the way to each backend by its name."""

    api: Api
    backends: Backends
    partners: Partners
    callers: Mapping[str, Caller]
    random: Callable[[int], bytes]
    is_hub: bool = True
    """Whether we are the one platform with all parties behind it, or no more than ourselves."""

    async def handle(self, asked: Asked) -> Answer:
        """GET, POST, PUT, DELETE."""
        if asked.path:
            raise Refusal(404, 2000, "There is nothing below credentials.")
        handlers = {"GET": self._get, "POST": self._post, "PUT": self._put, "DELETE": self._delete}
        if asked.method not in handlers:
            raise not_allowed("credentials takes GET, POST, PUT and DELETE.")
        async with asked.presented.backend.lock:
            return await handlers[asked.method](asked)

    async def _get(self, asked: Asked) -> Answer:
        return await self._ours(asked, asked.presented.token)

    async def _post(self, asked: Asked) -> Answer:
        if asked.presented.kind != "first":
            raise not_allowed("This backend is registered already; use PUT.")
        return await self._register(asked, None)

    async def _put(self, asked: Asked) -> Answer:
        kept = asked.presented.backend.registration
        if kept is None or asked.presented.kind != "own":
            raise not_allowed("This backend is not registered; use POST.")
        return await self._register(asked, kept)

    async def _delete(self, asked: Asked) -> Answer:
        backend = asked.presented.backend
        if backend.registration is None or asked.presented.kind != "own":
            raise not_allowed("This backend is not registered.")
        await self.backends.keep(backend, None)
        log.info("ocpi_backend_unregistered", backend=backend.settings.name)
        return Answer()

    async def _register(self, asked: Asked, kept: Registration | None) -> Answer:
        backend = asked.presented.backend
        try:
            return await self._registered(asked, kept)
        except RoamdError as refusal:
            backend.refused = str(refusal)
            raise

    async def _registered(self, asked: Asked, kept: Registration | None) -> Answer:
        backend = asked.presented.backend
        given = read_credentials(await asked.body())
        caller = self.callers[backend.settings.name]
        access = Access(given.token, asked.presented.form)
        async with _in_time():
            endpoints = await read_endpoints(caller, given.url, asked.version, access)
        token = urlsafe_b64encode(self.random(TOKEN_BYTES)).decode().rstrip("=")
        made = Registration(
            first=backend.settings.first,
            token=token_hash(token),
            form=asked.presented.form,
            their_token=given.token,
            their_url=given.url,
            version=asked.version,
            endpoints=endpoints,
            roles=given.roles,
            previous=None if kept is None else token_hash(asked.presented.token),
            swept=kept is not None and kept.swept,
            base=asked.base,
        )
        caller.other_form, backend.refused = False, ""
        await self.backends.keep(backend, made)
        log.info("ocpi_backend_registered", backend=backend.settings.name, version=asked.version)
        return await self._ours(asked, token)

    async def _ours(self, asked: Asked, token: str) -> Answer:
        """Our credentials. Country and party stand at the top too: some demand what is OCPI 2.1.1."""
        own, company = min(self.api.own_parties), asked.presented.backend.settings.company
        partners = await self.partners.all()
        if not self.is_hub:
            own = partners[0].parties[0]
        roles = credentials_roles(partners, own, company, asked.version if self.is_hub else "", asked.face)
        shown: dict[str, Any] = {
            "token": token,
            "url": "/".join(part for part in (asked.base, asked.face, "versions") if part),
            "roles": roles,
            "country_code": own[:2],
            "party_id": own[2:],
            "business_details": {"name": company},
        }
        if asked.version != "2.2.1" and self.is_hub:
            shown["hub_party_id"] = own
        return Answer(encode(shown))


# --- what a backend says of itself --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Given:
    """Credentials as a backend sends them."""

    token: str
    url: str
    roles: tuple[dict[str, Any], ...]


def read_credentials(data: bytes) -> Given:
    """Raises Refusal, Malformed or TooLarge. Roles may be missing: whose backend it is, its token says."""
    refuse_larger(data, MAX_CREDENTIALS, "credentials")
    value = tree(compact(data))
    if not isinstance(value, dict):
        raise invalid("$: expected an object")
    token, url, roles = value.get("token"), value.get("url"), value.get("roles") or []
    if not isinstance(token, str) or not 0 < len(token.strip()) <= 64 or not _is_token(token.strip()):
        raise invalid("$.token: expected 1 to 64 printable ASCII characters")
    if not isinstance(url, str) or not _is_url(url):
        raise invalid("$.url: expected the address of your versions document")
    if not isinstance(roles, list) or not all(isinstance(role, dict) for role in roles):
        raise invalid("$.roles: expected an array of objects")
    return Given(token.strip(), url, tuple(msgspec.to_builtins(roles)))


def _is_token(text: str) -> bool:
    return all("!" <= character <= "~" for character in text)


def _is_url(text: str) -> bool:
    return text.lower().startswith(("http://", "https://")) and len(text) <= MAX_URL and text.isprintable()


class _VersionIn(msgspec.Struct):
    version: str
    url: str


class _EndpointIn(msgspec.Struct):
    identifier: str
    url: str
    role: str | None = None


class _DetailsIn(msgspec.Struct):
    endpoints: list[_EndpointIn]


async def read_endpoints(caller: Caller, url: str, version: str, access: Access) -> tuple[Endpoint, ...]:
    """The backend's endpoints in this version, from its versions document. Raises Refusal (3001, 3002, 3003)."""
    reply = await _fetch(caller, url, access)
    if _has_endpoints(reply.data):  # some give the address of their version details
        caller.backend.met("details-as-versions")
        return _endpoints_in(caller, reply)
    try:
        offered = msgspec.json.decode(reply.data, type=list[_VersionIn])
    except (msgspec.DecodeError, RecursionError):
        raise Refusal(200, CALLBACK_FAILED, "$.url: what is there is no list of versions.") from None
    found = [each.url for each in offered if each.version.strip() == version]
    if not found:
        raise Refusal(200, UNSUPPORTED_VERSION, f"$.url: version {version} is not offered there.")
    return _endpoints_in(caller, await _fetch(caller, found[0], access))


def _has_endpoints(data: bytes) -> bool:
    return data.startswith(b"{") and b'"endpoints"' in data


async def _fetch(caller: Caller, url: str, access: Access) -> Reply:
    try:
        reply = await caller.call("GET", caller.backend.reach(url), access=access, timeout_s=CALL_BACK_S)
    except CallFailed as error:
        raise Refusal(200, CALLBACK_FAILED, f"$.url: your address could not be read: {error}.") from error
    if not reply.good:
        raise Refusal(200, CALLBACK_FAILED, f"$.url: your address answered {reply.words}.")
    return reply


def _endpoints_in(caller: Caller, reply: Reply) -> tuple[Endpoint, ...]:
    try:
        details = msgspec.json.decode(reply.one(), type=_DetailsIn)
    except (msgspec.DecodeError, RecursionError):
        raise Refusal(200, CALLBACK_FAILED, "$.url: your version details cannot be read.") from None
    if any(each.role is None for each in details.endpoints):
        caller.backend.met("no-role")
    found = tuple(
        Endpoint(each.identifier.strip().lower(), (each.role or "SENDER").upper(), each.url)
        for each in details.endpoints[:MAX_ENDPOINTS]
        if _is_url(each.url)
    )
    if not found:
        raise Refusal(200, NO_ENDPOINTS, "$.url: your version details name no endpoints.")
    return found


@contextlib.asynccontextmanager
async def _in_time() -> AsyncIterator[None]:
    """The time of the whole call-back; what is over it is a failed call-back."""
    try:
        async with asyncio.timeout(CALL_BACK_S):
            yield
    except TimeoutError:
        raise Refusal(200, CALLBACK_FAILED, "$.url: your addresses did not answer in time.") from None
