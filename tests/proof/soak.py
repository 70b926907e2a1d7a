"""Soak: hours of steady work with a fault a minute. Do memory and descriptors stay where they are?

Two companies roam at a steady rate (records, EVSE status, authorizations; events are read and acknowledged). Every
minute there is a fault: a broken link, a slow backend, a SIGKILL. In the first half only the CSP is killed, and the CSO
is watched, which lives through it all; in the second half it is the other way round. Of each half the first part is
left out (caches fill), then a straight line is laid through memory and descriptors of the one that is watched. At the
end everything must be there, once.

Usage: scripts/soak [--minutes 60] [--rate 50] [--fault-every 60] [--seed 1] [--json]
"""

import argparse
import itertools
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from roamd.clock import SystemClock
from roamd.demo import objects
from roamd.demo.client import TooLateError, wait_until
from tests.proof.processes import descriptors, question, resident_mib
from tests.proof.report import Report, Say, finish, parser, quantile, seeded
from tests.storm.world import Company, World, founded
from tests.support.progress import say
from tests.support.sizes import above_zero, whole

SHARES = {"records": 0.4, "status": 0.3, "authorizations": 0.3}
SAMPLE_S = 2.0
WARM_ARRAY = 250
WARM = 0.5
"""The share of each half that is left out."""

FLAT_MIB, FLAT_SHARE = 4.0, 0.05
"""What the line may rise over the watched time: whichever is more."""

FLAT_DESCRIPTORS = 4.0
SLOW_S = 10.0
SETTLE_S = 120.0
VERIFY_S = 600.0
"""An hour of records is walked entry by entry, also where others use the processors."""


@dataclass
class Series:
    """What was measured of one process over one half."""

    who: str
    memory: list[tuple[float, float]] = field(default_factory=list)
    files: list[tuple[float, float]] = field(default_factory=list)

    def watched(self, points: list[tuple[float, float]]) -> list[tuple[float, float]]:
        return points[int(len(points) * WARM) :]


def slope(points: list[tuple[float, float]]) -> float:
    """Of the straight line nearest to the points, per second."""
    if len(points) < 2:
        return 0.0
    count = len(points)
    mean_x, mean_y = sum(x for x, _ in points) / count, sum(y for _, y in points) / count
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


class Worker(threading.Thread):
    """Does something at a steady rate until it is told to stop."""

    def __init__(self, rate: float, act: Callable[[int], None]) -> None:
        super().__init__(daemon=True)
        self._pause_s, self._act = 1 / rate, act
        self.over = threading.Event()
        self.done = 0
        self.error: BaseException | None = None

    def run(self) -> None:
        began = time.monotonic()
        try:
            while not self.over.wait(max(0.0, began + self.done * self._pause_s - time.monotonic())):
                self._act(self.done)
                self.done += 1
        except BaseException as error:  # noqa: BLE001 - told by the main thread
            self.error = error


