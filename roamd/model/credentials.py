"""Drivers' credentials, how they are compared, and what a whitelist may decide without asking.

OCPI's whitelist types say when a published credential counts: ALWAYS without asking its issuer, ALLOWED as the visited
side likes, ALLOWED_OFFLINE only when the issuer cannot be asked, NEVER not at all.
"""

from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from roamd.model.ids.contract import parse_contract_id
from roamd.model.ids.rfid import parse_rfid
from roamd.model.keys import fold
from roamd.model.personal import masked

Decision = Literal["ALLOWED", "BLOCKED", "EXPIRED", "NO_CREDIT", "NOT_ALLOWED", "UNKNOWN"]
Source = Literal["BACKEND", "WHITELIST", "GRANT", "POLICY"]

DECISIONS: Final[tuple[Decision, ...]] = ("ALLOWED", "BLOCKED", "EXPIRED", "NO_CREDIT", "NOT_ALLOWED", "UNKNOWN")
SOURCES: Final[tuple[Source, ...]] = ("BACKEND", "WHITELIST", "GRANT", "POLICY")
CHARGING_SERVICES: Final = ("CHARGING", "PARKING", "RESERVATION")

RFID: Final = "RFID"
_ALONE: Final = frozenset(("ALWAYS",))
_FIRST: Final = frozenset(("ALWAYS", "ALLOWED"))
_OFFLINE: Final = frozenset(("ALWAYS", "ALLOWED", "ALLOWED_OFFLINE"))


def canonical_uid(type_: str, uid: str) -> str:
    """What uids are compared by: RFID without separators, in upper case; everything else folded."""
    if type_.upper() == RFID:
        try:
            return parse_rfid(uid, wide=True).canonical
        except ValueError:
            pass  # OCPI allows any text, so it is compared like any text
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


def whitelist_decides_alone(entry: UserCredential) -> bool:
    """Whether the issuer wants not to be asked at all."""
    return entry.whitelist in _ALONE and _keeps_its_uid(entry)


def whitelist_may_decide_first(entry: UserCredential) -> bool:
    """Whether the station's side may choose not to ask."""
    return entry.whitelist in _FIRST and _keeps_its_uid(entry)


def whitelist_decides_offline(entry: UserCredential) -> bool:
    """Whether the entry counts when the issuer gave no answer in time."""
    return entry.whitelist in _OFFLINE and _keeps_its_uid(entry)


def _keeps_its_uid(entry: UserCredential) -> bool:
    """A random UID (4 bytes that begin with 08) is another at every reading, and may be anyone's the next time."""
    return not (entry.type == RFID and len(entry.uid) == 8 and entry.uid.startswith("08"))
