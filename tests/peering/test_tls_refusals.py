"""Who is refused in the handshake or right after it, with which word, and that the refused side is told.

Each is a fact of Python's `ssl` that shaped the design; the first run of a test that fails after an upgrade of
OpenSSL says which fact has changed.
"""

import ssl
from pathlib import Path

import pytest
import trio
from cryptography.x509.oid import ExtendedKeyUsageOID
from trio.testing import memory_stream_pair

from roamd.errors import NotTrusted, PeerError
from roamd.peering.tls import TlsStream
from roamd.trust.contexts import LINK_ALPN, Contexts, client_context, server_context
from roamd.trust.judge import judge_leaf
from roamd.trust.leaf import Leaf, issue_leaf
from tests.support.trust import DAY_MS, Issuer, contexts, identity, intermediate, odd_leaf, real_now_ms, with_chain

HERE, THERE, STRANGER = identity(0), identity(1), identity(2)
OWN_NAME = [THERE.endpoint_id]
BY_THERE = Issuer.of(THERE)
BETWEEN = intermediate(BY_THERE)


def reckless(leaf: Leaf | None, *, server_side: bool, alpn: str = LINK_ALPN) -> ssl.SSLContext:
    """The context of an endpoint that shows `leaf` and takes anyone: the side that is to be refused."""
    build = server_context if server_side else client_context
    context = build(leaf, [HERE.certificate_der]) if leaf else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([alpn])
    return context


def stream(transport: trio.abc.Stream, context: ssl.SSLContext, *, server_side: bool) -> TlsStream:
    return TlsStream(transport, context, server_side=server_side, own_leaf_sha256=b"", alpn=LINK_ALPN)


async def fate(end: TlsStream, *, says: bytes = b"") -> str:
    """The word with which this end gives up, after the handshake and one receive; "" if the other hangs up properly."""
    try:
        await end.handshake()
        if says:
            await end.send_all(says)
        await end.receive_some()
    except NotTrusted as error:
        return error.reason
    except (PeerError, trio.BrokenResourceError) as error:
        return str(error)
    finally:
        await end.aclose()
    return ""


async def fates(one: TlsStream, other: TlsStream) -> tuple[str, str]:
    words: dict[TlsStream, str] = {}

    async def run(end: TlsStream) -> None:
        words[end] = await fate(end)

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, one)
            nursery.start_soon(run, other)
    return words[one], words[other]


def leaf_between(begin_days: int, end_days: int) -> Leaf:
    return odd_leaf(BY_THERE, OWN_NAME, begin_ms=begin_days * DAY_MS, end_ms=end_days * DAY_MS)


GOOD_LEAF = leaf_between(-1, 1)
NO_PURPOSE_OF_OURS = odd_leaf(BY_THERE, OWN_NAME, purposes=[ExtendedKeyUsageOID.CODE_SIGNING])

REFUSED = {
    "unknown": (issue_leaf(STRANGER, real_now_ms()), "unknown-identity", "refused-unknown-identity"),
    "expired": (leaf_between(-3, -2), "expired", "refused-expired"),
    "not yet valid": (leaf_between(2, 3), "not-yet-valid", "refused-bad-certificate"),
    "wrong purpose": (NO_PURPOSE_OF_OURS, "wrong-purpose", "refused-wrong-purpose"),
    "intermediate": (with_chain(odd_leaf(BETWEEN, OWN_NAME), BETWEEN), "not-direct", "refused-unknown-identity"),
}


@pytest.mark.parametrize("refused_side", ["dialler", "listener"])
@pytest.mark.parametrize("case", REFUSED)
async def test_a_bad_leaf_is_refused_and_its_owner_is_told_why(case: str, refused_side: str) -> None:
    leaf, ours, theirs = REFUSED[case]
    left, right = memory_stream_pair()
    server_side = refused_side == "listener"
    bad = stream(left, reckless(leaf, server_side=server_side), server_side=server_side)
    good_contexts = contexts(HERE, THERE)
    good = TlsStream.dial(right, good_contexts) if server_side else TlsStream.accept(right, good_contexts)
    assert await fates(good, bad) == (ours, theirs)


async def test_a_client_without_a_certificate_is_refused_and_told() -> None:
    left, right = memory_stream_pair()
    anonymous = stream(left, reckless(None, server_side=False), server_side=False)
    listener = TlsStream.accept(right, contexts(HERE, THERE))
    assert await fates(listener, anonymous) == ("no-certificate", "refused-no-certificate")


async def test_a_refused_clients_own_handshake_succeeds_so_it_proves_nothing() -> None:
    left, right = memory_stream_pair()
    client = stream(left, reckless(issue_leaf(STRANGER, real_now_ms()), server_side=False), server_side=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fate, TlsStream.accept(right, contexts(HERE, THERE)))
        await client.handshake()
        with pytest.raises(NotTrusted, match="refuses this endpoint: unknown ca"):
            await client.receive_some()
        await client.aclose()


async def test_over_tcp_the_alert_survives_data_that_the_refused_side_already_sent() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        dialled = await trio.open_tcp_stream(*listener.socket.getsockname())
        accepted = await listener.accept()
    client = stream(dialled, reckless(issue_leaf(STRANGER, real_now_ms()), server_side=False), server_side=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fate, TlsStream.accept(accepted, contexts(HERE, THERE)))
        assert await fate(client, says=b"Hello" * 1000) == "refused-unknown-identity"


