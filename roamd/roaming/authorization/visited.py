"""The visited-CSO's side of an authorization: find the home-CSP, ask within the deadline, always decide.

Theory of operation. Who is asked: the owner of the contract id's prefix; else the CSPs that list the credential in
their whitelist; else every agreed CSP, in parallel. What decides, in this order:

1. one valid listing whose rule lets the CSO decide (ALWAYS, ALLOWED): the whitelist, at once;
2. the first ALLOWED of a CSP's backend; else, when all that were asked have answered, the most telling refusal;
3. at the deadline, or when nobody can be asked: the whitelist where its rule allows, else NOT_ALLOWED by policy.

The deadline is spent once: a margin is kept back for the way home, so that the answer is never later than it.
Everything here runs in plain functions; a waiting authorization is one object and one heap entry.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from roamd.clock import Clock, rfc3339
from roamd.errors import ProtocolError, RoamdError
from roamd.model.agreement import may_ask
from roamd.model.credentials import (
    DECISIONS,
    SOURCES,
    UserCredential,
    canonical_uid,
    whitelist_decides_alone,
    whitelist_decides_offline,
    whitelist_may_decide_first,
)
from roamd.model.jsontext import compact
from roamd.protocol.calls import AuthorizeAnswer, AuthorizeRequest, Service
from roamd.protocol.messages import Answer, AnswerStatus, Call
from roamd.roaming.authorization.report import DecisionReport
from roamd.roaming.calls import OutgoingCalls
from roamd.roaming.deadlines import Deadlines, Timer
from roamd.roaming.directory import Directory, Peer, provider_of
from roamd.roaming.operations import AuthorizationReply, Authorize
from roamd.roaming.whitelist import Listed, look_up
from roamd.storage.store import Store

Done = Callable[[AuthorizationReply], None]

TELLING = ("BLOCKED", "EXPIRED", "NO_CREDIT", "NOT_ALLOWED", "UNKNOWN")
"""Refusals, the most telling first: of several CSPs asked, the one that knows the card speaks."""


def margin_s(deadline_ms: int) -> float:
    """What is kept back of the caller's time for the way back: a tenth, at most 25 ms."""
    return min(0.025, deadline_ms / 10_000)


@dataclass(slots=True)
class _Asking:
    """One authorization under way."""

    operation: Authorize
    id: bytes
    began_at: float
    done: Done
    listed: list[Listed]
    uid: str
    open: dict[bytes, Peer] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    answers: list[tuple[Peer, AuthorizeAnswer]] = field(default_factory=list)
    silent: dict[str, str] = field(default_factory=dict)
    """Who gave no answer, and why, by label."""
    timer: Timer | None = None


