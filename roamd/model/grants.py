"""Grants: signed permissions of a home-CSP, which the visited-CSO checks alone when the link is cut.

A grant is an object of feed `grants`: one credential may start within limits of time, place, number, energy and money.
The CSP's backend writes it, its daemon signs it with the identity key; a revocation is the same object with `revoked`,
signed anew, and takes the grant's place. It lives for a week at most, so that one which could not be revoked in time
ends by itself.

What is signed is the text that the backend wrote, byte for byte; `algorithm` and `signature` are put behind it as the
last two members. So an auditor cuts these two off, hashes the rest and asks OpenSSL:

    offset 0, 16 bytes: "roamd grant 1", then NULs; 16, 56 bytes: the issuer's endpoint id; 72, 32 bytes: SHA-256(text)

Times are by the wall clock, for they are promised to people. Place, time and the number of starts are checked by roamd;
energy, money and duration can only be watched at the station, so they are handed to the CSO's backend with the answer.
"""

import base64
import re
from hashlib import sha256
from typing import Final

import msgspec

from roamd.errors import Fault
from roamd.model.credentials import canonical_uid
from roamd.model.ids.party import party_of
from roamd.model.keys import fold
from roamd.model.ocpi.good import Fields
from roamd.model.personal import masked
from roamd.model.times import time_ms

FEED: Final = "grants"
MAGIC: Final = b"roamd grant 1".ljust(16, b"\0")
ALGORITHM: Final = "ecdsa-p256-sha256"

LONGEST_MS: Final = 7 * 24 * 3600 * 1000
"""A week, as for the leaves: who cannot be told of a revocation stops trusting after it."""

AT_ONCE, OFFLINE = "AT_ONCE", "OFFLINE"

_SEAL: Final = re.compile(rb',"algorithm":"([a-z0-9-]{1,32})","signature":"([A-Za-z0-9+/]{8,124}={0,2})"\}$')


class Place(msgspec.Struct, frozen=True):
    """Where a grant holds: a CSO's party, and perhaps one location or EVSE of it. All folded."""

    party: str
    location_id: str | None = None
    evse_uid: str | None = None


class GrantView(msgspec.Struct, frozen=True):
    """What roamd decides on. `uid` is canonical, `type` folded; no place means anywhere, no `starts` any number."""

    type: str
    uid: str
    contract_id: str | None
    at_once: bool
    revoked: bool
    valid_from_ms: int
    valid_until_ms: int
    places: tuple[Place, ...]
    starts: int | None
    authorization_reference: str
    last_updated_ms: int

    def __repr__(self) -> str:
        return f"GrantView({self.type} {masked(self.uid)} revoked={self.revoked})"


def grant_view(body: Fields) -> GrantView:
    """Of a checked Grant."""
    updated_ms = time_ms(body["last_updated"])
    return GrantView(
        type=fold(body["type"]),
        uid=canonical_uid(body["type"], body["uid"]),
        contract_id=body.get("contract_id"),
        at_once=body.get("rule") == AT_ONCE,
        revoked=body.get("revoked") is True,
        valid_from_ms=time_ms(body["valid_from"]) if body.get("valid_from") else 0,
        valid_until_ms=time_ms(body["valid_until"]),
        places=tuple(map(_place, body.get("places") or ())),
        starts=(body.get("limits") or {}).get("starts"),
        authorization_reference=body.get("authorization_reference") or body["id"],
        last_updated_ms=updated_ms,
    )


def _place(place: Fields) -> Place:
    location, evse = place.get("location_id"), place.get("evse_uid")
    party = party_of(place["country_code"], place["party_id"]) or ""
    return Place(party, fold(location) if location else None, fold(evse) if evse else None)


def grant_faults(body: Fields, at: str = "$") -> list[Fault]:
    """What is wrong with a Grant beyond its fields' types."""
    faults = []
    since = time_ms(body.get("valid_from") or body["last_updated"])
    life_ms = time_ms(body["valid_until"]) - since
    if life_ms <= 0:
        faults.append(Fault(f"{at}.valid_until", "is not after the grant begins", "value"))
    elif life_ms > LONGEST_MS:
        faults.append(Fault(f"{at}.valid_until", "is more than seven days after the grant begins", "value"))
    limits = body.get("limits") or {}
    faults += [
        Fault(f"{at}.limits.{name}", "must be more than nothing", "value")
        for name in ("starts", "kwh", "cost", "duration_s")
        if limits.get(name) is not None and not limits[name] > 0
    ]
    faults += [
        Fault(f"{at}.limits.{name}", "must be a whole number", "type")
        for name in ("starts", "duration_s")
        if limits.get(name) is not None and not isinstance(limits[name], int)
    ]
    if limits.get("cost") is not None and not limits.get("currency"):
        faults.append(Fault(f"{at}.limits.currency", "is missing beside a cost", "missing"))
    for number, place in enumerate(body.get("places") or ()):
        if party_of(place["country_code"], place["party_id"]) is None:
            faults.append(Fault(f"{at}.places[{number}]", "does not name a party", "value"))
        elif place.get("evse_uid") and not place.get("location_id"):
            faults.append(Fault(f"{at}.places[{number}].location_id", "is missing beside an EVSE", "missing"))
    return faults


# --- the signature ----------------------------------------------------------------------------------------------


def grant_document(issuer: str, text: bytes) -> bytes:
    """What is signed: 104 bytes (see the module)."""
    return MAGIC + issuer.encode() + sha256(text).digest()


def sealed(text: bytes, signature: bytes) -> bytes:
    """The object as it is published: the backend's text with the signature behind it."""
    seal = f',"algorithm":"{ALGORITHM}","signature":"{base64.b64encode(signature).decode()}"}}'
    return text[:-1] + seal.encode()


def unsealed(body: bytes) -> tuple[bytes, bytes | None]:
    """The text that was signed, and the signature; None when there is none, or of an algorithm that is not known."""
    seal = _SEAL.search(body)
    if seal is None:
        return body, None
    text = body[: seal.start()] + b"}"
    return text, base64.b64decode(seal[2]) if seal[1] == ALGORITHM.encode() and len(seal[2]) % 4 == 0 else None


# --- whether it holds -------------------------------------------------------------------------------------------


def why_not(
    grant: GrantView, now_ms: int, parties: tuple[str, ...], location_id: str | None, evse_uid: str | None
) -> str | None:
    """Why a grant does not hold here and now, in a word, or None. Its starts are counted elsewhere."""
    if now_ms >= grant.valid_until_ms:
        return "expired"
    if grant.revoked:
        return "revoked"
    if now_ms < grant.valid_from_ms:
        return "early"
    if grant.valid_until_ms - max(grant.valid_from_ms, grant.last_updated_ms) > LONGEST_MS:
        return "long"
    if grant.places and not any(_covers(place, parties, location_id, evse_uid) for place in grant.places):
        return "elsewhere"
    return None


def _covers(place: Place, parties: tuple[str, ...], location_id: str | None, evse_uid: str | None) -> bool:
    return (
        place.party in parties
        and (place.location_id is None or place.location_id == fold(location_id or ""))
        and (place.evse_uid is None or place.evse_uid == fold(evse_uid or ""))
    )


def impossible_grant(old: GrantView, new: GrantView) -> str | None:
    """Why a grant cannot have become another; None when it can."""
    if new.last_updated_ms < old.last_updated_ms:
        return "last_updated is older than what is known"
    return "a revoked grant stays revoked" if old.revoked and not new.revoked else None
