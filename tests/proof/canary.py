"""Canaries: does any driver's card number or contract end up where it has no business?

Two real companies roam over thousands of messages whose card numbers, contract ids, names and words are known canaries:
whitelists, authorizations (allowed, refused, malformed, unanswered), sessions, records good and bad, on HTTP and in
arrays, with the log at its most talkative. Then everything that a daemon says to others than the backend is searched
for them, in every spelling: logs, metrics, status, the bodies of problems, the arguments and environments of the
processes, and what the command line prints.

Usage: scripts/canary [--messages 10000] [--seed 1] [--json]
"""

import argparse
import itertools
import json
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from roamd.demo.client import Reply
from roamd.demo.objects import OWNED_BY_CSO, OWNED_BY_CSP, Driver, cdr, session
from tests.proof.report import Report, Say, finish, parser, seeded
from tests.support.daemons import Company, Fleet
from tests.support.progress import say
from tests.support.sizes import whole

SETTINGS = '[discovery]\nmdns = false\n\n[log]\nlevel = "debug"\n'
ARRAY = 50
END_MS = 1_795_000_000_000
SHOWN = 5


@dataclass(frozen=True)
class Canary:
    """One invented customer."""

    uid: str
    contract: str
    word: str

    @classmethod
    def hatch(cls, random: Random) -> "Canary":
        """Hexadecimal that nothing else has, a contract of the CSP, and a word for free texts."""
        uid = f"{random.randrange(1 << 56):014X}"
        return cls(uid, f"FR-RMD-C{random.randrange(10**8):08d}", f"Canary{random.randrange(16**10):010x}")

    def driver(self) -> Driver:
        return Driver(self.word, self.uid, self.contract)

    def spellings(self) -> Iterator[str]:
        """All the ways in which someone could have written it down, folded."""
        yield self.uid.lower()
        yield ":".join(self.uid[at : at + 2] for at in range(0, 14, 2)).lower()
        yield "".join(self.uid[at : at + 2] for at in range(12, -1, -2)).lower()
        yield self.contract.lower()
        yield self.contract.replace("-", "").lower()
        yield self.word.lower()


