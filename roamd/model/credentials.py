"""Drivers' credentials, how they are compared, and what a whitelist may decide without asking.

OCPI's whitelist types say when a published credential counts: ALWAYS without asking its issuer, ALLOWED as the visited
side likes, ALLOWED_OFFLINE only when the issuer cannot be asked, NEVER not at all.
"""

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import msgspec

from roamd.model.ids.contract import parse_contract_id
from roamd.model.ids.rfid import RFID_UID, parse_rfid
from roamd.model.keys import fold
from roamd.model.personal import masked

Decision = Literal["ALLOWED", "BLOCKED", "EXPIRED", "NO_CREDIT", "NOT_ALLOWED", "UNKNOWN"]
Source = Literal["BACKEND", "WHITELIST", "GRANT", "POLICY"]

DECISIONS: Final[tuple[Decision, ...]] = ("ALLOWED", "BLOCKED", "EXPIRED", "NO_CREDIT", "NOT_ALLOWED", "UNKNOWN")
SOURCES: Final[tuple[Source, ...]] = ("BACKEND", "WHITELIST", "GRANT", "POLICY")
CHARGING_SERVICES: Final = ("CHARGING", "PARKING", "RESERVATION")

RFID: Final = "RFID"
EMAID: Final = "EMAID"
VEHICLE: Final = "VEHICLE_ID"


class Way(NamedTuple):
    """A way to identify a driver: an OCPI TokenType, or one of roamd's own names in OCPI's open enumeration.

    `listed`, `granted`: whether a listing, or a grant, of its home-CSP may count without asking it. `owner_only`: only
    the owner of the contract id's prefix is asked, and shown it.
    """

    type: str
    means: str
    listed: bool
    granted: bool
    owner_only: bool


WAYS: Final[dict[str, Way]] = {
    way.type: way
    for way in (
        Way("RFID", "card; of a random UID (4 bytes, first 08) neither counts", listed=True, granted=True,
            owner_only=False),
        # OCPI: these two are made for one app or one use, and should be NEVER whitelisted.
        Way("APP_USER", "start by app or QR code", listed=False, granted=True, owner_only=False),
        Way("AD_HOC_USER", "guest without a contract", listed=False, granted=True, owner_only=False),
        # OCPI: the provider in the eMAID says whom to ask.
        Way("EMAID", "contract id of Plug & Charge, as uid", listed=True, granted=True, owner_only=True),
        # A few digits that anyone could try or list: shown to nobody but the company that gave them.
        Way("PIN", "number that the driver types, with the contract id", listed=False, granted=False, owner_only=True),
        # Easily copied, so it is no more than a name by which to ask (identifiers.md, section 6).
        Way("VEHICLE_ID", "vehicle's EVCCID or MAC address", listed=False, granted=False, owner_only=False),
        Way("OTHER", "whatever else; also every type that is not known", listed=True, granted=True, owner_only=False),
    )
}  # fmt: skip


def way_of(type_: str) -> Way:
    """The way of a folded type."""
    return WAYS.get(type_) or WAYS["OTHER"]


def is_random_uid(type_: str, uid: str) -> bool:
    """Whether a card makes another UID at each reading (4 bytes, first 08): it may be anyone's the next time."""
    return type_ == RFID and len(uid) == 8 and uid.startswith("08")


def contract_of(type_: str, uid: str, contract_id: str | None) -> str | None:
    """The contract id of a credential; of Plug & Charge it is the uid itself."""
    return contract_id or (uid if type_ == EMAID else None)


def canonical_uid(type_: str, uid: str) -> str:
    """What uids are compared by: RFID and vehicle ids without separators, in upper case; everything else folded."""
    folded = type_.upper()
    if folded == RFID:
        if RFID_UID.fullmatch(uid):
            return uid
        try:
            return parse_rfid(uid, wide=True).canonical
        except ValueError:
            pass  # OCPI allows any text, so it is compared like any text
    elif folded == VEHICLE:
        return fold(uid).replace(":", "").replace("-", "")
    return fold(uid)


@dataclass(frozen=True, slots=True, repr=False)
class Credential:
    """A credential as one asks about it. `type` and `uid` are canonical; `contract_id` is as it was given."""

    type: str
    uid: str
    contract_id: str | None = None

    @property
    def contract(self) -> str | None:
        """The canonical contract id, whose prefix names the home-CSP."""
        return None if self.contract_id is None else parse_contract_id(self.contract_id).canonical

    def __repr__(self) -> str:
        return f"Credential({self.type} {masked(self.uid)})"


def credential(type_: str, uid: str, contract_id: str | None = None) -> Credential:
    """A credential of what a reader or an app gave."""
    return Credential(fold(type_), canonical_uid(type_, uid), contract_id or None)


class UserCredential(msgspec.Struct, frozen=True, repr_omit_defaults=True):
    """What a whitelist look-up needs of a published OCPI Token. `uid` is canonical, `contract_id` as published."""

    party: str
    type: str
    uid: str
    contract_id: str
    valid: bool
    whitelist: str
    group_id: str | None
    last_updated_ms: int

    @property
    def contract(self) -> str:
        """The canonical contract id."""
        return parse_contract_id(self.contract_id).canonical

    @property
    def decision(self) -> Decision:
        """What this entry says of its credential."""
        return "ALLOWED" if self.valid else "BLOCKED"

    def __repr__(self) -> str:
        return f"UserCredential({self.party} {self.type} {masked(self.uid)} {self.whitelist} valid={self.valid})"
