"""What is said about well-typed texts whose content looks wrong. Only warnings come from here, never a refusal."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from roamd.model.ids.contract import has_wrong_check
from roamd.model.ids.evse import EVSE_DIN, EVSE_ISO


@dataclass(frozen=True, slots=True)
class Judge:
    """`objection` gives what is wrong with a text, or None; it must not repeat the text, which may be personal.

    `pattern` matches every text that it has nothing against, and no text with a character outside ASCII; None where no
    pattern can say it.
    """

    objection: Callable[[str], str | None]
    pattern: str | None = None


NOT_AVAILABLE: Final = "#NA"
"""OCPI's filling for a required text whose value cannot exist."""


def _matches(pattern: str, meaning: str) -> Judge:
    match = re.compile(pattern, re.ASCII).fullmatch
    message = f"not {meaning}"
    return Judge(lambda text: None if match(text) else message, pattern)


def _contract_id(text: str) -> str | None:
    return "the check character is wrong" if has_wrong_check(text) else None


def _unanchored(pattern: re.Pattern[str]) -> str:
    return pattern.pattern.removeprefix("^").removesuffix("$")


_COUNTRY: Final = _matches(r"[A-Za-z]{2}", "an ISO 3166-1 alpha-2 country")
_PARTY_ID: Final = _matches(r"[A-Za-z0-9]{3}", "a party id of three letters or digits")
_CLOCK: Final = _matches(r"(?:[01]\d|2[0-3]):[0-5]\d", "a time of day HH:MM")
_DAY: Final = _matches(r"\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])", "a day YYYY-MM-DD")

JUDGES: Final[dict[str, Judge]] = {
    "country_code": _COUNTRY,
    "party_id": _PARTY_ID,
    "country": _matches(r"[A-Za-z]{3}", "an ISO 3166-1 alpha-3 country"),
    "currency": _matches(r"[A-Za-z]{3}", "an ISO 4217 currency"),
    "language": _matches(r"[A-Za-z]{2}", "an ISO 639-1 language"),
    "latitude": _matches(r"-?\d{1,2}\.\d{5,7}", "a latitude with five to seven decimals"),
    "longitude": _matches(r"-?\d{1,3}\.\d{5,7}", "a longitude with five to seven decimals"),
    "evse_id": _matches(f"{_unanchored(EVSE_ISO)}|{_unanchored(EVSE_DIN)}|{NOT_AVAILABLE}", "an EVSE id"),
    "Token.contract_id": Judge(_contract_id),
    "CdrToken.contract_id": Judge(_contract_id),
    "RegularHours.period_begin": _CLOCK,
    "RegularHours.period_end": _CLOCK,
    "TariffRestrictions.start_time": _CLOCK,
    "TariffRestrictions.end_time": _CLOCK,
    "TariffRestrictions.start_date": _DAY,
    "TariffRestrictions.end_date": _DAY,
}
"""By field, or by class and field where other classes use the field's name for something else."""


def judge_of(class_name: str, field: str) -> Judge | None:
    """The judge of a text field, if it has one."""
    return JUDGES.get(f"{class_name}.{field}") or JUDGES.get(field)
