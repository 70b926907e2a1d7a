"""How far a script is, line by line on stderr, apart from the outcome on stdout."""

import sys

_lines = [""]


def say(line: str) -> None:
    """Print it, and keep it."""
    keep(line)
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def keep(line: str) -> None:
    """What is told when somebody interrupts: what has been counted by now."""
    _lines[0] = line


def last() -> str:
    """What was kept last; nothing when nothing was."""
    return _lines[0]
