"""What a decision leaves behind: a counter, a journal row and, within reason, a log line.

Refusals and time-outs always have a line; permissions have up to 100 lines a second, then one in a hundred with a
count of what was left out, so that a rush hour does not drown the log (issue 2, point 6).
"""

from dataclasses import dataclass, field

from prometheus_client import Histogram

from roamd import metrics
from roamd.clock import Clock
from roamd.log import get_logger
from roamd.model.decision import Facts
from roamd.roaming.authorization.asking import Asking
from roamd.roaming.decisions import DecisionJournal
from roamd.roaming.operations import AuthorizationReply
from roamd.storage.decisions import DecisionRow

log = get_logger()

LINES_PER_S = 100
ONE_IN = 100


@dataclass(slots=True)
class LineRate:
    """Which of many alike lines are written: the first of each second, then one in a hundred."""

    clock: Clock
    _second: int = 0
    _in_second: int = 0
    _left_out: int = 0

    def admit(self) -> bool:
        """Whether this line is one of them."""
        second = int(self.clock.monotonic())
        if second != self._second:
            self._second, self._in_second = second, 0
        self._in_second += 1
        if self._in_second <= LINES_PER_S or self._in_second % ONE_IN == 0:
            return True
        self._left_out += 1
        return False

    def left_out(self) -> dict[str, int]:
        """What the next line says of those that were not written."""
        count, self._left_out = self._left_out, 0
        return {"left_out": count} if count else {}


def trace_of(traceparent: str | None) -> dict[str, str]:
    """The W3C trace id of a request, by which the lines of both companies and their backends join."""
    parts = (traceparent or "").split("-")
    return {"trace_id": parts[1]} if len(parts) == 4 and len(parts[1]) == 32 else {}


@dataclass(slots=True)
class DecisionReport:
    """Counts, journals and logs decisions of the visited side."""

    clock: Clock
    journal: DecisionJournal
    _rate: LineRate = field(init=False)
    _timed: dict[str, Histogram] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._rate = LineRate(self.clock)

    def decided(self, reply: AuthorizationReply, asking: Asking, facts: Facts, row: int, *, timed_out: bool) -> None:
        """Note one decision, with the facts and the row of the decision table that it came by."""
        decision, source = reply.decision, reply.source
        metrics.child(metrics.authorizations, decision, source).inc()
        timed = self._timed.get(source)
        if timed is None:
            timed = self._timed[source] = metrics.authorization_seconds.labels(source)
        timed.observe(reply.elapsed_ms / 1000)
        self.journal.add(self._row(reply, asking, facts, row))
        if decision != "ALLOWED":
            self._line("authorization_refused", reply, asking)
        elif timed_out:
            self._line("authorization_timed_out", reply, asking)
        elif self._rate.admit():
            self._line("authorization_allowed", reply, asking)

    def _line(self, event: str, reply: AuthorizationReply, asking: Asking) -> None:
        level = log.info if event == "authorization_allowed" else log.warning
        level(
            event,
            peer=reply.home_csp,
            authorization_id=reply.authorization_id,
            decision=reply.decision,
            source=reply.source,
            reason=reply.reason,
            duration_ms=reply.elapsed_ms,
            **trace_of(asking.operation.traceparent),
            **self._rate.left_out(),
        )

    def _row(self, reply: AuthorizationReply, asking: Asking, facts: Facts, row: int) -> DecisionRow:
        operation = asking.operation
        place = operation.location
        return DecisionRow(
            reply.authorization_id, self.clock.now_ms(), reply.home_csp, "out", reply.decision, reply.reason,
            reply.source, reply.authorization_reference, reply.elapsed_ms, operation.service, asking.type, asking.uid,
            operation.credential.contract_id, place.location_id if place else None, place.evse_uid if place else None,
            row, " ".join(facts),
        )  # fmt: skip
