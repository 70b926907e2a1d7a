"""How answers look: JSON for programs, plain aligned text in a pipe, tables with colour on a terminal.

Names of partners and candidates come from strangers, so nothing is printed that could drive the terminal.
"""

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

_COLOURS: Final = {
    "UP": "32",
    "PAIRED": "32",
    "ACCEPTED": "32",
    "FINAL": "32",
    "DELIVERED": "32",
    "DOWN": "31",
    "PARKED": "31",
    "DISPUTED": "31",
    "SUSPENDED": "33",
    "PENDING": "33",
    "QUEUED": "33",
}
"""Words that say how things are, and the colour that says the same."""


def wants_json(options: argparse.Namespace) -> bool:
    """Whether --json was given."""
    return bool(getattr(options, "json", False))


def show(options: argparse.Namespace, answer: Any, human: Callable[[Any], None]) -> None:
    """Print the answer: as it is with --json, else as `human` shows it."""
    if wants_json(options):
        print_json(answer)
    else:
        human(answer)


def print_json(answer: Any) -> None:
    """JSON on stdout: indented for people, one line for programs."""
    print(json.dumps(answer, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None), flush=True)


def note(text: str) -> None:
    """A remark beside the answer, on stderr."""
    print(safe(text), file=sys.stderr, flush=True)


def counted(count: int, things: str) -> str:
    """So many of `things`, a plural that ends with s: `2 entries`, `1 entry`, `1 record without place`."""
    if count == 1:
        things = re.sub(r"(ies|s)\b", lambda ending: "y" if ending[1] == "ies" else "", things, count=1)
    return f"{count} {things}"


def safe(text: str) -> str:
    """The text with everything escaped that could drive a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def _colourful() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def _painted(text: str, code: str | None) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if code and _colourful() else text


def cell(value: Any) -> str:
    """A value in one line."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(cell, value)) or "-"
    if isinstance(value, Mapping):
        return safe(json.dumps(value, ensure_ascii=False))
    return safe(str(value)) or "-"


def table(items: Sequence[Mapping[str, Any]], columns: Sequence[str], empty: str) -> None:
    """Rows under headings; `columns` are keys of the items. Columns that no item has are left out."""
    present = [column for column in columns if any(column in item for item in items)]
    if not items:
        note(empty)
        return
    rows = [[cell(item.get(column)) for column in present] for item in items]
    heads = [column.upper().replace("_", " ") for column in present]
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    print(_line(heads, widths, lambda _: "1"))
    for row in rows:
        print(_line(row, widths, _COLOURS.get))
    sys.stdout.flush()


def _line(cells: Sequence[str], widths: Sequence[int], colour: Callable[[str], str | None]) -> str:
    parts = [
        _painted(text, colour(text)) + " " * (width - len(text)) for text, width in zip(cells, widths, strict=True)
    ]
    return "  ".join(parts).rstrip()


def details(item: Mapping[str, Any]) -> None:
    """One thing, a line per field; what is nested becomes dotted names, lists of things one line each."""
    pairs = list(_flattened(item, ""))
    width = max((len(name) for name, _ in pairs), default=0)
    for name, text in pairs:
        print(f"{_painted(name.ljust(width), '1')}  {_painted(text, _COLOURS.get(text))}")
    sys.stdout.flush()


def _flattened(item: Mapping[str, Any], prefix: str) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for key, value in item.items():
        name = prefix + safe(str(key))
        if isinstance(value, Mapping) and value:
            pairs += _flattened(value, f"{name}.")
        elif isinstance(value, list) and any(isinstance(one, Mapping) for one in value):
            pairs += [(f"{name}[{index}]", cell(one)) for index, one in enumerate(value)]
        else:
            pairs.append((name, cell(value)))
    return pairs


def items_of(answer: Any) -> list[dict[str, Any]]:
    """The items of a listing, in whichever of the API's forms it comes."""
    found = answer.get("items", []) if isinstance(answer, Mapping) else answer
    return [one if isinstance(one, dict) else {"value": one} for one in found]