@dataclass(slots=True)
class VisitedAuthorization:
    """Answers the operation Authorize."""

    clock: Clock
    store: Store
    directory: Directory
    calls: OutgoingCalls
    deadlines: Deadlines
    report: DecisionReport
    random: Callable[[int], bytes]
    own_party: str
    whitelist_offline: bool = True

    def authorize(self, operation: Authorize, done: Done) -> None:
        """Decide; `done` comes once, before `operation.deadline_ms` is over."""
        uid = canonical_uid(operation.credential.type, operation.credential.uid)
        listed = self.store.look(lambda cx: look_up(cx, self.directory, operation.credential.type, uid))
        owners = self._owners(operation)
        if owners:  # another CSP's listing of the uid is no word of the one whose contract this is
            listed = [listing for listing in listed if listing.peer in owners]
        asking = _Asking(operation, self.random(16), self.clock.monotonic(), done, listed, uid)
        self._begin(asking)

    def _begin(self, asking: _Asking) -> None:
        sure = _sure_listing(asking.listed)
        if sure is not None and _decides_at_once(sure.entry):
            self._decide_by_whitelist(asking, sure, "as its home-CSP lists it")
            return
        candidates = self._candidates(asking)
        if candidates:
            self._ask_all(asking, candidates)
        elif sure is not None and self._decides_offline(sure):
            self._decide_by_whitelist(asking, sure, "its home-CSP may not be asked; its whitelist decides")
        else:
            self._decide(asking, "UNKNOWN", "no home-CSP is known for this credential", "POLICY", None)

    def _owners(self, operation: Authorize) -> tuple[Peer, ...]:
        return self.directory.contract_owners(provider_of(operation.credential.contract_id))

    def _decides_offline(self, listing: Listed) -> bool:
        return self.whitelist_offline and whitelist_decides_offline(listing.entry)

    def _candidates(self, asking: _Asking) -> list[Peer]:
        owners = self._owners(asking.operation)
        peers = list(owners) or [listing.peer for listing in asking.listed] or list(self.directory)
        return [peer for peer in peers if peer.active and may_ask(peer.agreement, "authorization")]

    def _ask_all(self, asking: _Asking, candidates: list[Peer]) -> None:
        total_s = asking.operation.deadline_ms / 1000
        deadline_at = asking.began_at + total_s - margin_s(asking.operation.deadline_ms)
        body = self._request(asking).pack()
        reachable = [peer for peer in candidates if peer.exchange is not None]
        asking.silent = {peer.label: "no link" for peer in candidates if peer.exchange is None}
        asking.asked = [peer.label for peer in reachable]
        left_ms = int((deadline_at - self.clock.monotonic()) * 1000)
        # One peer is asked under the authorization's own id, so that the lines of both companies join by it.
        ids = [asking.id, *(self.random(16) for _ in reachable[1:])]
        asking.open = dict(zip(ids, reachable, strict=False))
        for call_id, peer in list(asking.open.items()):
            if call_id not in asking.open:
                continue  # it was decided by an answer that came at once
            call = Call(call_id, Service.AUTHORIZATION, left_ms, body, asking.operation.traceparent)
            self._start(asking, peer, call, deadline_at)
        if not reachable:
            self._conclude(asking)

    def _start(self, asking: _Asking, peer: Peer, call: Call, deadline_at: float) -> None:
        self.calls.start(peer, call, deadline_at, lambda answer: self._answered(asking, call.id, answer))

    def _request(self, asking: _Asking) -> AuthorizeRequest:
        credential, place = asking.operation.credential, asking.operation.location
        return AuthorizeRequest(
            type=credential.type,
            uid=asking.uid,
            contract_id=credential.contract_id,
            location_id=place.location_id if place else None,
            evse_uid=place.evse_uid if place else None,
            connector_id=place.connector_id if place else None,
            service=asking.operation.service,
            party=self.own_party,
        )

    def _answered(self, asking: _Asking, call_id: bytes, answer: Answer | None) -> None:
        peer = asking.open.pop(call_id, None)
        if peer is None:
            return
        decided = _decision_of(answer)
        if decided is None:
            asking.silent[peer.label] = _why_silent(answer)
        else:
            asking.answers.append((peer, decided))
            if decided.decision == "ALLOWED":
                self._conclude(asking)
                return
        if not asking.open:
            self._conclude(asking)

    def _conclude(self, asking: _Asking) -> None:
        for call_id in asking.open:
            self.calls.cancel(call_id)
        asking.open.clear()
        best = _best(asking.answers)
        if best is not None and (best[1].decision != "UNKNOWN" or not asking.silent):
            self._reply(asking, best[1], best[0].label)
            return
        self._decide_without(asking)

    def _decide_without(self, asking: _Asking) -> None:
        """Not everyone that was asked has spoken, and nobody knows the card: the whitelist's rule, else policy."""
        listing = _sure_listing([listing for listing in asking.listed if listing.peer.label in asking.silent])
        if listing is not None and self._decides_offline(listing):
            why = asking.silent[listing.peer.label]
            self._decide_by_whitelist(asking, listing, f"no answer ({why}); its home-CSP's whitelist decides")
            return
        reason = "no answer: " + ", ".join(f"{label} ({why})" for label, why in asking.silent.items())
        home = next(iter(asking.silent)) if len(asking.silent) == 1 else None
        self._decide(asking, "NOT_ALLOWED", reason, "POLICY", home)

    def _decide_by_whitelist(self, asking: _Asking, listing: Listed, reason: str) -> None:
        self._decide(asking, listing.entry.decision, reason, "WHITELIST", listing.peer.label)

    def _decide(self, asking: _Asking, decision: str, reason: str, source: str, home: str | None) -> None:
        self._reply(asking, AuthorizeAnswer(decision, reason, source), home)

    def _reply(self, asking: _Asking, answer: AuthorizeAnswer, home: str | None) -> None:
        elapsed_ms = round((self.clock.monotonic() - asking.began_at) * 1000, 3)
        reply = AuthorizationReply(
            decision=answer.decision,
            reason=answer.reason,
            source=answer.source,
            home_csp=home,
            authorization_id=asking.id.hex(),
            asked=asking.asked,
            elapsed_ms=elapsed_ms,
            authorization_reference=answer.authorization_reference,
            valid_until=None if answer.valid_until_ms is None else rfc3339(answer.valid_until_ms),
            info=msgspec.Raw(answer.info) if answer.info else None,
            location=msgspec.Raw(answer.location) if answer.location else None,
        )
        timed_out = bool(asking.silent) and answer.source != "BACKEND"
        self.report.decided(reply, timed_out=timed_out, traceparent=asking.operation.traceparent)
        asking.done(reply)


def _decides_at_once(entry: UserCredential) -> bool:
    """A blocked card that we need not believe is asked about: it may have been unblocked since (OCPI tokens)."""
    return whitelist_decides_alone(entry) or (entry.valid and whitelist_may_decide_first(entry))


def _sure_listing(listed: list[Listed]) -> Listed | None:
    """The one listing, or None: with two CSPs claiming a card the whitelist must not choose between them."""
    return listed[0] if len(listed) == 1 else None


def _decision_of(answer: Answer | None) -> AuthorizeAnswer | None:
    """What the CSP decided; an answer that cannot be read or decides nothing known counts as none."""
    if answer is None or answer.status != AnswerStatus.ANSWERED:
        return None
    try:
        decided = AuthorizeAnswer.unpack(answer.body)
    except ProtocolError:
        return None
    return _believable(decided) if decided.decision in DECISIONS else None


def _believable(decided: AuthorizeAnswer) -> AuthorizeAnswer:
    """The same without what our backend could not read: a peer's texts are put into our own answer as they are."""
    return msgspec.structs.replace(
        decided,
        source=decided.source if decided.source in SOURCES else "BACKEND",
        location=_json_or_none(decided.location),
        info=_json_or_none(decided.info),
    )


def _json_or_none(text: bytes | None) -> bytes | None:
    try:
        return None if text is None else compact(text)
    except RoamdError:
        return None


def _why_silent(answer: Answer | None) -> str:
    """In a few words; a peer's own words are bounded and made harmless."""
    if answer is None:
        return "late"
    if answer.status == AnswerStatus.REFUSED:
        return "refused"
    words = answer.body[:80].decode(errors="replace") if answer.status == AnswerStatus.NO_ANSWER else ""
    return "".join(c if c.isprintable() else "?" for c in words) or "unreadable"


def _best(answers: list[tuple[Peer, AuthorizeAnswer]]) -> tuple[Peer, AuthorizeAnswer] | None:
    """ALLOWED, else the most telling refusal."""
    order = ("ALLOWED", *TELLING)
    return min(answers, key=lambda pair: order.index(pair[1].decision), default=None)
