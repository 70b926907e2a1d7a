"""One link of roamd and nothing behind it: real TLS, the real protocol, the real link driver, ready-made payloads.

    python -m tests.bench.linked listener FOLDER          prints its port
    python -m tests.bench.linked dialler FOLDER PORT PID

The listener answers every call at once and drops every batch when it has granted it: raw batches into a null store.
"""

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any, cast

import trio

from roamd.clock import SystemClock
from roamd.model.agreement import preset
from roamd.peering.link import Link, OwnEnd
from roamd.peering.maker import LinkMaker
from roamd.peering.tls import TlsStream, tune_socket
from roamd.peering.turns import Turns
from roamd.protocol import events
from roamd.protocol.flow import Pattern
from roamd.protocol.heartbeat import Timing
from roamd.protocol.messages import Answer, AnswerStatus
from roamd.roaming.deadlines import Deadlines
from roamd.roaming.directory import Peer, succession_of_row
from roamd.roaming.dispatch import Exchange
from roamd.storage.peers import PeerRow
from roamd.storage.store import Store
from roamd.trust.contexts import Contexts
from roamd.trust.identity import Identity
from roamd.trust.leaf import issue_leaf
from roamd.trust.signing import verify
from tests.bench import payloads
from tests.bench.children import say
from tests.bench.load import Tally
from tests.bench.loops import Orders

QUEUED = 256 * 1024
"""As `roaming.dispatch` keeps it."""


class NullExchange:
    """What runs over the link: as good as nothing."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.is_up = True
        self.on_answers: Callable[[list[Answer]], None] = lambda answers: None
        self.refill: Callable[[], None] = lambda: None

    def on_event(self, event: events.Event) -> None:
        """Answer, grant, or tell who waits."""
        match event:
            case events.Calls(calls):
                self.link.send_answers([Answer(call.id, AnswerStatus.ANSWERED, payloads.ANSWER) for call in calls])
            case events.Answers(answers):
                self.on_answers(answers)
            case events.BulkLedger(_, cost):
                self.link.grant(Pattern.LEDGER, cost)
            case events.CreditArrived():
                self.refill()

    def step(self) -> bool:
        """The link's turn: what was queued before may be sent."""
        self.refill()
        return False

    def begin(self) -> None:
        """The link is up."""

    def down(self) -> None:
        """The link has ended."""
        self.is_up = False


