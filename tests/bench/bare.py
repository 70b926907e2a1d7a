"""The floor: TLS 1.3 between memory buffers over blocking sockets, msgpack, everything coalesced, and nothing else.

    python -m tests.bench.bare listener FOLDER         prints its port and its process id
    python -m tests.bench.bare dialler FOLDER PORT PID

No frames, no credit, no priorities, no loop, no store: what any link in this Python cannot be cheaper than.
"""

import socket
import ssl
import sys
import time
from pathlib import Path
from typing import Any, cast

import msgpack  # type: ignore[import-untyped]  # it has none

from tests.bench import payloads
from tests.bench.certificates import context
from tests.bench.children import say
from tests.bench.load import Tally
from tests.bench.loops import Orders

READ = 256 * 1024
RECORD = 16 * 1024
WINDOW = 8
"""Batches under way before the sender waits for the receiver to say that it took them."""


class Bare:
    """One end."""

    def __init__(self, sock: socket.socket, made: ssl.SSLContext, *, server: bool) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = sock
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = made.wrap_bio(self._in, self._out, server_side=server)
        self._unpacker = msgpack.Unpacker(max_buffer_size=16 * 1024 * 1024)
        self._shake_hands()

    def _shake_hands(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._flush()
                self._in.write(self._socket.recv(READ))
        self._flush()

    def _flush(self) -> None:
        if self._out.pending:
            self._socket.sendall(self._out.read())

    def send(self, message: Any) -> None:
        """One msgpack value, one write."""
        self._tls.write(cast(bytes, msgpack.packb(message)))
        self._flush()

    def receive(self) -> list[Any]:
        """All values that came in whole, at least one; nothing when the other end is gone."""
        while True:
            self._decrypt()  # first: with the end of the handshake more may have come
            values = list(self._unpacker)
            if values:
                return values
            data = self._socket.recv(READ)
            if not data:
                return []
            self._in.write(data)

    def _decrypt(self) -> None:
        try:
            while part := self._tls.read(RECORD):
                self._unpacker.feed(bytes(part))
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            pass


def listen(folder: Path) -> None:
    """Answers calls, grants batches."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        say({"port": server.getsockname()[1]})
        accepted, _ = server.accept()
        end = Bare(accepted, context(folder, server=True), server=True)
        while values := end.receive():
            for kind, content in values:
                if kind == "records":
                    end.send(("granted", 1))
                else:
                    end.send(("answers", [(call[0], 0, payloads.ANSWER) for call in content]))


class BareDialler:
    """The end that is told what to do."""

    def __init__(self, end: Bare) -> None:
        self._end = end

    def calls(self, tally: Tally, in_flight: int, seconds: float) -> None:
        """Keep so many calls in flight."""
        sent: dict[bytes, int] = {}
        self._ask(sent, in_flight)
        tally.begin()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            taken = self._take(sent, tally)
            self._ask(sent, taken)
        tally.end()
        while sent:
            self._take(sent, tally)

    def _ask(self, sent: dict[bytes, int], count: int) -> None:
        calls, now = [payloads.call() for _ in range(count)], time.perf_counter_ns()
        sent.update((call.id, now) for call in calls)
        self._end.send(("calls", [(call.id, call.service, call.deadline_ms, call.body) for call in calls]))

    def _take(self, sent: dict[bytes, int], tally: Tally) -> int:
        count = 0
        for _kind, answers in self._end.receive():
            now = time.perf_counter_ns()
            count += len(answers)
            tally.latencies_ns.extend(now - sent.pop(answer[0]) for answer in answers)
        return count

    def records(self, tally: Tally, seconds: float, *, with_calls: bool) -> int:
        """Batches one way. The bare loop has no priorities, so calls beside them are not measured here."""
        del with_calls
        payload, open_batches, count = payloads.ledger_payload(), 0, 0
        tally.begin()
        end = time.monotonic() + seconds
        while time.monotonic() < end or open_batches:
            while open_batches < WINDOW and time.monotonic() < end:
                self._end.send(("records", payload))
                open_batches += 1
                count += payloads.RECORDS_IN_BATCH
            open_batches -= len(self._end.receive())
        tally.end()
        return count


def main(words: list[str]) -> None:
    """Be the one or the other."""
    folder = Path(words[1])
    if words[0] == "listener":
        listen(folder)
        return
    sock = socket.create_connection(("127.0.0.1", int(words[2])))
    dialler = BareDialler(Bare(sock, context(folder, server=False), server=False))
    say({})
    Orders(dialler, int(words[3])).obey()


if __name__ == "__main__":
    main(sys.argv[1:])
