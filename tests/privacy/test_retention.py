"""What has been kept long enough goes by itself: in groups, class by class, and never what is still open."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from roamd.daemon import upkeep
from roamd.daemon.upkeep import DAY_MS, HOUR_MS
from roamd.roaming.operations import GetRecord, VerifyLedgers
from roamd.roaming.privacy.retention import YEAR_MS, Retention
from roamd.roaming.waiting import write
from roamd.storage import decisions, events, idempotency, records
from roamd.storage.decisions import DecisionRow
from roamd.storage.idempotency import StoredAnswer
from roamd.storage.store import Cx
from tests.privacy.drivers import Driver, ask, bytes_on_disk, hand_in
from tests.support.assemblies import RunningDaemon, Site
from tests.support.endpoints import logged, until

ANNA = Driver(1001)


def test_a_year_is_never_too_short_and_no_years_is_no_law() -> None:
    ten = Retention(lambda: 10)
    assert ten.kept_until(1000) == 1000 + 10 * YEAR_MS
    assert ten.kept_from_peers(1000) == ten.kept_until(1000)
    assert ten.over_before(11 * YEAR_MS) == YEAR_MS
    none = Retention(lambda: 0)
    assert (none.kept_until(1000), none.kept_from_peers(1000), none.over_before(1000)) == (0, None, None)


def many(daemon: RunningDaemon, count: int) -> Callable[[Cx], None]:
    """So many rows of several classes, all of now."""
    now_ms = daemon.clock.now_ms()

    def txn(cx: Cx) -> None:
        row = DecisionRow("a", now_ms, None, "out", "ALLOWED", "", "POLICY", None, 1.0)
        decisions.append_many_txn(cx, [row] * count)
        for number in range(count):
            idempotency.put_txn(cx, str(number), "post", StoredAnswer(b"h", 200, b"{}"), now_ms)
            events.append_txn(cx, at_ms=now_ms, peer=None, type="peer.state", subject="x", data=b"{}")
        events.acknowledge_txn(cx, events.newest(cx) or 0, now_ms)

    return txn


async def test_each_class_goes_by_its_own_time_in_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    groups: list[int] = []
    purge = idempotency.purge_txn
    monkeypatch.setattr(upkeep, "GROUP", 10)
    monkeypatch.setattr(
        idempotency, "purge_txn", lambda cx, before, limit: groups.append(purge(cx, before, limit)) or groups[-1]
    )
    async with Site(tmp_path) as site:
        settings = "[retention]\nevents_h = 2\nidempotency_h = 1\ndecisions_days = 3\n"
        cso = await site.daemon("DE*ABC", "cso", settings=settings)
        store, forget = cso.assembly.ground.store, cso.assembly.upkeep._forget
        await write(store, many(cso, 25))

        def left() -> dict[str, int]:
            tables = ("events", "idempotency", "decisions")
            return {name: store.read(lambda cx, name=name: cx.value(f"SELECT COUNT(*) FROM {name}")) for name in tables}  # type: ignore[misc]  # noqa: S608

        begun = left()
        assert begun["events"] >= 25
        await forget()
        assert left() == begun
        with logged() as lines:
            for hours, gone in ((1.1, "idempotency"), (2.1, "events"), (73, "decisions")):
                cso.clock.ahead_ms = int(hours * HOUR_MS)
                await forget()
                begun[gone] = 0
                assert left() == begun
        told = [(line["what"], line["rows"]) for line in lines if line["event"] == "old_rows_deleted"]
        assert told == [("answers", 25), ("events", told[1][1]), ("decisions", 25)]
        assert [count for count in groups if count] == [10, 10, 5]


async def test_what_records_say_goes_when_the_law_no_longer_wants_it_and_the_ledger_stands(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        settings = "[retention]\nrecords_years = 2\n"
        cso, csp = [await site.daemon(party, role, settings=settings) for party, role in
                    (("DE*ABC", "cso"), ("FR*XYZ", "csp"))]  # fmt: skip
        await site.pair(cso, csp)
        await hand_in(cso, [ANNA.cdr(number) for number in range(6)])
        await until(lambda: states(cso) == {"DELIVERED"}, 20)
        await set_state(cso, "CDR-00003", records.DISPUTED)
        cso.clock.ahead_ms = 2 * YEAR_MS - DAY_MS
        await hand_in(cso, [ANNA.cdr(9)])
        await until(lambda: states(cso) == {"DELIVERED", "DISPUTED"}, 20)
        await cso.assembly.upkeep._forget()
        assert (await ask(cso, GetRecord("CDR-00001"))).record is not None, "a day early"

        cso.clock.ahead_ms = 2 * YEAR_MS + DAY_MS
        with logged() as lines:
            await cso.assembly.upkeep._forget()
        assert [line["entries"] for line in lines if line["event"] == "old_contents_erased"] == [5]
        assert [(await ask(cso, GetRecord(f"CDR-0000{n}"))).record is None for n in (2, 3, 9)] == [True, False, False]
        assert (await ask(csp, GetRecord("CDR-00001"))).record is not None, "each has its own times"
        report: dict[str, Any] = await ask(cso, VerifyLedgers())
        assert report["ok"], report

        await set_state(cso, "CDR-00003", records.FINAL)
        await cso.assembly.upkeep._forget()
        assert (await ask(cso, GetRecord("CDR-00003"))).record is None, "what was open goes when it is not any more"
        assert ANNA.traces.search(bytes_on_disk(cso)), "the youngest record is kept"


def states(daemon: RunningDaemon) -> set[str]:
    rows = daemon.assembly.ground.store.read(lambda cx: records.page(cx, 0, 100, direction="out"))
    return {row.state for row in rows}


async def set_state(daemon: RunningDaemon, record: str, state: str) -> None:
    store = daemon.assembly.ground.store
    (row,) = store.read(lambda cx: records.find(cx, record, direction="out"))
    await write(store, lambda cx: records.set_state_txn(cx, row.id, state, None, now_ms=1))
