"""Power cuts: how many acknowledged rows does a store lose when the power goes at any moment?

A workload runs on the real store over a VFS that notes what reaches the disk and when each row was acknowledged. Then
the power is cut at random places of that journal. From each image the store is opened as the daemon would open it, and
must hold, in order and without a gap, at least every row that had been acknowledged by then, and never a row whose
transaction was refused. The same is done with `synchronous=NORMAL`, which must lose some: else the test sees nothing.

Usage: scripts/powercut [--images 1000] [--seed 1] [--json]
"""

# ruff: noqa: T201, S311 - a command prints; power cuts need no secrets

import argparse
import json
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from roamd.errors import Conflict, StoreError
from roamd.storage import ledgers, records
from roamd.storage.cx import Cx
from roamd.storage.ledgers import EntryRow
from roamd.storage.records import RecordRow
from roamd.storage.store import Store
from tests.support.crashfs import Acknowledged, Disk, Journal, RecordingVFS
from tests.support.progress import say
from tests.support.sizes import whole

IMAGES_PER_RUN = 100
"""A new workload after so many images, so that the cuts see different ones."""

GROUPS = 40
CHECKPOINT_PAGES = 150
"""Few, so that a workload goes through many checkpoints, the moments at which a log is overwritten."""

REFUSED = "refused"


@dataclass
class Verdict:
    """What one mode lost. An image is bad if the store does not open whole from it."""

    images: int = 0
    images_with_loss: int = 0
    rows_lost: int = 0
    bad_images: int = 0