class Flight:
    """Lets the canaries fly, then searches for them."""

    def __init__(self, fleet: Fleet, options: argparse.Namespace, tell: Say) -> None:
        self.fleet, self.options, self.tell, self.report = fleet, options, tell, Report()
        self.random = seeded(options.seed, "canaries")
        self.canaries: list[Canary] = []
        self.sent: Counter[str] = Counter()
        self.problems: list[str] = []
        self.said: list[str] = []
        self.cso = fleet.company("cso", "BE*RMC", settings=SETTINGS)
        self.csp = fleet.company("csp", "FR*RMD", settings=SETTINGS)
        fleet.start(self.cso, self.csp)
        fleet.pair(self.csp, self.cso)

    def run(self) -> Report:
        kinds = (self.listed, self.asked, self.asked_in_arrays, self.in_sessions, self.in_records, self.in_nonsense)
        told = 0
        for kind in itertools.cycle(kinds):
            if self.sent.total() >= self.options.messages:
                break
            kind()
            if self.sent.total() - told >= 1000:
                told = self.sent.total()
                self.tell(f"{told}/{self.options.messages} messages")
        self.unanswered()
        self.fleet.wait_until("all records having arrived", lambda: self._queued() == 0)
        self.search()
        return self.report

    def _queued(self) -> int:
        return sum(int(row["queued"]) for row in self.cso.api.items("/v1/queue"))

    # --- flying -------------------------------------------------------------------------------------------------

    def _new(self) -> Canary:
        self.canaries.append(Canary.hatch(self.random))
        return self.canaries[-1]

    def _send(self, what: str, company: Company, method: str, path: str, body: Any, count: int = 1) -> Reply:
        reply = company.api.request(method, path, body)
        self.sent[what] += count
        if reply.status >= 400:
            self.problems.append(json.dumps(reply.body))
        return reply

    def listed(self) -> None:
        """On the whitelist, and off it again."""
        some = [self._new() for _ in range(10)]
        for canary in some:
            credential = canary.driver().user_credential(END_MS) | {"visual_number": canary.word, "issuer": canary.word}
            self._send("user credentials", self.csp, "PUT", f"/v1/user-credentials/{canary.uid}", credential)
        self._send("removals", self.csp, "DELETE", f"/v1/user-credentials/{some[0].uid}", None)
        self._send("refused reads", self.csp, "GET", f"/v1/user-credentials/{some[0].uid}", None)

    def asked(self) -> None:
        """One at a time, every third one refused by the backend."""
        for number in range(10):
            canary = self._new()
            if number % 3 == 0 and self.csp.backend is not None:
                self.csp.backend.control.need("PUT", f"/decisions/{canary.uid}", {"decision": "BLOCKED"})
            question = {"credential": canary.driver().credential(), "deadline_ms": 3000}
            self._send("authorizations", self.cso, "POST", "/v1/authorizations", question)

    def asked_in_arrays(self) -> None:
        """Many at a time, some without contract."""
        questions: list[Any] = [{"credential": self._new().driver().credential()} for _ in range(ARRAY - 10)]
        questions += [{"credential": {"type": "RFID", "uid": self._new().uid}} for _ in range(10)]
        self._send("authorizations", self.cso, "POST", "/v1/authorizations", questions, ARRAY)

    def in_sessions(self) -> None:
        """Sessions that carry them."""
        for _ in range(10):
            canary = self._new()
            one = session(f"S-{len(self.canaries)}", canary.driver(), None, END_MS) | {"remark": canary.word}
            self._send("sessions", self.cso, "PUT", f"/v1/sessions/{one['id']}", one)

    def in_records(self) -> None:
        """Records that arrive, that nobody owns, and that are handed in again with other content."""
        several = [cdr(f"CDR-{len(self.canaries)}-{n}", self._new().driver(), END_MS + n) for n in range(20)]
        self._send("records", self.cso, "POST", "/v1/records", several, len(several))
        canary = self._new()
        lost = cdr(f"LOST-{len(self.canaries)}", canary.driver(), END_MS)
        lost["cdr_token"] |= {
            "country_code": "NL",
            "party_id": "NIX",
            "contract_id": canary.contract.replace("FR", "NL"),
        }
        self._send("records without owner", self.cso, "POST", "/v1/records", lost)
        again = several[0] | {"remark": canary.word}
        self._send("conflicting records", self.cso, "POST", "/v1/records", again)

    def in_nonsense(self) -> None:
        """Everything that is refused: the problem must say where, never what."""
        canary = self._new()
        card = canary.driver().credential()
        bad_questions: list[Any] = [
            {"credential": card | {"type": canary.word}},
            {"credential": card | {"uid": canary.uid * 40}},
            {"credential": canary.uid},
            {"credential": card, "deadline_ms": canary.contract},
            {"credential": card, canary.uid: canary.word, "service": canary.word},
            f'{{"credential": {{"uid": "{canary.uid}", "uid": "{canary.contract}"}}'.encode(),
        ]
        for question in bad_questions:
            self._send("malformed questions", self.cso, "POST", "/v1/authorizations", question)
        record = cdr(f"BAD-{len(self.canaries)}", canary.driver(), END_MS)
        for wrong in ({"currency": canary.uid * 9}, {"total_cost": canary.contract}, {"start_date_time": canary.word}):
            self._send("malformed records", self.cso, "POST", "/v1/records", record | wrong)
        foreign = record | OWNED_BY_CSP
        self._send("foreign records", self.cso, "POST", "/v1/records", foreign)
        token = canary.driver().user_credential(END_MS)
        self._send("malformed credentials", self.csp, "PUT", f"/v1/user-credentials/{canary.uid}X", token)
        self._send("malformed credentials", self.csp, "PUT", f"/v1/user-credentials/{canary.uid}", token | OWNED_BY_CSO)
        self._send("unknown places", self.csp, "GET", f"/v1/{canary.uid}/{canary.contract}", None)
        self._send("unknown cursors", self.csp, "GET", f"/v1/events?after={canary.uid}", None)

    def unanswered(self) -> None:
        """While the backend is broken, late or unreadable, and while the partner is gone."""
        assert self.csp.backend is not None
        for mood in ("broken", "garbled", "silent"):
            self.csp.backend.control.need("PUT", "/mood", {"mood": mood})
            question = {"credential": self._new().driver().credential(), "deadline_ms": 500}
            self._send("unanswered questions", self.cso, "POST", "/v1/authorizations", question)
        self.csp.backend.control.need("PUT", "/mood", {"mood": "well"})

    # --- searching ----------------------------------------------------------------------------------------------

    def search(self) -> None:
        """Every place, every spelling."""
        spellings = {text: canary for canary in self.canaries for text in canary.spellings()}
        places = dict(self._places())
        self.report.figures = {
            "messages": self.sent.total(),
            "of these": dict(self.sent),
            "canaries": len(self.canaries),
            "spellings": len(spellings),
            "bytes searched": {place: len(text) for place, text in places.items()},
        }
        total = 0
        for place, text in places.items():
            found = self._found(text.lower(), spellings)
            total += len(found)
            self.report.must(not found, f"{len(found)} canaries are in {place}: {found[:SHOWN]}")
        self.report.figures["canaries found"] = total
        self.report.must(
            "authorization" in places["log of cso"], "the log says nothing at all: the search proves nothing"
        )

    def _found(self, text: str, spellings: dict[str, Canary]) -> list[str]:
        """Spellings that occur: words are cut out once, so that thousands of canaries need no thousand searches."""
        words = set(re.findall(r"[a-z0-9]+(?:[:\-][a-z0-9]+)*", text))
        parts = words | {part for word in words for part in re.split(r"[:\-]", word)}
        hexadecimal = {word[at : at + 14] for word in parts if len(word) > 14 for at in range(len(word) - 13)}
        contracts = set(re.findall(r"fr-?rmd-?c\d{8}", text)) | set(re.findall(r"canary[0-9a-f]{10}", text))
        return sorted((parts | words | hexadecimal | contracts) & spellings.keys())

    def _places(self) -> Iterator[tuple[str, str]]:
        yield "the bodies of problems", "\n".join(self.problems)
        for company in (self.cso, self.csp):
            name, daemon = company.name, company.daemon
            assert daemon.process is not None
            proc = Path(f"/proc/{daemon.process.pid}")
            yield f"log of {name}", daemon.log_file.read_text("utf-8", "replace")
            yield f"metrics of {name}", str(company.api.request("GET", "/metrics").body)
            yield f"status of {name}", json.dumps([company.api.get(path) for path in ("/v1/status", "/v1/peers")])
            for part in ("cmdline", "environ"):
                yield f"{part} of {name}", (proc / part).read_bytes().decode("utf-8", "replace")
            commands = (("status",), ("peers",), ("queue",), ("queue", "shape"), ("records",), ("ledger", "verify"))
            yield f"commands of {name}", "\n".join(self._command(company, *words) for words in commands)

    def _command(self, company: Company, *words: str) -> str:
        done = company.daemon.run(*words, expect=())
        return done.out + done.err


def main(arguments: list[str]) -> int:
    """0 only if no canary was found."""
    options = parser("canary", "Send known card numbers and contracts; none may be found where it has no business.")
    options.add_argument("--messages", type=whole(1), default=10_000, help="messages that carry canaries")
    chosen = options.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="roamd-canary-") as room, Fleet(Path(room)) as fleet:
        report = Flight(fleet, chosen, say).run()
    return finish("canary", chosen, report)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
