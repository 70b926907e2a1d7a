"""The key by which every room knows an object."""

from typing import NamedTuple


class ObjectKey(NamedTuple):
    """Owner, id and, where one id is not enough, a second part; all folded to upper case (OCPI's CiString).

    `sub` is the token type for user credentials and the EVSE's uid for EVSE status (whose `id` is the location's);
    elsewhere it is empty. The spelled ids stay in the body.
    """

    party: str
    id: str
    sub: str = ""
