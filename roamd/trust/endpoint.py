"""Endpoint ids: the name of a key.

The SHA-256 of the public key (SubjectPublicKeyInfo, DER) in base32 is 52 characters; each 13 of them are followed
by a check character (Luhn mod 32), 56 in all. One wrong character, or two neighbours swapped, is found by whoever
reads the id, before anyone wonders why a peer is not trusted.
"""

import base64
import hashlib
from typing import Final

from roamd.errors import Fault, Malformed

ENDPOINT_ID_LENGTH: Final = 56
_ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_VALUE: Final = {character: value for value, character in enumerate(_ALPHABET)}
_GROUP: Final = 13
_DISPLAY_GROUP: Final = 7
_LONGEST: Final = 4 * ENDPOINT_ID_LENGTH
"""Read at most, with dashes and spaces; what is longer has too many characters anyhow."""


def endpoint_id(spki_der: bytes) -> str:
    """The endpoint id of a public key."""
    return endpoint_id_of_digest(hashlib.sha256(spki_der).digest())


def endpoint_id_of_digest(digest: bytes) -> str:
    """The endpoint id of a public key's SHA-256."""
    text = base64.b32encode(digest).decode().rstrip("=")
    groups = [text[start : start + _GROUP] for start in range(0, len(text), _GROUP)]
    return "".join(group + _check_character(group) for group in groups)


def endpoint_digest(canonical_id: str) -> bytes:
    """The 32 bytes that a canonical endpoint id stands for."""
    text = "".join(canonical_id[start : start + _GROUP] for start in range(0, ENDPOINT_ID_LENGTH, _GROUP + 1))
    return base64.b32decode(text + "====")


def parse_endpoint_id(text: str) -> str:
    """The canonical form of an id as people type it: lower case, dashes and spaces are fine. Raises Malformed."""
    canonical = "".join(text[:_LONGEST].split()).replace("-", "").upper()
    fault = _fault(canonical)
    if fault:
        raise Malformed((Fault("endpoint_id", fault),))
    return canonical


def display_endpoint_id(canonical_id: str) -> str:
    """In groups of seven, for people to read out."""
    starts = range(0, ENDPOINT_ID_LENGTH, _DISPLAY_GROUP)
    return "-".join(canonical_id[start : start + _DISPLAY_GROUP] for start in starts)


def _fault(canonical: str) -> str | None:
    if len(canonical) != ENDPOINT_ID_LENGTH:
        return f"an endpoint id has {ENDPOINT_ID_LENGTH} characters, this has {len(canonical)}"
    strange = set(canonical) - set(_ALPHABET)
    if strange:
        return f"an endpoint id has only A-Z and 2-7, this also has {' '.join(sorted(strange))}"
    step = _GROUP + 1
    for start in range(0, ENDPOINT_ID_LENGTH, step):
        group = canonical[start : start + step]
        if _check_character(group[:-1]) != group[-1]:
            return f"there is a typing error between characters {start + 1} and {start + step}"
    if endpoint_id_of_digest(endpoint_digest(canonical)) != canonical:
        return "its last characters cannot come from a key"
    return None


def _check_character(group: str) -> str:
    total = 0
    for position, character in enumerate(reversed(group)):
        value = _VALUE[character]
        if position % 2 == 0:
            value = sum(divmod(value * 2, 32))
        total += value
    return _ALPHABET[-total % 32]
