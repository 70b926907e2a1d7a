"""Bit rot: does a bit that fell over in the ledger on the disk go unnoticed, or out of the door?

A store holds a chain to a peer and one from it, with real signatures, as weeks of settlement leave it. Again and again
a copy of its file gets one bit flipped, in a page of the ledger's tables or indexes, and is opened as the daemon would
open it. Then `ledger verify` must find it (a daemon that refuses to start has found it, too), unless the flip fell into
space that holds nothing, which is checked by comparing every value. And whatever is asked for meanwhile (each record by
the API, the events, the evidence, the batches for the peer and its fetches) must come out as it went in, or not at all.

Not part of the ledger, because nothing is proven by it: when we noted an entry here (`at_ms`).

Usage: scripts/bitrot [--flips 1000] [--records 60] [--seed 1] [--json]
"""

import contextlib
import hashlib
import itertools
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import apsw
import msgspec
import trio

from roamd import log
from roamd.clock import SystemClock
from roamd.demo.objects import CSO_PARTY, CSP_PARTY, LIVE_DRIVER, cdr
from roamd.errors import OperatorError, RoamdError, StoreError
from roamd.model.agreement import preset
from roamd.protocol.bulk import LedgerBatch, unpack_ledger_batch
from roamd.protocol.ledger import EntryKind, LedgerItem
from roamd.roaming import operations as op
from roamd.roaming.deadlines import Deadlines
from roamd.roaming.decisions import DecisionJournal
from roamd.roaming.directory import Directory
from roamd.roaming.events import EventDesk, record_event_txn
from roamd.roaming.ledger.author import Author
from roamd.roaming.ledger.chain import append_items_txn, entry_rows
from roamd.roaming.ledger.desk import LedgerDesk
from roamd.roaming.ledger.evidence import pem
from roamd.roaming.ledger.signer import Signer
from roamd.roaming.records import Records
from roamd.storage import ledgers, records
from roamd.storage.ledgers import GENESIS, SignedMark
from roamd.storage.peers import PeerRow
from roamd.storage.records import DELIVERED, QUEUED, RecordRow
from roamd.storage.store import Cx, Store
from roamd.trust.identity import Identity
from roamd.trust.signing import verify
from roamd.trust.succession import succession_of_own
from tests.proof.report import Report, Say, finish, parser, seeded
from tests.support.progress import say
from tests.support.sizes import whole

PEER = "csp"
BATCH = 10
LEDGER = (
    "chains",
    "entries",
    "entries_about_records",
    "marks",
    "sqlite_autoindex_chains_1",
    "sqlite_autoindex_marks_1",
)
"""The tables of the ledger and their indexes, by the names under which SQLite counts their pages."""

END_MS = 1_795_000_000_000


def signer_of(identity: Identity) -> Signer:
    return Signer(succession_of_own(identity), identity.sign, verify)


@dataclass(frozen=True)
class Ledger:
    """The whole store, and what was put into it: bodies by direction and record id."""

    path: Path
    us: Signer
    them: Signer
    bodies: dict[tuple[str, str], bytes]

    def directory(self) -> Directory:
        found = Directory()
        row = PeerRow(
            PEER, self.them.endpoint_id, self.them.succession.current, "Peer", ("FRRMD",), "PAIRED", None, b"", 1,
            preset(("cso", "csp"), ("cso", "csp"), ("FRRMD",)).to_json(), 1, "", 0, False,
        )  # fmt: skip
        found.put(row)
        return found


def build(path: Path, count: int, random: Random) -> Ledger:
    """A store with `count` records each way: all but the last batch of our own are receipted."""
    clock = SystemClock()
    us, them = (signer_of(Identity.create(clock.now_ms())) for _ in range(2))
    ledger = Ledger(path, us, them, {})
    with Store.open(path, ballast_bytes=0) as store:
        for direction in ("out", "in"):
            store.write(partial(_fill_txn, ledger=ledger, direction=direction, count=count, random=random))
    return ledger


def _fill_txn(cx: Cx, ledger: Ledger, direction: str, count: int, random: Random) -> None:
    own = direction == "out"
    author, receiver = (ledger.us, ledger.them) if own else (ledger.them, ledger.us)
    chain = ledgers.open_chain_txn(cx, PEER, own=own, epoch=random.randbytes(16))
    for number in range(1, count + 1):
        body = _body(direction, number)
        name = f"{direction.upper()}-{number}"
        ledger.bodies[direction, name] = body
        item = LedgerItem(EntryKind.CDR, name, random.randbytes(16), body, ocpi="2.3.0")
        chain = append_items_txn(cx, chain, [item], END_MS)
        receipted = not own or number <= count - BATCH
        row = _record(direction, name, body, chain.chain_id, number, DELIVERED if receipted else QUEUED)
        record_event_txn(cx, row._replace(id=records.put_txn(cx, row)), "record.state", END_MS)
        if number % BATCH == 0 and receipted:
            at = chain.epoch, number, chain.tail_hash, END_MS + number
            ledgers.put_head_txn(cx, chain.chain_id, author.head(receiver.endpoint_id, *at))
            ledgers.put_receipt_txn(cx, chain.chain_id, receiver.receipt(author.endpoint_id, *at))


