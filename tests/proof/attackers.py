"""Strangers at the link port, as a process of their own: the daemon's loop and theirs must not share an interpreter.

    python -m tests.proof.attackers hold  --port N --count 300     holds connections in ways that cost nothing
    python -m tests.proof.attackers storm --port N --rate 500      begins handshakes that cannot succeed, at a rate

Each prints what it did as JSON when its stdin closes. All of it stays on loopback.
"""

import argparse
import contextlib
import json
import ssl
import sys
from collections import Counter
from functools import partial

import trio

from roamd.clock import SystemClock
from roamd.peering.tls import TlsStream
from roamd.trust.contexts import LINK_ALPN, client_context
from roamd.trust.identity import Identity
from roamd.trust.leaf import issue_leaf

AGAIN_S = 0.05
TRICKLE_S = 0.5
ATTEMPT_S = 15.0

TROUBLE = (OSError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError)


def client_hello() -> bytes:
    """The first message of a TLS 1.3 client, complete; a listener answers it with all its work."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols([LINK_ALPN])
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing).do_handshake()
    return outgoing.read()


def source(number: int) -> str:
    """Every second attacker knocks from where the honest ones come from, every other from an address of its own."""
    return "127.0.0.1" if number % 2 else f"127.77.{number // 250}.{number % 250 + 1}"


class Attackers:
    """What they did is counted in `tally`."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.tally: Counter[str] = Counter()
        self.hello = client_hello()

    async def connect(self, number: int) -> trio.SocketStream:
        with trio.fail_after(ATTEMPT_S):
            stream = await trio.open_tcp_stream("127.0.0.1", self.port, local_address=source(number))
        self.tally["connections"] += 1
        return stream

    async def hold(self, number: int) -> None:
        """Take a place, in one of three ways, and take one again whenever it is lost."""
        way = (self._stay_mute, self._trickle, self._stop_half_way)[number % 3]
        while True:
            try:
                async with await self.connect(number) as stream:
                    await way(stream)
            except TROUBLE:
                self.tally["thrown out"] += 1
            await trio.sleep(AGAIN_S)

    async def _stay_mute(self, stream: trio.SocketStream) -> None:
        await stream.receive_some()

    async def _trickle(self, stream: trio.SocketStream) -> None:
        for at in range(len(self.hello)):
            await stream.send_all(self.hello[at : at + 1])
            await trio.sleep(TRICKLE_S)

    async def _stop_half_way(self, stream: trio.SocketStream) -> None:
        await stream.send_all(self.hello)
        while await stream.receive_some():
            pass

    async def storm(self, rate: float) -> None:
        """Begin `rate` handshakes a second, whatever becomes of them."""
        own = Identity.create(SystemClock().now_ms())
        context = client_context(issue_leaf(own, SystemClock().now_ms()), [own.certificate_der])
        context.verify_mode = ssl.CERT_NONE
        began, number = trio.current_time(), 0
        async with trio.open_nursery() as nursery:
            while True:
                for _ in range(int((trio.current_time() - began) * rate) - number):
                    number += 1
                    nursery.start_soon(self._shake, number, context)
                await trio.sleep(0.01)

    async def _shake(self, number: int, context: ssl.SSLContext) -> None:
        self.tally["begun"] += 1
        try:
            with trio.fail_after(ATTEMPT_S):
                async with await self.connect(number) as stream:
                    if number % 2:
                        await self._all_the_way(stream, context)
                    else:
                        await stream.send_all(self.hello)
                        await stream.receive_some()
                        self.tally["answered"] += 1
        except (*TROUBLE, Exception):  # noqa: BLE001 - whatever becomes of an attacker
            self.tally["failed"] += 1

    async def _all_the_way(self, stream: trio.SocketStream, context: ssl.SSLContext) -> None:
        tls = TlsStream(stream, context, server_side=False, own_leaf_sha256=b"", alpn=LINK_ALPN)
        await tls.handshake()
        self.tally["answered"] += 1
        if await tls.receive_some():
            self.tally["let in"] += 1


async def until_stdin_closes(attackers: Attackers, options: argparse.Namespace) -> None:
    async with trio.open_nursery() as nursery:
        if options.mode == "hold":
            for number in range(options.count):
                nursery.start_soon(attackers.hold, number)
        else:
            nursery.start_soon(attackers.storm, options.rate)
        await trio.to_thread.run_sync(partial(sys.stdin.buffer.read), abandon_on_cancel=True)
        nursery.cancel_scope.cancel()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.proof.attackers")
    parser.add_argument("mode", choices=["hold", "storm"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--rate", type=float, default=500)
    options = parser.parse_args()
    attackers = Attackers(options.port)
    trio.run(until_stdin_closes, attackers, options)
    sys.stdout.write(json.dumps(attackers.tally) + "\n")


if __name__ == "__main__":
    main()
