"""The law, looked at from outside: what each node's store holds against what its backend was promised.

After every step, for every pair: each promised record is there and is settled, queued or parked; what the author calls
settled the receiver holds, or has refused; what the receiver holds was handed in, as it is, and is there once; an own
object is what was last promised or is under way. While a pair recovers from a restored copy only the parts hold that
cannot be lost by it. At the end nothing is under way any more: then feeds, records and ledgers are equal on all pairs.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from roamd.model.agreement import may_follow, may_publish
from roamd.model.roles import FEEDS
from roamd.protocol.ledger import EntryKind
from roamd.roaming.audience import is_shown
from roamd.roaming.ledger.mending import marker
from roamd.storage import feeds, ledgers, meta
from roamd.storage.ledgers import Chain
from roamd.storage.records import DELIVERED, PARKED, QUEUED
from roamd.storage.store import Cx
from tests.simulation.backend import LawBroken
from tests.simulation.node import Node

ALL = 1_000_000
STATES = frozenset({QUEUED, DELIVERED, PARKED})


@dataclass(frozen=True, slots=True)
class Out:
    """An own record as the node has it."""

    peer: str | None
    state: str
    body_hash: bytes
    reason: str | None


@dataclass(frozen=True, slots=True)
class Books:
    """What a node's store says, all at one moment."""

    out: dict[str, Out]
    received: dict[tuple[str, str], bytes]
    refused: frozenset[str]
    objects: dict[tuple[str, str], bytes]
    chains: tuple[Chain, ...]


def read_books(cx: Cx, *, before: Books | None = None, written: set[str] | None = None) -> Books:
    """Straight from the tables; those to which nothing was written stand as they did before."""
    if before is None or written is None:
        return Books(*_read_records(cx), _read_refused(cx), _read_objects(cx), tuple(ledgers.chains(cx)))
    out, received = _read_records(cx) if "records" in written else (before.out, before.received)
    refused = _read_refused(cx) if "entries" in written else before.refused
    objects = _read_objects(cx) if "objects" in written else before.objects
    return Books(out, received, refused, objects, tuple(ledgers.chains(cx)) if "chains" in written else before.chains)


def _read_records(cx: Cx) -> tuple[dict[str, Out], dict[tuple[str, str], bytes]]:
    out, received = {}, {}
    sql = "SELECT direction, record_id, peer, state, body_hash, reason FROM records"
    for direction, record_id, peer, state, body_hash, reason in cx.run(sql):
        if direction == "out":
            out[record_id] = Out(peer, state, body_hash, reason)
        else:
            received[peer, record_id] = body_hash
    return out, received


def _read_refused(cx: Cx) -> frozenset[str]:
    return frozenset(row[0] for row in cx.run("SELECT record_id FROM entries WHERE kind = ?", (EntryKind.REFUSED,)))


def _read_objects(cx: Cx) -> dict[tuple[str, str], bytes]:
    shown = cx.run("SELECT feed, id, body FROM objects WHERE body IS NOT NULL AND feed <> 'evse-status'")
    return {(feed, id_): body for feed, id_, body in shown}


