"""One link between two processes without backends, beside the bare loop; and what stands on the wire."""

import statistics
import time
from functools import partial

from roamd.protocol.bulk import pack_ledger_batch
from roamd.protocol.frames import HEADER_SIZE
from roamd.protocol.messages import Answer, AnswerStatus, encode
from roamd.roaming.ledger.signer import Signer
from roamd.trust.identity import Identity
from roamd.trust.signing import verify
from roamd.trust.succession import succession_of_own
from tests.bench import payloads
from tests.bench.load import Measured
from tests.bench.probes import probe
from tests.bench.stage import Stage

MANY = 512
"""Calls in flight where messages are counted: every call and every answer is one."""


def _calls(stage: Stage, kind: str, in_flight: int) -> Measured:
    return stage.link(kind).ask("calls", in_flight, stage.seconds)


def _messages(stage: Stage, kind: str) -> Measured:
    found = _calls(stage, kind, MANY)
    return {"per_s": found["per_s"] * 2, "cpu_s_per_1000": found["cpu_s_per_1000"] / 2}


def _records(stage: Stage, kind: str) -> Measured:
    return stage.link(kind).ask("records", stage.seconds)


for _kind, _name in (("linked", "link"), ("bare", "bare")):
    probe(f"{_name}-calls-1")(partial(_calls, kind=_kind, in_flight=1))
    probe(f"{_name}-calls-64")(partial(_calls, kind=_kind, in_flight=64))
    probe(f"{_name}-messages")(partial(_messages, kind=_kind))
    probe(f"{_name}-records")(partial(_records, kind=_kind))


@probe("link-beside-bulk")
def beside_bulk(stage: Stage) -> Measured:
    """One call at a time while the ledger lane is kept full."""
    return stage.link("linked").ask("mixed", stage.seconds)


@probe("wire", once=True)
def on_the_wire(stage: Stage) -> Measured:
    """Bytes before TLS, header and all, of a message that is alone in its frame."""
    del stage
    answer = Answer(bytes(16), AnswerStatus.ANSWERED, payloads.ANSWER)
    return {
        "request_bytes": statistics.mean(len(encode([payloads.call()])) for _ in range(64)) + HEADER_SIZE,
        "answer_bytes": len(encode([answer])) + HEADER_SIZE,
        "record_alone_bytes": len(pack_ledger_batch(payloads.batch_of(1))) + HEADER_SIZE,
        "record_bulk_bytes": len(pack_ledger_batch(payloads.batch_of(64))) / 64,
    }


@probe("receipts")
def receipts(stage: Stage) -> Measured:
    """Head and receipt of a batch of 64, each signed and verified, by record."""
    del stage
    identity = Identity.create(0)
    signer = Signer(succession_of_own(identity), identity.sign, verify)
    epoch, hash_, rounds = bytes(16), bytes(32), 100
    began = time.process_time()
    for number in range(rounds):
        head = signer.head(identity.endpoint_id, epoch, number, hash_, 0)
        assert signer.peer_head_holds(identity.endpoint_id, (identity.certificate_der,), epoch, head)
        receipt = signer.receipt(identity.endpoint_id, epoch, number, hash_, 0)
        assert signer.peer_receipt_holds(identity.endpoint_id, (identity.certificate_der,), epoch, receipt)
    return {"us_per_record": (time.process_time() - began) / rounds / 64 * 1e6}
