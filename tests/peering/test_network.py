"""The link port and dialling over real sockets: who is let in, who is told what, and what strangers can cost."""

import socket
import ssl
import struct
from contextlib import suppress
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from roamd.errors import NotTrusted, OperatorError, PeerError
from roamd.peering import network
from roamd.peering.tls import TlsStream
from roamd.roaming.directory import Peer
from roamd.trust.leaf import Leaf
from tests.support.assemblies import RunningDaemon, Site
from tests.support.endpoints import in_order, logged, until
from tests.support.trust import Issuer, contexts, odd_leaf


async def pair_of(site: Site) -> tuple[RunningDaemon, RunningDaemon]:
    cso, csp = await site.daemon("DE*ABC", "cso"), await site.daemon("FR*XYZ", "csp")
    await site.pair(cso, csp)
    return cso, csp


async def knock(daemon: RunningDaemon) -> trio.SocketStream:
    return await trio.open_tcp_stream("127.0.0.1", daemon.link_port)


async def shown(daemon: RunningDaemon, number: int, leaf: Leaf | None = None) -> None:
    """Dial with another identity's certificate, or with an odd one; raises what the daemon answers."""
    identity = daemon.assembly.ground.identity
    theirs = contexts(in_order(number), identity, leaf=leaf)
    stream = TlsStream.dial(await knock(daemon), theirs)
    try:
        await stream.handshake()
        while await stream.receive_some():
            pass
    finally:
        await stream.aclose()


async def drained(stream: trio.SocketStream) -> None:
    """Read until the other side is gone."""
    with trio.fail_after(5), suppress(trio.BrokenResourceError):
        while await stream.receive_some():
            pass


def reasons(lines: list[dict[str, object]]) -> list[object]:
    return [line["reason"] for line in lines if line["event"] == "handshake_refused"]


# --- who is let in ------------------------------------------------------------------------------------------------


