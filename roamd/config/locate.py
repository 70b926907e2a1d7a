"""On which line of a TOML text each key stands, which the standard library's parser does not say.

Only for texts that `tomllib` has accepted: this walks over keys and skips values, it checks nothing. Keys inside inline
tables and lists have no line of their own; `line_of` then gives the line of what holds them.
"""

import re
from collections.abc import Mapping
from typing import Final

Path = tuple[str, ...]

_PIECE: Final = re.compile(
    r"""
      \"{3} [^"\\]* (?: (?: \\. | \"(?!\"\") ) [^"\\]* )* \"{3,5}     # multi-line text
    | '{3} .*? '{3,5}                      # multi-line literal
    | " [^"\\\n]* (?: \\. [^"\\\n]* )* "   # text
    | ' [^'\n]* '                          # literal
    | \# [^\n]*                            # comment
    | [\[{\]}\n]                           # what opens, closes and ends
    | [^"'\#\[\]{}\n]+
    """,
    re.DOTALL | re.VERBOSE,
)
_KEY_PART: Final = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|\'([^\']*)\'|([A-Za-z0-9_-]+))\s*(\.?)')


def locate(text: str) -> dict[Path, int]:
    """Lines by key path; elements of lists of tables have their index in it: `("webhooks", "0", "url")`."""
    lines: dict[Path, int] = {}
    table: Path = ()
    counts: dict[Path, int] = {}
    at = counted = 0
    line = 1
    while at < len(text):
        end_of_line = text.find("\n", at)
        end_of_line = len(text) if end_of_line < 0 else end_of_line
        line, counted = line + text.count("\n", counted, at), at
        first = text[at:end_of_line].lstrip(" \t\r\ufeff")
        if first.startswith("["):
            table = _header(first, counts)
            lines.setdefault(table, line)
            at = end_of_line + 1
        elif not first or first.startswith("#"):
            at = end_of_line + 1
        else:
            key, value_at = _key(text, at)
            lines.setdefault(table + key, line)
            at = _skip_value(text, value_at)
    return lines


def line_of(lines: Mapping[Path, int], path: Path) -> int:
    """The line of the key, or of the nearest that holds it, else 1."""
    while path:
        if path in lines:
            return lines[path]
        path = path[:-1]
    return 1


def _header(text: str, counts: dict[Path, int]) -> Path:
    repeated = text.startswith("[[")
    path, _ = _key(text, 2 if repeated else 1)
    if not repeated:
        return path
    index = counts.get(path, 0)
    counts[path] = index + 1
    return (*path, str(index))


def _key(text: str, at: int) -> tuple[Path, int]:
    parts: list[str] = []
    while match := _KEY_PART.match(text, at):
        parts.append(next(part for part in match.groups()[:3] if part is not None))
        at = match.end()
        if not match[4]:
            break
    return tuple(parts), at


def _skip_value(text: str, at: int) -> int:
    """The position behind the line on which the value ends."""
    depth = 0
    while match := _PIECE.match(text, at):
        at = match.end()
        piece = match.group()
        if piece in "[{":
            depth += 1
        elif piece in "]}":
            depth -= 1
        elif piece == "\n" and depth == 0:
            return at
    return len(text)
