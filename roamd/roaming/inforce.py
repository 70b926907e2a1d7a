"""Puts the agreement that rules to use, whenever that changes: by an entry of a ledger, or by the calendar.

Theory of operation. What rules is decided by both sides alike: of the documents that both signed and whose time it is,
the highest number; while there is none, the preset of the pairing, which is kept aside meanwhile. Putting it to use is
a change of the peer book (`PeerBook.agree`), after the commit of the entry that brought it about; should the process
end in between, it is made good at the next start, for a look only compares what rules with what is in use.

Between the moment in which one side signs and that in which the other hears of it, the two work by different
agreements: whatever only one of them allows is refused then, and the refusal names the clause.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from roamd.clock import Clock
from roamd.errors import StoreFull
from roamd.log import get_logger
from roamd.model.agreement import Agreement
from roamd.model.agreementdocument import kept_document, projected, with_rights_of
from roamd.roaming.deadlines import Deadlines, Timer
from roamd.roaming.directory import Directory, Peer
from roamd.roaming.events import agreement_event_txn
from roamd.roaming.ledger.agreed import next_change_ms, ruling
from roamd.roaming.peerbook import PeerBook
from roamd.storage import agreements
from roamd.storage.agreements import AgreementRow
from roamd.storage.store import Cx, Store

log = get_logger()

LOOK_S = 3600.0
"""The wall clock may be set while a timer of ours waits for a day months away, so it is looked at each hour."""

_BEFORE_ALL: Final = -1
"""Behind so many commits stands what is to be looked at in any case."""


@dataclass(slots=True)
class InForce:
    """`told` is called after a commit that wrote an event; `start` runs a coroutine in the daemon's nursery."""

    clock: Clock
    store: Store
    directory: Directory
    book: PeerBook
    deadlines: Deadlines
    told: Callable[[], None]
    start: Callable[..., None]
    _noted: deque[tuple[int, str]] = field(default_factory=deque)
    """Whose agreements may have changed, and behind how many commits; in that order."""
    _timer: Timer | None = None

    def begin(self) -> None:
        """Look at every peer with whom anything was signed: at the start, and each hour while there are such."""
        for label in self.store.read(agreements.peers_with_signed):
            self._noted.appendleft((_BEFORE_ALL, label))
        self.look()

    def note(self, label: str) -> None:
        """A peer's agreements may have changed; called on the writer's thread, inside the transaction that did it.

        Who looks before that is committed would see nothing new, so the note stays until then.
        """
        self._noted.append((self.store.commits, label))

    def linked(self, peer: Peer) -> None:
        """A link is up: look at its peer, unless nothing is in use and nothing was signed, as with most."""
        if peer.agreement.number is not None or self.store.read(lambda cx: agreements.signed(cx, peer.label)):
            self._noted.appendleft((_BEFORE_ALL, peer.label))
            self.look()

    def look(self) -> None:
        """Put to use what came in; costs nothing when nothing did."""
        if self._is_due():
            self.start(self._settle)

    def _is_due(self) -> bool:
        return bool(self._noted) and self._noted[0][0] < self.store.commits

    async def _settle(self) -> None:
        while self._is_due():
            _, label = self._noted.popleft()
            peer = self.directory.find(label)
            if peer is not None:
                try:
                    await self.put_to_use(peer)
                except StoreFull as error:  # the next look tries again
                    log.warning("agreement_not_in_use", peer=label, detail=str(error))
        self.told()

    async def put_to_use(self, peer: Peer) -> None:
        """Compare what rules with what is in use, and change that."""
        rows = self.store.read(lambda cx: agreements.signed(cx, peer.label))
        now_ms = self.clock.now_ms()
        rules = ruling(rows, now_ms)
        before = peer.agreement
        settle = partial(self._meant_by, peer.label, rules)

        def also(cx: Cx) -> None:
            if rules is None:
                agreements.drop_preset_txn(cx, peer.label)
            elif before.number is None:
                agreements.keep_preset_txn(cx, peer.label, before.to_json())
            number, state = (None, "PRESET") if rules is None else (rules.number, "IN_FORCE")
            agreement_event_txn(cx, peer.label, number, state, now_ms)

        if await self.book.agree(peer, settle, also) and rules is None:
            peer.alarm(f"agreement {before.number} has ended and none has taken its place: the preset holds again")
        if rows:
            self._wake_at(next_change_ms(rows, now_ms), now_ms)

    def _meant_by(self, label: str, rules: AgreementRow | None, settings: Agreement) -> Agreement:
        if rules is not None:
            return projected(kept_document(rules.document), rules.side, settings)
        preset = None if settings.number is None else self.store.read(lambda cx: agreements.preset_of(cx, label))
        return settings if preset is None else with_rights_of(Agreement.from_json(preset), settings)

    def _wake_at(self, moment_ms: int | None, now_ms: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        wait_s = LOOK_S if moment_ms is None else min(LOOK_S, (moment_ms - now_ms) / 1000 + 0.001)
        self._timer = self.deadlines.after(wait_s, self.begin)
