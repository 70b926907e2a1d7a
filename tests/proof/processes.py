"""Watching the processes of a proof: what they hold, and how long a driver waits while something happens."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from roamd.demo.client import NotAnsweredError, RefusedError
from roamd.demo.objects import LIVE_DRIVER
from roamd.demo.processes import Daemon, child_environment
from tests.proof.report import quantile
from tests.support.daemons import Company

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def resident_mib(daemon: Daemon) -> float:
    """Memory that the process holds now."""
    assert daemon.process is not None
    pages = int(Path(f"/proc/{daemon.process.pid}/statm").read_text().split()[1])
    return pages * PAGE_BYTES / 2**20


def descriptors(daemon: Daemon) -> int:
    """Files and sockets that the process has open."""
    assert daemon.process is not None
    return len(os.listdir(f"/proc/{daemon.process.pid}/fd"))


def question(driver: Any = LIVE_DRIVER, deadline_ms: int = 5000) -> dict[str, Any]:
    return {"credential": driver.credential(), "deadline_ms": deadline_ms}


@dataclass
class Drivers(threading.Thread):
    """Cards read at a station, one after the other, while something else goes on."""

    company: Company
    pause_s: float = 0.05
    waits_s: list[float] = field(default_factory=list)
    other: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(self.pause_s):
            began = time.monotonic()
            try:
                answer = self.company.api.need("POST", "/v1/authorizations", question())
            except (NotAnsweredError, RefusedError) as error:
                self.other.append(str(error))
                continue
            self.waits_s.append(time.monotonic() - began)
            if answer["decision"] != "ALLOWED":
                self.other.append(f"{answer['decision']} by {answer['source']}: {answer['reason']}")

    def figures(self) -> dict[str, Any]:
        return {
            "asked": len(self.waits_s),
            "p50 ms": round(quantile(self.waits_s, 0.5) * 1000, 1),
            "p99 ms": round(quantile(self.waits_s, 0.99) * 1000, 1),
            "not allowed": len(self.other),
        }

    def __hash__(self) -> int:
        return id(self)

    @classmethod
    @contextmanager
    def at(cls, company: Company, pause_s: float = 0.05) -> Iterator["Drivers"]:
        """Drivers come as long as the block lasts."""
        drivers = cls(company, pause_s)
        drivers.start()
        try:
            yield drivers
        finally:
            drivers._over.set()
            drivers.join()


@contextmanager
def attacking(*arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """Attackers at work as long as the block lasts; what they did is what they print at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.proof.attackers", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=child_environment(),
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
