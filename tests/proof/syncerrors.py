"""Sync errors: the disk says that it could not keep what was written. Is anybody told that it was kept?

A real daemon runs over a disk of which one sync fails, a place that the seed draws. As with real disks, what had been
written to that file since its last good sync is gone, and the next sync succeeds: who tries again, or takes no notice,
tells a lie that is found out. Records are handed in by several clients at once until nobody answers. Then the process
must have ended by itself, saying why, and what it answered with 2xx must be there when its store is opened again.

Usage: scripts/syncerrors [--runs 50] [--seed 1] [--json]
"""

import argparse
import itertools
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import apsw

from roamd.demo.client import Api, NotAnsweredError
from roamd.demo.objects import LIVE_DRIVER, cdr
from roamd.demo.processes import Daemon, DaemonDiedError
from roamd.storage import records
from roamd.storage.store import Store
from tests.proof.report import Report, Say, finish, parser, seeded
from tests.support.crashfs import INJECTED, LosingVFS
from tests.support.daemons import Fleet
from tests.support.progress import say
from tests.support.sizes import whole

NOW_MS = 1_795_000_000_000
CLIENTS = 4
PATIENCE_S = 20.0
LATEST = 120
"""The sync that fails is one of so many; a start has about a dozen, and a group of records one."""


@dataclass
class Intake:
    """Clients that hand in records, one request after the other, until the daemon does not answer."""

    api: Api
    promised: set[str] = field(default_factory=set)
    statuses: Counter[int] = field(default_factory=Counter)

    def run(self) -> None:
        clients = [threading.Thread(target=self._client, args=(number,), daemon=True) for number in range(CLIENTS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join(PATIENCE_S)

    def _client(self, client: int) -> None:
        for number in itertools.count():
            names = [f"CDR-{client}-{number:05}-{place}" for place in range(1 + number % 3)]
            try:
                reply = self.api.request("POST", "/v1/records", [cdr(name, LIVE_DRIVER, NOW_MS) for name in names])
            except NotAnsweredError:
                return
            self.statuses[reply.status] += 1
            if reply.status < 300:
                self.promised.update(names)
            elif reply.status != 507:  # what breaks off, or says no, promises nothing
                return


def held(database: Path) -> set[str]:
    """The records of a store that is opened as the daemon would open it."""
    with Store.open(database, ballast_bytes=0) as store:
        rows = store.read(lambda cx: records.page(cx, 0, 1_000_000, direction="out"))
    return {row.record_id for row in rows}


def one_run(fleet: Fleet, number: int, fails_at: int, report: Report) -> Counter[str]:
    """Start, hand in, see it end, look what is there."""
    company = fleet.company(f"cso{number}", "BE*RMC", "cso", backend=False)
    daemon = company.daemon
    daemon.command = (sys.executable, "-m", "tests.proof.syncerrors", "--as-daemon", str(fails_at))
    daemon.start()
    intake = Intake(daemon.api)
    try:
        daemon.wait_ready()
    except DaemonDiedError:
        pass  # the failure came while it started: nobody was promised anything
    else:
        intake.run()
    code = _ended(daemon)
    lost = intake.promised - held(daemon.directory / "state" / "roamd.db")
    where = f"sync {fails_at}"
    report.must(code not in (None, 0), f"{where}: the process did not end by itself with an error, but with {code}")
    report.must(INJECTED in "".join(daemon.log_tail()), f"{where}: the process does not say why it ended")
    report.must(not lost, f"{where}: {len(lost)} acknowledged records are lost: {sorted(lost)[:3]}")
    return Counter({"ended": code not in (None, 0), "acknowledged": len(intake.promised), "lost": len(lost)})


def _ended(daemon: Daemon) -> int | None:
    """The exit status; None where it had to be killed."""
    assert daemon.process is not None
    try:
        return daemon.process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        daemon.kill()
        return None


def measure(count: int, seed: int, tell: Say) -> Report:
    """So many daemons, each of which loses one sync."""
    report, random, tally = Report({"seed": seed}), seeded(seed, "syncs"), Counter[str]()
    for number in range(1, count + 1):
        with tempfile.TemporaryDirectory(prefix="roamd-syncerrors-") as room, Fleet(Path(room)) as fleet:
            tally += one_run(fleet, number, random.randint(1, LATEST), report)
        if number % 10 == 0 or number == count:
            tell(f"{number}/{count} runs, {tally['acknowledged']} records acknowledged, {tally['lost']} of them lost")
    report.figures |= {
        "runs, each with a sync that fails": count,
        "process ended by itself": tally["ended"],
        "records acknowledged": tally["acknowledged"],
        "acknowledged but lost": tally["lost"],
    }
    return report


def as_daemon(fails_at: int, arguments: list[str]) -> int:
    """`roamd` over a disk whose sync number so-and-so fails."""
    from roamd.cli import main as roamd

    vfs = LosingVFS("losing", fails_at)
    apsw.set_default_vfs(vfs.name)
    return roamd(arguments)


def main(arguments: list[str]) -> int:
    """0 only if every process ended and nothing that was acknowledged is lost."""
    if arguments[:1] == ["--as-daemon"]:
        return as_daemon(int(arguments[1]), arguments[2:])
    options = parser("syncerrors", "Let a sync of a daemon's disk fail, in real processes.")
    options.add_argument("--runs", type=whole(1), default=50, help="daemons that lose a sync")
    chosen: argparse.Namespace = options.parse_args(arguments)
    return finish("syncerrors", chosen, measure(chosen.runs, chosen.seed, say))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
