"""Sessions as leases: the visited-CSO renews them, the home-CSP notices those that are not renewed and asks.

The lease is an object of its own (feed `session-leases`, keyed as its session), because a session's body is its
backend's text and is never added to. Whatever the CSO's backend publishes of a session renews it, the very same body
too; the renewal makes a version only at half of the lease's life.

When a lease runs out the session is STALE: the CSP's backend has an event, and the CSO is asked (service
`session-question`), which tells its own backend by an event that somebody waits to hear of this session.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import msgspec

from roamd.clock import Clock, rfc3339
from roamd.errors import Conflict, ProtocolError
from roamd.log import get_logger
from roamd.model.agreement import may_ask, may_be_asked, not_agreed
from roamd.model.keys import ObjectKey
from roamd.model.objects import Checked
from roamd.model.sessions import GRACE_MS, LEASE_MS, LIVE, impossible_change, needs_lease
from roamd.model.times import time_ms
from roamd.model.views import SessionView, session_view
from roamd.protocol.bulk import FeedItem
from roamd.protocol.calls import Service, SessionAnswer, SessionQuestion
from roamd.protocol.messages import AnswerStatus, Call
from roamd.roaming.audience import audience_of, is_shown
from roamd.roaming.calls import OutgoingCalls, Respond
from roamd.roaming.deadlines import Deadlines, Timer
from roamd.roaming.directory import Directory, Peer
from roamd.roaming.ledger.chain import Random
from roamd.storage import events, feeds, leases
from roamd.storage.leases import LeaseRow
from roamd.storage.store import Cx, Store

log = get_logger()

FEED = "session-leases"
SESSIONS = "sessions"
OCPI = "2.3.0"
QUESTION = "session-question"
ASK_MS = 10_000
LOOK_AGAIN_S = 1.0
"""At least between two looks at what has run out."""
SKEW_MS = 300_000
"""More than this a peer's clock is not believed to be wrong."""


_decode_exactly: Final = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal).decode


class _Lease(msgspec.Struct, frozen=True):
    """An object of the feed, in the order of its text."""

    country_code: str
    party_id: str
    id: str
    lease_until: str
    last_updated: str


def session_event_txn(cx: Cx, peer: str | None, kind: str, party: str, session: str, now_ms: int) -> None:
    """`session.stale`, `session.live`, `session.asked`: {session_id, party}; the newest word on a session counts."""
    data = msgspec.json.encode({"session_id": session, "party": party})
    subject = f"{kind} {party} {session}"
    events.append_txn(cx, at_ms=now_ms, peer=peer, type=kind, subject=subject, data=data, coalesce=True)


@dataclass(slots=True)
class VisitedLeases:
    """Renews the leases of our own sessions, and answers who asks for one. `written()` after events."""

    clock: Clock
    store: Store
    directory: Directory
    written: Callable[[], None]

    def judge_txn(self, cx: Cx, checked: Checked) -> None:
        """A session of our backend is about to be published (catalogue.Judge): Conflict when it cannot be so."""
        known = feeds.get_published(cx, SESSIONS, checked.key)
        if known is None or known.body is None or not isinstance(checked.view, SessionView):
            return
        why = impossible_change(_view(known.body), _view(checked.body))
        if why is not None:
            raise Conflict(f"The session cannot have become this: {why}.", code="impossible-change")

    def session_txn(self, cx: Cx, checked: Checked) -> None:
        """It is published (catalogue.Heed): while it goes on it is held, afterwards it needs no lease."""
        view, now_ms = checked.view, self.clock.now_ms()
        if not isinstance(view, SessionView):
            return
        if view.status not in LIVE:
            feeds.withdraw_txn(cx, FEED, checked.key, now_ms)
            return
        if needs_lease(_until_ms(cx, checked.key), now_ms):
            self._renew_txn(cx, checked, now_ms)

    def _renew_txn(self, cx: Cx, checked: Checked, now_ms: int) -> None:
        key, until = checked.key, rfc3339(now_ms + LEASE_MS)
        body = msgspec.json.encode(_Lease(key.party[:2], key.party[2:], key.id, until, rfc3339(now_ms)))
        feeds.publish_txn(cx, FEED, key, OCPI, body, audience_of(checked), now_ms)

    def answer(self, peer: Peer, call: Call, _deadline_at: float, respond: Respond) -> None:
        """Serve a call of service session-question (roaming.calls.Service)."""
        if not may_be_asked(peer.agreement, QUESTION):
            reason = not_agreed(peer.agreement, f"services.{QUESTION}")
            log.warning("session_question_refused", peer=peer.label, message_id=call.id.hex(), reason=reason)
            respond(AnswerStatus.REFUSED, reason.encode())
            return
        try:
            asked = SessionQuestion.unpack(call.body)
        except ProtocolError as error:
            respond(AnswerStatus.MALFORMED, str(error).encode()[:500])
            return
        key = ObjectKey(asked.party, asked.id)
        known = self.store.read(lambda cx: feeds.get_published(cx, SESSIONS, key))
        if known is None or known.body is None or not is_shown(known.audience, peer, self.directory):
            respond(AnswerStatus.ANSWERED, SessionAnswer("").pack())
            return
        until_ms = self.store.read(lambda cx: _until_ms(cx, key)) or 0
        answer = SessionAnswer(_view(known.body).status, until_ms).pack()
        self._tell_backend(peer, key, lambda: respond(AnswerStatus.ANSWERED, answer))

    def _tell_backend(self, peer: Peer, key: ObjectKey, told: Callable[[], None]) -> None:
        """An event; `told` is called when it is stored, or cannot be: so credit bounds what waits for the disk."""
        now_ms = self.clock.now_ms()

        def done(outcome: object) -> None:
            del outcome
            self.written()
            told()

        self.store.submit(
            lambda cx: session_event_txn(cx, peer.label, "session.asked", key.party, key.id, now_ms), done
        )


