"""Contexts are built new and swapped whole, or not at all."""

import ssl
from contextlib import nullcontext
from dataclasses import replace
from time import perf_counter

import pytest

from roamd.errors import OperatorError
from roamd.trust.contexts import _shake_hands_in_memory, client_context, server_context
from roamd.trust.identity import Identity
from roamd.trust.leaf import issue_leaf
from tests.support.trust import DAY_MS, Issuer, contexts, identity, odd_leaf, real_now_ms


def test_contexts_speak_tls_1_3_only_and_ask_for_certificates() -> None:
    holder = contexts(identity(0), identity(1))
    for context in (holder.server, holder.client):
        assert context.minimum_version == context.maximum_version == ssl.TLSVersion.TLSv1_3
        assert context.verify_mode == ssl.CERT_REQUIRED
        assert not context.check_hostname
    assert holder.server.num_tickets == 0
    assert not holder.server.verify_flags & (ssl.VERIFY_CRL_CHECK_LEAF | ssl.VERIFY_CRL_CHECK_CHAIN)


def test_a_new_leaf_is_swapped_in_whole() -> None:
    holder = contexts(identity(0), identity(1))
    before = holder.current
    leaf = issue_leaf(identity(0), real_now_ms())
    holder.replace(leaf=leaf)
    assert holder.leaf is leaf
    assert holder.identities == before.identities
    assert holder.server is not before.server
    assert before.leaf is not leaf, "who holds the old set keeps all of it"


def test_new_identities_keep_the_leaf() -> None:
    holder = contexts(identity(0))
    leaf = holder.leaf
    holder.replace(identities={identity(1).endpoint_id: (identity(1).certificate_der,)})
    assert holder.leaf is leaf
    assert set(holder.identities) == {identity(1).endpoint_id}


@pytest.mark.parametrize("what", ["mixed", "expired", "foreign", "identities"])
def test_what_does_not_work_changes_nothing(what: str) -> None:
    holder = contexts(identity(0), identity(1))
    before = holder.current
    good, other = issue_leaf(identity(0), real_now_ms()), issue_leaf(identity(0), real_now_ms())
    own = identity(0).endpoint_id
    leaves = {
        "mixed": replace(good, key_pem=other.key_pem),
        "expired": odd_leaf(Issuer.of(identity(0)), [own], begin_ms=-2 * DAY_MS, end_ms=-DAY_MS),
        "foreign": issue_leaf(identity(2), real_now_ms()),
    }
    with pytest.raises(OperatorError, match="old ones stay"):
        holder.replace(leaf=leaves.get(what), identities={"X": (b"garbage",)} if what == "identities" else None)
    assert holder.current is before


def test_a_thousand_peers_cost_a_rebuild_of_less_than_seconds() -> None:
    holder = contexts(identity(0))
    peers = [Identity.create(real_now_ms()) for _ in range(1000)]
    began = perf_counter()
    holder.replace(identities={peer.endpoint_id: (peer.certificate_der,) for peer in peers})
    assert perf_counter() - began < 3.0, "about 0.3 s on one core"


@pytest.mark.parametrize(("curve", "taken"), [("prime256v1", True), ("secp384r1", False), ("secp521r1", False)])
def test_keys_are_exchanged_over_p256_and_nothing_else(curve: str, taken: bool) -> None:
    own = identity(0)
    leaf = issue_leaf(own, real_now_ms())
    client = client_context(leaf, [own.certificate_der])
    client.set_ecdh_curve(curve)
    with nullcontext() if taken else pytest.raises(ssl.SSLError):
        _shake_hands_in_memory(server_context(leaf, [own.certificate_der]), client)
