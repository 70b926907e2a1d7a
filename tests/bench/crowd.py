"""Many endpoints in one process, each with a link to one daemon and nothing behind it. They come back when it does.

    python -m tests.bench.crowd FOLDER HOST:PORT COUNT [FEED ...]

They follow these feeds and keep nothing of what comes.
"""

import os
import sys
from pathlib import Path

import trio

from roamd.errors import PeerError
from roamd.model.roles import FEEDS
from roamd.peering.link import Link
from roamd.peering.tls import TlsStream, tune_socket
from roamd.protocol import events
from roamd.protocol.bulk import unpack_feed_chunk
from roamd.protocol.flow import Pattern
from roamd.protocol.messages import FeedAck
from tests.bench.children import say
from tests.bench.linked import End, NullExchange

AT_A_TIME = 16
PAUSE_S = 0.25


class Follower(NullExchange):
    """Follows feeds from their beginning and acknowledges what comes."""

    def __init__(self, link: Link, feeds: tuple[str, ...]) -> None:
        super().__init__(link)
        self._feeds = feeds

    def begin(self) -> None:
        """The link is up."""
        self.link.send_feed_acks([FeedAck(FEEDS[feed].number, b"") for feed in self._feeds])

    def on_event(self, event: events.Event) -> None:
        """Take a chunk."""
        match event:
            case events.BulkFeed(payload, cost):
                chunk = unpack_feed_chunk(payload)
                self.link.grant(Pattern.FEEDS, cost)
                self.link.send_feed_acks([FeedAck(chunk.feed, chunk.cursor)])
            case _:
                super().on_event(event)


async def _keep_linked(
    folder: Path, number: int, address: str, slots: trio.CapacityLimiter, feeds: tuple[str, ...]
) -> None:
    end = End(folder, str(number), "hub", lambda link: Follower(link, feeds))
    host, _, port = address.rpartition(":")
    while True:
        try:
            async with slots:
                stream = await trio.open_tcp_stream(host, int(port))
                tune_socket(stream)
                tls = TlsStream.dial(stream, end.contexts)
                await tls.handshake()
            await end.run(end.maker.make(end.peer, tls, dialler=True))
        except (OSError, PeerError, trio.BrokenResourceError):
            pass  # the daemon is away: it is dialled again
        await trio.sleep(PAUSE_S)


async def main(folder: Path, address: str, count: int, feeds: tuple[str, ...]) -> None:
    """Until stdin closes."""
    slots = trio.CapacityLimiter(AT_A_TIME)
    async with trio.open_nursery() as nursery:
        for number in range(count):
            nursery.start_soon(_keep_linked, folder, number, address, slots, feeds)
        say({})
        await trio.to_thread.run_sync(sys.stdin.read)
        os._exit(0)


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), tuple(sys.argv[4:]))
