"""Whole objects and records that the seeds are made of."""

from typing import Any

from roamd.backend.examples import OBJECTS, SERVICE_RECORD
from roamd.model.roles import FEEDS
from tests.model.bodies import cdr, sdr, text

EVSE_STATUS = {"status": "CHARGING", "last_updated": "2026-11-22T10:00:00Z"}


def objects() -> dict[str, dict[str, Any]]:
    """One object of each feed that the backend writes."""
    return dict(OBJECTS)


def feed_items_of() -> list[tuple[int, list[Any]]]:
    """(feed number, item by position) for each feed."""
    items = [(FEEDS[feed].number, _item(body)) for feed, body in OBJECTS.items()]
    return [*items, (FEEDS["evse-status"].number, ["DEABC", "LOC1", "3256", "2.3.0", text(EVSE_STATUS)])]


def _item(body: dict[str, Any]) -> list[Any]:
    is_token = "uid" in body
    key = str(body["uid" if is_token else "id"]).upper()
    return ["DEABC", key, body["type"] if is_token else "", "2.3.0", text(body)]


def records() -> list[tuple[str, bytes]]:
    """(id, body) of a CDR and an SDR."""
    bodies = (SERVICE_RECORD, cdr(), sdr())
    return [(str(body["id"]), text(body)) for body in bodies]