def append_txn(cx: Cx, size: int) -> int:
    """Add a ledger entry with its record, as intake does; its sequence."""
    chain = ledgers.current_chain(cx, "peer", own=True) or ledgers.open_chain_txn(cx, "peer", own=True, epoch=bytes(16))
    sequence = chain.tail_sequence + 1
    mark = sequence.to_bytes(32, "big")
    entry = EntryRow(sequence, 1, f"CDR-{sequence}", mark, mark, bytes(16), mark * (size // 32), sequence)
    ledgers.append_txn(cx, chain.chain_id, chain.tail_hash, entry)
    records.put_txn(cx, record(f"CDR-{sequence}", chain.chain_id, sequence))
    return sequence


def record(record_id: str, chain_id: int | None, sequence: int | None) -> RecordRow:
    """An own record, queued."""
    return RecordRow(
        "out",
        "DEABC",
        record_id,
        "peer",
        "CDR",
        records.QUEUED,
        None,
        "2.3.0",
        b"",
        None,
        chain_id,
        sequence,
        None,
        0,
        0,
    )


def refused_txn(cx: Cx) -> None:
    """Write, then refuse: nothing of this may ever be seen."""
    records.put_txn(cx, record(REFUSED, None, None))
    raise Conflict("refused on purpose")


def run_workload(directory: Path, random: Random, synchronous: str) -> tuple[Journal, int]:
    """Drive a store through groups of commits; what it did to the disk, and where the steady work begins."""
    vfs = RecordingVFS(f"recording-{synchronous}-{random.getrandbits(64):x}")
    path = directory / "store.db"
    options: dict[str, Any] = {"ballast_bytes": 0, "checkpoint_pages": CHECKPOINT_PAGES}
    store = Store.open(path, synchronous=synchronous, vfs=vfs.name, **options)
    begin = len(vfs.journal)
    for _ in range(GROUPS):
        run_group(store, random, vfs.journal)
    journal = list(vfs.journal)
    store.close()
    vfs.unregister()
    return journal, begin


def run_group(store: Store, random: Random, journal: Journal) -> None:
    """One group of jobs, exactly: a first one holds the writer until all have been submitted."""
    holding, go, finished = threading.Event(), threading.Event(), threading.Event()

    def hold(_: Cx) -> None:
        holding.set()
        go.wait()

    def acknowledged(outcome: int | BaseException) -> None:
        if isinstance(outcome, int):
            journal.append(Acknowledged(outcome))

    store.submit(hold, lambda _: None)
    holding.wait()
    for size in [random.randrange(64, 6000) for _ in range(random.randrange(1, 12))]:
        store.submit(lambda cx, size=size: append_txn(cx, size), acknowledged)
    store.submit(refused_txn, lambda _: None)
    store.submit(lambda cx: None, lambda _: finished.set())
    go.set()
    finished.wait()


def images(journal: Journal, begin: int, count: int, random: Random) -> Iterator[tuple[dict[str, bytes], int]]:
    """Images at random places of the journal, each with the highest row that had been acknowledged there."""
    cuts = sorted(random.randrange(begin, len(journal) + 1) for _ in range(count))
    disk, done, promised = Disk(), 0, 0
    for cut in cuts:
        for step in journal[done:cut]:
            disk.play(step)
            if isinstance(step, Acknowledged):
                promised = max(promised, step.what)
        done = cut
        yield disk.image(random), promised


def rows_held(directory: Path, image: dict[str, bytes]) -> int | None:
    """How many rows a store has that is opened from an image; None if what it has is not whole."""
    directory.mkdir()
    try:
        for name, content in image.items():
            (directory / name).write_bytes(content)
        with Store.open(directory / "store.db", ballast_bytes=0) as store:
            return store.read(_whole_rows)
    except StoreError:
        return None
    finally:
        shutil.rmtree(directory)


def _whole_rows(cx: Cx) -> int | None:
    """The tail of the chain, if all of the database agrees with it."""
    chain = ledgers.current_chain(cx, "peer", own=True)
    tail = chain.tail_sequence if chain else 0
    entries, known = cx.value("SELECT COUNT(*) FROM entries"), cx.value("SELECT COUNT(*) FROM records")
    whole = cx.value("PRAGMA integrity_check") == "ok" and not records.find(cx, REFUSED)
    return tail if whole and entries == known == tail else None


def measure(synchronous: str, count: int, seed: int, progress: Callable[[str], None]) -> Verdict:
    """Cut the power `count` times."""
    verdict = Verdict()
    while verdict.images < count:
        random = Random(f"{seed}/{verdict.images}")
        with tempfile.TemporaryDirectory(prefix="roamd-powercut-") as scratch:
            journal, begin = run_workload(Path(scratch) / "run", random, synchronous)
            share = min(IMAGES_PER_RUN, count - verdict.images)
            for image, promised in images(journal, begin, share, random):
                _judge(verdict, rows_held(Path(scratch) / "image", image), promised)
        progress(f"{synchronous}: {verdict.images}/{count} images, {verdict.rows_lost} acknowledged rows lost")
    return verdict


def _judge(verdict: Verdict, held: int | None, promised: int) -> None:
    lost = promised if held is None else max(0, promised - held)
    verdict.images += 1
    verdict.bad_images += held is None
    verdict.images_with_loss += lost > 0
    verdict.rows_lost += lost


def main(arguments: list[str]) -> int:
    """0 only if FULL lost nothing and the control lost something."""
    parser = argparse.ArgumentParser(prog="scripts/powercut", description="Cut the power of a store, many times.")
    parser.add_argument("--images", type=whole(1), default=1000, help="power cuts per mode (default 1000)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same cuts (default 1)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args(arguments)

    full = measure("FULL", options.images, options.seed, say)
    control = measure("NORMAL", options.images, options.seed, say)
    passed = full.rows_lost == full.bad_images == 0 and control.rows_lost > 0
    if options.json:
        print(json.dumps({"ok": passed, "seed": options.seed, "FULL": vars(full), "NORMAL": vars(control)}))
    else:
        for mode, verdict in (("FULL", full), ("NORMAL (control)", control)):
            print(
                f"{mode}: {verdict.images_with_loss} of {verdict.images} images lost acknowledged rows"
                f" ({verdict.rows_lost} rows), {verdict.bad_images} did not open whole"
            )
        print("powercut: ok" if passed else "powercut: FAILED")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
