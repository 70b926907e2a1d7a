"""Which links are up, and which of two to the same endpoint stays (the rule is `protocol.duplicates`).

A peer's `exchange` is the one over which we ask: that of the newest link that stays. When it ends, another that is
still up takes over. Links by different routes (`model.routes`) are no duplicates of each other; per function the first
route of its list that is up is taken.

Two processes that run on one identity and copies of one store take each other's links: to every partner the other one
looks like a restart. It shows at both sides, and both operators are told: a process that lives is told REPLACED, and a
run that was replaced comes back. Once may be chance (a late link of a process that has just died), twice is not.
"""

import itertools
from collections.abc import Callable, Mapping

import trio

from roamd import metrics
from roamd.clock import Clock
from roamd.log import get_logger
from roamd.model.routes import CALLS, DIRECT, FUNCTIONS, every_route, routes_for
from roamd.peering.link import Link
from roamd.protocol.codes import GoodbyeCode
from roamd.protocol.duplicates import LinkFacts, resolve
from roamd.protocol.messages import Goodbye, Hello
from roamd.roaming.directory import Peer
from roamd.roaming.dispatch import Exchange, Parts
from roamd.roaming.events import peer_event_txn
from roamd.roaming.peerbook import REMOVED

log = get_logger()

MAX_INSTANCES = 8
"""Links to one peer that stay. A company runs a daemon, or a few for safety; each link costs what an idle peer does."""

RUNS_KEPT = 8
"""Replaced runs of a peer that are remembered: two that fight are among the newest."""