class Law:
    """Judges all nodes; `unreconciled` holds the pairs of which one side was restored from a copy."""

    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = {node.name: node for node in nodes}
        self.books: dict[str, Books] = {}
        self.unreconciled: set[frozenset[str]] = set()
        self.restored: set[str] = set()
        self.doubled: set[str] = set()
        self.checks = 0

    def was_restored(self, node: Node) -> None:
        """A node began anew from an old copy."""
        self.restored.add(node.name)
        self.unreconciled |= {frozenset((node.name, partner.name)) for partner in node.backend.partners}

    def was_doubled(self, node: Node) -> None:
        """A second process of the node runs: what one of them is told the other does not know."""
        self.doubled.add(node.name)
        self.was_restored(node)

    def is_single(self, node: Node) -> None:
        """The second process has ended."""
        self.doubled.discard(node.name)

    def read_whole(self) -> None:
        """Believe nothing that was read before: the next check reads all of every node."""
        for node in self.nodes.values():
            node.changed, node.written = True, None

    def check(self) -> None:
        """After a step. Raises LawBroken."""
        changed = [node for node in self.nodes.values() if node.changed]
        moved = {node.name for node in changed if self._read(node)}
        for pair in sorted(self.unreconciled, key=sorted):
            if self._is_reconciled(*sorted(pair)):
                self.unreconciled.discard(pair)
                moved |= pair
        for node in changed:
            self.checks += 1
            self._check_own(node)
        for name in sorted(moved):
            for partner in self.nodes[name].backend.partners:
                self._check_pair(name, partner.name)
                self._check_pair(partner.name, name)

    def _read(self, node: Node) -> bool:
        """What is new in a node's books; whether any of it concerns its partners' records."""
        before, written = self.books.get(node.name), node.written
        self.books[node.name] = node.look(partial(read_books, before=before, written=written))
        node.changed, node.written = False, set()
        return written is None or not written.isdisjoint(("records", "entries"))

    def _is_reconciled(self, one: str, other: str) -> bool:
        a, b = self.nodes[one], self.nodes[other]
        if self.doubled & {one, other}:
            return False
        if not (a.up and b.up and linked(a, other) and linked(b, one)):
            return False
        return equal_ledgers(self.books[one], one, self.books[other], other) and not any(
            x.look(partial(meta.get, name=marker(y.name))) for x, y in ((a, b), (b, a))
        )

    def _check_own(self, node: Node) -> None:
        books, backend = self.books[node.name], node.backend
        for record_id, handed in backend.handed.items():
            held = books.out.get(record_id)
            if held is None:
                _require(not handed.promised, f"{node.name} lost record {record_id}")
            else:
                _require(held.state in STATES, f"{node.name}: record {record_id} is {held.state}")
        for record_id in books.out:
            _require(record_id in backend.handed, f"{node.name} has a record {record_id} that nobody handed in")
        epochs = Counter(chain.peer for chain in books.chains if chain.own)
        forgot = node.name not in self.restored and any(count > 1 for count in epochs.values())
        _require(not forgot, f"{node.name} opened a new epoch, as if it had been restored from a copy")
        for key, body in backend.shown.items():
            allowed = [body, *backend.in_flight.get(key, [])]
            _require(books.objects.get(key) in allowed, f"{node.name}: {key} is not what was promised")

    def _check_pair(self, author: str, receiver: str) -> None:
        mine, theirs = self.books[author], self.books[receiver]
        handed = self.nodes[author].backend.handed
        for (peer, record_id), body_hash in theirs.received.items():
            if peer != author:
                continue
            _require(record_id in handed, f"{receiver} has record {record_id} of {author}, which nobody handed in")
            mine_now = mine.out.get(record_id)
            same = mine_now is None or mine_now.body_hash == body_hash
            _require(same, f"{receiver} has record {record_id} with other content than {author}")
        if frozenset((author, receiver)) in self.unreconciled:
            return
        for record_id, held in mine.out.items():
            if held.peer != receiver:
                continue
            there = (author, record_id) in theirs.received
            if held.state == DELIVERED:
                known = there or record_id in theirs.refused
                _require(known, f"{author} calls {record_id} settled, {receiver} does not have it")
            elif held.state == PARKED:
                refused = record_id in theirs.refused
                _require(refused and not there, f"{author} parked {record_id} ({held.reason}), {receiver} has {there}")

    # --- at the end ---------------------------------------------------------------------------------------------

    def faults_of_rest(self) -> Iterator[str]:
        """Whatever is not yet as it must be once everything has come to rest."""
        for node in self.nodes.values():
            yield from self._unrest(node)
            for partner in node.backend.partners:
                other = self.nodes[partner.name]
                if not linked(node, other.name):
                    yield f"{node.name} has no link to {other.name}"
                    continue
                yield from self._ledger_differs(node.name, other.name)
                yield from self._records_differ(node.name, other.name)
                yield from feeds_differ(node, other)

    def _unrest(self, node: Node) -> Iterator[str]:
        for record_id, handed in node.backend.handed.items():
            held = self.books[node.name].out.get(record_id)
            if not handed.promised or held is None:
                yield f"{node.name} has not taken {record_id}"
            elif held.state == QUEUED:
                yield f"{node.name} still queues {record_id} for {held.peer}"

    def _ledger_differs(self, author: str, receiver: str) -> Iterator[str]:
        mine = _chains(self.books[author], receiver, own=True)
        theirs = _chains(self.books[receiver], author, own=False)
        if mine != theirs:
            yield f"the ledger of {author} for {receiver} has {_told(mine)}, the receiver's {_told(theirs)}"

    def _records_differ(self, author: str, receiver: str) -> Iterator[str]:
        mine, theirs = self.books[author], self.books[receiver]
        settled = {
            record_id: held.body_hash
            for record_id, held in mine.out.items()
            if held.peer == receiver and held.state == DELIVERED
        }
        taken = {record_id: hash_ for (peer, record_id), hash_ in theirs.received.items() if peer == author}
        if settled != taken:
            differing = sorted(set(settled.items()) ^ set(taken.items()))
            yield f"{author} settled {len(settled)} records with {receiver}, which has {len(taken)}: {differing[:3]}"


