"""The visited-CSO's side of authorizations, with a line to each partner, for tests that say what those answer."""

from typing import Any

from roamd.model.keys import ObjectKey
from roamd.protocol.calls import AuthorizeAnswer
from roamd.protocol.messages import Answer, AnswerStatus
from roamd.roaming.authorization.report import DecisionReport
from roamd.roaming.authorization.visited import VisitedAuthorization
from roamd.roaming.calls import OutgoingCalls
from roamd.roaming.grants import VisitedGrants
from roamd.roaming.operations import AuthorizationReply, Authorize, CredentialIn
from roamd.storage import feeds
from roamd.trust.signing import verify
from tests.model import bodies
from tests.support.roaming import Company, Line, Told

UID = "04A1B2C3"


class Station:
    """The CSO's side, and a line to each of its partners."""

    def __init__(self, cso: Company) -> None:
        self.cso = cso
        self.calls = OutgoingCalls(cso.clock, cso.timers)
        report = DecisionReport(cso.clock, cso.journal)
        self.grants = VisitedGrants(cso.clock, cso.store, cso.directory, verify, ("DEABC",))
        self.visited = VisitedAuthorization(
            cso.clock, cso.store, cso.directory, self.calls, cso.timers, report, cso.random, "DEABC",
            grants=self.grants,
        )  # fmt: skip
        self.lines: dict[str, Line] = {}

    def link(self, label: str) -> Line:
        """The partner's link comes up."""
        peer = self.cso.peer(label)
        line = self.lines[label] = Line(peer)
        peer.exchange = line  # type: ignore[assignment]  # all that is used of an exchange
        return line

    def lists(self, label: str, uid: str = UID, **changes: Any) -> None:
        """The partner has this credential in its whitelist."""
        peer = self.cso.peer(label)
        party = peer.row.parties[0]
        token = bodies.token(
            country_code=party[:2],
            party_id=party[2:],
            uid=uid,
            contract_id=f"{party[:2]}-{party[2:]}-C00000042",
            **changes,
        )
        self.cso.store.write(
            lambda cx: feeds.mirror_put_txn(
                cx, label, "user-credentials", ObjectKey(party, uid.upper(), token["type"]), ocpi="2.3.0",
                body=bodies.text(token), generation=0,
            )
        )  # fmt: skip

    def ask(self, **changes: Any) -> Told:
        told = Told()
        fields: dict[str, Any] = {"credential": CredentialIn("RFID", "04:a1:b2:c3"), "deadline_ms": 1000, **changes}
        self.visited.authorize(Authorize(**fields), told)
        return told

    def answer(self, label: str, decision: str, number: int = 0, **fields: Any) -> None:
        """The partner's backend has decided."""
        body = AuthorizeAnswer(decision, fields.pop("reason", ""), fields.pop("source", "BACKEND"), **fields).pack()
        self.raw_answer(label, AnswerStatus.ANSWERED, body, number)

    def raw_answer(self, label: str, status: int, body: bytes, number: int = 0) -> None:
        line = self.lines[label]
        self.calls.on_answer(line.peer, Answer(line.calls[number].id, status, body))


def summary(told: Told) -> tuple[str, str, str | None]:
    reply: AuthorizationReply = told.one
    return reply.decision, reply.source, reply.home_csp
