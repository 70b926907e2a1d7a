"""Floods: does a driver of an honest partner notice when strangers, or a partner that has gone bad, do their worst?

A CSO and a CSP roam over a live link; the CSP is attacked, everything on loopback:

    holding    attackers take every place at its link port, mute, a byte at a time, or silent after a whole first
               message, and come back at once when thrown out; an honest partner dials again and again meanwhile
    storm      handshakes of strangers at a rate that the machine cannot serve
    guessing   the CSO asks about thousands of card numbers that nobody knows, and now and then about one that is known
    misdeeds   a paired partner sends frames without end, without credit, without sense

Usage: scripts/flood [--attackers 300] [--connects 100] [--rate 500] [--seconds 15] [--cards 10000] [--seed 1] [--json]
"""

import argparse
import json
import re
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import trio

from roamd.demo.objects import LIVE_DRIVER
from roamd.trust.identity import Identity
from tests.proof.attacks import MISDEEDS, Guest
from tests.proof.processes import Drivers, attacking, question, resident_mib
from tests.proof.report import Report, Say, finish, parser, seeded
from tests.support.daemons import Company, Fleet
from tests.support.progress import say
from tests.support.sizes import above_zero, whole

PLACES = 64
"""`peering.network.PLACES`, which the attackers outnumber."""

P99_LIMIT_MS = 1000.0
GROWTH_LIMIT_MIB = 32.0
IN_FLIGHT = 40
"""Card numbers that are asked about at a time: so many more than agreed may be asked before the first is answered."""

CARDS_PER_MINUTE = 60


