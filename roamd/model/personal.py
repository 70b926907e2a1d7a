"""Values that say who a driver is. They may be used, and never be seen by accident."""

from typing import Final

_HIDDEN: Final = "***"
_SHOWN: Final = 3
_WORTH_SHOWING: Final = 9
"""Of shorter values, such as the 8 digits of a 4-byte UID, the last characters would be too much of the whole."""


class Personal:
    """A text whose `str`, `repr` and formatting are masked; `reveal` is the one way to read it.

    It is no `str`: what joins, encodes or logs it without thinking fails or shows the mask.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The text itself. Whoever calls this answers for where it goes."""
        return self._value

    def __str__(self) -> str:
        return masked(self._value)

    def __repr__(self) -> str:
        return f"Personal({masked(self._value)})"

    def __format__(self, spec: str) -> str:
        return format(masked(self._value), spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Personal) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)


def masked(value: str) -> str:
    """A text's mask, the same for equal texts, so that lines about one card can be told from others' at a glance."""
    return _HIDDEN + value[-_SHOWN:] if len(value) >= _WORTH_SHOWING else _HIDDEN
