"""Two sides' settled records against each other: digests of groups first, then the lines of the groups that differ.

Theory of operation. A group is the records of one author, kind and day; both sides write its lines in the same order,
so equal digests mean equal records, places and states. In sync a comparison costs one call for some hundred days. What
the peer answers is a claim: it only says where to look. Pages must go forwards and are counted, so a peer that makes
them up costs a bounded number of calls, and is told of to the operator.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeVar

from roamd.clock import Clock
from roamd.errors import PeerError, ProtocolError
from roamd.model.keys import fold
from roamd.protocol.calls import Service
from roamd.protocol.codes import GoodbyeCode
from roamd.protocol.messages import Answer, AnswerStatus, Call
from roamd.protocol.reconcile import (
    LAST_DAY,
    MAX_GROUPS,
    MAX_LINES,
    MAX_TAILS,
    Group,
    GroupDigest,
    GroupPage,
    LinePage,
    Reconcile,
    RecordLine,
    Step,
    Tail,
)
from roamd.roaming.accounts import Walk, following
from roamd.roaming.calls import OutgoingCalls
from roamd.roaming.directory import Peer
from roamd.roaming.ledger.chain import Random
from roamd.roaming.waiting import Outcome
from roamd.storage import accounts, ledgers
from roamd.storage.accounts import Place, Settled
from roamd.storage.ledgers import Chain
from roamd.storage.store import Cx, Store

ASK_S: Final = 30.0
MAX_PAGES: Final = 2_000
"""Of groups and lines in one comparison: some 400,000 lines."""

T = TypeVar("T")


class GroupKey(NamedTuple):
    """`ours`: we are the author."""

    day: str
    ours: bool
    kind: str


class Difference(NamedTuple):
    """One record that is not the same on both sides; `here` or `there` is None where it is missing."""

    group: GroupKey
    here: RecordLine | None
    there: RecordLine | None


# --- what we have -----------------------------------------------------------------------------------------------


def line_of(found: Settled) -> RecordLine:
    """A record as it goes over the wire."""
    row = found.account
    return RecordLine(row.party, found.record_id, found.epoch, found.sequence, found.commitment, found.state)


async def own_groups(store: Store, peer: str, after: Place, until: str) -> AsyncIterator[tuple[GroupKey, GroupDigest]]:
    """Our groups with a peer, in order."""
    walk = Walk(store, peer, after, until)
    key: GroupKey | None = None
    digest = GroupDigest()
    while page := await walk.page():
        for found in page:
            row = found.account
            now = GroupKey(row.day, row.own, row.kind)
            if key is not None and now != key:
                yield key, digest
                digest = GroupDigest()
            key = now
            digest.add(line_of(found))
    if key is not None:
        yield key, digest


async def group_page(store: Store, peer: str, day: str, until: str) -> GroupPage:
    """What DIGESTS is answered: whole days."""
    groups: list[Group] = []
    async for key, digest in own_groups(store, peer, following(day), until):
        if len(groups) >= MAX_GROUPS and key.day != groups[-1].day:
            return GroupPage(store.read(lambda cx: tails(cx, peer)), groups, more=True)
        groups.append(Group(not key.ours, key.kind, key.day, digest.count, digest.digest))
    return GroupPage(store.read(lambda cx: tails(cx, peer)), groups)


def tails(cx: Cx, peer: str) -> list[Tail]:
    """Where the chains end, the newest ones last."""
    found = ledgers.chains(cx, peer)[-MAX_TAILS:]
    return [Tail(not chain.own, chain.epoch, chain.tail_sequence) for chain in found]


def line_page(cx: Cx, peer: str, group: GroupKey, party: str, record_key: str) -> LinePage:
    """What LINES is answered."""
    after = Place(group.day, group.ours, group.kind, party, record_key)
    rows = accounts.settled(cx, peer, after, group.day, MAX_LINES + 1)
    lines = [line_of(row) for row in rows if GroupKey(row.account.day, row.account.own, row.account.kind) == group]
    return LinePage(lines[:MAX_LINES], more=len(lines) > MAX_LINES)


# --- what the peer has ------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Comparison:
    """One comparison with a peer. `groups`, `records` (ours) and what is under way are known afterwards."""

    peer: Peer
    store: Store
    clock: Clock
    calls: OutgoingCalls
    random: Random
    groups: int = 0
    records: int = 0
    _pages: int = 0
    _theirs: dict[tuple[bool, bytes], int] = field(default_factory=dict)

    async def differences(self, day: str = "", until: str = LAST_DAY) -> list[Difference]:
        """Every record that differs. PeerError when the peer does not answer, ProtocolError when it makes things up."""
        return list(_without_days([each async for each in self._differences(day, until)]))

    async def _differences(self, day: str, until: str) -> AsyncIterator[Difference]:
        theirs = await self._their_groups(day, until)
        ours: dict[GroupKey, tuple[int, bytes]] = {}
        async for key, digest in own_groups(self.store, self.peer.label, following(day), until):
            ours[key] = (digest.count, digest.digest)
            self.records += digest.count
        self.groups = len(ours.keys() | theirs.keys())
        for key in sorted(ours.keys() | theirs.keys()):
            if ours.get(key) != theirs.get(key):
                async with aclosing(self._within(key)) as differences:
                    async for difference in differences:
                        yield difference

    async def _their_groups(self, day: str, until: str) -> dict[GroupKey, tuple[int, bytes]]:
        found: dict[GroupKey, tuple[int, bytes]] = {}
        last = ""
        while True:
            page = await self.ask(Reconcile(Step.DIGESTS, day, until), GroupPage.unpack)
            if not last:
                self._theirs = {(tail.yours, tail.epoch): tail.sequence for tail in page.tails}
            for group in page.groups:
                _require(last <= group.day and (group.day > day or not day) and group.day <= until)
                found[GroupKey(group.day, group.yours, group.kind)] = (group.count, group.digest)
                last = group.day
            if not page.more:
                return found
            _require(last > day)
            day = last

    def under_way(self, difference: Difference) -> bool:
        """Whether it is only that entries or receipts have not arrived yet: then it is no difference."""
        return self.store.read(lambda cx: self._under_way(cx, difference))

    def _under_way(self, cx: Cx, difference: Difference) -> bool:
        chains = ledgers.chains(cx, self.peer.label)[-MAX_TAILS:]
        line, ours = difference.here or difference.there, difference.group.ours
        if line is None or (difference.here is not None and difference.there is not None):
            return not all(self._is_whole(chain) for chain in chains)  # a word about it may be on its way
        if difference.there is None:
            return self._theirs.get((ours, line.epoch), 0) < line.sequence
        held = {chain.epoch: chain.receipted_sequence for chain in chains if chain.own is ours}
        return held.get(line.epoch, 0) < line.sequence

    def _is_whole(self, chain: Chain) -> bool:
        """Whether each side has all of it, and the receipts are there."""
        shown = self._theirs.get((chain.own, chain.epoch))
        return shown == chain.tail_sequence == chain.receipted_sequence

    async def _within(self, key: GroupKey) -> AsyncGenerator[Difference, None]:
        """The lines of one group, side by side in their order: of a day of a million records a page is in memory."""
        async with aclosing(self._their_lines(key)) as theirs:
            there = await anext(theirs, None)
            for here in self._own_lines(key):
                while there is not None and _line_key(there) < _line_key(here):
                    yield Difference(key, None, there)
                    there = await anext(theirs, None)
                if there is None or _line_key(there) != _line_key(here):
                    yield Difference(key, here, None)
                    continue
                if _told(here) != _told(there):
                    yield Difference(key, here, there)
                there = await anext(theirs, None)
            while there is not None:
                yield Difference(key, None, there)
                there = await anext(theirs, None)

    def _own_lines(self, key: GroupKey) -> Iterator[RecordLine]:
        at = ("", "")
        while True:
            page = self.store.read(
                lambda cx, at=at: line_page(cx, self.peer.label, key, *at)  # type: ignore[misc]
            )
            yield from page.lines
            if not page.more:
                return
            at = _line_key(page.lines[-1])

    async def _their_lines(self, key: GroupKey) -> AsyncGenerator[RecordLine, None]:
        at = ("", "")
        while True:
            question = Reconcile(Step.LINES, key.day, yours=not key.ours, kind=key.kind, party=at[0], record_key=at[1])
            page = await self.ask(question, LinePage.unpack)
            for line in page.lines:
                _require(_line_key(line) > at)
                at = _line_key(line)
                yield line
            if not page.more:
                return
            _require(bool(page.lines))

    async def ask(self, question: Reconcile, read: Callable[[bytes], T], wait_s: float = ASK_S) -> T:
        """One call of service RECONCILE. PeerError when there is no answer."""
        self._pages += 1
        _require(self._pages <= MAX_PAGES)
        call = Call(self.random(16), Service.RECONCILE, int(wait_s * 1000), question.pack())
        answered: Outcome[Answer | None] = Outcome()
        self.calls.start(self.peer, call, self.clock.monotonic() + wait_s, answered)
        answer = await answered.wait()
        if answer is None:
            raise PeerError(f"{self.peer.label} did not answer; try again while the link is up.")
        if answer.status != AnswerStatus.ANSWERED:
            raise PeerError(
                f"{self.peer.label} does not reconcile now: {answer.body[:200].decode('ascii', 'replace')}."
            )
        return read(answer.body)


def _without_days(found: list[Difference]) -> Iterable[Difference]:
    """What is alike but for its day, which one side does not know because it erased the content, is no difference."""
    here = {(each.group.ours, each.group.kind, _told(each.here)): each for each in found if each.there is None}
    there = {(each.group.ours, each.group.kind, _told(each.there)): each for each in found if each.here is None}
    alike = {id(pair) for key in here.keys() & there.keys() for pair in (here[key], there[key])}
    return (each for each in found if id(each) not in alike)


def _line_key(line: RecordLine) -> tuple[str, str]:
    return line.party, fold(line.record_id)


def _told(line: RecordLine | None) -> bytes | None:
    return None if line is None else line.digest_part()


def _require(holds: bool) -> None:
    """What a peer claims must lead somewhere."""
    if not holds:
        raise ProtocolError(GoodbyeCode.MALFORMED, "what the peer says of its records leads nowhere")
