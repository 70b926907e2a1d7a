"""Targets: what a peer says in its chain besides records, what it says of the ledgers, and the file for an auditor.

Entries are taken by the real code into a real store, in a transaction that is undone afterwards: what is harmless to
read may still be harmful to keep. An entry that changes nothing counts as refused, so that the seeds prove something.
"""

import contextlib
import io
import runpy
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from roamd.clock import rfc3339
from roamd.errors import ProtocolError
from roamd.model.agreement import preset
from roamd.model.agreementdocument import (
    AgreementDocument,
    clauses,
    digest_of,
    document_of,
    kept_document,
    next_number,
    projected,
    read_document,
)
from roamd.model.clauses import changed_by, clauses_of, differences, faults_of
from roamd.model.statement import Statement
from roamd.protocol.ledger import AgreementDecision, AgreementProposal, EntryKind, Erasure, LedgerItem, Refusal, Word
from roamd.protocol.reconcile import Group, GroupPage, LinePage, Reconcile, RecordLine, Repaired, Step, Tail
from roamd.roaming.accounts import following
from roamd.roaming.ledger.agreed import fold_txn
from roamd.roaming.ledger.chain import append_items_txn, entry_rows, own_chain_txn
from roamd.roaming.ledger.desk import LedgerDesk
from roamd.roaming.ledger.receiver import Arrival
from roamd.roaming.ledger.take import TakeEntries
from roamd.roaming.operations import ExportEvidence
from roamd.roaming.reconcile.compare import GroupKey, line_page
from roamd.storage import accounts, events, ledgers
from roamd.storage.ledgers import GENESIS
from roamd.storage.store import Cx
from roamd.trust.signing import ALGORITHM
from tests.model import bodies
from tests.support.roaming import Company, answer_of, carry

SALT, EPOCH, HASH = b"S" * 16, b"E" * 16, bytes(32)
RECORD, MONTH = "C-1", "2026-10"


# --- two companies with a record between them ---------------------------------------------------------------------


@dataclass(frozen=True)
class Pair:
    """A CSO that has billed a CSP, and has proposed an agreement to it that waits for an answer."""

    cso: Company
    csp: Company
    proposed: str


@cache
def pair() -> Pair:
    """Made once; nothing that a target does to it stays."""
    cso, csp = Company(1, "DEABC", "cso"), Company(2, "FRRMD", "csp")
    cso.meets(csp, "rmd")
    csp.meets(cso, "abc")
    cso.hand_in(bodies.cdr(id=RECORD))
    text = _document(cso, csp, 0).text()
    proposal = LedgerItem(EntryKind.AGREEMENT_PROPOSED, digest_of(text), SALT, _proposal(cso, text).pack())

    def propose(cx: Cx) -> None:
        append_items_txn(cx, own_chain_txn(cx, "rmd", cso.random), [proposal], bodies.STAMP_MS)
        fold_txn(cx, cso.peer("rmd"), digest_of(text), bodies.STAMP_MS)

    cso.store.write(propose)
    carry(cso, csp)
    return Pair(cso, csp, digest_of(text))


def _document(us: Company, them: Company, highest: int) -> AgreementDocument:
    """Ours with the next number above `highest`; which those are depends on how the two ids sort."""
    number = next_number(highest, first=us.identity.endpoint_id < them.identity.endpoint_id)
    given = clauses_of(preset(us.roles, them.roles, [them.party]), [us.party])
    said, _ = changed_by(given, {"tolerance": "0.02"}, {}, {})
    return document_of(said, number, us.identity.endpoint_id,
                       them.identity.endpoint_id)  # fmt: skip


def _proposal(by: Company, text: bytes) -> AgreementProposal:
    return AgreementProposal(text.decode(errors="replace"), ALGORITHM, _signature(by, text))


def _signature(by: Company, text: bytes) -> str:
    return b64encode(by.identity.sign(text)).decode()


# --- entries --------------------------------------------------------------------------------------------------------

FROM_CSP = (EntryKind.ACCEPTED, EntryKind.DISPUTED, EntryKind.FINAL, EntryKind.REFUSED, EntryKind.AGREEMENT_ACCEPTED,
            EntryKind.AGREEMENT_DECLINED, EntryKind.ERASURE, EntryKind.STATEMENT)  # fmt: skip
