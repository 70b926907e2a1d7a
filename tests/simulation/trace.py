"""What happened, in order: a running hash that two runs of one seed must share, and the last lines for a person."""

import hashlib
from collections import Counter, deque

import trio

SHOWN = 60
"""Lines that a failure prints."""


class Trace:
    """Every event goes into the hash; those with a text are kept for a while, too."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.counts: Counter[str] = Counter()
        self.lines: deque[str] = deque(maxlen=SHOWN)
        self.echo = False

    def note(self, kind: str, text: str) -> None:
        """Something that a person may want to read: a step, a fault, a life."""
        line = f"{trio.current_time():12.3f} {kind} {text}"
        self.counts[kind] += 1
        self.lines.append(line)
        self._hash.update(line.encode())
        if self.echo:
            print(line)  # noqa: T201 - asked for with --verbose

    def count(self, kind: str, text: str) -> None:
        """Something that happens too often to be read: bytes on a wire, a commit."""
        self.counts[kind] += 1
        self._hash.update(f"{kind} {trio.current_time():.6f} {text}".encode())

    def digest(self) -> str:
        """The hash of all that happened so far."""
        return self._hash.hexdigest()
