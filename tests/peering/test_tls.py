"""The TLS loop as a stream: against itself, against trio.SSLStream as the oracle, and against OpenSSL's own client."""

import socket
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from subprocess import PIPE, STDOUT

import pytest
import trio
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from roamd.errors import PeerError
from roamd.peering.tls import TlsStream, tune_socket
from roamd.trust.leaf import issue_leaf
from tests.support.trust import contexts, identity, real_now_ms
from tests.support.wiretap import CountingStream

HERE, THERE = identity(0), identity(1)
BIG = bytes(range(256)) * 4096


Oracle = trio.SSLStream[trio.abc.Stream]


async def shake_hands(*ends: TlsStream | Oracle) -> None:
    async with trio.open_nursery() as nursery:
        for end in ends:
            nursery.start_soon(end.handshake if isinstance(end, TlsStream) else end.do_handshake)


async def link(
    transports: tuple[trio.abc.Stream, trio.abc.Stream] | None = None,
) -> tuple[TlsStream, TlsStream]:
    """(dialler, listener), shaken hands."""
    dialled, accepted = transports or memory_stream_pair()
    dialler = TlsStream.dial(dialled, contexts(HERE, THERE))
    listener = TlsStream.accept(accepted, contexts(THERE, HERE))
    await shake_hands(dialler, listener)
    return dialler, listener


async def received(stream: TlsStream, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = await stream.receive_some()
        assert part
        data += part
    return bytes(data)


async def exchange(sender: TlsStream, receiver: TlsStream, data: bytes) -> bytes:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sender.send_all, data)
        return await received(receiver, len(data))


async def test_both_ends_know_both_leaves() -> None:
    dialler, listener = await link()
    assert dialler.peer_leaf_sha256 == listener.own_leaf_sha256
    assert listener.peer_leaf_sha256 == dialler.own_leaf_sha256
    assert dialler.own_leaf_sha256 != listener.own_leaf_sha256


async def test_data_flows_both_ways_at_once() -> None:
    dialler, listener = await link()
    async with trio.open_nursery() as nursery:
        for sender, receiver in ((dialler, listener), (listener, dialler)):
            nursery.start_soon(sender.send_all, BIG)
            nursery.start_soon(received, receiver, len(BIG))


async def test_one_send_is_one_write_and_one_receive_takes_all() -> None:
    left, right = memory_stream_pair()
    tap = CountingStream(left)
    dialler, listener = await link((tap, right))
    tap.writes = 0
    await dialler.send_all(BIG[: 100 * 1024])
    assert tap.writes == 1
    assert await listener.receive_some() == BIG[: 100 * 1024], "seven records in one go"


async def test_a_proper_close_ends_the_stream_and_a_cut_is_an_error() -> None:
    dialler, listener = await link()
    await dialler.send_all(b"last words")
    await dialler.aclose()
    assert await listener.receive_some() == b"last words"
    assert await listener.receive_some() == b""
    assert await listener.receive_some() == b""

    dialler, listener = await link()
    await dialler.send_all(b"last words")
    await dialler.transport.aclose()
    assert await listener.receive_some() == b"last words"
    with pytest.raises(trio.BrokenResourceError, match="without close_notify"):
        await listener.receive_some()


async def test_garbage_behind_good_data_gives_the_data_first() -> None:
    left, right = memory_stream_pair()
    dialler, listener = await link((left, right))
    await dialler.send_all(b"good")
    await left.send_all(b"\x17\x03\x03\x00\x20" + b"x" * 32)
    assert await listener.receive_some() == b"good"
    for _ in range(2):
        with pytest.raises(PeerError, match="decryption failed or bad record mac"):
            await listener.receive_some()


async def test_after_a_cancelled_send_nothing_more_can_be_sent() -> None:
    left, right = memory_stream_pair()
    tap = CountingStream(left)
    dialler, _ = await link((tap, right))
    tap.clogged = trio.Event()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(dialler.send_all, b"half")
            await wait_all_tasks_blocked()
            scope.cancel()
    with pytest.raises(trio.BrokenResourceError, match="cut off"):
        await dialler.send_all(b"more")
    await dialler.aclose()


async def test_closing_does_not_wait_for_a_peer_that_does_not_read(autojump_clock: trio.testing.MockClock) -> None:
    left, right = memory_stream_pair()
    tap = CountingStream(left)
    dialler, _ = await link((tap, right))
    tap.clogged = trio.Event()
    with trio.fail_after(2):
        await dialler.aclose()
    await dialler.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await dialler.send_all(b"too late")


async def test_closing_under_a_clogged_writer_and_a_waiting_reader_ends_both() -> None:
    left, right = memory_stream_pair()
    tap = CountingStream(left)
    dialler, _ = await link((tap, right))
    tap.clogged = trio.Event()
    ended: list[str] = []

    async def run(name: str) -> None:
        try:
            await (dialler.receive_some() if name == "reader" else dialler.send_all(b"x"))
        except trio.ClosedResourceError:
            ended.append(name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, "reader")
        nursery.start_soon(run, "writer")
        await wait_all_tasks_blocked()
        await dialler.aclose()
        tap.clogged.set()
    assert sorted(ended) == ["reader", "writer"]


async def test_an_established_stream_outlives_a_swap_of_contexts() -> None:
    ours = contexts(HERE, THERE)
    left, right = memory_stream_pair()
    dialler, listener = TlsStream.dial(left, ours), TlsStream.accept(right, contexts(THERE, HERE))
    await shake_hands(dialler, listener)
    before = dialler.own_leaf_sha256
    ours.replace(leaf=issue_leaf(HERE, real_now_ms()), identities={})
    assert await exchange(dialler, listener, b"still here") == b"still here"
    assert dialler.own_leaf_sha256 == before != ours.leaf.sha256