async def test_a_stranger_is_told_that_it_is_unknown_and_one_line_is_logged(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        cso = await site.daemon("DE*ABC", "cso")
        with logged() as lines:
            for _ in range(5):
                with pytest.raises(NotTrusted, match="unknown ca"):
                    await shown(cso, 3)
        assert set(reasons(lines)) == {"unknown-identity"}
        assert len(reasons(lines)) < 5, "a flood is not a flood of lines"
        assert cso.links() == 0


async def test_a_leaf_that_a_peer_made_for_another_endpoint_is_refused(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        cso, csp = await pair_of(site)
        issuer = csp.assembly.ground.identity
        forged = odd_leaf(Issuer.of(issuer), [in_order(2).endpoint_id])
        with logged() as lines:
            theirs = contexts(issuer, cso.assembly.ground.identity, leaf=forged)
            stream = TlsStream.dial(await knock(cso), theirs)
            await stream.handshake()
            with suppress(trio.BrokenResourceError, PeerError):
                assert not await stream.receive_some()
            await stream.aclose()
            await until(lambda: bool(reasons(lines)))
        assert cso.links() == 1, "the real one's"


async def test_a_suspended_peer_is_no_peer_even_before_the_contexts_know(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        cso, csp = await pair_of(site)
        peer: Peer = cso.peer(csp)
        peer.row = peer.row._replace(state="SUSPENDED")
        leaf = csp.assembly.contexts.leaf.certificate_der
        with pytest.raises(NotTrusted) as caught:
            cso.assembly.network._judge(leaf, None)
        assert caught.value.reason == "not-a-peer"


async def test_another_peer_that_answers_at_the_address_is_not_taken_for_it(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        cso, csp = await pair_of(site)
        other = await site.daemon("NL*OTH", "csp")
        await site.pair(cso, other)
        with pytest.raises(NotTrusted) as caught:
            await cso.assembly.network.connect(cso.peer(csp), f"127.0.0.1:{other.link_port}")
        assert caught.value.reason == "other-peer"


@pytest.mark.parametrize("address", ["nowhere", "host:port", "127.0.0.1:99999", f"{'x' * 300}:1", "a..b:1", ":"])
async def test_what_is_no_address_is_an_attempt_that_failed(tmp_path: Path, address: str) -> None:
    async with Site(tmp_path) as site:
        cso, csp = await pair_of(site)
        with pytest.raises(OSError, match=r"address|connect|resol|known"):
            await cso.assembly.network.connect(cso.peer(csp), address)


# --- what strangers can cost --------------------------------------------------------------------------------------


async def test_silence_and_half_a_handshake_are_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "HANDSHAKE_S", 0.3)
    async with Site(tmp_path) as site:
        cso = await site.daemon("DE*ABC", "cso")
        with logged() as lines:
            silent, slow = await knock(cso), await knock(cso)
            await slow.send_all(b"\x16\x03\x01")
            with trio.fail_after(5):
                assert await silent.receive_some() == b""
                await drained(slow)
        assert set(reasons(lines)) == {"late"}


async def test_a_peer_gets_in_past_a_crowd_of_silent_strangers(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        cso, csp = await pair_of(site)
        crowd = [await knock(cso) for _ in range(network.PLACES + 40)]
        for link in cso.assembly.core.registry.of(cso.peer(csp)):
            link.close(0, "the test cuts it")
        await until(lambda: not csp.is_up(cso))
        with trio.fail_after(5):
            await site.until_linked(cso, csp)
        for one in crowd:
            await trio.aclose_forcefully(one)


async def test_who_resets_the_connection_at_once_harms_nobody(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        cso, csp = await pair_of(site)
        for _ in range(50):
            with socket.socket() as rude:
                rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                rude.connect(("127.0.0.1", cso.link_port))
        await cso.assembly.network.probe()
        assert cso.is_up(csp)


async def test_garbage_and_other_protocols_are_refused(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        cso = await site.daemon("DE*ABC", "cso")
        with logged() as lines:
            for words in (b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 5000, b"SSH-2.0-x\r\n"):
                stream = await knock(cso)
                await stream.send_all(words)
                await drained(stream)
            await until(lambda: bool(reasons(lines)))
        assert cso.links() == 0
        await cso.assembly.network.probe()


async def test_tls_1_2_is_refused(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        cso = await site.daemon("DE*ABC", "cso")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        stream = trio.SSLStream(await knock(cso), context)
        with pytest.raises(trio.BrokenResourceError):
            await stream.do_handshake()


async def test_a_probe_is_accepted_every_time_and_leaves_nothing(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        cso = await site.daemon("DE*ABC", "cso")
        with logged() as lines, trio.fail_after(10):
            for _ in range(100):
                await cso.assembly.network.probe()
        assert lines == []
        assert not cso.assembly.network._probes


async def test_a_port_that_is_taken_is_the_operators_to_mend(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        cso = await site.daemon("DE*ABC", "cso")
        with pytest.raises(OperatorError, match=r"link\.listen"):
            await cso.assembly.network.listen("127.0.0.1", cso.link_port, task_status=trio.TASK_STATUS_IGNORED)


async def test_at_most_so_many_handshakes_are_dialled_at_a_time(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        csp = await site.daemon("FR*XYZ", "csp")
        cso = await site.daemon("DE*ABC", "cso", settings="[log]\nlevel = 'info'\n")
        await site.pair(csp, cso)
        dialling = cso.assembly.network._dialling
        dialling.total_tokens = 3
        (mute,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        address = f"127.0.0.1:{mute.socket.getsockname()[1]}"
        async with mute, trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(cso.assembly.network.connect, cso.peer(csp), address)
            accepted = [await mute.accept() for _ in range(20)]
            await wait_all_tasks_blocked()
            assert len(accepted) == 20, "connecting takes no place"
            assert dialling.borrowed_tokens == 3
            assert dialling.statistics().tasks_waiting == 17
            nursery.cancel_scope.cancel()
        assert dialling.borrowed_tokens == 0
        for stream in accepted:
            await drained(stream)
            await stream.aclose()


async def test_a_dial_that_is_cancelled_leaves_no_connection(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        cso, csp = await pair_of(site)
        (mute,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        address = f"127.0.0.1:{mute.socket.getsockname()[1]}"
        async with mute, trio.open_nursery() as nursery:
            nursery.start_soon(cso.assembly.network.connect, cso.peer(csp), address)
            stream = await mute.accept()
            assert await stream.receive_some(), "its first words"
            nursery.cancel_scope.cancel()
        await drained(stream)


async def test_a_stop_closes_the_port_and_every_peer_hears_goodbye(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        cso, csp = await pair_of(site)
        with trio.fail_after(10):
            await cso.stop()
        await until(lambda: not csp.links())
        assert csp.peer(cso).last_error is not None
        farewell = csp.assembly.core.registry.farewell_of(csp.peer(cso))
        assert farewell is not None
        assert farewell.until_ms > 0
        with pytest.raises(OSError, match="connect"):
            await knock(cso)
