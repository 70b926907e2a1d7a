"""Parties: a country and three characters, `DE*ABC` as an operator, `DE-ABC` as a provider, `DEABC` inside."""

import re
from dataclasses import dataclass
from typing import Final

COUNTRY: Final = re.compile(r"^[A-Za-z]{2}$")
PARTY_ID: Final = re.compile(r"^[A-Za-z0-9]{3}$")
PARTY: Final = re.compile(r"^([A-Za-z]{2})[*-]?([A-Za-z0-9]{3})$")


@dataclass(frozen=True, slots=True)
class Party:
    """One party id. `canonical` is what is compared; the role that it plays is not part of it."""

    raw: str
    canonical: str

    @property
    def country(self) -> str:
        """ISO 3166-1 alpha-2."""
        return self.canonical[:2]

    @property
    def id(self) -> str:
        """The three characters that OCPI calls `party_id`."""
        return self.canonical[2:]

    @property
    def display(self) -> str:
        """As operators are written, `DE*ABC`; also how roamd prints a party whose role does not matter."""
        return f"{self.country}*{self.id}"

    @property
    def provider_display(self) -> str:
        """As providers are written, `DE-ABC`."""
        return f"{self.country}-{self.id}"


def parse_party(raw: str) -> Party:
    """Read a party in any of its spellings. Raises ValueError with what would be right."""
    match = PARTY.fullmatch(raw)
    if match is None:
        raise ValueError('not a party: it is two letters and three letters or digits, such as "DE*ABC"')
    return Party(raw, (match[1] + match[2]).upper())


def party_of(country_code: str, party_id: str) -> str | None:
    """The canonical party of OCPI's two fields, or None when they do not make one."""
    if COUNTRY.fullmatch(country_code) and PARTY_ID.fullmatch(party_id):
        return (country_code + party_id).upper()
    return None
