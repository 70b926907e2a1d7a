"""RFID UIDs: 4, 7 or 10 bytes in upper-case hexadecimal, and what readers make of them.

The transforms undo known faults of readers. They are tried only where a peer's profile names them, in the order that
the profile cannot change: a reversed 4-byte UID can be another customer's card, so no fault is ever guessed.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

RFID_UID: Final = re.compile(r"^(?:[0-9A-F]{8}|[0-9A-F]{14}|[0-9A-F]{20})$")
RFID_UID_WIDE: Final = re.compile(r"^[0-9A-F]{16}$")
_SEPARATORS: Final = str.maketrans("", "", ":- ")
_CASCADE_TAG: Final = 0x88
_RANDOM_FIRST_BYTE: Final = "08"


@dataclass(frozen=True, slots=True)
class RfidUid:
    """One UID. `canonical` has no separators and is upper case."""

    raw: str
    canonical: str

    @property
    def display(self) -> str:
        """As it is shown to those who may see it."""
        return self.canonical

    @property
    def random(self) -> bool:
        """Whether the card makes a new UID at each reading (phones, passports): never whitelist it."""
        return len(self.canonical) == 8 and self.canonical.startswith(_RANDOM_FIRST_BYTE)


def parse_rfid(raw: str, *, wide: bool = False) -> RfidUid:
    """Read a UID with or without separators. `wide` also takes 8 bytes (NFC-V). Raises ValueError otherwise."""
    canonical = raw.translate(_SEPARATORS).upper()
    if RFID_UID.fullmatch(canonical) or (wide and RFID_UID_WIDE.fullmatch(canonical)):
        return RfidUid(raw, canonical)
    raise ValueError("not an RFID UID: it is 4, 7 or 10 bytes in hexadecimal")


def reversed_bytes(canonical: str) -> str:
    """The UID read from the other end."""
    return bytes.fromhex(canonical)[::-1].hex().upper()


def without_padding(canonical: str) -> str | None:
    """The shorter UID that was filled with zero bytes behind or in front, or None."""
    for width in (8, 14):
        filling = "0" * (len(canonical) - width)
        if filling and canonical.endswith(filling):
            return canonical[:width]
        if filling and canonical.startswith(filling):
            return canonical[-width:]
    return None


def without_cascade(canonical: str) -> str | None:
    """The 7 bytes inside a leaked anticollision exchange (`88`, 3 bytes, check, 4 bytes[, check]), or None."""
    raw = bytes.fromhex(canonical)
    if len(raw) not in {9, 10} or raw[0] != _CASCADE_TAG or raw[4] != _folded(raw[:4]):
        return None
    if len(raw) == 10 and raw[9] != _folded(raw[5:9]):
        return None
    return (raw[1:4] + raw[5:9]).hex().upper()


QUIRKS: Final[dict[str, Callable[[str], str | None]]] = {
    "reversed": reversed_bytes,
    "padded": without_padding,
    "cascade": without_cascade,
}


def variants(canonical: str, quirks: Iterable[str]) -> tuple[str, ...]:
    """The UID itself and then what the peer's declared quirks make of it, each once."""
    declared = frozenset(quirks)
    undone = (undo(canonical) for name, undo in QUIRKS.items() if name in declared)
    return tuple(dict.fromkeys((canonical, *(found for found in undone if found is not None))))


def _folded(data: bytes) -> int:
    value = 0
    for byte in data:
        value ^= byte
    return value