class End:
    """Both sides' making of the link, and who is told that it is up."""

    def __init__(
        self, folder: Path, own: str, other: str, exchange: Callable[[Link], NullExchange] = NullExchange
    ) -> None:
        self._make_exchange = exchange
        self.identity = Identity.load(folder / f"{own}.key", folder / f"{own}.crt")
        there = Identity.load(folder / f"{other}.key", folder / f"{other}.crt")
        clock = SystemClock()
        pinned = {there.endpoint_id: (there.certificate_der,)}
        self.contexts = Contexts(self.identity, issue_leaf(self.identity, clock.now_ms()), pinned)
        self.peer = _peer(there)
        self.exchange: NullExchange | None = None
        self.up_event = trio.Event()
        store = Store.open_memory()
        self.turns, self.deadlines = Turns(), Deadlines(clock)
        end = OwnEnd(clock, self.identity.sign, verify, cast(Any, self), self.turns, self.deadlines)
        self.maker = LinkMaker(
            self.identity.endpoint_id, os.urandom(16), os.urandom(16), end, clock, store, os.urandom, Timing()
        )

    async def run(self, link: Link) -> None:
        """Run a link, and what it needs of its endpoint meanwhile."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.turns.run)
            nursery.start_soon(self.deadlines.run)
            await link.run()
            nursery.cancel_scope.cancel()

    def up(self, link: Link) -> Exchange:
        """The link is up (peering.link.Links)."""
        self.exchange = self._make_exchange(link)
        self.up_event.set()
        return cast(Exchange, self.exchange)

    def down(self, link: Link) -> None:
        """The link has ended."""
        del link


def _peer(there: Identity) -> Peer:
    agreement = preset(("cso",), ("csp",), ("FRRMD",))
    row = PeerRow(
        "bench", there.endpoint_id, there.certificate_der, "bench", ("FRRMD",), "PAIRED", None, b"", 1,
        agreement.to_json(), 1, "", 0, False,
    )  # fmt: skip
    return Peer(row, agreement, succession_of_row(row))


async def _listen(folder: Path) -> None:
    end = End(folder, "listener", "dialler")
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    say({"port": listener.socket.getsockname()[1]})
    stream = await listener.accept()
    tune_socket(stream)
    tls = TlsStream.accept(stream, end.contexts)
    await tls.handshake()
    await end.run(end.maker.make(end.peer, tls, dialler=False))


class LinkDialler:
    """Carries out orders that arrive on another thread; one at a time."""

    def __init__(self, exchange: NullExchange, token: trio.lowlevel.TrioToken) -> None:
        self._exchange = exchange
        self._token = token

    def calls(self, tally: Tally, in_flight: int, seconds: float) -> None:
        """Keep so many calls in flight."""
        self._await(lambda done: _Calls(self._exchange, tally, in_flight, seconds, done).begin())

    def records(self, tally: Tally, seconds: float, *, with_calls: bool) -> int:
        """Batches one way, with a call at a time beside them if asked for."""
        bulk: list[_Bulk] = []

        def begin(done: Callable[[], None]) -> None:
            bulk.append(_Bulk(self._exchange, time.monotonic() + seconds))
            bulk[0].begin()
            _Calls(self._exchange, tally, 1 if with_calls else 0, seconds, done).begin()
            if not with_calls:
                tally.begin()
                bulk[0].done = lambda: _end(tally, done)

        self._await(begin)
        return bulk[0].count

    def _await(self, begin: Callable[[Callable[[], None]], None]) -> None:
        finished: SimpleQueue[None] = SimpleQueue()
        self._token.run_sync_soon(lambda: begin(lambda: finished.put(None)))
        finished.get()


def _end(tally: Tally, done: Callable[[], None]) -> None:
    tally.end()
    done()


class _Calls:
    """A closed loop of calls."""

    def __init__(
        self, exchange: NullExchange, tally: Tally, in_flight: int, seconds: float, done: Callable[[], None]
    ) -> None:
        self._exchange = exchange
        self._tally = tally
        self._in_flight = in_flight
        self._end = time.monotonic() + seconds
        self._done = done
        self._sent: dict[bytes, int] = {}

    def begin(self) -> None:
        if self._in_flight:
            self._exchange.on_answers = self._take
            self._tally.begin()
            self._ask(self._in_flight)

    def _ask(self, count: int) -> None:
        calls, now = [payloads.call() for _ in range(count)], time.perf_counter_ns()
        self._sent.update((call.id, now) for call in calls)
        self._exchange.link.send_calls(calls)

    def _take(self, answers: list[Answer]) -> None:
        now = time.perf_counter_ns()
        self._tally.latencies_ns.extend(now - self._sent.pop(answer.id) for answer in answers)
        if time.monotonic() < self._end:
            self._ask(len(answers))
        elif not self._sent:
            self._tally.end()
            self._done()


class _Bulk:
    """Keeps the ledger lane full."""

    def __init__(self, exchange: NullExchange, end: float) -> None:
        self._exchange = exchange
        self._end = end
        self.count = 0
        self.done: Callable[[], object] = lambda: None

    def begin(self) -> None:
        self._exchange.refill = self._refill
        self._refill()

    def _refill(self) -> None:
        link, payload = self._exchange.link, payloads.ledger_payload()
        if time.monotonic() >= self._end:
            self._exchange.refill = lambda: None
            self.done()
            return
        while link.waiting(Pattern.LEDGER) < QUEUED:
            link.send_ledger(payload)
            self.count += payloads.RECORDS_IN_BATCH


async def _dial(folder: Path, port: int, peer_pid: int) -> None:
    end = End(folder, "dialler", "listener")
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    tune_socket(stream)
    tls = TlsStream.dial(stream, end.contexts)
    await tls.handshake()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(end.run, end.maker.make(end.peer, tls, dialler=True))
        await end.up_event.wait()
        say({})
        assert end.exchange is not None
        dialler = LinkDialler(end.exchange, trio.lowlevel.current_trio_token())
        threading.Thread(target=_obey_and_end, args=(Orders(dialler, peer_pid),), daemon=True).start()


def _obey_and_end(orders: Orders) -> None:
    try:
        orders.obey()
    finally:
        os._exit(0)  # the link would live on; nothing here is worth an orderly end


if __name__ == "__main__":
    if sys.argv[1] == "listener":
        trio.run(_listen, Path(sys.argv[2]))
    else:
        trio.run(_dial, Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
