"""The tables' texts, read: which fields each class has and which values each enumeration, by OCPI version."""

from dataclasses import dataclass
from functools import cache
from typing import Final

from roamd.model.ocpi.enums import ENUMS
from roamd.model.ocpi.own import OWN_CLASSES, OWN_ENUMS
from roamd.model.ocpi.tables import CLASSES

VERSIONS: Final = ("2.2.1", "2.3.0")
URL_MAX: Final = 255


@dataclass(frozen=True, slots=True)
class Row:
    """One field of a class: `card` is `1`, `?`, `*` or `+`."""

    name: str
    type: str
    card: str

    @property
    def text_limit(self) -> int | None:
        """The most characters that a text field may have."""
        name, _, limit = self.type.rstrip(")").partition("(")
        return int(limit) if limit else URL_MAX if name == "URL" else None


@cache
def classes(ocpi: str) -> dict[str, tuple[Row, ...]]:
    """Every class of a version with its rows. Raises KeyError for an unknown version."""
    if ocpi not in VERSIONS:
        raise KeyError(ocpi)
    return {name: tuple(_rows(lines, ocpi)) for name, lines in _blocks(CLASSES + OWN_CLASSES).items()}


@cache
def enumerations(ocpi: str) -> dict[str, frozenset[str]]:
    """Every enumeration of a version with its values."""
    return {name: frozenset(_values(lines, ocpi)) for name, lines in _blocks(ENUMS + OWN_ENUMS).items()}


def _blocks(text: str) -> dict[str, list[str]]:
    """The indented lines under each heading."""
    blocks: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in filter(None, text.splitlines()):
        if line.startswith(" "):
            lines.append(line)
        else:
            lines = blocks[line] = []
    return blocks


def _rows(lines: list[str], ocpi: str) -> list[Row]:
    cells = [line.split() for line in lines]
    return [Row(cell[0], cell[1], cell[2]) for cell in cells if len(cell) == 3 or cell[3] == ocpi]


def _values(lines: list[str], ocpi: str) -> list[str]:
    words = [word.partition("@") for line in lines for word in line.split()]
    return [value for value, _, only in words if only in {"", ocpi}]
