"""Old backup: one side of a pair is restored from a copy made a thousand messages ago. What becomes of them?

Two real daemons exchange records with words on some of them, feed changes both ways, and authorizations. A copy is made
of one of them while it runs, then come the messages, then that one is stopped and restored from the copy; its backend
hands in some forgotten records again, and new ones. In the first round it is the author of the records, in the second
their receiver (who is the author of the words on them, so that each round rolls back a chain and forgets another).

Four claims, each looked at from outside: both sides report it; all converges (records, chains, feeds, ledgers that
verify); nothing is applied twice; and no place in a chain (author, epoch, sequence) ever has two hashes, in what either
side holds or has signed, before the restore and after it.

Usage: scripts/oldbackup [--messages 1000] [--seed 1] [--json]
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import apsw

from roamd.demo import objects
from roamd.demo.client import TooLateError
from tests.proof.processes import question
from tests.proof.report import Report, Say, finish, parser, seeded
from tests.support.daemons import Company, Fleet
from tests.support.progress import say
from tests.support.sizes import whole

Place = tuple[str, bytes, int]
"""Who wrote an entry, in which epoch, at which sequence."""

NOW_MS = 1_795_000_000_000
SETTINGS = "[discovery]\nmdns = false\n\n[link]\nbackoff_s = 1\n"
SHARES = {"records": 40, "feed changes": 30, "calls": 30}
ARRAY = 10
WORD_EACH = 8
"""The receiver has a word on one record in so many."""

AGAIN_EACH = 10
"""After the restore one forgotten record in so many is handed in again."""

OLD, NEW = 20, 20
PATIENCE_S = 60.0

REPORTS = frozenset({"store_was_restored", "ledger_rolled_back", "peer_opened_new_epoch"})
"""What the logs say of it; the alarms of `roamd status` count as well."""

PLACES = """
    SELECT c.own, c.epoch, e.id & ((1 << 40) - 1), e.hash FROM chains c JOIN entries e ON e.id >> 40 = c.chain_id
    UNION SELECT c.own, c.epoch, m.sequence, m.hash FROM chains c JOIN marks m ON m.chain_id = c.chain_id