@pytest.mark.parametrize("we_dial", [True, False])
async def test_trios_own_stream_understands_ours_both_ways(we_dial: bool) -> None:
    left, right = memory_stream_pair()
    ours = TlsStream.dial(left, contexts(HERE, THERE)) if we_dial else TlsStream.accept(left, contexts(HERE, THERE))
    theirs = contexts(THERE, HERE)
    context = theirs.server if we_dial else theirs.client
    oracle = Oracle(right, context, server_side=we_dial, server_hostname=None)
    await shake_hands(ours, oracle)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ours.send_all, BIG)
        data = bytearray()
        while len(data) < len(BIG):
            data += await oracle.receive_some()
    assert data == BIG
    async with trio.open_nursery() as nursery:
        nursery.start_soon(oracle.send_all, BIG)
        assert await received(ours, len(BIG)) == BIG
    async with trio.open_nursery() as nursery:
        nursery.start_soon(oracle.aclose)
        assert await ours.receive_some() == b""
        await ours.aclose()


async def tcp_pair(stack: AsyncExitStack) -> tuple[trio.SocketStream, trio.SocketStream]:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    await stack.enter_async_context(listener)
    dialled = await trio.open_tcp_stream(*listener.socket.getsockname())
    return await stack.enter_async_context(dialled), await stack.enter_async_context(await listener.accept())


async def test_over_tcp_with_tuned_sockets() -> None:
    async with AsyncExitStack() as stack:
        left, right = await tcp_pair(stack)
        tune_socket(left)
        tune_socket(right)
        assert left.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert left.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == 16 * 1024
        assert left.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * 128 * 1024, "Linux doubles it"
        dialler, listener = await link((left, right))
        assert await exchange(dialler, listener, BIG) == BIG
        assert await exchange(listener, dialler, BIG) == BIG


@pytest.mark.parametrize("over_tcp", [True, False])
async def test_what_the_kernel_does_not_take_at_once_follows_in_order(over_tcp: bool) -> None:
    async with AsyncExitStack() as stack:
        dialler, listener = await link(await tcp_pair(stack) if over_tcp else None)
        assert dialler.send_nowait(b"small") is over_tcp, "memory takes nothing at once"
        assert not dialler.send_nowait(BIG * 8)
        assert not dialler.send_nowait(b"last")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(dialler.flush)
            assert await received(listener, 8 * len(BIG) + 9) == b"small" + BIG * 8 + b"last"
        assert dialler.send_nowait(b"small") is over_tcp


async def test_a_reader_does_not_wait_for_what_was_left_over() -> None:
    dialler, listener = await link()
    assert not dialler.send_nowait(b"a question")
    await listener.send_all(b"are you reading?")
    assert await dialler.receive_some() == b"are you reading?"
    await dialler.flush()
    assert await listener.receive_some() == b"a question"


async def test_nothing_is_sent_at_once_over_a_connection_that_is_gone() -> None:
    async with AsyncExitStack() as stack:
        dialler, listener = await link(await tcp_pair(stack))
        await trio.aclose_forcefully(listener.transport)
        with pytest.raises((trio.BrokenResourceError, PeerError)):
            await dialler.receive_some()
        with suppress(trio.BrokenResourceError):  # the kernel may still take the first
            dialler.send_nowait(b"is anybody there?")
        with pytest.raises(trio.BrokenResourceError):
            dialler.send_nowait(b"is anybody there?")
        await dialler.aclose()
        with pytest.raises(trio.ClosedResourceError):
            dialler.send_nowait(b"more")


async def test_a_foreign_client_may_change_keys_and_ask_for_ours(tmp_path: Path) -> None:
    ours = contexts(HERE, THERE)
    leaf = issue_leaf(THERE, real_now_ms())
    pem = tmp_path / "leaf.pem"
    pem.write_bytes(leaf.key_pem + leaf.cert_pem)
    async with AsyncExitStack() as stack:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        await stack.enter_async_context(listener)
        port = listener.socket.getsockname()[1]
        command = [
            "openssl",
            "s_client",
            "-connect",
            f"127.0.0.1:{port}",
            "-cert",
            str(pem),
            "-alpn",
            "roamd/1",
            "-msg",
        ]
        async with trio.open_nursery() as nursery:
            start = partial(trio.run_process, command, stdin=PIPE, stdout=PIPE, stderr=STDOUT, check=False)
            process: trio.Process = await nursery.start(start)
            assert process.stdin is not None
            assert process.stdout is not None
            stream = TlsStream.accept(await listener.accept(), ours)
            await stream.handshake()
            await process.stdin.send_all(b"K\n")  # "here are my new keys, and I want yours"
            await _until(process.stdout, b"KEYUPDATE")
            await process.stdin.send_all(b"hello\n")
            assert await stream.receive_some() == b"hello\n"
            await stream.send_all(b"and hello to you")
            seen = await _until(process.stdout, b"and hello to you")
            assert b"<<< TLS 1.3, Handshake [length 0005], KeyUpdate" in seen
            await stream.aclose()
            nursery.cancel_scope.cancel()


async def _until(output: trio.abc.ReceiveStream, words: bytes) -> bytes:
    seen = b""
    with trio.fail_after(10):
        while words not in seen:
            part = await output.receive_some()
            assert part, seen.decode()
            seen += part
    return seen
