"""Many endpoints in one process, each with a link to one daemon and nothing behind it. They come back when it does.

python -m tests.bench.crowd FOLDER HOST:PORT COUNT
"""

import os
import sys
from pathlib import Path

import trio

from roamd.errors import PeerError
from roamd.peering.tls import TlsStream, tune_socket
from tests.bench.children import say
from tests.bench.linked import End

AT_A_TIME = 16
PAUSE_S = 0.25


async def _keep_linked(folder: Path, number: int, address: str, slots: trio.CapacityLimiter) -> None:
    end = End(folder, str(number), "hub")
    host, _, port = address.rpartition(":")
    while True:
        try:
            async with slots:
                stream = await trio.open_tcp_stream(host, int(port))
                tune_socket(stream)
                tls = TlsStream.dial(stream, end.contexts)
                await tls.handshake()
            await end.maker.make(end.peer, tls, dialler=True).run()
        except (OSError, PeerError, trio.BrokenResourceError):
            pass  # the daemon is away: it is dialled again
        await trio.sleep(PAUSE_S)


async def main(folder: Path, address: str, count: int) -> None:
    """Until stdin closes."""
    slots = trio.CapacityLimiter(AT_A_TIME)
    async with trio.open_nursery() as nursery:
        for number in range(count):
            nursery.start_soon(_keep_linked, folder, number, address, slots)
        say({})
        await trio.to_thread.run_sync(sys.stdin.read)
        os._exit(0)


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
