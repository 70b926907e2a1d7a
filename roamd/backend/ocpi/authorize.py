"""Real-time authorization: a CPO backend's `POST tokens/{uid}/authorize` becomes our question to its home-CSP."""

from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec

from roamd.backend.context import Api
from roamd.backend.ocpi.asked import Asked
from roamd.backend.ocpi.envelope import UNKNOWN_TOKEN, Answer, Refusal, encode, invalid, not_allowed
from roamd.backend.ocpi.offered import Offered
from roamd.backend.ocpi.partners import Partners
from roamd.backend.ocpi.texts import object_text
from roamd.backend.ocpi.uids import turned
from roamd.backend.ocpi.views import View, view_for
from roamd.clock import rfc3339
from roamd.model.ocpi.convert import value_in
from roamd.roaming.operations import AuthorizationReply, Authorize, CredentialIn, Partner, PlaceIn

DEADLINE_MS: Final = 1800
"""Clients give up after two seconds."""

TYPES: Final = frozenset({"AD_HOC_USER", "APP_USER", "EMAID", "OTHER", "RFID"})
MAX_ID: Final = 36


@dataclass(slots=True)
class TokensAndAuthorize:
    """The SENDER interface of tokens."""

    api: Api
    partners: Partners
    offered: Offered

    async def handle(self, asked: Asked) -> Answer:
        """The list, one token, or `[{country_code}/{party_id}/]{uid}/authorize`."""
        if not asked.path or asked.path[-1].lower() != "authorize" or len(asked.path) not in (2, 4):
            return await self.offered.handle(asked)
        if asked.method != "POST":
            raise not_allowed("authorize takes POST.")
        return await self._authorize(asked, asked.path[-2])

    async def _authorize(self, asked: Asked, uid: str) -> Answer:
        kind = (asked.query("type") or "RFID").strip().upper()
        if kind not in TYPES:
            raise invalid(f"type: expected one of {', '.join(sorted(TYPES))}")
        if not 0 < len(uid) <= MAX_ID or not uid.isprintable():
            raise invalid(f"uid: expected 1 to {MAX_ID} characters")
        uid = turned(asked.presented.backend.settings, kind, uid)
        place = read_place(await asked.body())
        to = asked.party("to")
        if to is not None and not self.partners.is_platform(to) and not await self.partners.was_connected(to):
            await self.partners.addressed(to, live=True)
        deadline_ms = min(self.api.settings.default_deadline_ms, DEADLINE_MS)
        reply: AuthorizationReply = await self.api.core.ask(
            Authorize(CredentialIn(kind, uid), place, deadline_ms=deadline_ms)
        )
        if reply.decision == "UNKNOWN":
            raise Refusal(404, UNKNOWN_TOKEN, "No partner knows this token.")
        home = [partner for partner in await self.partners.recent() if reply.home_csp == partner.peer]
        with view_for(asked) as view:
            return Answer(encode(await self._info(reply, kind, uid, home, view)))

    async def _info(
        self, reply: AuthorizationReply, kind: str, uid: str, home: list[Partner], view: View
    ) -> dict[str, Any]:
        """OCPI's AuthorizationInfo. Whoever is allowed gets a reference: the CSP's, else our own name for it."""
        lists = home and await self.partners.lists(home[0].peer, "user-credentials")
        stored = await self.offered.find(home, "user-credentials", uid, kind) if lists else None
        if stored is None:
            told = value_in("TokenType", kind, view.version)
            token = view.of(encode(self._made_up(reply, told, uid, home)), view.version)
        else:
            token = view.of(stored.body, stored.ocpi)
        info: dict[str, Any] = {"allowed": reply.decision, "token": msgspec.Raw(token)}
        reference = reply.authorization_reference
        if reference is None and reply.decision == "ALLOWED":
            reference = reply.authorization_id
        given = {"authorization_reference": reference, "location": reply.location, "info": reply.info}
        return info | {name: value for name, value in given.items() if value is not None}

    def _made_up(self, reply: AuthorizationReply, kind: str, uid: str, home: list[Partner]) -> dict[str, Any]:
        """A Token, which OCPI demands, for one whose CSP publishes no list: what is known, and nothing to keep."""
        party = home[0].parties[0] if home and home[0].parties else min(self.api.own_parties)
        return {
            "country_code": party[:2],
            "party_id": party[2:],
            "uid": uid,
            "type": kind,
            "contract_id": uid,
            "issuer": home[0].name if home else "roamd",
            "valid": reply.decision == "ALLOWED",
            "whitelist": "NEVER",
            "last_updated": rfc3339(self.api.clock.now_ms()),
        }


class _Place(msgspec.Struct, forbid_unknown_fields=True):
    location_id: Annotated[str, msgspec.Meta(max_length=MAX_ID)]
    evse_uids: list[Annotated[str, msgspec.Meta(max_length=MAX_ID)]] = []


_decode_place: Final = msgspec.json.Decoder(_Place).decode


def _plain_place(data: bytes) -> _Place | None:
    """A place that is nothing but a place, read at a tenth of what a whole look costs; None for all else."""
    if b"\\" in data or data.count(b'"location_id"') != 1 or data.count(b'"evse_uids"') > 1:
        return None
    try:
        return _decode_place(data)
    except (msgspec.DecodeError, RecursionError):
        return None


def read_place(data: bytes) -> PlaceIn | None:
    """LocationReferences; no body is none. Raises Malformed or Refusal."""
    if data.strip(b" \t\r\n") in (b"", b"null"):
        return None
    plain = _plain_place(data)
    if plain is not None:
        return PlaceIn(plain.location_id, plain.evse_uids[0] if len(plain.evse_uids) == 1 else None)
    _, value = object_text(data)
    location, evses = value.get("location_id"), value.get("evse_uids") or []
    if location is None:
        return None
    if not isinstance(location, str) or len(location) > MAX_ID:
        raise invalid(f"$.location_id: expected a text of up to {MAX_ID} characters")
    if not isinstance(evses, list) or not all(isinstance(uid, str) and len(uid) <= MAX_ID for uid in evses):
        raise invalid(f"$.evse_uids: expected an array of texts of up to {MAX_ID} characters")
    return PlaceIn(location, evses[0] if len(evses) == 1 else None)
