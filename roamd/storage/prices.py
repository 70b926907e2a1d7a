"""What came of holding received records against their tariffs, and how far that has come."""

# ruff: noqa: S608 - what is formatted into statements here are constants of these files; values are always bound

from typing import NamedTuple

from roamd.storage import ledgers
from roamd.storage.cx import Cx
from roamd.storage.records import RecordRow


class PriceRow(NamedTuple):
    """One record's check. `record` is its id in `records`; `detail` is JSON text of lines, differences and doubts."""

    record: int
    verdict: str
    total: str | None
    detail: bytes
    at_ms: int


def put_many_txn(cx: Cx, rows: list[PriceRow]) -> None:
    """Keep checks; a second one of a record takes the first one's place. Of what was erased meanwhile none is kept."""
    cx.blocks(
        "INSERT INTO price_checks (record, verdict, total, detail, at_ms) SELECT made.* FROM (VALUES {rows}) AS made"
        " CROSS JOIN records ON id = made.column1 WHERE length(body_hash) > 0 ON CONFLICT (record) DO UPDATE SET"
        " verdict = excluded.verdict, total = excluded.total, detail = excluded.detail, at_ms = excluded.at_ms",
        rows,
    )


def get(cx: Cx, record: int) -> PriceRow | None:
    """The check of a record."""
    row = cx.one("SELECT record, verdict, total, detail, at_ms FROM price_checks WHERE record = ?", (record,))
    return PriceRow._make(row) if row else None


_UNCHECKED = (
    # Left to itself the planner sorts all that was ever received, each time.
    f"SELECT {', '.join(f'records.{name}' for name in RecordRow._fields)}, COALESCE(records.body, entries.body)"
    f" FROM records INDEXED BY records_received LEFT JOIN entries ON entries.id = {ledgers.PLACE_OF_RECORD}"
    " WHERE records.id > ? AND direction = 'in' ORDER BY records.id LIMIT ?"
)


def unchecked(cx: Cx, after: int, limit: int) -> list[tuple[RecordRow, bytes | None]]:
    """Received records with an id behind `after`, oldest first, with their texts, which nobody has looked at yet.

    None where there is none, because it was erased or the disk lost it.
    """
    return [(RecordRow._make(row[:-1]), row[-1]) for row in cx.run(_UNCHECKED, (after, limit))]
