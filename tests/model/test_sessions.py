"""What a session can become, and when its lease is renewed."""

from decimal import Decimal

import pytest

from roamd.model.sessions import LEASE_MS, impossible_change, needs_lease
from roamd.model.views import SessionView, session_view
from tests.model import bodies


def view(status: str = "ACTIVE", kwh: float = 5.0, at: str = bodies.STAMP) -> SessionView:
    return session_view(bodies.session(status=status, kwh=kwh, last_updated=at))


@pytest.mark.parametrize(
    ("before", "after", "word"),
    [
        (view("COMPLETED"), view("ACTIVE"), "COMPLETED"),
        (view("INVALID"), view("ACTIVE"), "INVALID"),
        (view("INVALID"), view("COMPLETED"), "INVALID"),
        (view(kwh=5.0), view(kwh=4.9), "kwh"),
        (view(), view(at="2026-01-05T08:59:59Z"), "last_updated"),
    ],
)
def test_what_cannot_be_is_named(before: SessionView, after: SessionView, word: str) -> None:
    assert word in (impossible_change(before, after) or "")


@pytest.mark.parametrize(
    "after", [view(), view(kwh=5.1), view("COMPLETED"), view("INVALID"), view("SOMETHING_NEW"), view("PENDING")]
)
def test_what_happens_every_day_is_possible(after: SessionView) -> None:
    assert impossible_change(view(), after) is None


def test_energy_is_compared_exactly() -> None:
    one = session_view(bodies.session(kwh=Decimal("0.3")))
    other = session_view(bodies.session(kwh=Decimal("0.30")))
    assert impossible_change(one, other) is None


def test_a_lease_is_renewed_at_half_of_its_life() -> None:
    assert needs_lease(None, 0)
    assert not needs_lease(LEASE_MS, LEASE_MS // 2)
    assert needs_lease(LEASE_MS, LEASE_MS // 2 + 1)