class Soak:
    """One run over one world."""

    def __init__(self, world: World, options: argparse.Namespace, tell: Say) -> None:
        self.world, self.options, self.tell, self.report = world, options, tell, Report()
        self.random = seeded(options.seed, "soak")
        self.accepted: set[str] = set()
        self.received: Counter[str] = Counter()
        self.decisions: Counter[str] = Counter()
        self.waits_s: list[float] = []
        self.faults: Counter[str] = Counter()
        self.cursors: dict[str, str] = {"cso": "", "csp": ""}

    def run(self) -> Report:
        self._publish()
        self._fill_caches()
        workers = [
            Worker(self.options.rate * SHARES["records"], self._record),
            Worker(self.options.rate * SHARES["status"], self._status),
            Worker(self.options.rate * SHARES["authorizations"], self._authorize),
            Worker(2.0, lambda number: self._read_events(self.world.cso)),
            Worker(2.0, lambda number: self._read_events(self.world.csp)),
        ]
        for worker in workers:
            worker.start()
        half_s = self.options.minutes * 60 / 2
        halves = [self._half(workers, half_s, *roles) for roles in self._roles()]
        for worker in workers:
            worker.over.set()
            worker.join()
            self.report.must(worker.error is None, f"a worker ended: {worker.error!r}")
        self._settle()
        self._judge(halves, sum(worker.done for worker in workers[:3]))
        return self.report

    def _roles(self) -> list[tuple[Company, Company]]:
        """(who is watched, who is killed), for each half."""
        return [(self.world.cso, self.world.csp), (self.world.csp, self.world.cso)]

    # --- work ---------------------------------------------------------------------------------------------------

    def _publish(self) -> None:
        now_ms = SystemClock().now_ms()
        self.world.cso.insist("PUT", f"/v1/locations/{objects.LOCATION_ID}", objects.location(now_ms))

    def _fill_caches(self) -> None:
        """The database's page cache fills with the first tens of megabytes: that is no leak, so it is done before."""
        for first in range(0, self.options.warm_up, WARM_ARRAY):
            names = [f"WARM-{first + number:08}" for number in range(WARM_ARRAY)]
            several = [objects.cdr(name, objects.LIVE_DRIVER, 1_795_000_000_000) for name in names]
            reply = self.world.cso.insist("POST", "/v1/records", several, {"Idempotency-Key": names[0]})
            self.report.must(reply.status == 202, f"records were answered {reply.status}")
            self.accepted.update(names)
            self._read_events(self.world.csp)
            self._read_events(self.world.cso)
        self._settle()
        self.tell(f"warm: {len(self.accepted)} records")

    def _record(self, number: int) -> None:
        name = f"SOAK-{number:08}"
        body = objects.cdr(name, objects.LIVE_DRIVER, 1_795_000_000_000 + number)
        reply = self.world.cso.insist("POST", "/v1/records", body, {"Idempotency-Key": name})
        if reply.status != 202:
            raise RuntimeError(f"a record was answered {reply.status}: {reply.body}")
        self.accepted.add(name)

    def _status(self, number: int) -> None:
        news = objects.evse_news(SystemClock().now_ms(), ("AVAILABLE", "CHARGING")[number % 2])
        self.world.cso.insist("PATCH", f"/v1/locations/{objects.LOCATION_ID}/evses/{objects.EVSE_UID}", news)

    def _authorize(self, number: int) -> None:
        began = time.monotonic()
        answer = self.world.cso.insist("POST", "/v1/authorizations", question(deadline_ms=2000)).body
        self.waits_s.append(time.monotonic() - began)
        self.decisions[f"{answer['decision']} {answer['source']}"] += 1

    def _read_events(self, company: Company) -> None:
        after = self.cursors[company.name]
        page = company.read(f"/v1/events?limit=1000&after={after}")
        for event in page["items"]:
            if event["type"] == "record.received":
                self.received[event["data"]["record_id"]] += 1
        if page["items"]:
            company.insist("POST", "/v1/events/ack", {"cursor": page["next"]})
            self.cursors[company.name] = page["next"]

    # --- faults and measures ------------------------------------------------------------------------------------

    def _half(self, workers: list[Worker], half_s: float, watched: Company, killed: Company) -> Series:
        series, began = Series(watched.name), time.monotonic()
        kinds = itertools.cycle([("link", self._break), ("slow backend", self._slow), ("kill", self._kill)])
        next_fault = began + self.options.fault_every
        while (now := time.monotonic()) < began + half_s:
            dead = [worker.error for worker in workers if worker.error]
            if dead:
                self.report.must(False, f"work ended: {dead[0]!r}")
                break
            series.memory.append((now - began, resident_mib(watched.daemon)))
            series.files.append((now - began, float(descriptors(watched.daemon))))
            if now >= next_fault:
                next_fault += self.options.fault_every
                name, harm = next(kinds)
                self.faults[name] += 1
                harm(killed)
                self._tell_progress(name, series, workers)
            time.sleep(SAMPLE_S)
        return series

    def _tell_progress(self, fault: str, series: Series, workers: list[Worker]) -> None:
        self.tell(
            f"{series.memory[-1][0] / 60:5.1f} min  {fault:<12}  {series.who} {series.memory[-1][1]:.1f} MiB, "
            f"{series.files[-1][1]:.0f} files; {sum(worker.done for worker in workers[:3])} messages"
        )

    def _break(self, killed: Company) -> None:
        del killed
        self.world.break_link(self.random)

    def _slow(self, killed: Company) -> None:
        del killed
        control = self.world.backend.control
        control.need("PUT", "/mood", {"mood": "slow", "delay_ms": 1500})
        time.sleep(min(SLOW_S, self.options.fault_every / 3))
        control.need("PUT", "/mood", {"mood": "well"})

    def _kill(self, killed: Company) -> None:
        self.world.kill(killed, self.random)

    # --- judgement ----------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        def arrived() -> bool:
            self._read_events(self.world.csp)
            return self.received.keys() >= self.accepted

        try:
            wait_until("every record having arrived", arrived, SETTLE_S)
        except TooLateError as error:
            self.report.faults.append(str(error))

    def _judge(self, halves: list[Series], done: int) -> None:
        lost = self.accepted - self.received.keys()
        there = Counter(one["record_id"] for one in self.world.csp.items("/v1/records?direction=in"))
        doubled = [name for name, count in there.items() if count > 1]
        self.report.must(not lost, f"{len(lost)} records are lost: {sorted(lost)[:5]}")
        self.report.must(not doubled, f"{len(doubled)} records are there twice: {doubled[:5]}")
        self.report.must(set(there) == self.accepted, "what arrived is not what was accepted")
        for company in self.world.companies:
            verified = company.daemon.run("ledger", "verify", expect=(), within_s=VERIFY_S)
            self.report.must(verified.code == 0, f"the ledger of {company.name} does not verify: {verified.err}")
        self.report.figures = {
            "minutes": self.options.minutes,
            "messages": done,
            "messages per s": round(done / (self.options.minutes * 60), 1),
            "records": len(self.accepted),
            "lost": len(lost),
            "doubled": len(doubled),
            "authorizations": dict(self.decisions),
            "authorization p99 ms": round(quantile(self.waits_s, 0.99) * 1000, 1),
            "faults": dict(self.faults),
        }
        for series in halves:
            self._judge_slopes(series)

    def _judge_slopes(self, series: Series) -> None:
        memory, files = series.watched(series.memory), series.watched(series.files)
        if len(memory) < 2:
            self.report.must(False, f"{series.who} was not watched long enough")
            return
        took_s, level = memory[-1][0] - memory[0][0], memory[0][1]
        rise, more = slope(memory) * took_s, slope(files) * took_s
        self.report.figures |= {
            f"{series.who} memory MiB": f"{level:.1f}, slope {slope(memory) * 3600:+.2f} per hour, rise {rise:+.2f}",
            f"{series.who} files": f"{files[0][1]:.0f}, slope {slope(files) * 3600:+.2f} per hour, rise {more:+.2f}",
        }
        self.report.must(rise < max(FLAT_MIB, FLAT_SHARE * level), f"the memory of {series.who} grows: {rise:+.1f} MiB")
        self.report.must(more < FLAT_DESCRIPTORS, f"{series.who} opens more and more: {more:+.1f} descriptors")


def main(arguments: list[str]) -> int:
    """0 only if nothing was lost or doubled, and memory and descriptors are flat."""
    options = parser("soak", "Steady work with a fault a minute; memory and descriptors must be flat.")
    options.add_argument("--minutes", type=above_zero, default=60, help="how long")
    options.add_argument("--rate", type=above_zero, default=50, help="messages a second")
    options.add_argument("--fault-every", type=above_zero, default=60, help="seconds from fault to fault")
    options.add_argument("--warm-up", type=whole(0), default=20_000, help="records before it begins, which fill caches")
    chosen = options.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="roamd-soak-") as room, founded(Path(room)) as world:
        report = Soak(world, chosen, say).run()
    return finish("soak", chosen, report)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
