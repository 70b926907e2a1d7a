"""Disks that fail, as SQLite VFSes over the real file system: one that remembers, one that refuses, one that forgets.

`RecordingVFS` notes every write, truncation, sync and deletion in the order in which SQLite does them. `Disk` replays
such a journal up to any point and gives an *image*: what a disk may hold if the power goes there. The rules are those
of a disk that keeps no promise but fsync's:

    synced                          is there
    written since, not yet synced   each 512-byte sector of each write is there or not, on its own, in any mixture

`FaultyVFS` refuses on demand: syncs with an I/O error, writes with "disk full". `LosingVFS` fails one sync and loses
what it was for.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import apsw

SECTOR = 512

INJECTED = "sync failed (injected)"

SYSTEM = "unix"
"""SQLite's own way to the disk, also where one of these is made the default."""

_REMEMBERED = apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_WAL


@dataclass(frozen=True, slots=True)
class Write:
    file: str
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Truncate:
    file: str
    size: int


@dataclass(frozen=True, slots=True)
class Sync:
    file: str


@dataclass(frozen=True, slots=True)
class Delete:
    file: str


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """Not the disk's: the workload notes here what it was promised, in its place between the syncs."""

    what: int


Step = Write | Truncate | Sync | Delete | Acknowledged
Journal = list[Step]


class RecordingVFS(apsw.VFS):
    """Passes everything to the real file system and notes it in `journal` (database and log; the -shm is memory)."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.journal: Journal = []
        super().__init__(name, "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - SQLite's name
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        journal = self.journal if flags[0] & _REMEMBERED else []
        return _RecordingFile(name, flags, Path(path or "").name, journal)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802 - SQLite's name
        super().xDelete(filename, syncdir)
        self.journal.append(Delete(Path(filename).name))


class _RecordingFile(apsw.VFSFile):
    def __init__(self, name: str | apsw.URIFilename | None, flags: list[int], file: str, journal: Journal) -> None:
        self._file = file
        self._journal = journal
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
        super().xWrite(data, offset)
        self._journal.append(Write(self._file, offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - SQLite's name
        super().xTruncate(newsize)
        self._journal.append(Truncate(self._file, newsize))

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        super().xSync(flags)
        self._journal.append(Sync(self._file))


@dataclass
class _File:
    """What is surely there, and what was done to it since the last sync."""

    synced: bytearray = field(default_factory=bytearray)
    since: list[Write | Truncate] = field(default_factory=list)


class Disk:
    """A disk that is played a journal, step by step."""

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}

    def play(self, step: Step) -> None:
        """Do one step."""
        if isinstance(step, Write | Truncate):
            self._files.setdefault(step.file, _File()).since.append(step)
        elif isinstance(step, Sync):
            file = self._files.setdefault(step.file, _File())
            for done in file.since:
                _apply(file.synced, done)
            file.since.clear()
        elif isinstance(step, Delete):
            self._files.pop(step.file, None)

    def image(self, random: Random) -> dict[str, bytes]:
        """File name -> content after a power cut here: everything that was synced, and some of the rest."""
        share = random.choice((0.0, 0.5, 0.9, 1.0))
        return {name: bytes(_survived(file, share, random)) for name, file in self._files.items()}


def _survived(file: _File, share: float, random: Random) -> bytearray:
    """The file with about `share` of the sectors that were not synced."""
    content = bytearray(file.synced)
    for step in file.since:
        for part in _sectors(step):
            if random.random() < share:
                _apply(content, part)
    return content


def _sectors(step: Write | Truncate) -> Iterator[Write | Truncate]:
    """A write as the sectors that a disk writes one by one."""
    if isinstance(step, Truncate):
        yield step
        return
    start = step.offset
    end = start + len(step.data)
    while start < end:
        stop = min(end, (start // SECTOR + 1) * SECTOR)
        yield Write(step.file, start, step.data[start - step.offset : stop - step.offset])
        start = stop


def _apply(content: bytearray, step: Write | Truncate) -> None:
    size = step.size if isinstance(step, Truncate) else step.offset + len(step.data)
    if len(content) < size:
        content.extend(bytes(size - len(content)))
    if isinstance(step, Truncate):
        del content[size:]
    else:
        content[step.offset : size] = step.data


class FaultyVFS(apsw.VFS):
    """The real file system until told otherwise: `sync_fails`, or `room` bytes more for files to grow by."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.sync_fails = False
        self.room: int | None = None
        super().__init__(name, "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - SQLite's name
        return _FaultyFile(self, name, flags)

    def grow(self, by: int) -> None:
        """Take room for a file that becomes longer, or say that there is none."""
        if self.room is None or by <= 0:
            return
        if by > self.room:
            raise apsw.FullError("no room (injected)")
        self.room -= by


class _FaultyFile(apsw.VFSFile):
    def __init__(self, vfs: FaultyVFS, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self._vfs = vfs
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
        self._vfs.grow(offset + len(data) - self.xFileSize())
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        if self._vfs.sync_fails:
            raise apsw.IOError(INJECTED)
        super().xSync(flags)


@dataclass(frozen=True, slots=True)
class _Before:
    """What a write or a truncation did away with."""

    offset: int
    data: bytes
    size: int


class LosingVFS(apsw.VFS):
    """The real file system until the sync number `fails_at` (from 1) of a database or its log, which fails.

    Then what was written to that file since its last sync is gone, and later syncs are good again: so do disks and
    kernels whose write-back failed, and who tries the sync again is told a lie. `syncs` counts; `failed` is set then.
    """

    def __init__(self, name: str, fails_at: int) -> None:
        self.name = name
        self.fails_at = fails_at
        self.syncs = 0
        self.unsynced: dict[str, list[_Before]] = {}
        super().__init__(name, SYSTEM)

    @property
    def failed(self) -> bool:
        return self.syncs >= self.fails_at

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - SQLite's name
        if not flags[0] & _REMEMBERED:
            return super().xOpen(name, flags)
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        return _LosingFile(self, name, flags, self.unsynced.setdefault(path or "", []))


class _LosingFile(apsw.VFSFile):
    def __init__(
        self, vfs: LosingVFS, name: str | apsw.URIFilename | None, flags: list[int], unsynced: list[_Before]
    ) -> None:
        self._vfs = vfs
        self._unsynced = unsynced
        super().__init__(SYSTEM, name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
        self._keep(offset, len(data))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - SQLite's name
        self._keep(newsize, self.xFileSize())
        super().xTruncate(newsize)

    def _keep(self, offset: int, length: int) -> None:
        size = self.xFileSize()
        there = max(0, min(size - offset, length))
        self._unsynced.append(_Before(offset, self.xRead(there, offset) if there else b"", size))

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        self._vfs.syncs += 1
        if self._vfs.syncs == self._vfs.fails_at:
            self._lose()
            raise apsw.IOError(INJECTED)
        super().xSync(flags)
        self._unsynced.clear()

    def _lose(self) -> None:
        for before in reversed(self._unsynced):
            if before.data:
                super().xWrite(before.data, before.offset)
            super().xTruncate(before.size)
        self._unsynced.clear()
