"""The demo's timeline: when, who, what; coloured on a terminal, plain in a pipe."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TextIO

RESET, BOLD, DIM, RED, GREEN = "\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m"
COLOURS = {"Demo CSO": "\x1b[36m", "Demo CSP": "\x1b[35m", "Demo Park": "\x1b[36m", "Demo Taxi": "\x1b[35m"}


def colours_wanted(stream: TextIO) -> bool:
    """On a terminal, unless `NO_COLOR` is set (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR")


@dataclass
class Timeline:
    """Writes lines of `elapsed  who  what` as they happen."""

    stream: TextIO
    colour: bool = False
    monotonic: Callable[[], float] = time.monotonic
    started: float = field(init=False)

    def __post_init__(self) -> None:
        self.started = self.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Since the beginning."""
        return self.monotonic() - self.started

    def heading(self, text: str) -> None:
        """A step begins."""
        self._write(self._in(BOLD, text))

    def tell(self, who: str, what: str) -> None:
        """Something happened."""
        stamp = self._in(DIM, f"{self.elapsed_s:7.2f} s")
        self._write(f"{stamp}  {self._in(COLOURS.get(who, DIM), f'{who:<9}')} {what}")

    def end(self, text: str, *, ok: bool) -> None:
        """The last line."""
        self._write(self._in(GREEN if ok else RED, text))

    def plain(self, text: str) -> None:
        """A line as it is."""
        self._write(text)

    def _in(self, colour: str, text: str) -> str:
        return f"{colour}{text}{RESET}" if self.colour else text

    def _write(self, line: str) -> None:
        self.stream.write(line + "\n")
        self.stream.flush()