class Registry:
    """All links that are up.

    `changed(peer)` is called when calls to a peer have become possible or impossible, `moved(peer, route)` when one of
    its routes has its first link or has lost its last one.
    """

    def __init__(
        self,
        own_endpoint: str,
        parts: Parts,
        changed: Callable[[Peer], None],
        moved: Callable[[Peer, str], None],
    ) -> None:
        self._own = own_endpoint
        self._parts = parts
        self._clock: Clock = parts.clock
        self._changed = changed
        self._moved = moved
        self._order = itertools.count(1)
        self._links: dict[str, list[Link]] = {}
        self._farewells: dict[tuple[str, str], Goodbye | None] = {}
        self._runs: dict[str, bytes] = {}
        self._ended = trio.Event()
        self._taken_over = 0
        self._replaced: dict[str, dict[bytes, int]] = {}

    def of(self, peer: Peer) -> list[Link]:
        """The links to a peer, oldest first."""
        return list(self._links.get(peer.label, ()))

    def __len__(self) -> int:
        return sum(map(len, self._links.values()))

    async def wait_empty(self) -> None:
        """Until no link is up."""
        while len(self):
            await self._ended.wait()

    def is_linked(self, peer: Peer, route: str) -> bool:
        """Whether a link is up by this route."""
        return any(link.route == route for link in self._links.get(peer.label, ()))

    def farewell_of(self, peer: Peer, route: str = DIRECT) -> Goodbye | None:
        """What the peer said at the end of the link that ended last; None when that was simply cut, or ended by us."""
        return self._farewells.get((peer.label, route))

    def close_all(self, peer: Peer, code: int, reason: str) -> None:
        """End every link to a peer: it was suspended or removed."""
        for link in self.of(peer):
            link.close(code, reason)

    def close_every(self, code: int, reason: str, until_ms: int) -> None:
        """End every link: we stop."""
        for link in itertools.chain.from_iterable(list(self._links.values())):
            link.close(code, reason, until_ms)

    def up(self, link: Link) -> Exchange:
        """A link has gone up: make its exchange, settle which links stay."""
        peer, hello = link.peer, link.peer_hello
        link.facts = LinkFacts(link.dialler, hello.instance, hello.run_id, next(self._order))
        exchange = Exchange(peer, link, self._parts, hello.marks)
        link.exchange = exchange
        if self._runs.get(peer.label) != hello.run_id:
            self._runs[peer.label] = hello.run_id
            exchange.begin_run()
            self._watch_runs(peer, hello)
        was_linked = self.is_linked(peer, link.route)
        self._links.setdefault(peer.label, []).append(link)
        was_up = peer.exchange is not None
        self._settle(peer)
        metrics.links_opened.labels(peer.label, "us" if link.dialler == self._own else "peer").inc()
        log.info(
            "link_up", peer=peer.label, dialled=link.dialler == self._own, software=hello.software, route=link.route
        )
        self._tell(peer, was_up)
        if not was_linked:
            self._moved(peer, link.route)
        return exchange

    def down(self, link: Link) -> None:
        """A link has ended."""
        peer = link.peer
        self._links[peer.label].remove(link)
        self._farewells[peer.label, link.route] = link.goodbye
        metrics.links_closed.labels(peer.label, link.reason).inc()
        log.info("link_down", peer=peer.label, reason=link.reason, route=link.route)
        if link.goodbye is not None and link.goodbye.code == GoodbyeCode.REPLACED:
            self._was_taken_over(peer)
        was_up = peer.exchange is not None
        self._settle(peer)
        if peer.exchange is None:
            peer.last_error = f"link ended: {link.reason}"
        self._tell(peer, was_up)
        if not self.is_linked(peer, link.route):
            self._moved(peer, link.route)
        if not self._links[peer.label]:
            self._forget(peer)
        self._ended.set()
        self._ended = trio.Event()

    def routes_changed(self, peer: Peer) -> None:
        """The operator has chosen other routes: links by those that are no longer wanted end."""
        if peer.label not in self._links:
            return
        wanted, was_up = every_route(peer.agreement.routes), peer.exchange is not None
        self._settle(peer)
        self._tell(peer, was_up)
        for link in self.of(peer):
            if link.route not in wanted:
                link.close(GoodbyeCode.DONE, "this route is not taken any more")

    def _tell(self, peer: Peer, was_up: bool) -> None:
        if (peer.exchange is not None) != was_up:
            self._note(peer, "DOWN" if was_up else "UP")

    def _forget(self, peer: Peer) -> None:
        """The last link of this label is gone."""
        del self._links[peer.label]
        if peer.row.state == REMOVED:
            for known in [known for known in self._farewells if known[0] == peer.label]:
                del self._farewells[known]
            self._runs.pop(peer.label, None)
            self._replaced.pop(peer.label, None)
            metrics.forget_peer(peer.label)

    def _was_taken_over(self, peer: Peer) -> None:
        """A partner says that a newer process of ours has the link, and yet we live."""
        self._taken_over += 1
        if self._taken_over > 1:
            log.error("own_endpoint_doubled", peer=peer.label, times=self._taken_over)
            peer.alarm(
                "another process of ours takes over its links: roamd runs twice on one identity; end one of them"
            )

    def _note_replaced(self, peer: Peer, run_id: bytes) -> None:
        replaced = self._replaced.setdefault(peer.label, {})
        replaced.setdefault(run_id, 0)
        while len(replaced) > RUNS_KEPT:
            del replaced[next(iter(replaced))]

    def _watch_runs(self, peer: Peer, hello: Hello) -> None:
        """A process that was replaced and is back never ended."""
        replaced = self._replaced.get(peer.label, {})
        if hello.run_id not in replaced:
            return
        replaced[hello.run_id] += 1
        if sum(replaced.values()) > 1:
            log.warning("peer_endpoint_doubled", peer=peer.label, times=sum(replaced.values()))
            peer.alarm("two of its processes take each other's links: roamd runs twice on its identity")

    def _settle(self, peer: Peer) -> None:
        """Between every two links of the same instance one goes; what is ours to close we close."""
        staying = list(self._links[peer.label])
        for one, other in itertools.combinations(list(staying), 2):
            if one not in staying or other not in staying or one.facts is None or other.facts is None:
                continue
            if one.route != other.route and one.facts.peer_run == other.facts.peer_run:
                continue
            verdict = resolve(self._own, peer.endpoint_id, one.facts, other.facts)
            if verdict is None:
                continue
            loser = one if verdict.closes is one.facts else other
            staying.remove(loser)
            if verdict.code == GoodbyeCode.REPLACED:
                self._note_replaced(peer, verdict.closes.peer_run)
            if verdict.we_close:
                loser.close(verdict.code, "another link stays")
        for oldest in staying[:-MAX_INSTANCES]:
            staying.remove(oldest)
            oldest.close(GoodbyeCode.OVERLOADED, f"more than {MAX_INSTANCES} instances are linked")
        self._choose(peer, staying)

    def _choose(self, peer: Peer, links: list[Link]) -> None:
        """Per function, the newest of the links that stay by the best route carries what we ask and send."""
        usable = {link.route: link.exchange for link in links if link.exchange is not None and link.exchange.is_up}
        before = {function: peer.carrier(function) for function in FUNCTIONS}
        chosen = {function: _first(usable, routes_for(peer.agreement.routes, function)) for function in FUNCTIONS}
        peer.exchange = chosen[CALLS]
        peer.elsewhere = {function: one for function, one in chosen.items() if one is not peer.exchange}
        peer.others = tuple(exchange for exchange in usable.values() if exchange is not peer.exchange)
        if peer.exchange is not None and peer.exchange is not before[CALLS]:
            self._parts.outgoing.repeat(peer)
        # Not a set: whose turn comes first must not hang on where in memory it lies.
        for exchange in dict.fromkeys((*before.values(), *chosen.values())) if chosen != before else ():
            if exchange is not None and exchange.is_up:
                exchange.carry()
                exchange.ledger_grew()

    def _note(self, peer: Peer, link: str) -> None:
        now_ms = self._clock.now_ms()
        if link == "UP":
            peer.last_up_ms, peer.last_error = now_ms, None
        metrics.link_up.labels(peer.label).set(1 if link == "UP" else 0)
        state = peer.row.state
        self._parts.store.submit(
            lambda cx: peer_event_txn(cx, peer.label, state, link, now_ms),
            lambda outcome: self._parts.events_written(),
            essential=True,
        )
        self._changed(peer)


def _first(usable: Mapping[str, Exchange], routes: tuple[str, ...]) -> Exchange | None:
    return next((usable[route] for route in routes if route in usable), None)