def _body(direction: str, number: int) -> bytes:
    party = CSO_PARTY if direction == "out" else CSP_PARTY
    owner = {"country_code": party[:2], "party_id": party[3:]}
    one = cdr(f"{direction.upper()}-{number}", LIVE_DRIVER, END_MS + number) | owner
    one["remark"] = "x" * (number * 97 % 4000)  # some span several pages
    return msgspec.json.encode(one)


def _record(direction: str, name: str, body: bytes, chain_id: int, sequence: int, state: str) -> RecordRow:
    party = CSO_PARTY if direction == "out" else CSP_PARTY
    return RecordRow(
        direction, party.replace("*", ""), name, PEER, "CDR", state, None, "2.3.0", hashlib.sha256(body).digest(), None,
        chain_id, sequence, None, END_MS, END_MS,
    )  # fmt: skip


def ledger_bytes(path: Path) -> list[range]:
    """Where in the file the ledger lies."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    size = int(str(connection.pragma("page_size")))
    marks = ", ".join("?" * len(LEDGER))
    pages = connection.execute(f"SELECT pageno FROM dbstat WHERE name IN ({marks})", LEDGER).fetchall()  # noqa: S608
    connection.close()
    return [range((page - 1) * size, page * size) for (page,) in sorted(pages)]


def values(path: Path) -> list[Any] | None:
    """All of the ledger's values but `at_ms`; None when they cannot be read."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return [
            *connection.execute(
                "SELECT id, kind, record_id, commitment, hash, ocpi, salt, body FROM entries ORDER BY id"
            ),
            *connection.execute("SELECT * FROM marks ORDER BY chain_id, kind, sequence, hash"),
            *connection.execute("SELECT * FROM chains ORDER BY chain_id"),
        ]
    except (apsw.Error, UnicodeDecodeError):
        return None
    finally:
        connection.close()


@dataclass
class Inspection:
    """What an opened store says of itself, and what wrong thing it gave out."""

    found: bool = False
    served: str | None = None
    refused: int = 0


class Inspector:
    """Looks at one store as the daemon's parts do."""

    def __init__(self, ledger: Ledger, store: Store) -> None:
        self.ledger, self.store = ledger, store
        self.directory = ledger.directory()
        self.seen = Inspection()

    async def look(self) -> Inspection:
        """Verify, then ask for everything."""
        async with trio.open_nursery() as nursery:
            desk = LedgerDesk(self.store, self.directory, self.ledger.us, nursery.start_soon)
            report: list[Any] = []
            desk.verify(op.VerifyLedgers(), report.append)
        self.seen.found = isinstance(report[0], RoamdError) or not report[0]["ok"]
        self._ask_for_records()
        self._ask_for_events()
        self._ask_for_evidence(desk)
        self._ask_as_the_peer()
        return self.seen

    def _expect(self, what: str, body: bytes | None, *wanted: bytes) -> None:
        if body is not None and body not in wanted:
            self.seen.served = what

    def _ask_for_records(self) -> None:
        clock = SystemClock()
        desk = Records(
            clock, self.store, self.directory, DecisionJournal(self.store, Deadlines(clock)), bytes, lambda peer: None
        )
        for (direction, name), body in self.ledger.bodies.items():
            reply = self._asked(partial(desk.get, op.GetRecord(name, direction=direction)))
            if reply is not None:
                self._expect(f"record {name}", bytes(reply.record) if reply.record else None, body)

    def _ask_for_events(self) -> None:
        desk = EventDesk(SystemClock(), self.store)
        page = self._asked(partial(desk.read, op.ReadEvents("", 1000)))
        for event in page.items if page is not None else ():
            text = bytes(event.data)
            body = text.partition(b'"record":')[2][:-1]
            if body != b"null":
                self._expect("an event", body, *self.ledger.bodies.values())

    def _ask_for_evidence(self, desk: LedgerDesk) -> None:
        for direction, name in (("out", "OUT-1"), ("in", "IN-1"), ("out", f"OUT-{BATCH}"), ("in", f"IN-{BATCH}")):
            files = self._asked(partial(desk.export, op.ExportEvidence(name)))
            if files is not None:
                self._expect("evidence", files.get("body.json"), self.ledger.bodies[direction, name])
                self._check_evidence(files)

    def _check_evidence(self, files: dict[str, bytes]) -> None:
        """As an auditor does: the chain from the body to the signed head."""
        entries = [files[name] for name in sorted(files) if name.startswith("entry-")]
        committed = hashlib.sha256(files["salt.bin"] + files["body.json"]).digest()
        good = entries[0][60:92] == committed and all(
            later[24:56] == hashlib.sha256(entry).digest() for entry, later in itertools.pairwise(entries)
        )
        for kind, who in (("head", "author"), ("receipt", "receiver")):
            certificate = files[f"{who}.crt"]
            der = (
                self.ledger.us.succession.current
                if _same(certificate, self.ledger.us)
                else self.ledger.them.succession.current
            )
            good = good and verify(der, files[f"{kind}.bin"], files[f"{kind}.sig"])
        if not good:
            self.seen.served = "evidence that does not hold"

    def _ask_as_the_peer(self) -> None:
        """Everything that we would send: it must be taken by a receiver who checks it."""
        (peer,) = self.directory
        author = Author(peer, self.store, self.ledger.us, SystemClock(), _ignore, _ignore, _ignore)
        try:
            author.begin(None)
            while (payload := author.next_batch()) is not None:
                self._receive(unpack_ledger_batch(payload))
        except (StoreError, ValueError):
            self.seen.refused += 1

    def _receive(self, batch: LedgerBatch) -> None:
        rows = entry_rows(batch.previous_hash or GENESIS, batch.first_sequence, batch.items, END_MS)
        head = SignedMark(rows[-1].sequence, rows[-1].hash, batch.time_ms, batch.signature)
        us, them = self.ledger.us, self.ledger.them
        if not them.peer_head_holds(us.endpoint_id, us.succession.ever, batch.epoch, head):
            self.seen.served = "a batch whose head does not hold"
        for item in batch.items:
            self._expect("a batch", item.body, *self.ledger.bodies.values())

    def _asked(self, ask: Callable[[Callable[[Any], None]], None]) -> Any:
        """The reply, or None when there was none to be had."""
        replies: list[Any] = []
        try:
            ask(replies.append)
        except StoreError:
            self.seen.refused += 1
            return None
        except RoamdError:  # a name that fell over is a name that is not there
            self.seen.refused += 1
            return None
        if isinstance(replies[0], BaseException):
            self.seen.refused += 1
            return None
        return replies[0]