FROM_CSO = (EntryKind.CREDITED, EntryKind.CORRECTED, EntryKind.ERASURE, EntryKind.AGREEMENT_PROPOSED, EntryKind.CDR,
            EntryKind.STATEMENT)  # fmt: skip
KINDS = [(kind, False) for kind in FROM_CSP] + [(kind, True) for kind in FROM_CSO]


class _UndoneError(Exception):
    """Ends a transaction that is not to be kept."""

    def __init__(self, changed: bool) -> None:
        self.changed = changed


def ledger_entry(data: bytes) -> None:
    """The body of one entry, its kind and author in the first byte."""
    kind, by_cso = KINDS[(data[0] if data else 0) % len(KINDS)]
    _take(kind, by_cso, data[1:])


def _take(kind: EntryKind, by_cso: bool, body: bytes, record_id: str | None = None) -> None:
    both = pair()
    here, label = (both.csp, "abc") if by_cso else (both.cso, "rmd")
    item = LedgerItem(kind, record_id or _subject(kind, body), SALT, body, ocpi="2.3.0")

    def txn(cx: Cx) -> NoReturn:
        chain = ledgers.current_chain(cx, label, own=False) or ledgers.open_chain_txn(cx, label, own=False, epoch=EPOCH)
        previous = chain.tail_hash if chain.tail_sequence else GENESIS
        rows = entry_rows(previous, chain.tail_sequence + 1, [item], bodies.STAMP_MS)
        ledgers.append_many_txn(cx, chain.chain_id, previous, rows)
        newest = events.newest(cx) or 0
        arrival = Arrival(here.peer(label), chain.chain_id, list(zip([item], rows, strict=True)), bodies.STAMP_MS)
        TakeEntries(here.random, keep=lambda at_ms: 0)(cx, arrival)
        raise _UndoneError((events.newest(cx) or 0) > newest)

    try:
        here.store.write(txn)
    except _UndoneError as undone:
        if not undone.changed:
            raise ProtocolError(0, "the entry changes nothing") from None


def _subject(kind: EntryKind, body: bytes) -> str:
    """What such an entry has to be about."""
    match kind:
        case EntryKind.STATEMENT:
            return f"statement {MONTH}"
        case EntryKind.AGREEMENT_ACCEPTED | EntryKind.AGREEMENT_DECLINED:
            return pair().proposed
        case EntryKind.AGREEMENT_PROPOSED:
            with contextlib.suppress(msgspec.DecodeError, AttributeError, TypeError, KeyError, UnicodeError):
                return digest_of(msgspec.json.decode(body)["document"].encode())
            return "0" * 64
        case EntryKind.CDR:
            return "C-2"
        case _:
            return RECORD


def ledger_entry_seeds() -> list[bytes]:
    """One of each kind, as the other side would say it."""
    both = pair()
    text = _document(both.cso, both.csp, 0).text()
    other = _document(both.cso, both.csp, 2).text()
    chain = both.cso.chains(own=True)[0]
    said = Word("DEABC", "price", "0.50 too much", ["20 kWh x 0.25 = 5.00"]).pack()
    credit = Word("DEABC", credit="C-1-C", replacement="C-1-R").pack()
    of_csp = [
        said, said, said,
        Refusal("DEABC", "malformed", "why", chain.epoch.hex(), 1).pack(),
        AgreementDecision(ALGORITHM, _signature(both.csp, text)).pack(),
        AgreementDecision(reason="too dear").pack(),
        Erasure("you", chain.epoch.hex(), 1).pack(),
        _statement().pack(),
    ]  # fmt: skip
    of_cso = [
        credit, credit,
        Erasure("me", chain.epoch.hex(), 1).pack(),
        _proposal(both.cso, other).pack(),
        bodies.text(bodies.cdr(id="C-2")),
        _statement().pack(),
    ]  # fmt: skip
    return [bytes([number]) + body for number, body in enumerate(of_csp + of_cso)]


def _statement() -> Statement:
    return Statement("roamd statement 1", MONTH, ["A" * 56, "B" * 56], 0, HASH.hex(), [])


