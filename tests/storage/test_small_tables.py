"""Peers, invitations, stored answers, decisions and named values."""

import pytest

from roamd.errors import StoreError
from roamd.storage import decisions, idempotency, meta, peers
from roamd.storage.decisions import DecisionRow
from roamd.storage.idempotency import StoredAnswer
from roamd.storage.peers import InvitationRow, PeerRow
from roamd.storage.store import Store

ALPHA = PeerRow(
    peer="alpha",
    endpoint_id="E" * 56,
    identity_der=b"der",
    name="Alpha & Söhne",
    parties=("DEABC", "DEXYZ"),
    state="PENDING",
    address=None,
    descriptor=b"d",
    descriptor_sequence=1,
    agreement_json=b"{}",
    rights_version=3,
    words="one two three four five six",
    paired_at_ms=9,
    joined_by_us=True,
)
INVITATION = InvitationRow(b"i", b"secret", 100, auto=False, used_by=None, result=None, address="host:1")


def test_a_peer_comes_back_as_it_was_put(memory: Store) -> None:
    memory.write(lambda cx: peers.put_txn(cx, ALPHA))
    changed = ALPHA._replace(state="PAIRED", address="host:63119", parties=(), joined_by_us=False)
    assert memory.read(peers.load_all) == [ALPHA]
    memory.write(lambda cx: peers.put_txn(cx, changed))
    assert memory.read(lambda cx: peers.get(cx, "alpha")) == changed
    assert memory.write(lambda cx: peers.remove_txn(cx, "alpha"))
    assert not memory.write(lambda cx: peers.remove_txn(cx, "alpha"))
    assert memory.read(lambda cx: peers.get(cx, "alpha")) is None


def test_an_endpoint_is_a_peer_once(memory: Store) -> None:
    memory.write(lambda cx: peers.put_txn(cx, ALPHA))
    with pytest.raises(StoreError):
        memory.write(lambda cx: peers.put_txn(cx, ALPHA._replace(peer="beta")))


def test_an_invitation_is_used_by_one_and_a_repeat_is_the_same_one(memory: Store) -> None:
    memory.write(lambda cx: peers.put_invitation_txn(cx, INVITATION))
    assert memory.read(lambda cx: peers.get_invitation(cx, b"i")) == INVITATION
    use = [
        memory.write(lambda cx, who=who: peers.use_invitation_txn(cx, b"i", who, b"result"))
        for who in ("alpha", "beta", "alpha")
    ]
    assert use == [True, False, True]
    stored = memory.read(lambda cx: peers.get_invitation(cx, b"i"))
    assert stored == INVITATION._replace(used_by="alpha", result=b"result")
    assert not memory.write(lambda cx: peers.use_invitation_txn(cx, b"unknown", "alpha", b""))


def test_expired_invitations_go(memory: Store) -> None:
    for name, expires in ((b"a", 100), (b"b", 200)):
        row = INVITATION._replace(id=name, expires_ms=expires, auto=True)
        memory.write(lambda cx, row=row: peers.put_invitation_txn(cx, row))
    assert memory.write(lambda cx: peers.delete_expired_txn(cx, 100)) == 1
    assert [row.id for row in memory.read(peers.list_invitations)] == [b"b"]
    assert memory.read(peers.list_invitations)[0].auto is True


def test_an_answer_is_kept_per_key_and_operation_until_purged(memory: Store) -> None:
    answer = StoredAnswer(b"hash", 202, b"{}")
    memory.write(lambda cx: idempotency.put_txn(cx, "key", "records", answer, 10))
    assert memory.read(lambda cx: idempotency.get(cx, "key", "records")) == answer
    assert memory.read(lambda cx: idempotency.get(cx, "key", "other")) is None
    with pytest.raises(StoreError):
        memory.write(lambda cx: idempotency.put_txn(cx, "key", "records", answer, 11))
    assert memory.write(lambda cx: idempotency.purge_txn(cx, 10)) == 0
    assert memory.write(lambda cx: idempotency.purge_txn(cx, 11)) == 1


def decision(reference: str | None, peer: str | None, at_ms: int = 1) -> DecisionRow:
    return DecisionRow("auth-1", at_ms, peer, "out", "ALLOWED", "backend", "BACKEND", reference, 12.5)


def test_a_reference_names_the_peer_that_gave_it_last(memory: Store) -> None:
    rows = [decision("ref", "alpha"), decision("ref", "beta"), decision("ref", None), decision(None, "gamma")]
    memory.write(lambda cx: decisions.append_many_txn(cx, rows))
    assert memory.read(lambda cx: decisions.peer_of_reference(cx, "ref")) == "beta"
    assert memory.read(lambda cx: decisions.peer_of_reference(cx, "unknown")) is None
    assert memory.read(lambda cx: decisions.page(cx, 1, 2)) == [(2, rows[1]), (3, rows[2])]


def test_old_decisions_go(memory: Store) -> None:
    memory.write(lambda cx: decisions.append_many_txn(cx, [decision("a", "p", 1), decision("b", "p", 2)]))
    assert memory.write(lambda cx: decisions.purge_txn(cx, 2)) == 1
    assert memory.read(lambda cx: decisions.peer_of_reference(cx, "a")) is None


def test_named_values_are_kept_replaced_and_forgotten(memory: Store) -> None:
    assert memory.read(lambda cx: meta.get(cx, "name")) is None
    for value in ("one", "two"):
        memory.write(lambda cx, value=value: meta.set_txn(cx, "name", value))
    assert memory.read(lambda cx: meta.get(cx, "name")) == "two"
    memory.write(lambda cx: meta.delete_txn(cx, "name"))
    assert memory.read(lambda cx: meta.get(cx, "name")) is None


def test_a_counter_never_falls(memory: Store) -> None:
    for value in (5, 3):
        memory.write(lambda cx, value=value: meta.raise_txn(cx, "mark", value))
    assert memory.read(lambda cx: meta.counter(cx, "mark")) == 5
