"""Which links are up, and which of two to the same endpoint stays (the rule is `protocol.duplicates`).

A peer's `exchange` is the one over which we ask and send: that of the newest link that stays. When it ends, another
that is still up takes over.
"""

import itertools
from collections.abc import Callable

from roamd import metrics
from roamd.clock import Clock
from roamd.log import get_logger
from roamd.peering.link import Link
from roamd.protocol.codes import GoodbyeCode
from roamd.protocol.duplicates import LinkFacts, resolve
from roamd.protocol.messages import Goodbye
from roamd.roaming.directory import Peer
from roamd.roaming.dispatch import Exchange, Parts
from roamd.roaming.events import peer_event_txn
from roamd.roaming.peerbook import REMOVED
from roamd.roaming.waiting import Wake

log = get_logger()

MAX_INSTANCES = 8
"""Links to one peer that stay. A company runs a daemon, or a few for safety; each link costs what an idle peer does."""


class Registry:
    """All links that are up. `changed(peer)` is called when a peer's link came up or went down."""

    def __init__(self, own_endpoint: str, parts: Parts, changed: Callable[[Peer], None]) -> None:
        self._own = own_endpoint
        self._parts = parts
        self._clock: Clock = parts.clock
        self._changed = changed
        self._order = itertools.count(1)
        self._links: dict[str, list[Link]] = {}
        self._farewells: dict[str, Goodbye | None] = {}
        self._runs: dict[str, bytes] = {}
        self._ended = Wake()

    def of(self, peer: Peer) -> list[Link]:
        """The links to a peer, oldest first."""
        return list(self._links.get(peer.label, ()))

    def __len__(self) -> int:
        return sum(map(len, self._links.values()))

    async def wait_empty(self) -> None:
        """Until no link is up."""
        while len(self):
            await self._ended.wait()

    def farewell_of(self, peer: Peer) -> Goodbye | None:
        """What the peer said at the end of the link that ended last; None when that was simply cut, or ended by us."""
        return self._farewells.get(peer.label)

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
        others = self._links.setdefault(peer.label, [])
        others.append(link)
        was_up = peer.exchange is not None
        self._settle(peer)
        metrics.links_opened.labels(peer.label, "us" if link.dialler == self._own else "peer").inc()
        log.info("link_up", peer=peer.label, dialled=link.dialler == self._own, software=hello.software)
        if not was_up:
            self._note(peer, "UP")
        return exchange

    def down(self, link: Link) -> None:
        """A link has ended."""
        peer = link.peer
        self._links[peer.label].remove(link)
        self._farewells[peer.label] = link.goodbye
        metrics.links_closed.labels(peer.label, link.reason).inc()
        log.info("link_down", peer=peer.label, reason=link.reason)
        self._settle(peer)
        if peer.exchange is None:
            peer.last_error = f"link ended: {link.reason}"
            self._note(peer, "DOWN")
        if not self._links[peer.label]:
            self._forget(peer)
        self._ended.set()

    def _forget(self, peer: Peer) -> None:
        """The last link of this label is gone."""
        del self._links[peer.label]
        if peer.row.state == REMOVED:
            del self._farewells[peer.label]
            self._runs.pop(peer.label, None)
            metrics.forget_peer(peer.label)

    def _settle(self, peer: Peer) -> None:
        """Between every two links of the same instance one goes; what is ours to close we close."""
        staying = list(self._links[peer.label])
        for one, other in itertools.combinations(list(staying), 2):
            if one not in staying or other not in staying or one.facts is None or other.facts is None:
                continue
            verdict = resolve(self._own, peer.endpoint_id, one.facts, other.facts)
            if verdict is None:
                continue
            loser = one if verdict.closes is one.facts else other
            staying.remove(loser)
            if verdict.we_close:
                loser.close(verdict.code, "another link stays")
        for oldest in staying[:-MAX_INSTANCES]:
            staying.remove(oldest)
            oldest.close(GoodbyeCode.OVERLOADED, f"more than {MAX_INSTANCES} instances are linked")
        self._choose(peer, staying)

    def _choose(self, peer: Peer, links: list[Link]) -> None:
        """The newest of the links that stay carries what we ask and send."""
        usable = [link for link in links if link.exchange is not None and link.exchange.is_up]
        chosen = usable[-1].exchange if usable else None
        if chosen is not peer.exchange:
            peer.exchange = chosen
            if chosen is not None:
                self._parts.outgoing.repeat(peer)
                chosen.ledger_grew()

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