def _ignore(*_: object) -> None:
    """Nobody is told."""


def _same(certificate_pem: bytes, signer: Signer) -> bool:
    return certificate_pem == pem(signer.succession.current)


def inspect(ledger: Ledger, path: Path) -> Inspection:
    """Open the store at `path` and look; one that does not open has said so."""
    try:
        with Store.open(path, ballast_bytes=0) as store:
            return trio.run(Inspector(ledger, store).look)
    except (StoreError, OperatorError):
        return Inspection(found=True)


def flips(ledger: Ledger, count: int, random: Random) -> Iterator[tuple[int, int]]:
    """Places (byte, bit) in the ledger's pages, all of them equally likely."""
    places = ledger_bytes(ledger.path)
    for _ in range(count):
        yield random.choice(random.choice(places)), random.randrange(8)


@contextlib.contextmanager
def flipped(ledger: Ledger, at: int, bit: int) -> Iterator[Path]:
    """A copy of the store with one bit changed."""
    room = Path(tempfile.mkdtemp(prefix="roamd-bitrot-"))
    try:
        copy = room / "store.db"
        data = bytearray(ledger.path.read_bytes())
        data[at] ^= 1 << bit
        copy.write_bytes(data)
        yield copy
    finally:
        shutil.rmtree(room)


def measure(ledger: Ledger, count: int, random: Random, tell: Say) -> Report:
    """Flip `count` bits, one at a time."""
    report, tally = Report(), Counter[str]()
    untouched = values(ledger.path)
    report.must(not inspect(ledger, ledger.path).found, "the untouched store does not verify")
    for number, (at, bit) in enumerate(flips(ledger, count, random), 1):
        with flipped(ledger, at, bit) as copy:
            harmless = values(copy) == untouched
            seen = inspect(ledger, copy)
        tally["found"] += seen.found
        tally["in unused space"] += harmless and not seen.found
        tally["requests refused"] += seen.refused
        report.must(seen.found or harmless, f"byte {at} bit {bit} was not found")
        report.must(seen.served is None, f"byte {at} bit {bit} was served as {seen.served}")
        if number % 50 == 0:
            tell(f"{number}/{count} flips, {tally['found']} found, {len(report.faults)} faults")
    report.figures = {
        "flips": count,
        "found by ledger verify": tally["found"],
        "in space that holds nothing": tally["in unused space"],
        "not found": sum("not found" in fault for fault in report.faults),
        "served": sum("served" in fault for fault in report.faults),
        "requests refused for damage": tally["requests refused"],
    }
    return report


def main(arguments: list[str]) -> int:
    """0 only if every flip was found and none was served."""
    options = parser("bitrot", "Flip bits in a ledger's file: each must be found, none served.")
    options.add_argument("--flips", type=whole(1), default=1000, help="bits that are flipped, each in a fresh copy")
    options.add_argument("--records", type=whole(1), default=60, help="records in each of the two chains")
    chosen = options.parse_args(arguments)
    log.configure("critical")
    with tempfile.TemporaryDirectory(prefix="roamd-bitrot-") as room:
        ledger = build(Path(room) / "store.db", chosen.records, seeded(chosen.seed, "ledger"))
        report = measure(ledger, chosen.flips, seeded(chosen.seed, "flips"), say)
    return finish("bitrot", chosen, report)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
