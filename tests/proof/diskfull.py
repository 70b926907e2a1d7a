"""Full disk: a daemon's disk fills up and is freed again and again, while records and receipts flow.

The state of each company lies on a small file system of its own (a tmpfs, so this needs root). In each round another
file takes the room away in steps while the backend hands in records. The daemon must refuse intake with 507 before the
disk is really full, keep the receipts of what it took in, and take records again by itself once there is room: the same
process, nothing lost, nothing doubled, ledgers that verify. The rounds alternate between the author's disk and the
receiver's; when the latter is full, records wait at the author and arrive when there is room again.

Usage: scripts/diskfull [--rounds 20] [--mib 24] [--seed 1] [--json]
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from roamd.demo.client import NotAnsweredError, Reply
from roamd.demo.objects import LIVE_DRIVER, cdr
from tests.proof.report import Report, Say, finish, parser
from tests.support.daemons import Company, Fleet
from tests.support.progress import say
from tests.support.sizes import whole

MIB = 1 << 20
STEP = MIB // 4
PAUSE_S = 0.25
"""A disk that fills by a megabyte a second; the daemon looks at the room once a second."""

PATIENCE_S = 30.0
NOT_DONE = 75
"""The exit code where it cannot be done here: nothing is wrong, and nothing is proven."""

SETTINGS = "[discovery]\nmdns = false\n\n[storage]\nballast_mib = 2\n\n[link]\nbackoff_s = 1\n"


class NoMountError(Exception):
    """Small file systems cannot be made here."""


@contextlib.contextmanager
def small_disk(place: Path, mib: int) -> Iterator[None]:
    """A file system of its own at `place`."""
    place.mkdir(mode=0o700, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=0700", "none", str(place)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        raise NoMountError(f"a small file system cannot be mounted: {made.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)


def free_bytes(place: Path) -> int:
    stat = os.statvfs(place)
    return stat.f_bavail * stat.f_frsize


class Rounds:
    """All rounds over one pair of companies."""

    def __init__(self, fleet: Fleet, options: argparse.Namespace, tell: Say) -> None:
        self.fleet, self.options, self.tell, self.report = fleet, options, tell, Report()
        self.accepted: set[str] = set()
        self.number = 0
        self.refusals = 0
        self.least_free = 1 << 60
        self.reopened_s: list[float] = []

    def run(self, stack: contextlib.ExitStack) -> Report:
        self.cso = self.fleet.company("cso", "BE*RMC", settings=SETTINGS)
        self.csp = self.fleet.company("csp", "FR*RMD", settings=SETTINGS)
        for company in (self.cso, self.csp):
            stack.enter_context(small_disk(_state(company), self.options.mib))
        stack.callback(self.fleet.children.close)  # before the disks go
        self.fleet.start(self.cso, self.csp)
        self.fleet.pair(self.csp, self.cso)
        processes = [company.daemon.process for company in (self.cso, self.csp)]
        for number in range(1, self.options.rounds + 1):
            victim = self.cso if number % 2 else self.csp
            self.fill_and_free(number, victim)
            self.tell(f"round {number}/{self.options.rounds} ({victim.name}): {len(self.accepted)} records accepted")
        alive = [company.daemon.process for company in (self.cso, self.csp)] == processes
        self.report.must(alive and self.cso.daemon.running and self.csp.daemon.running, "a daemon was restarted")
        self._settle()
        self._figures()
        return self.report

    def fill_and_free(self, number: int, victim: Company) -> None:
        """One round."""
        filler = _state(victim) / "somebody-elses-file"
        refused = self._fill(victim, filler)
        self.report.must(refused, f"round {number}: the disk filled up and nobody said so")
        if victim is self.cso:
            self._must(f"round {number}: receipts stored on a full disk", lambda: self._queued() == 0)
        else:
            self._hand_in()
        filler.unlink()
        began = time.monotonic()
        self._must(f"round {number}: open again by itself", lambda: self._intake(victim) < 300)
        self.reopened_s.append(time.monotonic() - began)
        self._retry()
        self._must(f"round {number}: nothing queued", lambda: self._queued() == 0)

    def _fill(self, victim: Company, filler: Path) -> bool:
        """Take the room away in steps; whether intake was refused with 507 while there was still some."""
        with filler.open("wb") as file:
            while True:
                status = self._intake(victim)
                if status == 507:
                    self.refusals += 1
                    self.least_free = min(self.least_free, free_bytes(_state(victim)))
                    return True
                self.report.must(status < 300, f"intake was answered {status}")
                room = free_bytes(_state(victim))
                if room < STEP:
                    return False
                file.write(bytes(STEP if room < 4 * MIB else room - 4 * MIB))
                file.flush()
                time.sleep(PAUSE_S)

    def _intake(self, victim: Company) -> int:
        """Something that takes room at that company."""
        if victim is self.cso:
            return self._hand_in().status
        self._hand_in()
        credential = LIVE_DRIVER.user_credential(1_795_000_000_000 + self.number)
        return self.csp.api.request("PUT", f"/v1/user-credentials/{LIVE_DRIVER.uid}", credential).status

    def _hand_in(self) -> Reply:
        self.number += 1
        name = f"CDR-{self.number:06}"
        reply = self.cso.api.request("POST", "/v1/records", cdr(name, LIVE_DRIVER, 1_795_000_000_000 + self.number))
        if reply.status < 300:
            self.accepted.add(name)
        return reply

    def _retry(self) -> None:
        for one, other in ((self.cso, self.csp), (self.csp, self.cso)):
            one.api.request("POST", f"/v1/peers/{one.partners[other.name]}/retry")

    def _queued(self) -> int:
        return sum(int(row["queued"]) for row in self.cso.api.items("/v1/queue"))

    def _must(self, what: str, look: Any) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not _tried(look):
            if time.monotonic() > deadline:
                self.report.must(False, f"{what}: not within {PATIENCE_S:g} s")
                return
            time.sleep(0.05)

    def _settle(self) -> None:
        there = [one["record_id"] for one in self.csp.api.items("/v1/records?direction=in&limit=1000")]
        lost, doubled = self.accepted - set(there), len(there) - len(set(there))
        stray = set(there) - self.accepted
        self.report.must(not lost, f"{len(lost)} records are lost: {sorted(lost)[:5]}")
        self.report.must(not doubled, f"{doubled} records are there twice")
        self.report.must(not stray, f"{len(stray)} records arrived that were refused: {sorted(stray)[:5]}")
        for company in (self.cso, self.csp):
            done = company.daemon.run("ledger", "verify", expect=())
            self.report.must(done.code == 0, f"the ledger of {company.name} does not verify: {done.err}")
        self.report.figures |= {"records accepted": len(self.accepted), "lost": len(lost), "doubled": doubled}

    def _figures(self) -> None:
        self.report.figures |= {
            "times filled and freed": self.options.rounds,
            "refused with 507": self.refusals,
            "least room left then KiB": self.least_free // 1024,
            "open again after s": round(max(self.reopened_s, default=0.0), 2),
            "restarts": 0,
        }


def _tried(look: Any) -> bool:
    try:
        return bool(look())
    except NotAnsweredError:
        return False


def _state(company: Company) -> Path:
    return company.daemon.directory / "state"


def main(arguments: list[str]) -> int:
    """0 only if nothing was lost and no restart was needed; 75 where small file systems cannot be made."""
    options = parser("diskfull", "Fill and free the disk of a daemon, many times.")
    options.add_argument("--rounds", type=whole(1), default=20, help="times that a disk is filled and freed")
    options.add_argument("--mib", type=whole(1), default=24, help="size of each company's disk")
    chosen = options.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="roamd-diskfull-") as room, contextlib.ExitStack() as stack:
            fleet = stack.enter_context(Fleet(Path(room)))
            report = Rounds(fleet, chosen, say).run(stack)
    except NoMountError as reason:
        say(f"diskfull: skipped: {reason}")
        return NOT_DONE
    return finish("diskfull", chosen, report)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
