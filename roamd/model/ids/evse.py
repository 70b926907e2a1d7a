"""EVSE ids: ISO 15118 (`DE*AB7*E840*6487`) and DIN SPEC 91286 (`+49*810*000*438`).

Compact spellings drop every star, and then two EVSEs of one operator can become one string. So the canonical form
keeps inner stars where the sender gave them, and `starless` is only a second way to look an EVSE up: who finds two
answers there must say "ambiguous" and not guess.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

EVSE_ISO: Final = re.compile(r"^([A-Za-z]{2})(\*?)([A-Za-z0-9]{3})\2[Ee]([A-Za-z0-9*]{1,31})$")
EVSE_ISO_STRICT: Final = re.compile(r"^([A-Z]{2})(\*?)([A-Z0-9]{3})\2E([A-Z0-9][A-Z0-9*]{0,30})$")
EVSE_DIN: Final = re.compile(r"^\+?([0-9]{1,3})\*([0-9]{3,6})\*([0-9*]{1,32})$")
POOL_STATION: Final = re.compile(r"^([A-Za-z]{2})(\*?)([A-Za-z0-9]{3})\2([PpSs])([A-Za-z0-9*]{1,31})$")

OUTLET_MAX_PUBLISHED: Final = 30
"""OICP, BDEW and the EU registry stop here; 31 is read because ISO's own text allows it."""

CALLING_CODES: Final[Mapping[str, str]] = MappingProxyType(
    {"31": "NL", "32": "BE", "33": "FR", "41": "CH", "43": "AT", "49": "DE"}
)
"""Only codes of a single country; for the others (+1, +7, +44) the peer's own mapping must be given."""


@dataclass(frozen=True, slots=True)
class EvseId:
    """One EVSE id. `canonical` is upper case with its two leading separators and its inner stars."""

    raw: str
    canonical: str
    form: Literal["iso", "din"]
    warnings: tuple[str, ...] = ()

    @property
    def display(self) -> str:
        """As it is shown: the canonical form."""
        return self.canonical

    @property
    def starless(self) -> str:
        """The look-up form of certificates and some hubs; not unique."""
        return self.canonical.replace("*", "")

    @property
    def party(self) -> str | None:
        """The operator's canonical party; None for DIN ids, whose operators are numbers."""
        return self.starless[:5] if self.form == "iso" else None


def parse_evse_id(raw: str) -> EvseId:
    """Read an EVSE id of either form. Raises ValueError with what would be right."""
    if match := EVSE_ISO.fullmatch(raw):
        country, _, operator, outlet = match.groups()
        return EvseId(raw, f"{country}*{operator}*E{outlet}".upper(), "iso", _iso_warnings(outlet))
    if match := EVSE_DIN.fullmatch(raw):
        return EvseId(raw, f"+{match[1]}*{match[2]}*{match[3]}", "din")
    raise ValueError('not an EVSE id: it is country, operator, "E" and an outlet, such as "DE*ABC*E1234*1"')


def _iso_warnings(outlet: str) -> tuple[str, ...]:
    warnings = []
    if outlet.startswith("*"):
        warnings.append("the outlet begins with a star")
    if len(outlet) > OUTLET_MAX_PUBLISHED:
        warnings.append(f"the outlet is longer than {OUTLET_MAX_PUBLISHED} characters")
    return tuple(warnings)


def din_to_iso(evse: EvseId, countries: Mapping[str, str] = CALLING_CODES) -> str:
    """The ISO form of a DIN id whose operator kept its number as operator id. Raises ValueError where there is none."""
    match = EVSE_DIN.fullmatch(evse.canonical)
    if match is None:
        raise ValueError("not a DIN EVSE id")
    calling_code, operator, outlet = match.groups()
    if calling_code not in countries:
        raise ValueError(f"no country is known for the calling code +{calling_code}")
    iso = f"{countries[calling_code]}*{operator}*E{outlet}"
    if EVSE_ISO.fullmatch(iso) is None:
        raise ValueError("the operator or outlet does not fit into an ISO EVSE id")
    return iso
