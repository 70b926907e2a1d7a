"""Contract ids (eMAID) and their check characters.

OCPI recommends the eMAID and does not demand it, and published examples carry wrong check characters: so nothing is
rejected here. What has another shape is of form "other", and a wrong check character is told in `check` and `warnings`.

The check character of ISO 15118-2 annex H is a code over pairs: each character's index splits into a binary pair
(mod 2) and a ternary pair (mod 3), which are multiplied by the powers of two small matrices and added up by place.
Multiplication by place and addition are linear, so one table per place holds what each character adds.
"""

import re
from dataclasses import dataclass
from operator import getitem
from typing import Final, Literal

Check = Literal["ok", "wrong", "absent"]
Form = Literal["emaid", "din", "other"]

EMAID: Final = re.compile(r"^([A-Za-z]{2})(-?)([A-Za-z0-9]{3})\2([A-Za-z0-9]{9})(?:\2([A-Za-z0-9]))?$")
EMAID_LENIENT: Final = re.compile(r"^([A-Za-z]{2})[*-]?([A-Za-z0-9]{3})[*-]?([A-Za-z0-9]{9})(?:[*-]?([A-Za-z0-9]))?$")
CONTRACT_DIN: Final = re.compile(r"^([A-Za-z]{2})[*-]?([A-Za-z0-9]{3})[*-]?([A-Za-z0-9]{6})(?:[*-]?([0-9Xx]))?$")

_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_BODY_LENGTH: Final = 14
_P: Final = ((0, 1), (1, 1))
_Q: Final = ((0, 1), (1, 2))
_Row = tuple[int, int]
_Matrix = tuple[_Row, _Row]


@dataclass(frozen=True, slots=True)
class ContractId:
    """One contract id. `canonical` is upper case without separators and check character (other forms: upper case)."""

    raw: str
    canonical: str
    form: Form
    check: Check
    check_character: str | None
    warnings: tuple[str, ...] = ()

    @property
    def provider(self) -> str | None:
        """The canonical party in its prefix, or None when the form has none."""
        return None if self.form == "other" else self.canonical[:5]

    @property
    def display(self) -> str:
        """With hyphens and the right check character where the form is known, else as it came."""
        if self.form == "other":
            return self.raw
        return "-".join((self.canonical[:2], self.canonical[2:5], self.canonical[5:], str(self.check_character)))

    @property
    def aliases(self) -> tuple[str, ...]:
        """Every canonical form that names the same contract: the eMI3, the ISO legacy and the DIN form of one card."""
        din = self.canonical if self.form == "din" else _din_inside(self.canonical) if self.form == "emaid" else None
        if din is None:
            return (self.canonical,)
        kept = din + din_check_digit(din)
        return tuple(dict.fromkeys((self.canonical, *(_widen(kept, type_) for type_ in ("C0", "00")), din)))


def parse_contract_id(raw: str) -> ContractId:
    """Read a contract id of any form; never raises, because OCPI allows any text."""
    if match := EMAID_LENIENT.fullmatch(raw):
        mixed = () if EMAID.fullmatch(raw) else ("the separators are neither all hyphens nor none",)
        return _checked(raw, match, "emaid", mixed)
    if match := CONTRACT_DIN.fullmatch(raw):
        return _checked(raw, match, "din", ())
    return ContractId(raw, raw.upper(), "other", "absent", None)


def provider_in(raw: str) -> str | None:
    """`parse_contract_id(raw).provider` without the rest: it is asked for every authorization and record."""
    match = EMAID_LENIENT.fullmatch(raw) or CONTRACT_DIN.fullmatch(raw)
    return (match[1] + match[2]).upper() if match else None


def has_wrong_check(raw: str) -> bool:
    """`parse_contract_id(raw).check == "wrong"` without the rest: every record is asked, at either end."""
    if match := EMAID_LENIENT.fullmatch(raw):
        right = check_character
    elif match := CONTRACT_DIN.fullmatch(raw):
        right = din_check_digit
    else:
        return False
    country, provider, instance, printed = match.groups()
    return printed is not None and printed.upper() != right((country + provider + instance).upper())


