"""Everything that a stranger can send, one plain function each: bytes in, nothing out, and only errors of ours.

A target does with the bytes what the daemon would do with them, as far down as they get before a store or a socket is
needed. It may raise `RoamdError` and nothing else. The same functions are run by Hypothesis in the tests, by atheris in
`scripts/fuzz`, and by the tests that measure what a megabyte costs.

`seeds` are inputs that a well-behaved sender makes: a target must take each of them without any error, which proves
that it reaches what it is meant to reach.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tests.fuzz import (
    backend_side,
    filter_side,
    ledger_side,
    ocpi_side,
    operator_side,
    peer_side,
    trust_side,
    wire_side,
)


@dataclass(frozen=True)
class Target:
    """`run` raises nothing but RoamdError. `whole` is the largest input that its caller ever hands over at once."""

    name: str
    run: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]


TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("connection", wire_side.connection, wire_side.connection_seeds),
        Target("established", wire_side.established, wire_side.established_seeds),
        Target("message", wire_side.message, wire_side.message_seeds),
        Target("call-body", wire_side.call_body, wire_side.call_body_seeds),
        Target("bulk-payload", wire_side.bulk_payload, wire_side.bulk_payload_seeds),
        Target("feed-items", wire_side.feed_items, wire_side.feed_items_seeds),
        Target("ledger-items", wire_side.ledger_items, wire_side.ledger_items_seeds),
        Target("ledger-entry", ledger_side.ledger_entry, ledger_side.ledger_entry_seeds),
        Target("agreement-document", ledger_side.agreement_document, ledger_side.agreement_document_seeds),
        Target("reconcile", ledger_side.reconcile, ledger_side.reconcile_seeds),
        Target("evidence", ledger_side.evidence, ledger_side.evidence_seeds),
        Target("grant", peer_side.grant, peer_side.grant_seeds),
        Target("keyed-card", peer_side.keyed_card, peer_side.keyed_card_seeds),
        Target("account", peer_side.account, peer_side.account_seeds),
        Target("envelope", peer_side.envelope, peer_side.envelope_seeds),
        Target("feed-cursor", peer_side.feed_cursor, peer_side.feed_cursor_seeds),
        Target("card-filter", filter_side.card_filter, filter_side.card_filter_seeds),
        Target("descriptor", trust_side.descriptor, trust_side.descriptor_seeds),
        Target("succession", trust_side.succession, trust_side.succession_seeds),
        Target("signed-statement", trust_side.signed_statement, trust_side.signed_statement_seeds),
        Target("signed-descriptor", trust_side.signed_descriptor, trust_side.signed_descriptor_seeds),
        Target("invitation", trust_side.invitation, trust_side.invitation_seeds),
        Target("pairing", trust_side.pairing, trust_side.pairing_seeds),
        Target("certificate", trust_side.certificate, trust_side.certificate_seeds),
        Target("object", backend_side.an_object, backend_side.object_seeds),
        Target("patch", backend_side.patch, backend_side.patch_seeds),
        Target("record", backend_side.record, backend_side.record_seeds),
        Target("authorization", backend_side.authorization, backend_side.authorization_seeds),
        Target("small-request", backend_side.small_request, backend_side.small_request_seeds),
        Target("batch", backend_side.batch, backend_side.batch_seeds),
        Target("stream-frame", backend_side.stream_frame, backend_side.stream_frame_seeds),
        Target("backend-answer", backend_side.backend_answer, backend_side.backend_answer_seeds),
        Target("ocpi-mending", ocpi_side.ocpi_mending, ocpi_side.ocpi_mending_seeds),
        Target("ocpi-request", ocpi_side.ocpi_request, ocpi_side.ocpi_request_seeds),
        Target("ocpi-answer", ocpi_side.ocpi_answer, ocpi_side.ocpi_answer_seeds),
        Target("cursor", backend_side.cursor, backend_side.cursor_seeds),
        Target("configuration", operator_side.configuration, operator_side.configuration_seeds),
        Target("mdns", operator_side.mdns, operator_side.mdns_seeds),
        Target("dns-answer", operator_side.dns_answer, operator_side.dns_answer_seeds),
    )
}