# --- agreements -----------------------------------------------------------------------------------------------------


def agreement_document(data: bytes) -> None:
    """A document of any form, signed by the peer, and what the operator is shown of it."""
    both = pair()
    document = read_document(data)
    for side in (0, 1):
        found = clauses(document, side)
        differences(found, clauses_of(both.csp.peer("abc").agreement, ["FRRMD"]))
        if not faults_of(found):  # nobody signs one that has any, and only what is signed is ever put to use
            projected(document, side, both.csp.peer("abc").agreement)
    for moment in (document.valid_from_ms, document.valid_until_ms):
        rfc3339(moment or 0)
    if kept_document(data).text() != data:
        raise AssertionError("a document that was read is written in another way")
    _take(EntryKind.AGREEMENT_PROPOSED, True, _proposal(both.cso, data).pack(), digest_of(data))


def agreement_document_seeds() -> list[bytes]:
    """One that may be signed."""
    both = pair()
    return [_document(both.cso, both.csp, 2).text()]


# --- reconciliation -------------------------------------------------------------------------------------------------


def reconcile(data: bytes) -> None:
    """A question or an answer, by the first byte: what is looked up for it, and what is made of it."""
    choice, body = (data[0], data[1:]) if data else (0, b"")
    match choice % 4:
        case 0:
            _asked(Reconcile.unpack(body))
        case 1:
            page = GroupPage.unpack(body)
            {(tail.yours, tail.epoch): tail.sequence for tail in page.tails}
            sorted({GroupKey(group.day, group.yours, group.kind): group.digest for group in page.groups})
        case 2:
            for line in LinePage.unpack(body).lines:
                line.digest_part()
        case _:
            Repaired.unpack(body)


def _asked(question: Reconcile) -> None:
    """As `roaming.reconcile.desk` does."""
    store, group = pair().csp.store, GroupKey(question.day, question.yours, question.kind)
    match question.step:
        case Step.DIGESTS:
            store.read(lambda cx: accounts.settled(cx, "abc", following(question.day), question.until, 10))
        case Step.LINES:
            store.read(lambda cx: line_page(cx, "abc", group, question.party, question.record_key)).pack()


def reconcile_seeds() -> list[bytes]:
    """Both questions and all answers."""
    line = RecordLine("DEABC", RECORD, EPOCH, 1, HASH, "DELIVERED")
    group = Group(True, "CDR", "2026-10-01", 1, HASH)
    return [
        b"\0" + Reconcile(Step.DIGESTS, "2026-10-01").pack(),
        b"\0" + Reconcile(Step.LINES, "2026-10-01", yours=True, kind="CDR", party="DEABC", record_key=RECORD).pack(),
        b"\1" + GroupPage([Tail(True, EPOCH, 1)], [group], more=True).pack(),
        b"\2" + LinePage([line, line]).pack(),
        b"\3" + Repaired(1, 2, 3).pack(),
    ]


# --- evidence -------------------------------------------------------------------------------------------------------

SCRIPT = Path(__file__).parents[2] / "scripts" / "verify-evidence"


@cache
def _check() -> Callable[[bytes], str]:
    found: Callable[[bytes], str] = runpy.run_path(str(SCRIPT))["check"]
    return found


@cache
def _evidence() -> bytes:
    both = pair()
    desk = LedgerDesk(both.cso.store, both.cso.directory, both.cso.signer, lambda *_: None)
    files: dict[str, Any] = answer_of(desk.export, ExportEvidence(RECORD, bundle=True))
    return bytes(files["evidence.json"])


def evidence(data: bytes) -> None:
    """The file for an auditor, changed in any way: the script says no, whatever it stumbles over, and prints no escape.

    It catches every exception and says NOT OK; so what counts is that nothing but the file itself passes.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            _check()(data)
    except (Exception, SystemExit) as error:
        raise ProtocolError(0, "it is none") from error
    if data != _evidence():
        raise AssertionError("evidence that was changed passes")
    if not said.getvalue().isascii():
        raise AssertionError("what stood in the file is printed as it stood")


def evidence_seeds() -> list[bytes]:
    """A record's, as its author gives it out."""
    return [_evidence()]