def linked(node: Node, label: str) -> bool:
    """Whether the node has exactly one link to its peer."""
    if node.core is None:
        return False
    peer = node.core.directory.get(label)
    return peer.exchange is not None and peer.exchange.is_up and len(node.core.registry.of(peer)) == 1


def equal_ledgers(mine: Books, me: str, theirs: Books, them: str) -> bool:
    """Both chains between two nodes, in every epoch."""
    return _chains(mine, them, own=True) == _chains(theirs, me, own=False) and _chains(
        mine, them, own=False
    ) == _chains(theirs, me, own=True)


def _chains(books: Books, peer: str, *, own: bool) -> dict[bytes, tuple[int, bytes, int]]:
    return {
        chain.epoch: (chain.tail_sequence, chain.tail_hash, chain.receipted_sequence)
        for chain in books.chains
        if chain.peer == peer and chain.own is own
    }


def _told(chains: dict[bytes, tuple[int, bytes, int]]) -> str:
    """Epoch, entries, receipted entries, each shortened."""
    return ", ".join(f"{epoch.hex()[:4]} {tail}/{receipted}" for epoch, (tail, _, receipted) in chains.items())


def feeds_differ(publisher: Node, follower: Node) -> Iterator[str]:
    """Byte for byte: what one shows the other, and what the other has."""
    assert publisher.core is not None
    assert follower.core is not None
    peer, own = publisher.core.directory.get(follower.name), follower.core.directory.get(publisher.name)
    for feed in FEEDS:
        if not (may_publish(peer.agreement, feed) and may_follow(own.agreement, feed)):
            continue
        rows = publisher.look(partial(feeds.tail, feed=feed, after_version=0, max_rows=ALL, max_bytes=1 << 30))
        shown = {
            row.key: (row.ocpi, row.body)
            for row in rows
            if row.body is not None and is_shown(row.audience, peer, publisher.core.directory)
        }
        held = follower.look(partial(feeds.list_mirrored, peer=publisher.name, feed=feed, after=None, limit=ALL))
        has = {row.key: (row.ocpi, row.body) for row in held}
        if shown != has:
            keys = sorted({key for key, _ in set(shown.items()) ^ set(has.items())})
            yield f"{follower.name} has {len(has)} {feed} of {publisher.name}, which shows {len(shown)}: {keys[:3]}"


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise LawBroken(what)
