"""Dialling: one task a peer, while there is something to dial: it brings a link up and ends.

The task knows one time, `due_at`, and sleeps until then or until something happens; whatever happens only moves that
time, and begins the task anew where it has ended. An attempt that fails puts it off, each time further, up to five
minutes. Good news (a new address, a confirmation, an operator's `retry`) brings it to now. A peer that contacts us is
forgiven its failures and given a moment, for its own link is about to come up. While a link is up, by whoever's
dialling, nothing is due; that peer has no task, and neither has one that cannot be dialled.

Links that break soon after they came up count like failures, and only a link that lasts forgives them: otherwise two
sides that disagree would dial each other without a pause. Who was replaced by another process of its own endpoint
waits longest: otherwise the two would take every link from each other again and again.
"""

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import trio

from roamd import metrics
from roamd.clock import Clock
from roamd.errors import NotTrusted, PeerError
from roamd.log import get_logger
from roamd.peering.backoff import CAP_S, Backoff
from roamd.peering.link import Link
from roamd.protocol.codes import GoodbyeCode, Reconnect, reconnect_after
from roamd.protocol.messages import Goodbye
from roamd.roaming.directory import Peer
from roamd.roaming.waiting import Wake

log = get_logger()

SETTLED_S = 10.0
"""A link that lived this long was a success."""

CONTACT_S = 2.0
"""How long a peer that has dialled us has for bringing its link up before we dial it."""

FRESH_CAP_S = 5.0
"""A peer with which no link was ever up is tried this often: its operator may confirm us at any moment."""

FRESH_MS = 3600 * 1000
"""For how long after the pairing that holds."""

Connect = Callable[[Peer, str], Awaitable[Link]]
"""Dial an address, shake hands, judge who is there; a link that is ready to run. Raises OSError or PeerError."""