class Flood:
    """One attacked company and its honest partner; each phase adds its figures and faults."""

    def __init__(self, fleet: Fleet, options: argparse.Namespace, tell: Say) -> None:
        self.fleet, self.options, self.tell, self.report = fleet, options, tell, Report()
        self.cso, self.csp = fleet.company("cso", "BE*RMC"), fleet.company("csp", "FR*RMD")
        bad = fleet.company("bad", "NL*BAD", "cso", backend=False)
        fleet.start(self.cso, self.csp, bad)
        fleet.pair(self.csp, self.cso)
        fleet.pair(self.csp, bad)
        bad.daemon.stop()
        fleet.wait_until("the bad one being gone", lambda: not self.csp.link_is_up(bad))
        self.port = int(self.csp.daemon.link_address.rpartition(":")[2])
        self.bad = bad
        self.guest = Guest(_identity(bad), _identity(self.csp), self.port)

    def run(self) -> Report:
        phases = {
            "calm": self.calm,
            "holding": self.holding,
            "storm": self.storm,
            "guessing": self.guessing,
            "misdeeds": self.misdeeds,
        }
        for name, phase in phases.items():
            self.tell(f"{name} ...")
            memory, opened = resident_mib(self.csp.daemon), self._links_opened()
            figures = phase()
            # What is remembered for a repeat is forgotten after a minute, so some growth is no leak.
            figures["memory grew MiB"] = round(resident_mib(self.csp.daemon) - memory, 1)
            self.report.figures[name] = figures
            self.report.must(figures["memory grew MiB"] < GROWTH_LIMIT_MIB, f"{name}: memory grew: {figures}")
            self.report.must(self._links_opened() == opened, f"{name}: the honest link fell")
            self.tell(f"{name}: {figures}")
        return self.report

    def _links_opened(self) -> float:
        text = self.csp.api.request("GET", "/metrics").body
        label = re.escape(self.csp.partners[self.cso.name])
        found = re.findall(rf'^roamd_links_opened_total\{{[^}}]*peer="{label}"[^}}]*\}} (\S+)', text, re.MULTILINE)
        return sum(map(float, found))

    def calm(self) -> dict[str, Any]:
        with Drivers.at(self.cso) as drivers:
            time.sleep(min(3.0, self.options.seconds))
        self._must_be_served("calm", drivers)
        return drivers.figures()

    def _must_be_served(self, phase: str, drivers: Drivers) -> None:
        figures = drivers.figures()
        self.report.must(figures["asked"] >= 10, f"{phase}: hardly anybody was served: {figures}")
        self.report.must(figures["p99 ms"] < P99_LIMIT_MS, f"{phase}: drivers wait too long: {figures}")
        self.report.must(not drivers.other, f"{phase}: drivers were turned away: {drivers.other[:3]}")

    def holding(self) -> dict[str, Any]:
        arguments = ["hold", "--port", str(self.port), "--count", str(self.options.attackers)]
        with attacking(*arguments) as attackers, Drivers.at(self.cso) as drivers:
            time.sleep(2.0)
            waits = [self._connect() for _ in range(self.options.connects)]
            time.sleep(max(0.0, self.options.seconds - sum(filter(None, waits))))
            tally = json.loads(attackers.communicate("", timeout=30)[0])
        self._must_be_served("holding", drivers)
        refused = waits.count(None)
        self.report.must(refused == 0, f"holding: {refused} of {len(waits)} honest connects failed")
        self.report.must(tally["connections"] > PLACES, f"holding: the attackers never outnumbered the places: {tally}")
        return {
            "honest connects": len(waits),
            "failed": refused,
            "slowest s": round(max((wait for wait in waits if wait is not None), default=0.0), 2),
            **_attack(tally),
            **drivers.figures(),
        }

    def _connect(self) -> float | None:
        began = time.monotonic()
        return time.monotonic() - began if trio.run(self.guest.gets_in) else None

    def storm(self) -> dict[str, Any]:
        arguments = ["storm", "--port", str(self.port), "--rate", str(self.options.rate)]
        with attacking(*arguments) as attackers:
            time.sleep(1.0)
            began = time.monotonic()
            with Drivers.at(self.cso) as drivers:
                time.sleep(self.options.seconds)
            took_s = time.monotonic() - began
            tally = json.loads(attackers.communicate("", timeout=30)[0])
        self._must_be_served("storm", drivers)
        self.report.must(not tally.get("let in"), f"storm: strangers were let in: {tally}")
        return {"begun per s": round(tally["begun"] / (took_s + 1.0)), **_attack(tally), **drivers.figures()}

    def guessing(self) -> dict[str, Any]:
        assert self.csp.backend is not None
        numbers = [f"{number:014X}" for number in _distinct(seeded(self.options.seed, "cards"), self.options.cards)]
        self._teach()
        before, began = len(self.csp.backend.asked()), time.monotonic()
        decisions, known = self._guess(numbers)
        took_min = (time.monotonic() - began) / 60
        asked = {one["credential"]["uid"] for one in self.csp.backend.asked()[before:]}  # type: ignore[index]  # JSON
        asked_unknown = len(asked & set(numbers))
        agreed = CARDS_PER_MINUTE * (1 + took_min)
        self.report.must(asked_unknown <= agreed + IN_FLIGHT, f"guessing: the backend was asked {asked_unknown} times")
        self.report.must(set(decisions) == {"UNKNOWN"}, f"guessing: not all were UNKNOWN: {decisions}")
        self.report.must(set(known) == {"ALLOWED"}, f"guessing: known cards were not as ever: {known}")
        alarms = " ".join(self.csp.api.get("/v1/status")["alarms"])
        told = "unknown cards" in alarms
        self.report.must(told, f"guessing: the operator was not told: {alarms!r}")
        return {
            "numbers": len(numbers),
            "of these asked of the backend": asked_unknown,
            "agreed by then": round(agreed),
            "known cards ALLOWED": known["ALLOWED"],
            "operator told": told,
        }

    def _teach(self) -> None:
        """The backend knows no card but the driver's."""
        assert self.csp.backend is not None
        self.csp.backend.control.need("PUT", "/decisions/*", {"decision": "UNKNOWN"})
        self.csp.backend.control.need("PUT", f"/decisions/{LIVE_DRIVER.uid}", {"decision": "ALLOWED"})

    def _guess(self, numbers: list[str]) -> tuple[Counter[str], Counter[str]]:
        decisions, known = Counter[str](), Counter[str]()
        for first in range(0, len(numbers), IN_FLIGHT):
            some = [{"credential": {"type": "RFID", "uid": uid}} for uid in numbers[first : first + IN_FLIGHT]]
            answers = self.cso.api.need("POST", "/v1/authorizations", [*some, question()])
            decisions.update(answer["decision"] for answer in answers[:-1])
            known[answers[-1]["decision"]] += 1
            if first % 2000 < IN_FLIGHT:
                self.tell(f"  {first}/{len(numbers)} numbers")
        return decisions, known

    def misdeeds(self) -> dict[str, Any]:
        endings: dict[str, str] = {}
        with Drivers.at(self.cso) as drivers:
            for name, deed in list(MISDEEDS.items()) * self.options.rounds:
                endings[name] = trio.run(self.guest.misbehaves, deed)
                self.report.must(endings[name] != "let go on", f"misdeeds: {name} was let go on")
            time.sleep(1.0)
        self._must_be_served("misdeeds", drivers)
        lines = [json.loads(line) for line in self.csp.daemon.log_tail(100_000) if line.startswith("{")]
        logged = sum(line["event"] == "link_broke_rule" for line in lines)
        done = len(MISDEEDS) * self.options.rounds
        self.report.must(logged == done, f"misdeeds: {logged} lines in the log for {done} misdeeds")
        return {"misdeeds": done, "ended with": endings, "logged": logged, **drivers.figures()}


def _identity(company: Company) -> Identity:
    return Identity.load(company.daemon.directory / "identity.key", company.daemon.directory / "identity.crt")


def _attack(tally: dict[str, int]) -> dict[str, int]:
    return {f"attackers' {name}": count for name, count in sorted(tally.items()) if name != "begun"}


def _distinct(random: Random, count: int) -> list[int]:
    return random.sample(range(1 << 48), count)


def main(arguments: list[str]) -> int:
    """0 only if every honest one was served and no other let in."""
    options = parser("flood", "Attack a daemon on loopback; its honest partner must not notice.")
    options.add_argument("--attackers", type=whole(1), default=300, help="strangers who hold connections")
    options.add_argument("--connects", type=whole(1), default=100, help="honest connections meanwhile")
    options.add_argument("--rate", type=above_zero, default=500, help="strangers' handshakes a second")
    options.add_argument("--seconds", type=above_zero, default=15, help="how long each of the two floods lasts")
    options.add_argument("--cards", type=whole(1), default=10_000, help="random card numbers of one peer")
    options.add_argument("--rounds", type=whole(1), default=10, help="how often each misdeed is done")
    chosen = options.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="roamd-flood-") as room, Fleet(Path(room)) as fleet:
        report = Flood(fleet, chosen, say).run()
    return finish("flood", chosen, report)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
