"""The disk's last reserve: a file that is there only to be given up when the disk is full.

While space is short, only what makes room or honours a promise is written (receipts, deletes, answers: "essential");
intake is refused with 507 before the disk is really full. When even that runs out, the ballast file is deleted and
its space carries the essential writes until the operator has made room; then it is laid down again. No restart.

    free >= reserve, ballast held        open
    free <  reserve, ballast held        full: essential only, on the space that is left
    a write said "disk full"             full, ballast released: essential only, on the ballast's space
    released and free >= 2 x reserve     ballast laid down again, open

Space is free here if nobody has it and nothing owes it: the database file must still grow to take in the write-ahead
log. A checkpoint without room for that growth would eat the reserve and not come to its end, so it is not tried.
"""

import os
from collections.abc import Callable
from pathlib import Path

DEFAULT_BYTES = 16 << 20
"""Some ten thousand receipts and a truncated log's worth of room; small beside any disk that roamd runs on."""

_CHECK_EVERY_S = 1.0
"""A look at the free space costs microseconds, but not nothing on every group."""


def free_bytes(directory: Path) -> int:
    """What an ordinary user may still write there."""
    stat = os.statvfs(directory)
    return stat.f_bavail * stat.f_frsize


class Ballast:
    """Holds the reserve and knows whether intake is open. Only the writer calls `look` and `note_full`.

    `owed` tells by how much the database file must still grow. `size` 0 means no ballast; then only a write that failed
    closes intake, until `look` sees any room.
    """

    def __init__(
        self, path: Path, size: int, now: float, *, owed: Callable[[], int], free: Callable[[Path], int] = free_bytes
    ) -> None:
        self._path = path
        self._owed = owed
        self._size = size
        self._free = free
        self._next_check = now
        self.full = False
        self.held = self._stands()
        self.look(now)

    def due(self, now: float) -> bool:
        """Whether a second has passed since the last look."""
        return now >= self._next_check

    def look(self, now: float) -> None:
        """Look at the free space: open or close intake, lay the ballast down again."""
        self._next_check = now + _CHECK_EVERY_S
        free = self._free(self._path.parent) - self._owed()
        if self.held or not self._size:
            self.full = free < max(self._size, 1)
        elif free >= 2 * self._size and self._lay_down():
            self.full = False
        else:
            self.full = True

    def note_full(self, now: float) -> None:
        """A write found no room: close intake and give up the reserve."""
        self.full = True
        self.held = False
        self._path.unlink(missing_ok=True)
        self._next_check = now + _CHECK_EVERY_S

    def log_fits(self) -> bool:
        """Whether the database file could take in the log now."""
        return self._free(self._path.parent) >= self._owed()

    def _stands(self) -> bool:
        """Whether the file of an earlier run is there, whole; any other is removed."""
        if self._path.exists() and self._size and self._path.stat().st_size == self._size:
            return True
        self._path.unlink(missing_ok=True)
        return False

    def _lay_down(self) -> bool:
        """Fill the file with real blocks; False if the room went meanwhile."""
        try:
            with self._path.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, self._size)
                os.fsync(file.fileno())
        except OSError:
            self._path.unlink(missing_ok=True)
            return False
        self.held = True
        return True