def _checked(raw: str, match: re.Match[str], form: Form, warnings: tuple[str, ...]) -> ContractId:
    country, provider, instance, printed = match.groups()
    canonical = (country + provider + instance).upper()
    right = check_character(canonical) if form == "emaid" else din_check_digit(canonical)
    if printed is None:
        return ContractId(raw, canonical, form, "absent", right, warnings)
    if printed.upper() == right:
        return ContractId(raw, canonical, form, "ok", right, warnings)
    return ContractId(raw, canonical, form, "wrong", right, (*warnings, "the check character is wrong"))


def check_character(body: str) -> str:
    """The check character of an eMAID's 14 canonical characters."""
    total = sum(map(getitem, _STEPS, body))
    t1, t2, u1, u2 = total & 0xFF, total >> 8 & 0xFF, total >> 16 & 0xFF, total >> 24
    w1, w2 = _times((u1, u2), ((0, 2), (2, 1)), 3)
    return _ALPHABET[9 * (2 * (t1 % 2) + t2 % 2) + 3 * w1 + w2]


def din_check_digit(body: str) -> str:
    """The check digit of a DIN contract id's 11 canonical characters; letters count as two decimal digits."""
    digits = "".join(str(_ALPHABET.index(character)) for character in body)
    rest = sum(int(digit) << place for place, digit in enumerate(digits)) % 11
    return "X" if rest == 10 else str(rest)


def din_to_emi3(raw: str) -> str:
    """The eMI3 spelling of a DIN contract id. Raises ValueError when it is not one or its check digit is wrong."""
    return _converted(raw, "C0")


def din_to_iso_legacy(raw: str) -> str:
    """The spelling of ISO's first edition and of OCHP. Raises ValueError like `din_to_emi3`."""
    return _converted(raw, "00")


def to_din(raw: str) -> str:
    """The way back, allowed only where the instance holds a right DIN check digit. Raises ValueError otherwise."""
    contract = parse_contract_id(raw)
    din = _din_inside(contract.canonical) if contract.form == "emaid" else None
    if din is None or contract.check == "wrong":
        raise ValueError("not the widened form of a DIN contract id")
    return parse_contract_id(din).display


def _converted(raw: str, widening: str) -> str:
    contract = parse_contract_id(raw)
    if contract.form != "din" or contract.check == "wrong":
        raise ValueError("not a DIN contract id with a right check digit")
    return parse_contract_id(_widen(contract.canonical + din_check_digit(contract.canonical), widening)).display


def _widen(din_with_check: str, widening: str) -> str:
    return din_with_check[:5] + widening + din_with_check[5:]


def _din_inside(canonical: str) -> str | None:
    din = canonical[:5] + canonical[7:13]
    widened = canonical[5:7] in {"C0", "00"} and canonical[13] == din_check_digit(din)
    return din if widened else None


def _times(row: _Row, matrix: _Matrix, modulus: int) -> _Row:
    (a, b), (c, d) = matrix
    return (row[0] * a + row[1] * c) % modulus, (row[0] * b + row[1] * d) % modulus


def _step(place: int, index: int) -> int:
    """What a character adds at its place, its four numbers packed a byte each: 14 times 2 fits without a carry."""
    quotient, rest = divmod(index, 9)
    t, u = divmod(quotient, 2), divmod(rest, 3)
    for _ in range(place):
        t, u = _times(t, _P, 2), _times(u, _Q, 3)
    return t[0] | t[1] << 8 | u[0] << 16 | u[1] << 24


_STEPS: Final = tuple(
    {character: _step(place, index) for index, character in enumerate(_ALPHABET)}
    for place in range(1, _BODY_LENGTH + 1)
)