@pytest.mark.parametrize(
    ("leaf", "reason"),
    [
        (odd_leaf(Issuer.of(THERE), [STRANGER.endpoint_id]), "wrong-issuer"),
        (odd_leaf(Issuer.of(THERE), [THERE.endpoint_id, STRANGER.endpoint_id]), "wrong-name"),
        (odd_leaf(Issuer.of(THERE), []), "wrong-name"),
    ],
)
async def test_what_openssl_lets_pass_is_caught_by_the_judge(leaf: Leaf, reason: str) -> None:
    ours = contexts(HERE, THERE, STRANGER)
    left, right = memory_stream_pair()
    bad = stream(left, reckless(leaf, server_side=False), server_side=False)
    listener = TlsStream.accept(right, ours)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bad.handshake)
        await listener.handshake()
    with pytest.raises(NotTrusted) as caught:
        judge_leaf(listener.peer_leaf_der, ours.identities, real_now_ms())
    assert caught.value.reason == reason


async def test_dialling_oneself_meets_a_stranger() -> None:
    ours = contexts(HERE, THERE)
    left, right = memory_stream_pair()
    dialler, listener = TlsStream.dial(left, ours), TlsStream.accept(right, ours)
    assert await fates(dialler, listener) == ("unknown-identity", "refused-unknown-identity")


@pytest.mark.parametrize("alpn", ["http/1.1", "roamd/2"])
async def test_another_protocol_does_not_fail_the_handshake_so_it_is_checked_by_hand(alpn: str) -> None:
    left, right = memory_stream_pair()
    other = stream(left, reckless(GOOD_LEAF, server_side=False, alpn=alpn), server_side=False)
    listener = TlsStream.accept(right, contexts(HERE, THERE))
    assert await fates(listener, other) == ("alpn", "alpn")


@pytest.mark.parametrize("old_side", ["dialler", "listener"])
async def test_tls_1_2_is_refused_and_told(old_side: str) -> None:
    left, right = memory_stream_pair()
    server_side = old_side == "listener"
    context = reckless(GOOD_LEAF, server_side=server_side)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    ours = contexts(HERE, THERE)
    good = TlsStream.dial(right, ours) if server_side else TlsStream.accept(right, ours)
    assert await fates(good, stream(left, context, server_side=server_side)) == ("tls-version", "tls-version")


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"\0" * 64, b"\x16\x03\x01\xff\xff" + b"x" * 70000]
)
async def test_who_does_not_speak_tls_breaks_it(data: bytes) -> None:
    left, right = memory_stream_pair()
    listener = TlsStream.accept(right, contexts(HERE, THERE))
    await left.send_all(data)
    await left.send_eof()
    assert "broke TLS" in await fate(listener)


async def test_who_hangs_up_in_the_handshake_is_gone_not_bad() -> None:
    left, right = memory_stream_pair()
    await left.aclose()
    with pytest.raises(trio.BrokenResourceError):
        await TlsStream.accept(right, contexts(HERE, THERE)).handshake()


async def test_a_refused_side_that_never_reads_is_not_waited_for_long(autojump_clock: trio.testing.MockClock) -> None:
    left, right = memory_stream_pair()
    listener = TlsStream.accept(right, contexts(HERE, THERE))
    await left.send_all(b"not TLS at all")
    with trio.fail_after(1), pytest.raises(PeerError):
        await listener.handshake()


async def _passes(ours: Contexts, theirs: Contexts) -> tuple[str, str]:
    left, right = memory_stream_pair()
    dialler, listener = TlsStream.dial(left, theirs), TlsStream.accept(right, ours)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dialler.handshake)
        await listener.handshake()
    return dialler.peer_leaf_sha256.hex(), ours.leaf.sha256.hex()


async def test_a_failed_load_ruins_a_live_context_and_not_ours(tmp_path: Path) -> None:
    good, other = issue_leaf(HERE, real_now_ms()), issue_leaf(HERE, real_now_ms())
    mixed = Leaf(other.certificate_der, good.key_pem, other.cert_pem, 0, 0, other.sha256)
    live = server_context(good, [THERE.certificate_der])
    pem = tmp_path / "mixed.pem"
    pem.write_bytes(mixed.key_pem + mixed.cert_pem)
    with pytest.raises(ssl.SSLError):
        live.load_cert_chain(pem)
    left, right = memory_stream_pair()
    ruined = stream(right, live, server_side=True)
    client = TlsStream.dial(left, contexts(THERE, HERE))
    assert await fates(client, ruined) != ("", "")

    ours = contexts(HERE, THERE)
    with pytest.raises(Exception, match="old ones stay"):
        ours.replace(leaf=mixed)
    shown, own = await _passes(ours, contexts(THERE, HERE))
    assert shown == own


async def test_an_identity_that_was_unpinned_is_refused_from_the_next_handshake_on() -> None:
    ours, theirs = contexts(HERE, THERE), contexts(THERE, HERE)
    await _passes(ours, theirs)
    ours.replace(identities={})
    left, right = memory_stream_pair()
    assert await fates(TlsStream.accept(left, ours), TlsStream.dial(right, theirs)) == (
        "unknown-identity",
        "refused-unknown-identity",
    )