@dataclass(slots=True)
class Dialler:
    """Keeps one peer's link up. `addresses` gives where to try, best first, asked anew at each attempt.

    `courtesy_s` is how long the other side is given to dial first after a link fell; `cap_s` the longest wait; `linked`
    says whether there is a link already by the route that this dialler is for. `start` runs the task, see `run`.
    """

    peer: Peer
    connect: Connect
    addresses: Callable[[Peer], tuple[str, ...]]
    clock: Clock
    random: Callable[[int], bytes]
    due_at: float
    cap_s: Callable[[], float]
    courtesy_s: Callable[[], float]
    start: Callable[[Callable[[], Awaitable[None]]], None]
    linked: Callable[[Peer], bool] = lambda peer: peer.exchange is not None
    _backoff: Backoff = field(init=False)
    _happened: Wake | None = None
    """Wakes the task; None while there is none."""
    _retired: bool = False
    _up_at: float = -math.inf
    _broke_young: int = 0
    _gave_way: bool = False
    _in_vain: int = 0
    _replaced: int = 0

    def __post_init__(self) -> None:
        self._backoff = Backoff(self.random)

    # --- what happens -------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Have the task look whether there is something to dial."""
        if self._happened is not None:
            self._happened.set()
        elif not self._retired:
            self._happened = Wake()
            self.start(self.run)

    def kick(self) -> None:
        """Something changed for the better: try at once."""
        self._in_vain = 0
        self._forgive()
        self._set_due(0.0)

    def contacted(self) -> None:
        """The peer has shaken hands with us: its link is about to come up.

        Only the first contact since our last attempt puts that off: whose links never come up must not keep us waiting.
        And only the first since a link was up forgives, and later ones move us ever less: two sides that dial each
        other in vain (without a common version) would forgive each other for ever.
        """
        in_vain, self._in_vain = self._in_vain, self._in_vain + 1
        if not in_vain:
            self._forgive()
        if not self._gave_way:
            self._gave_way = True
            wait_s = CONTACT_S * 2 ** min(in_vain, 20)
            self._set_due(min(wait_s, self.due_at - self.clock.monotonic()) if in_vain else wait_s)

    def link_up(self) -> None:
        """A link is up, whoever dialled it."""
        self._up_at, self._gave_way, self._in_vain = self.clock.monotonic(), False, 0
        if self._happened is not None:
            self._happened.set()

    def link_down(self, goodbye: Goodbye | None) -> None:
        """The last link has ended, with what the peer said, if it said anything."""
        settled = self.clock.monotonic() - self._up_at >= SETTLED_S
        self._broke_young = 0 if settled else self._broke_young + 1
        self._gave_way = False
        self._forgive()
        if goodbye is not None and reconnect_after(goodbye.code) is Reconnect.LATE:
            # Once may be a late link of a process that has just died; waiting minutes for that would be an outage.
            self._replaced += 1
            if self._replaced > 1:
                self._backoff.exhaust()
        elif settled:
            self._replaced = 0
        self._set_due(max(self.courtesy_s() + self._next_s(), self._asked_to_wait_s(goodbye)))

    def retire(self) -> None:
        """End the task: the peer was removed, or the daemon stops. A link that it runs is closed by others."""
        self._retired = True
        if self._happened is not None:
            self._happened.set()

    @property
    def next_attempt_at(self) -> float | None:
        """When the next attempt is due, None when none is."""
        return self.due_at if self._wanted() and self.due_at < math.inf else None

    # --- the task -----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Dial until there is nothing to dial; `begin` starts it. A failed attempt is logged and made again."""
        happened = self._happened = self._happened or Wake()
        try:
            while self._wanted():
                wait_s = self.due_at - self.clock.monotonic()
                if wait_s > 0:
                    with trio.move_on_after(wait_s):
                        await happened.wait()
                else:
                    await self._attempt()
        finally:
            self._happened = None

    def _wanted(self) -> bool:
        wanted = not self._retired and not self.linked(self.peer) and self.peer.active
        return wanted and bool(self.addresses(self.peer))

    async def _attempt(self) -> None:
        """Try every address in turn; good news that comes meanwhile is not lost."""
        self.due_at, self._gave_way = math.inf, False
        for address in self.addresses(self.peer):
            link = await self._reach(address)
            if link is None:
                continue
            await link.run()
            if link.exchange is not None:
                return  # it was up, so `link_down` has said when to try again, or another link stays
            self._never_up(address, link)
            break
        self.due_at = min(self.due_at, self.clock.monotonic() + self._next_s())

    async def _reach(self, address: str) -> Link | None:
        try:
            return await self.connect(self.peer, address)
        except (OSError, PeerError) as error:
            self._failed(address, error)
        except Exception as error:  # the edge of a dialler: it restarts with back-off, the daemon goes on
            log.exception("dial_crashed", peer=self.peer.label, address=address)
            self._failed(address, error, logged=True)
        return None

    def _never_up(self, address: str, link: Link) -> None:
        """A link that never went up was an attempt that failed."""
        text = link.detail or f"the link ended before it was up: {link.reason}"
        self._failed(address, PeerError(text), logged=link.logged)

    def _failed(self, address: str, error: Exception, *, logged: bool = False) -> None:
        metrics.handshakes.labels("failed").inc()
        text = f"{address}: {error}"
        if self.peer.last_error != text and not logged:
            reason = error.reason if isinstance(error, NotTrusted) else getattr(error, "code", type(error).__name__)
            log.warning("dial_failed", peer=self.peer.label, address=address, reason=reason, detail=str(error))
        self.peer.last_error = text

    # --- times --------------------------------------------------------------------------------------------------

    def _set_due(self, in_s: float) -> None:
        self.due_at = self.clock.monotonic() + in_s
        self.begin()

    def _forgive(self) -> None:
        self._backoff.reset(self._broke_young)

    def _next_s(self) -> float:
        fresh = self.peer.last_up_ms is None and self.clock.now_ms() - self.peer.row.paired_at_ms < FRESH_MS
        self._backoff.cap_s = min(FRESH_CAP_S, self.cap_s()) if fresh else self.cap_s()
        return self._backoff.next_s()

    def _asked_to_wait_s(self, goodbye: Goodbye | None) -> float:
        """What the peer's Goodbye asks for: a time, or, of a peer that removed us, until something happens."""
        if goodbye is None:
            return 0.0
        if goodbye.code == GoodbyeCode.REMOVED:
            return math.inf
        if reconnect_after(goodbye.code) is not Reconnect.AFTER_UNTIL:
            return 0.0
        return min((goodbye.until_ms - self.clock.now_ms()) / 1000, CAP_S)
