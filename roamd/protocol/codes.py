"""The Goodbye codes: why a link ends, and what the other side should do about it. This is the only table of them."""

from enum import IntEnum
from typing import Final


class GoodbyeCode(IntEnum):
    """Below 32 an orderly end, from 32 on a broken rule of this specification. Codes not listed count as DONE."""

    DONE = 0
    SHUTTING_DOWN = 1
    DUPLICATE = 2
    REPLACED = 3
    SUSPENDED = 4
    REMOVED = 5
    NOT_TRUSTED = 6
    NO_COMMON_VERSION = 7
    WRONG_ENDPOINT = 8
    SILENT = 9
    HANDSHAKE_LATE = 10
    OVERLOADED = 11
    INTERNAL = 12

    BAD_FRAME = 32
    TOO_LARGE = 33
    MALFORMED = 34
    UNEXPECTED = 35
    OUT_OF_SEQUENCE = 36
    CREDIT_OVERDRAWN = 37
    FLOOD = 38
    BAD_CHAIN = 39
    BAD_FEED = 40


class Reconnect(IntEnum):
    """When the side that was told the code may dial again."""

    BACK_OFF = 0
    AFTER_UNTIL = 1
    NEVER_BY_ITSELF = 2
    LATE = 3
    """With the longest back-off at once: another process serves the peer, and we only take over if that one ends."""


_AFTER_UNTIL: Final = frozenset({GoodbyeCode.SHUTTING_DOWN, GoodbyeCode.OVERLOADED})
_NEVER: Final = frozenset({GoodbyeCode.DUPLICATE, GoodbyeCode.REMOVED})


def reconnect_after(code: int) -> Reconnect:
    """What the receiver of a Goodbye does next; a code that we do not know means ordinary back-off."""
    if code in _AFTER_UNTIL:
        return Reconnect.AFTER_UNTIL
    if code == GoodbyeCode.REPLACED:
        return Reconnect.LATE
    return Reconnect.NEVER_BY_ITSELF if code in _NEVER else Reconnect.BACK_OFF


def code_name(code: int) -> str:
    """The code's name for logs, `code-77` for one that we do not know."""
    try:
        return GoodbyeCode(code).name
    except ValueError:
        return f"code-{code}"
