"""The home-CSP's side of an authorization: its own backend decides, roamd only carries the question.

When the backend gives no answer in time the visited side is told so (NO_ANSWER with the reason), and decides by the
whitelist that this CSP published and the token's own rule; nothing is decided twice in two places.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from roamd import metrics
from roamd.clock import Clock, rfc3339
from roamd.errors import ProtocolError
from roamd.log import get_logger
from roamd.model.agreement import may_be_asked, not_agreed, owns_party
from roamd.model.credentials import DECISIONS
from roamd.model.times import time_ms
from roamd.protocol.calls import AuthorizeAnswer, AuthorizeRequest
from roamd.protocol.messages import AnswerStatus, Call
from roamd.roaming.authorization.report import LineRate, trace_of
from roamd.roaming.authorization.unknown import Card, UnknownCards, card_of
from roamd.roaming.calls import Respond
from roamd.roaming.deadlines import Deadlines, Line, Timer
from roamd.roaming.decisions import DecisionJournal
from roamd.roaming.directory import Peer
from roamd.roaming.ports import AuthorizeQuestion, Backend, BackendAnswer, NoAnswer
from roamd.storage.decisions import DecisionRow

log = get_logger()

RATE = "unknown_cards_per_minute"

MARGIN_MS = 15
"""Kept back from the caller's time, so that the answer can still travel."""

MAX_REASON, MAX_REFERENCE, MAX_TEXT = 500, 64, 16 * 1024
"""What an answer may carry (`protocol.calls.AuthorizeAnswer`)."""


@dataclass(slots=True)
class _Asked:
    """One question that we were asked. `charged`: by `unknown`."""

    peer: Peer
    call: Call
    request: AuthorizeRequest
    card: Card
    deadline_at: float
    respond: Respond
    timer: Timer = field(init=False)
    charged: bool = False
    over: bool = False


@dataclass(slots=True)
class HomeAuthorization:
    """Answers calls of service `authorization`.

    `real(peer, request)` is a question as our backend is asked it: a peer may know a contract by another name.
    """

    clock: Clock
    backend: Backend
    journal: DecisionJournal
    deadlines: Deadlines
    unknown: UnknownCards
    real: Callable[[str, AuthorizeRequest], AuthorizeRequest] = lambda peer, request: request
    _rate: LineRate = field(init=False)
    _timers: Line = field(init=False)

    def __post_init__(self) -> None:
        self._rate = LineRate(self.clock)
        self._timers = self.deadlines.line()

    def answer(self, peer: Peer, call: Call, deadline_at: float, respond: Respond) -> None:
        """Serve one call (roaming.calls.Service)."""
        if not may_be_asked(peer.agreement, "authorization"):
            reason = not_agreed(peer.agreement, "services.authorization")
            log.warning("authorization_refused", peer=peer.label, message_id=call.id.hex(), reason=reason)
            respond(AnswerStatus.REFUSED, reason.encode())
            return
        try:
            request = self.real(peer.label, AuthorizeRequest.unpack(call.body))
        except ProtocolError as error:
            respond(AnswerStatus.MALFORMED, str(error).encode())
            return
        if request.party and not owns_party(peer.agreement, request.party):
            reason = not_agreed(peer.agreement, "parties")
            log.warning("authorization_refused", peer=peer.label, message_id=call.id.hex(), reason=reason)
            respond(AnswerStatus.REFUSED, f"the station's party is not one of the asker's; {reason}".encode())
            return
        # A backend that stays silent is given up here: every call is answered, whoever else keeps its time.
        asked = _Asked(peer, call, request, card_of(request.type, request.uid), deadline_at, respond)
        asked.timer = self._timers.add(deadline_at, lambda: self._too_late(asked))
        self.unknown.admit(peer, asked.card, lambda ask, charged: self._admitted(asked, ask, charged))

    def _admitted(self, asked: "_Asked", ask: bool, charged: bool) -> None:
        if asked.over:  # its time went by while it waited
            self.unknown.unanswered(asked.peer, charged=charged)
        elif ask:
            asked.charged = charged
            self._ask(asked)
        else:
            answer = AuthorizeAnswer("UNKNOWN", not_agreed(asked.peer.agreement, RATE), "POLICY")
            metrics.child(metrics.authorizations_answered, asked.peer.label, answer.decision, answer.source).inc()
            self._respond(asked, AnswerStatus.ANSWERED, answer.pack())

    def _too_late(self, asked: "_Asked") -> None:
        self._respond(asked, AnswerStatus.NO_ANSWER, b"its backend: late")
        self.unknown.unanswered(asked.peer, charged=asked.charged)

    def _respond(self, asked: "_Asked", status: int, body: bytes) -> None:
        asked.over = True
        asked.timer.cancel()
        asked.respond(status, body)

    def _ask(self, asked: "_Asked") -> None:
        asked_at = self.clock.monotonic()
        left_ms = max(1, int((asked.deadline_at - asked_at) * 1000) - MARGIN_MS)
        question = question_of(asked.peer, asked.call, asked.request, left_ms, self.clock.now_ms())

        def decided(given: BackendAnswer | NoAnswer) -> None:
            if asked.over:
                return
            elapsed_ms = (self.clock.monotonic() - asked_at) * 1000
            answer = given if isinstance(given, NoAnswer) else checked_answer(given, question.authorization_id)
            if isinstance(answer, NoAnswer):
                self._none(asked, question, answer, elapsed_ms)
            else:
                self._decided(asked, question, answer, elapsed_ms)

        self.backend.ask_authorize(question, decided)

    def _none(self, asked: "_Asked", question: AuthorizeQuestion, none: NoAnswer, elapsed_ms: float) -> None:
        self._log_none(asked.peer, question, none, elapsed_ms, asked.call.traceparent)
        self._respond(asked, AnswerStatus.NO_ANSWER, f"its backend: {none.reason}".encode())
        self.unknown.unanswered(asked.peer, charged=asked.charged)

    def _decided(
        self, asked: "_Asked", question: AuthorizeQuestion, answer: AuthorizeAnswer, elapsed_ms: float
    ) -> None:
        peer = asked.peer
        metrics.child(metrics.authorizations_answered, peer.label, answer.decision, answer.source).inc()
        self._note(asked, question, answer, elapsed_ms)
        self._log_answer(peer, question, answer, elapsed_ms, asked.call.traceparent)
        self._respond(asked, AnswerStatus.ANSWERED, answer.pack())
        self.unknown.answered(peer, asked.card, answer.decision, charged=asked.charged)

    def _log_answer(
        self, peer: Peer, question: AuthorizeQuestion, answer: AuthorizeAnswer, elapsed_ms: float, trace: str | None
    ) -> None:
        """By the rule of the visited side: every refusal, and of the permissions as many as a log can bear."""
        if answer.decision == "ALLOWED" and not self._rate.admit():
            return
        log.info(
            "authorization_answered",
            peer=peer.label,
            authorization_id=question.authorization_id,
            decision=answer.decision,
            duration_ms=round(elapsed_ms, 1),
            **trace_of(trace),
            **self._rate.left_out(),
        )

    def _log_none(
        self, peer: Peer, question: AuthorizeQuestion, none: NoAnswer, elapsed_ms: float, trace: str | None
    ) -> None:
        metrics.backend_silences.inc()
        log.warning(
            "backend_gave_no_answer",
            peer=peer.label,
            authorization_id=question.authorization_id,
            reason=none.reason,
            duration_ms=round(elapsed_ms, 1),
            **trace_of(trace),
        )

    def _note(self, asked: "_Asked", question: AuthorizeQuestion, answer: AuthorizeAnswer, elapsed_ms: float) -> None:
        request = asked.request
        self.journal.add(
            DecisionRow(
                question.authorization_id, self.clock.now_ms(), asked.peer.label, "in", answer.decision, answer.reason,
                answer.source, answer.authorization_reference, elapsed_ms, request.service, asked.card[0],
                request.uid, request.contract_id, request.location_id, request.evse_uid,
            )
        )  # fmt: skip