@dataclass(slots=True)
class HomeLeases:
    """Notices peers' sessions that are not renewed. `look` after every commit that took something in."""

    clock: Clock
    store: Store
    directory: Directory
    calls: OutgoingCalls
    deadlines: Deadlines
    random: Random
    written: Callable[[], None]
    _timer: Timer | None = None
    _at_ms: int = 0

    def taken_txn(self, cx: Cx, peer: str, item: FeedItem, now_ms: int) -> None:
        """A peer's lease was renewed or withdrawn (follower.Taken)."""
        if item.body is None:
            leases.remove_txn(cx, peer, item.party, item.id)
            return
        until_ms = time_ms(msgspec.json.decode(item.body, type=_Lease).lease_until)
        if leases.put_txn(cx, peer, item.party, item.id, until_ms):
            session_event_txn(cx, peer, "session.live", item.party, item.id, now_ms)

    def judge(self, known: bytes, item: FeedItem, *, replacing: bool) -> str | None:
        """Whether a peer's session can have become this (follower.Judge); why not, in a word for the log.

        In a replacing snapshot anything can: its publisher has forgotten what came since, and shows what it knows.
        """
        if item.body is None or replacing:
            return None
        return impossible_change(_view(known), _view(item.body))

    def look(self) -> None:
        """Be there when the next lease runs out."""
        until_ms = self.store.read(leases.first_until)
        if until_ms is None or (self._timer is not None and self._at_ms <= until_ms):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._at_ms = until_ms
        wait_s = (until_ms + GRACE_MS - self.clock.now_ms()) / 1000
        self._timer = self.deadlines.after(max(LOOK_AGAIN_S, wait_s), self._run_out)

    def _run_out(self) -> None:
        """Mark what has run out by its peer's own clock; a clock that lags is waited for."""
        self._timer, now_ms = None, self.clock.now_ms()
        due = self.store.read(lambda cx: leases.running_until(cx, now_ms + SKEW_MS))
        over = [row for row in due if row.until_ms + GRACE_MS <= now_ms + self._skew_ms(row.peer)]

        def txn(cx: Cx) -> list[LeaseRow]:
            marked = [row for row in over if leases.mark_stale_txn(cx, row)]
            for row in marked:
                session_event_txn(cx, row.peer, "session.stale", row.party, row.id, now_ms)
            return marked

        def done(marked: list[LeaseRow] | BaseException) -> None:
            for row in marked if isinstance(marked, list) else ():
                log.warning("session_stale", peer=row.peer, session_id=row.id)
                self._ask(row)
            if marked:
                self.written()
            self.look()

        self.store.submit(txn, done, essential=True)

    def _skew_ms(self, label: str) -> int:
        peer = self.directory.find(label)
        skew_ms = peer.skew_ms if peer is not None and peer.skew_ms is not None else 0
        return max(-SKEW_MS, min(SKEW_MS, skew_ms))

    def link_up(self, peer: Peer) -> None:
        """A link has come up: ask for the sessions that ran out while there was none."""
        for row in self.store.read(lambda cx: leases.stale_of(cx, peer.label)):
            self._ask(row)

    def _ask(self, row: LeaseRow) -> None:
        peer = self.directory.find(row.peer)
        if peer is None or peer.exchange is None or not may_ask(peer.agreement, QUESTION):
            return
        call = Call(self.random(16), Service.SESSION_QUESTION, ASK_MS, SessionQuestion(row.party, row.id).pack())
        self.calls.start(peer, call, self.clock.monotonic() + ASK_MS / 1000, lambda answer: None)


def _view(body: bytes) -> SessionView:
    """Of a body that was checked when it came; numbers as decimals, for a rounded one may seem to fall."""
    return session_view(_decode_exactly(body))


def _until_ms(cx: Cx, key: ObjectKey) -> int | None:
    """Until when our own session is held."""
    row = feeds.get_published(cx, FEED, key)
    if row is None or row.body is None:
        return None
    return time_ms(msgspec.json.decode(row.body, type=_Lease).lease_until)
