"""How an object is known everywhere inside: by owner, id and, where OCPI needs a second part, that part."""

from typing import NamedTuple


class ObjectKey(NamedTuple):
    """The folded (upper-case) key of an object; its ids as the owner spells them stand in its body.

    `party` is canonical ("DEABC"). `sub` is the token type for user-credentials and the EVSE uid for evse-status,
    whose `id` is the location's; it is empty otherwise.
    """

    party: str
    id: str
    sub: str = ""


def fold(text: str) -> str:
    """OCPI's CiString as it is compared: upper case, by ASCII's rules for ASCII and Unicode's for the rest."""
    return text.upper()