def question_of(
    peer: Peer, call: Call, request: AuthorizeRequest, left_ms: int, now_ms: int, via: str | None = None
) -> AuthorizeQuestion:
    """What a backend is asked for a peer's call, or a partner by plain OCPI (`via`) for a call of ours."""
    place = None
    if request.location_id:
        place = {
            "location_id": request.location_id,
            "evse_uid": request.evse_uid,
            "connector_id": request.connector_id,
        }
    return AuthorizeQuestion(
        authorization_id=call.id.hex(),
        peer=peer.label,
        party=request.party,
        credential={"type": request.type, "uid": request.uid, "contract_id": request.contract_id},
        service=request.service,
        deadline_ms=left_ms,
        expires_at=rfc3339(now_ms + left_ms),
        location=place,
        via=via,
    )


def checked_answer(given: BackendAnswer, authorization_id: str) -> AuthorizeAnswer | NoAnswer:
    """The backend's answer as it goes out, or why it does not count."""
    if given.decision not in DECISIONS:
        return NoAnswer("the backend's decision is not one of " + ", ".join(sorted(DECISIONS)))
    if (fault := _too_long(given)) is not None:
        return NoAnswer(fault)
    reference = given.authorization_reference
    if given.decision == "ALLOWED" and reference is None:
        # The reference is always made by the CSP (identifiers.md, section 7); records are found by it.
        reference = authorization_id
    return AuthorizeAnswer(
        decision=given.decision,
        reason=(given.reason or "")[:MAX_REASON],
        source="BACKEND",
        authorization_reference=reference,
        valid_until_ms=_stamp(given.valid_until),
        location=bytes(given.location) if given.location is not None else None,
        info=bytes(given.info) if given.info is not None else None,
    )


def _stamp(valid_until: str | None) -> int | None:
    """The backend's date as it travels; one that is no date is left out rather than the decision lost."""
    try:
        return None if valid_until is None else max(0, time_ms(valid_until))
    except ValueError:
        return None


def _too_long(given: BackendAnswer) -> str | None:
    """What the asker could not read, so that it is said here and not lost there."""
    if len(given.authorization_reference or "") > MAX_REFERENCE:
        return f"the backend's authorization_reference has more than {MAX_REFERENCE} characters"
    if _is_long(given.location) or _is_long(given.info):
        return f"the backend's location or info has more than {MAX_TEXT} bytes"
    return None


def _is_long(text: msgspec.Raw | None) -> bool:
    return text is not None and len(bytes(text)) > MAX_TEXT