"""


def places(run: Callable[[str], Iterable[Any]], us: str, them: str) -> set[tuple[Place, bytes]]:
    """Each place of the chains between two, with each hash that a store has for it: entries, heads, receipts, forks."""
    return {((us if own else them, epoch, sequence), found) for own, epoch, sequence, found in run(PLACES)}


def used_twice(*seen: set[tuple[Place, bytes]]) -> list[Place]:
    """The places that have more than one hash, over all that was ever seen."""
    hashes = defaultdict(set)
    for place, found in set().union(*seen):
        hashes[place].add(found)
    return sorted(place for place, all_ in hashes.items() if len(all_) > 1)


class Round:
    """One restore; `who` is the side that is restored."""

    def __init__(self, fleet: Fleet, who: str, options: argparse.Namespace, tell: Say) -> None:
        self.fleet, self.who, self.options, self.tell, self.report = fleet, who, options, tell, Report()
        self.random = seeded(options.seed, who)
        self.cso = fleet.company("cso", "BE*RMC", settings=SETTINGS)
        self.csp = fleet.company("csp", "FR*RMD", settings=SETTINGS)
        self.restored, self.other = (self.cso, self.csp) if who == "author" else (self.csp, self.cso)
        self.handed: list[str] = []
        self.sent: Counter[str] = Counter()

    def run(self) -> Report:
        self.fleet.start(self.cso, self.csp)
        self.fleet.pair(self.csp, self.cso)
        self._publish()
        self._hand_in(OLD)
        self._must("the time before the copy coming to rest", self._rests)
        copy = self.fleet.room / "copy.db"
        self.restored.daemon.run("backup", str(copy))
        self._exchange()
        self._must("the messages coming to rest", self._rests)
        self._accept(self.handed[OLD::WORD_EACH])
        self._must("the words coming to rest", self._rests)
        before = self._places()
        self._restore(copy)
        began = time.monotonic()
        self._go_on()
        self._must("coming to rest after the restore", self._rests)
        self.took_s = time.monotonic() - began
        self._judge(before)
        return self.report

    # --- what is exchanged ----------------------------------------------------------------------------------------

    def _publish(self) -> None:
        self.cso.api.need("PUT", f"/v1/locations/{objects.LOCATION_ID}", objects.location(NOW_MS))
        self.cso.api.need("PUT", f"/v1/tariffs/{objects.TARIFF_ID}", objects.tariff(NOW_MS))

    def _exchange(self) -> None:
        """So many messages, in a mixture that the seed draws; records go in small arrays, as backends send them."""
        acts = {"records": lambda: self._hand_in(ARRAY), "feed changes": self._change, "calls": self._ask}
        weights = [share / (ARRAY if kind == "records" else 1) for kind, share in SHARES.items()]
        told = 0
        self.sent["records"] += self._hand_in(ARRAY)  # or a small run had nothing to forget
        while self.sent.total() < self.options.messages:
            (kind,) = self.random.choices(list(SHARES), weights)
            self.sent[kind] += acts[kind]()
            if self.sent.total() - told >= 250:
                told = self.sent.total()
                self.tell(f"{self.who}: {told}/{self.options.messages} messages after the copy")

    def _hand_in(self, count: int) -> int:
        names = [f"CDR-{len(self.handed) + number:05}" for number in range(1, count + 1)]
        self._post(names)
        self.handed += names
        return count

    def _post(self, names: list[str]) -> None:
        bills = [objects.cdr(name, objects.LISTED_DRIVER, NOW_MS) for name in names]
        self.cso.api.need("POST", "/v1/records", bills)

    def _accept(self, names: list[str]) -> None:
        """The receiver's words: entries of its own chain."""
        for name in names:
            self.csp.api.need("POST", f"/v1/records/{name}/accept?direction=in", {})
        self.sent["words"] += len(names)

    def _change(self) -> int:
        """Either side publishes."""
        number = self.sent["feed changes"]
        if number % 2:
            status = self.random.choice(["AVAILABLE", "CHARGING", "OUTOFORDER"])
            news = objects.evse_news(NOW_MS + number, status)
            self.cso.api.need("PATCH", f"/v1/locations/{objects.LOCATION_ID}/evses/{objects.EVSE_UID}", news)
        else:
            driver = objects.Driver(f"D{number}", f"04{self.random.randrange(1 << 40):010X}00", "FR-RMD-C00000042")
            credential = driver.user_credential(NOW_MS + number)
            self.csp.api.need("PUT", f"/v1/user-credentials/{driver.uid}", credential)
        return 1

    def _ask(self) -> int:
        answer = self.cso.api.need("POST", "/v1/authorizations", question())
        self.report.must(answer["decision"] == "ALLOWED", f"a driver was answered {answer['decision']}")
        return 1

    def _restore(self, copy: Path) -> None:
        self.restored.daemon.stop()
        self.restored.daemon.run("restore", str(copy))
        self.fleet.start(self.restored)

    def _go_on(self) -> None:
        """The author's backend repeats what it is not sure of, and has new records; the link comes up when it does."""
        self._post(self.handed[OLD::AGAIN_EACH])
        self._hand_in(NEW)
        self.fleet.wait_linked(self.cso, self.csp)

    # --- how it ends ----------------------------------------------------------------------------------------------

    def _must(self, what: str, look: Callable[[], bool]) -> None:
        try:
            self.fleet.wait_until(what, look)
        except TooLateError as error:
            self.report.must(False, str(error))

    def _rests(self) -> bool:
        queued = (
            self.cso.api.get("/v1/status")["records"]["queued"] + self.csp.api.get("/v1/status")["records"]["queued"]
        )
        return not queued and self._feeds_equal() and self._of(self.cso) == self._of(self.csp)

    def _feeds_equal(self) -> bool:
        return (
            _shown(self.cso, "locations") == _mirrored(self.csp, self.cso, "locations")
            and _shown(self.cso, "tariffs") == _mirrored(self.csp, self.cso, "tariffs")
            and _shown(self.csp, "user-credentials") == _mirrored(self.cso, self.csp, "user-credentials")
        )

    def _of(self, company: Company) -> set[tuple[Place, bytes]]:
        """What its store has of both chains, as it is on the disk; read beside the running daemon."""
        them = self.csp if company is self.cso else self.cso
        path = next((company.daemon.directory / "state").glob("*.db"))
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            return places(connection.execute, company.name, them.name)
        finally:
            connection.close()

    def _places(self) -> set[tuple[Place, bytes]]:
        return self._of(self.cso) | self._of(self.csp)

    def _judge(self, before: set[tuple[Place, bytes]]) -> None:
        reports = {company.name: _reports(company) for company in (self.restored, self.other)}
        for name, told in reports.items():
            self.report.must(told, f"{self.who} restored: {name} reports nothing")
        there = Counter(row["record_id"] for row in self.csp.api.items("/v1/records?direction=in&limit=1000"))
        events = self.csp.api.items("/v1/events?limit=1000")
        applied = Counter(one["data"]["record_id"] for one in events if one["type"] == "record.received")
        lost = set(self.handed) - set(there)
        twice = [name for name in self.handed if there[name] > 1 or applied[name] > 1]
        self.report.must(not lost, f"{self.who} restored: {len(lost)} records are lost: {sorted(lost)[:3]}")
        self.report.must(not twice, f"{self.who} restored: {len(twice)} records were applied twice: {twice[:3]}")
        self.report.must(set(there) <= set(self.handed), f"{self.who} restored: records that nobody handed in")
        self.report.figures |= {
            "messages after the copy": dict(self.sent),
            "reported by the restored": ", ".join(reports[self.restored.name]),
            "reported by its partner": ", ".join(reports[self.other.name]),
            "converged after s": round(self.took_s, 1),
            "records": len(self.handed),
            "lost": len(lost),
            "applied twice": len(twice),
        }
        self._judge_ledgers(before)

    def _judge_ledgers(self, before: set[tuple[Place, bytes]]) -> None:
        law = self.cso.api.get("/v1/status")["records"]
        settled = {"accepted": len(self.handed), "settled": len(self.handed), "queued": 0, "parked": 0}
        self.report.must(law == settled, f"{self.who} restored: the law says {law}")
        for company in (self.cso, self.csp):
            done = company.daemon.run("ledger", "verify", expect=())
            self.report.must(done.code == 0, f"the ledger of {company.name} does not verify: {done.err}")
        after = self._places()
        reused = used_twice(before, after)
        self.report.must(not reused, f"{self.who} restored: {len(reused)} places used twice: {reused[:3]}")
        self.report.figures |= {
            "places in chains": len({place for place, _ in before | after}),
            "used twice": len(reused),
        }


