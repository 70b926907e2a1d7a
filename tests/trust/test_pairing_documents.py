"""The pairing handshake without a network: two sides joined by hand, and everything that a stranger may try."""

import os
from dataclasses import replace

import msgpack  # type: ignore[import-untyped]  # it ships no types
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roamd.errors import NotTrusted
from roamd.trust.descriptor import verify_descriptor
from roamd.trust.documents import MAX_DOCUMENT, pack
from roamd.trust.identity import Identity
from roamd.trust.invitation import Invitation
from roamd.trust.leaf import Leaf, issue_leaf
from roamd.trust.pairing import Inviter, Joined, Joiner, Unframer, framed
from roamd.trust.succession import appoint
from tests.support.trust import descriptor_data, identity, real_now_ms

HOST, GUEST, MALLORY = identity(0), identity(1), identity(2)
NOW_MS = real_now_ms()
LEAF = issue_leaf(HOST, NOW_MS)
INVITATION = Invitation.create(HOST.endpoint_id, "host:1", NOW_MS, os.urandom)


def inviter(own: Identity = HOST, leaf: Leaf = LEAF) -> Inviter:
    return Inviter(own, leaf.sha256, descriptor_data(own), os.urandom)


def joiner(invitation: Invitation = INVITATION, leaf: Leaf = LEAF, own: Identity = GUEST) -> Joiner:
    return Joiner(invitation, own, descriptor_data(own), leaf.certificate_der, os.urandom)


def run(host: Inviter, guest: Joiner) -> tuple[Joined, Joined, bool]:
    """(what the host learned, what the guest learned, confirmed)."""
    claim = host.read_claim(guest.read_greeting(host.greeting(), NOW_MS))
    handover, learned = guest.read_proof(host.prove(claim, INVITATION.secret))
    joined = host.read_handover(claim, handover)
    return joined, learned, guest.read_outcome(host.outcome(confirmed=True))


def reason(call: object, *arguments: object) -> str:
    assert callable(call)
    with pytest.raises(NotTrusted) as caught:
        call(*arguments)
    return caught.value.reason


def test_each_learns_who_the_other_is() -> None:
    joined, learned, confirmed = run(inviter(), joiner())
    assert confirmed
    assert (joined.identity_der, joined.descriptor.endpoint_id) == (GUEST.certificate_der, GUEST.endpoint_id)
    assert (learned.identity_der, learned.descriptor.endpoint_id) == (HOST.certificate_der, HOST.endpoint_id)
    assert verify_descriptor(joined.descriptor_data) == joined.descriptor


def test_the_joiner_tells_nothing_to_who_does_not_match_the_pin() -> None:
    leaf = issue_leaf(MALLORY, NOW_MS)
    assert reason(joiner(leaf=leaf).read_greeting, inviter(MALLORY, leaf).greeting(), NOW_MS) == "wrong-pin"


def test_the_joiner_tells_nothing_to_who_shows_a_leaf_of_another_key() -> None:
    """Mallory relays the host's greeting behind a leaf of its own."""
    for leaf in (issue_leaf(MALLORY, NOW_MS), issue_leaf(GUEST, NOW_MS)):
        assert reason(joiner(leaf=leaf).read_greeting, inviter().greeting(), NOW_MS) == "unknown-identity"


def test_an_expired_leaf_is_refused() -> None:
    assert reason(joiner().read_greeting, inviter().greeting(), LEAF.not_after_ms + 1) == "expired"


def test_a_claim_without_the_secret_is_not_proven() -> None:
    wrong = replace(INVITATION, secret=b"x" * 16)
    host = inviter()
    claim = host.read_claim(joiner(wrong).read_greeting(host.greeting(), NOW_MS))
    assert reason(host.prove, claim, INVITATION.secret) == "not-proven"


def test_a_claim_in_anothers_name_is_not_proven() -> None:
    host = inviter()
    claim = host.read_claim(joiner().read_greeting(host.greeting(), NOW_MS))
    stolen = replace(claim, identity_der=MALLORY.certificate_der, endpoint_id=MALLORY.endpoint_id)
    assert reason(host.prove, stolen, INVITATION.secret) == "not-proven"
    unsigned = replace(claim, signature=MALLORY.sign(b"anything"))
    assert reason(host.prove, unsigned, INVITATION.secret) == "not-proven"


def test_another_endpoints_succession_proves_nothing() -> None:
    """Who shows it is neither behind the name nor behind the key that it leads to."""
    successor = appoint(GUEST, identity(5), NOW_MS, NOW_MS + 1000).packed()
    for stolen in (
        replace(MALLORY, succession=successor),
        replace(MALLORY, succession=successor, certificate_der=GUEST.certificate_der),
        replace(MALLORY, succession=successor, certificate_der=identity(5).certificate_der),
    ):
        host = inviter()
        claimed = joiner(own=stolen).read_greeting(host.greeting(), NOW_MS)
        with pytest.raises(NotTrusted) as caught:
            host.prove(host.read_claim(claimed), INVITATION.secret)
        assert caught.value.reason in ("bad-successor", "not-proven")


