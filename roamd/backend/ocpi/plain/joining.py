"""The credentials handshake as the one who begins it: roamd registers at a partner's versions URL.

With the token that the partner gave (A) its versions are read, and ours (B) is sent to its credentials module; what
comes back is the one to use from now on (C), and who the partner is. While it answers, it reads our versions with B.
Nothing is committed before its answer: if that is lost, the partner may think that we are registered, and has to give
a new token.
"""

from base64 import urlsafe_b64encode
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from roamd.backend.ocpi.asked import VERSIONS
from roamd.backend.ocpi.backends import Registration, token_hash
from roamd.backend.ocpi.caller import Access, Caller, CallFailed, Reply
from roamd.backend.ocpi.credentials import TOKEN_BYTES, Given, read_credentials, read_endpoints
from roamd.backend.ocpi.envelope import Refusal, encode
from roamd.errors import Malformed, RequestError, TooLarge
from roamd.model.ids.party import party_of

ROLES: Final = {"CPO": "cso", "EMSP": "csp"}


class NotJoined(RequestError):
    """The handshake did not come to its end; the message says at which step and why."""

    code = "ocpi-not-joined"
    http_status = 409


class _Version(msgspec.Struct):
    version: str
    url: str


@dataclass(frozen=True, slots=True)
class Joined:
    """What the partner said of itself."""

    registration: Registration
    name: str
    parties: tuple[str, ...]
    roles: tuple[str, ...]


def our_credentials(token: str, url: str, name: str, parties: tuple[str, ...], roles: tuple[str, ...]) -> bytes:
    """Credentials with each of our parties in each of our roles."""
    details = {"name": name[:100]}
    shown = [
        {"role": role, "country_code": party[:2], "party_id": party[2:], "business_details": details}
        for role, ours in ROLES.items()
        if ours in roles
        for party in parties
    ]
    top = {"country_code": parties[0][:2], "party_id": parties[0][2:], "business_details": details}
    return encode({"token": token, "url": f"{url}/versions", "roles": shown, **top})


@dataclass(slots=True)
class Joining:
    """One handshake with one partner. `caller` has its backend, which is given its registration step by step."""

    caller: Caller
    url: str
    their_token: str
    our_url: str

    async def begin(self, random: bytes) -> tuple[str, Registration]:
        """Read what the partner serves. Our token, and what to admit it by while the partner answers."""
        access = Access(self.their_token, "base64")
        try:
            version = await self._version(access)
            endpoints = await read_endpoints(self.caller, self.url, version, access)
        except Refusal as refusal:
            raise NotJoined(f"Its versions: {str(refusal).removeprefix('$.url: ')}") from refusal
        token = urlsafe_b64encode(random[:TOKEN_BYTES]).decode().rstrip("=")
        form = "raw" if self.caller.other_form else "base64"
        self.caller.other_form = False
        return token, Registration(
            first="",
            token=token_hash(token),
            form=form,
            their_token=self.their_token,
            their_url=self.url,
            version=version,
            endpoints=endpoints,
            base=self.our_url,
        )

    async def _version(self, access: Access) -> str:
        try:
            reply = await self.caller.call("GET", self.url, access=access)
        except CallFailed as error:
            raise NotJoined(f"Its versions could not be read: {error}.") from error
        try:
            offered = [each.version.strip() for each in msgspec.json.decode(reply.data, type=list[_Version])]
        except (msgspec.DecodeError, RecursionError) as error:
            raise NotJoined(f"Its versions could not be read: {_words_of(reply)}.") from error
        for version in reversed(VERSIONS):
            if version in offered:
                return version
        raise NotJoined(f"It offers {', '.join(offered) or 'no version'}; roamd speaks {' and '.join(VERSIONS)}.")

    async def finish(self, credentials: bytes) -> Joined:
        """Send our credentials and read the partner's."""
        backend = self.caller.backend
        endpoint = backend.whole_endpoint("credentials", "SENDER") or backend.whole_endpoint("credentials", "RECEIVER")
        kept = backend.registration
        if endpoint is None or kept is None:
            raise NotJoined("Its version details name no credentials endpoint.")
        try:
            reply = await self.caller.call("POST", endpoint, credentials)
        except CallFailed as error:
            raise NotJoined(f"Its credentials endpoint gave no answer: {error}.") from error
        if not reply.good:
            raise NotJoined(f"It refused our credentials: {_words_of(reply)}.")
        try:
            given = read_credentials(reply.one())
        except (Refusal, Malformed, TooLarge) as error:
            raise NotJoined(f"Its credentials cannot be read: {error}") from error
        now = backend.registration or kept
        changed = {"their_token": given.token, "their_url": given.url, "roles": given.roles}
        return Joined(msgspec.structs.replace(now, **changed), *_identity(given))


def _words_of(reply: Reply) -> str:
    return "an answer that is none" if reply.good else reply.words


def _identity(given: Given) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Name, parties and roles (ours) of who is behind these credentials."""
    parties, roles, name = [], [], ""
    for each in given.roles:
        role = ROLES.get(str(each.get("role", "")).strip().upper())
        party = party_of(_text(each, "country_code").upper(), _text(each, "party_id").upper())
        if role is not None and party is not None:
            parties.append(party)
            roles.append(role)
            name = name or _text(each.get("business_details") or {}, "name")
    if not parties:
        raise NotJoined("Its credentials name no party that is CPO or EMSP.")
    return name or parties[0], tuple(dict.fromkeys(parties)), tuple(dict.fromkeys(roles))


def _text(value: Any, name: str) -> str:
    found = value.get(name) if isinstance(value, dict) else None
    return found.strip() if isinstance(found, str) else ""
