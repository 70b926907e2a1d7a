"""What the handshake shows to someone who only dials: one endpoint id, and nothing of the partners."""

import re
import shutil
import subprocess

import pytest
import trio

from roamd.errors import PeerError
from roamd.peering.tls import TlsStream
from tests.support.trust import contexts, identity

HERE, THERE, OTHER = identity(0), identity(1), identity(2)

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl command here")


async def seen_by_a_dialler() -> str:
    """What `openssl s_client` prints of a listener that has two partners."""
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    port = listener.socket.getsockname()[1]
    printed: list[bytes] = []

    async def dial() -> None:
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-alpn", "roamd/1", "-showcerts"]
        done = await trio.run_process(command, stdin=b"", capture_stdout=True, check=False, stderr=subprocess.STDOUT)
        printed.append(done.stdout)

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery, listener:
            nursery.start_soon(dial)
            stream = TlsStream.accept(await listener.accept(), contexts(HERE, THERE, OTHER))
            with pytest.raises((PeerError, trio.BrokenResourceError)):
                await stream.handshake()
            await stream.aclose()
    return printed[0].decode(errors="replace")


async def test_whoever_dials_sees_our_endpoint_id_and_no_partners() -> None:
    printed = await seen_by_a_dialler()
    assert HERE.endpoint_id in printed
    assert THERE.endpoint_id not in printed
    assert OTHER.endpoint_id not in printed
    assert "No client certificate CA names sent" in printed
    assert re.search(r"s:CN ?= ?roamd leaf", printed)