def test_a_joiner_pairs_under_its_first_name_and_hands_over_no_other_descriptor() -> None:
    succession = appoint(GUEST, identity(5), NOW_MS, NOW_MS + 1000).packed()
    later = replace(identity(5), endpoint_id=GUEST.endpoint_id, succession=succession)
    host = inviter()
    claim = host.read_claim(joiner(own=later).read_greeting(host.greeting(), NOW_MS))
    host.prove(claim, INVITATION.secret)
    assert claim.endpoint_id == GUEST.endpoint_id
    for other in (descriptor_data(GUEST), descriptor_data(identity(5)), descriptor_data(MALLORY)):
        assert reason(host.read_handover, claim, pack([4, other])) == "wrong-name"
    own = descriptor_data(later, succession=succession)
    assert host.read_handover(claim, pack([4, own])).descriptor.endpoint_id == GUEST.endpoint_id


def test_a_claim_is_of_no_use_in_another_connection() -> None:
    """Another nonce, or the same behind another leaf: a replay and a relay both fail."""
    first = inviter()
    said = joiner().read_greeting(first.greeting(), NOW_MS)
    again = inviter()
    assert reason(again.prove, again.read_claim(said), INVITATION.secret) == "not-proven"
    elsewhere = joiner(leaf=issue_leaf(HOST, NOW_MS)).read_greeting(first.greeting(), NOW_MS)
    assert reason(first.prove, first.read_claim(elsewhere), INVITATION.secret) == "not-proven"


def test_an_inviter_that_does_not_know_the_secret_gets_no_descriptor() -> None:
    host, guest = inviter(), joiner(replace(INVITATION, secret=b"x" * 16))
    host.read_claim(guest.read_greeting(host.greeting(), NOW_MS))
    forged = pack([3, b"m" * 32, HOST.sign(b"anything"), descriptor_data(HOST)])
    assert reason(guest.read_proof, forged) == "not-proven"


def test_a_proof_cannot_be_mirrored() -> None:
    """The joiner's own mac and signature, sent back to it, prove nothing: the role is part of both."""
    host, guest = inviter(), joiner()
    claim = host.read_claim(guest.read_greeting(host.greeting(), NOW_MS))
    assert reason(guest.read_proof, pack([3, claim.mac, claim.signature, descriptor_data(HOST)])) == "not-proven"


def test_a_descriptor_of_a_third_party_is_refused_by_both() -> None:
    host, guest = inviter(), joiner()
    claim = host.read_claim(guest.read_greeting(host.greeting(), NOW_MS))
    assert reason(host.read_handover, claim, pack([4, descriptor_data(MALLORY)])) == "wrong-name"
    stranger = Inviter(HOST, LEAF.sha256, descriptor_data(MALLORY), os.urandom)
    guest = joiner()
    claim = stranger.read_claim(guest.read_greeting(stranger.greeting(), NOW_MS))
    assert reason(guest.read_proof, stranger.prove(claim, INVITATION.secret)) == "wrong-name"


def test_a_refusal_comes_at_any_step_with_words_of_ours() -> None:
    host = inviter()
    assert reason(joiner().read_greeting, host.refusal("slow-down"), NOW_MS) == "slow-down"
    assert reason(joiner().read_proof, host.refusal("used")) == "used"
    assert reason(joiner().read_outcome, host.refusal("failed")) == "failed"
    assert msgpack.unpackb(host.refusal("an inner detail")) == [9, "malformed"]
    assert reason(joiner().read_outcome, pack([9, "made-up"])) == "failed"


def test_another_version_of_pairing_is_named() -> None:
    greeting = pack([1, 2, HOST.certificate_der, b"n" * 32])
    assert reason(joiner().read_greeting, greeting, NOW_MS) == "version"


@given(st.binary(max_size=200) | st.lists(st.integers(0, 9) | st.binary(max_size=40) | st.booleans()).map(pack))
def test_no_bytes_of_a_stranger_raise_anything_but_not_trusted(data: bytes) -> None:
    host = inviter()
    claim = host.read_claim(joiner().read_greeting(host.greeting(), NOW_MS))
    with pytest.raises(NotTrusted):
        host.read_claim(data)
    with pytest.raises(NotTrusted):
        host.read_handover(claim, data)
    with pytest.raises(NotTrusted):
        joiner().read_greeting(data, NOW_MS)


def test_documents_are_cut_out_of_any_pieces() -> None:
    wire = framed(b"one") + framed(b"") + framed(b"three")
    unframer, found = Unframer(), []
    for byte in wire:
        unframer.feed(bytes([byte]))
        while (document := unframer.next_document()) is not None:
            found.append(document)
    assert found == [b"one", b"", b"three"]


def test_a_document_over_the_limit_is_refused_before_it_is_read() -> None:
    unframer = Unframer()
    unframer.feed((MAX_DOCUMENT + 1).to_bytes(4, "big"))
    assert reason(unframer.next_document) == "malformed"
