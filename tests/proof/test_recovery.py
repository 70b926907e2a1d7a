"""What `scripts/recovery` counts, a small run of it, and that it notices what it must notice."""

import io
from collections.abc import Iterator

import pytest

from roamd import log
from roamd.peering import dialler, service
from tests.proof import recovery
from tests.proof.recovery import Dial, busiest_second, most_at_a_time
from tests.proof.report import Report


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    log.configure("critical", io.StringIO())
    yield
    log.configure()


def ignore(_: str) -> None:
    """Nobody watches."""


def dials(*spans: tuple[float, float]) -> list[Dial]:
    return [Dial("hub", "other", *span) for span in spans]


def test_the_busiest_second_is_any_second_not_one_of_the_clock() -> None:
    assert busiest_second([]) == 0
    assert busiest_second(dials((0.5, 1), (1.25, 2), (1.5, 2), (2.0, 3))) == 3
    assert busiest_second(dials((3.0, 4), (1.0, 2), (2.0, 3))) == 1


def test_attempts_overlap_when_one_begins_before_another_has_ended() -> None:
    assert most_at_a_time([]) == 0
    assert most_at_a_time(dials((0, 1), (1, 2), (2, 3))) == 1
    assert most_at_a_time(dials((0, 9), (1, 2), (1.5, 3), (4, 5))) == 3


def test_a_partner_that_was_away_for_a_minute_or_a_month_is_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "ABSENCES", {"a minute": 60.0, "30 days": 30 * recovery.DAY_S})
    report = Report()
    recovery.prove_return(report, 1, ignore)
    assert report.faults == []


def test_one_that_is_dialled_too_late_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "ABSENCES", {"an hour": 3600.0})
    monkeypatch.setattr(recovery, "LONGEST_WAIT_S", 3.0)
    monkeypatch.setattr(dialler, "CONTACT_S", 5.0)
    report = Report()
    monkeypatch.setattr(recovery, "BACKOFF_S", 1000.0)
    recovery.prove_return(report, 1, ignore)
    assert any("s later" in fault for fault in report.faults)
    assert any("after its contact" in fault for fault in report.faults)


def test_a_start_that_dials_everyone_at_once_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "SPREAD_PER_S", 1000.0)
    report = Report()
    recovery.prove_start(report, 1, 30, ignore)
    assert any("within one second" in fault for fault in report.faults)
    assert not any("drained" in fault for fault in report.faults)


def test_the_dead_cost_the_living_nothing() -> None:
    report = Report()
    recovery.prove_isolation(report, 1, 12, 3, ignore)
    assert report.faults == []
