"""The core's table, and what a repeated request is answered."""

from types import SimpleNamespace
from typing import Any

import pytest

from roamd.errors import Conflict, NotFound, StoreError
from roamd.roaming import remembered as remembered_module
from roamd.roaming.authorization.report import DecisionReport
from roamd.roaming.authorization.visited import VisitedAuthorization
from roamd.roaming.calls import OutgoingCalls
from roamd.roaming.core import OperationTable
from roamd.roaming.idempotent import once_txn
from roamd.roaming.lists import cursor_after, key_after, next_cursor
from roamd.roaming.operations import Authorize, CredentialIn, Idempotency, Operate
from roamd.roaming.remembered import KEPT_S, RememberedReplies
from roamd.storage.cx import Cx
from roamd.storage.decisions import DecisionRow
from tests.support.roaming import Company, Line, StillClock, Told


class AnyService:
    """Stands for the services that a test does not touch."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


class Table:
    """The core with a real authorization and replies."""

    def __init__(self, cso: Company) -> None:
        self.cso = cso
        self.replies = RememberedReplies(cso.clock)
        self.calls = OutgoingCalls(cso.clock, cso.timers)
        self.visited = VisitedAuthorization(
            cso.clock, cso.store, cso.directory, self.calls, cso.timers, DecisionReport(cso.clock, cso.journal),
            cso.random, "DEABC",
        )  # fmt: skip
        self.asked: list[str] = []
        services = Services(
            authorization=self.visited,
            replies=self.replies,
            operate=self._operate,
            records=cso.records,
            plain=SimpleNamespace(handlers={}),
        )
        self.core = OperationTable(services)  # type: ignore[arg-type]  # the rest is not used here

    def _operate(self, operation: Operate, reply: Any) -> None:
        self.asked.append(operation.name)
        raise NotFound("There is nothing of that name.")

    def authorize(self, key: str | None = None, body: bytes = b"h") -> Told:
        told = Told()
        idempotency = Idempotency(key, body) if key else None
        self.core.handle(Authorize(CredentialIn("RFID", "04A1"), deadline_ms=1000, idempotency=idempotency), told)
        return told


class Services(SimpleNamespace):
    """Real ones where they are given, others where not."""

    def __getattr__(self, name: str) -> Any:
        return AnyService()


@pytest.fixture
def table(cso: Company, csp: Company) -> Table:
    return Table(cso)


def test_an_operation_goes_to_its_handler_and_a_refusal_is_a_reply(table: Table) -> None:
    told = Told()
    table.core.handle(Operate("nothing"), told)
    assert isinstance(told.error, NotFound)
    assert table.asked == ["nothing"]
    unknown = Told()
    table.core.handle(object(), unknown)
    assert isinstance(unknown.error, NotFound)


def test_a_repeat_under_a_key_waits_for_the_first_and_gets_its_reply(table: Table) -> None:
    line = Line(table.cso.peer("rmd"))
    table.cso.peer("rmd").exchange = line  # type: ignore[assignment]  # all that is used of an exchange
    first, second = table.authorize("k"), table.authorize("k")
    assert first.all == second.all == []
    table.cso.timers.pass_by(1)
    third = table.authorize("k")
    assert first.one is second.one is third.one
    assert len(line.calls) == 1
    other = table.authorize("k", b"another")
    assert isinstance(other.error, Conflict)
    table.authorize()
    assert len(line.calls) == 2


def test_a_refusal_is_told_to_all_who_wait_and_not_remembered(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(operation: Authorize, done: Any) -> None:
        raise StoreError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(VisitedAuthorization, "authorize", lambda self, operation, done: fail(operation, done))
        assert isinstance(table.authorize("k").error, StoreError)
    assert table.authorize("k").one.decision == "NOT_ALLOWED"


# --- remembered replies -----------------------------------------------------------------------------------------


def finish(replies: RememberedReplies, key: str, value: object) -> None:
    assert replies.begin(key, b"h", Told()) == "new"
    replies.finisher(key)(value)


def test_replies_are_kept_two_days_and_not_longer(clock: StillClock) -> None:
    replies = RememberedReplies(clock)
    finish(replies, "a", 1)
    clock.pass_by(KEPT_S - 1)
    finish(replies, "b", 2)
    known = Told()
    assert replies.begin("a", b"h", known) == "known"
    assert known.one == 1
    clock.pass_by(1)
    assert replies.begin("a", b"other", Told()) == "new"
    assert replies.begin("b", b"h", Told()) == "known"
    assert len(replies) == 2


def test_replies_in_memory_are_bounded_and_the_oldest_goes_first(
    clock: StillClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remembered_module, "AT_MOST", 10)
    replies = RememberedReplies(clock)
    for number in range(100):
        finish(replies, str(number), number)
    assert len(replies) == 10
    assert replies.begin("90", b"h", Told()) == "known"
    assert replies.begin("89", b"h", Told()) == "new"


# --- committed replies ------------------------------------------------------------------------------------------


def test_an_effect_under_a_key_happens_once_with_its_answer(cso: Company) -> None:
    done: list[int] = []

    def effect(cx: Cx) -> list[int]:
        done.append(1)
        return [len(done)]

    def once(key: str | None, request: bytes = b"h", operation: str = "records") -> list[int]:
        idempotency = Idempotency(key, request) if key else None
        return cso.store.write(lambda cx: once_txn(cx, operation, idempotency, list[int], effect, 1))

    assert [once("k"), once("k"), once("k", operation="other"), once(None), once(None)] == [[1], [1], [2], [3], [4]]
    with pytest.raises(Conflict):
        once("k", b"another")


# --- lists and the journal --------------------------------------------------------------------------------------


def test_cursors_of_lists_end_where_a_page_is_not_full() -> None:
    assert (cursor_after(None), cursor_after(""), cursor_after("7")) == (0, 0, 7)
    assert (next_cursor([1, 2], 2), next_cursor([1], 2), next_cursor([], 2)) == ("2", None, None)
    key = key_after("DEABC/T%2F1/")
    assert key is not None
    assert key == ("DEABC", "T/1", "")
    assert key_after("") is None


def row(number: int) -> DecisionRow:
    return DecisionRow(str(number), 1, "rmd", "out", "ALLOWED", "", "BACKEND", f"REF-{number}", 1.0)


def test_decisions_are_written_in_groups_and_many_at_once(cso: Company) -> None:
    def written() -> int:
        return int(cso.store.read(lambda cx: cx.value("SELECT COUNT(*) FROM decisions")))

    cso.journal.add(row(0))
    assert (written(), cso.timers.waiting) == (0, 1)
    for number in range(1, 600):
        cso.journal.add(row(number))
    assert written() == 512
    cso.timers.pass_by(1)
    assert written() == 600
    cso.journal.add(row(601))
    cso.journal.flush()
    cso.journal.flush()
    assert written() == 601