def _shown(publisher: Company, feed: str) -> list[Any]:
    return publisher.api.items(f"/v1/{feed}?limit=1000")


def _mirrored(follower: Company, publisher: Company, feed: str) -> list[Any]:
    return follower.api.items(f"/v1/peers/{follower.partners[publisher.name]}/{feed}?limit=1000")


def _reports(company: Company) -> list[str]:
    """What it says of the restore: alarms of its status, and lines of its log."""
    lines = (json.loads(line) for line in company.daemon.log_file.read_text().splitlines() if line.startswith("{"))
    logged = sorted({line["event"] for line in lines} & REPORTS)
    return [*logged, *(["an alarm"] if company.api.get("/v1/status")["alarms"] else [])]


def main(arguments: list[str]) -> int:
    """0 only if all four claims hold in both rounds."""
    options = parser("oldbackup", "Restore each side of a pair from a copy made many messages ago.")
    options.add_argument("--messages", type=whole(1), default=1000, help="messages between the copy and the restore")
    chosen = options.parse_args(arguments)
    told = Report({"seed": chosen.seed})
    for who in ("author", "receiver"):
        with (
            tempfile.TemporaryDirectory(prefix="roamd-oldbackup-") as room,
            Fleet(Path(room), patience_s=PATIENCE_S) as fleet,
        ):
            report = Round(fleet, who, chosen, say).run()
        told.figures |= {f"{who} restored: {name}": value for name, value in report.figures.items()}
        told.faults += report.faults
    return finish("oldbackup", chosen, told)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
