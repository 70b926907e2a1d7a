"""What may follow what in the life of a session, and which sessions are held by a lease.

A session that goes on is a lease: the visited-CSO says until when it holds, and says so again as long as its backend
keeps publishing the session. OCPI knows no such thing, so a session whose operator has died goes on for ever there.
"""

from typing import Final

from roamd.model.views import SessionView

LIVE: Final = frozenset({"PENDING", "ACTIVE", "RESERVATION"})
ENDED: Final = frozenset({"COMPLETED", "INVALID"})

LEASE_MS: Final = 15 * 60 * 1000
"""How long a session holds without news. Chargers report at least every few minutes; a quarter hour lost is noticed."""

GRACE_MS: Final = 10_000
"""What the follower adds, for the way that a refresh takes and for clocks that are not quite right."""


def impossible_change(old: SessionView, new: SessionView) -> str | None:
    """Why a session cannot have become another; None when it can. Statuses that are not known may follow any other."""
    if new.last_updated_ms < old.last_updated_ms:
        return "last_updated is older than what is known"
    if old.status in ENDED and new.status in LIVE:
        return f"a session that is {old.status} does not become {new.status}"
    if old.status == "INVALID" and new.status == "COMPLETED":
        return "an INVALID session does not become COMPLETED"
    if new.kwh < old.kwh:
        return "kwh is less than what is known"
    return None


def needs_lease(known_until_ms: int | None, now_ms: int) -> bool:
    """Whether a lease is to be renewed: at half of its life, so that busy sessions do not make a version each time."""
    return known_until_ms is None or known_until_ms - now_ms < LEASE_MS // 2
