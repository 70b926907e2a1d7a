"""All that is held of a driver as one JSON value: what it says, and where it is kept."""

from typing import Any

import msgspec

from roamd.clock import rfc3339
from roamd.protocol.ledger import EntryKind
from roamd.roaming.privacy.erase import place_of
from roamd.roaming.privacy.search import Hit, Holding
from roamd.storage import erasure, ledgers
from roamd.storage.store import Cx


def exported(cx: Cx, holding: Holding) -> dict[str, Any]:
    """What a walk found, with the decisions and commands that its references lead to.

    Numbers in it may be other texts for the same value; the ledger's evidence (`roamd ledger export`) has the bytes.
    """
    return {
        "identifiers": [token.as_json() for _, token in sorted(holding.others.items(), key=str)],
        "ledger_entries": [_entry(cx, hit) for hit in holding.of("entries")],
        "records_without_place": [_plain(hit) for hit in holding.of("records")],
        "published": [_plain(hit) for hit in holding.of("objects")],
        "received": [_plain(hit) for hit in holding.of("mirror")],
        "events": [_plain(hit) for hit in holding.of("events")],
        "pseudonyms": [_plain(hit) for hit in holding.of("pseudonyms")],
        "grants": [_plain(hit) for table in ("grants", "grant_uses") for hit in holding.of(table)],
        "authorizations": [_plain(hit) for hit in holding.of("decisions")] + _linked(cx, holding, "decisions"),
        "commands": [_plain(hit) for hit in holding.of("commands")] + _linked(cx, holding, "commands"),
        "stored_answers": [_plain(hit) for hit in holding.of("idempotency")],
        "mentions": [place_of(hit) for hit in holding.mentions],
    }


def _entry(cx: Cx, hit: Hit) -> dict[str, Any]:
    chain_id, sequence = ledgers.chain_and_sequence(hit.row)
    chain = ledgers.get_chain(cx, chain_id)
    kind = hit.about["kind"]
    return {
        "peer": chain.peer if chain is not None else None,
        "author": "us" if chain is not None and chain.own else "peer",
        "epoch": chain.epoch.hex() if chain is not None else None,
        "sequence": sequence,
        "kind": EntryKind(kind).name if kind in EntryKind.__members__.values() else kind,
        "record_id": hit.about["record_id"],
        "at": rfc3339(hit.about["at_ms"]),
        "content": _content(hit.text),
    }


def _plain(hit: Hit) -> dict[str, Any]:
    return {**_told(hit.about), "content": _content(hit.text)}


def _name(column: str) -> str:
    stem = column.removesuffix("_ms")
    return stem if stem in ("at", column) else f"{stem}_at"


def _shown(column: str, value: Any) -> Any:
    return rfc3339(value) if column.endswith("_ms") else value


def _content(text: bytes | None) -> Any:
    """The text as JSON; what is none as text."""
    if text is None:
        return None
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text.decode("utf-8", "replace")


def _linked(cx: Cx, holding: Holding, table: str) -> list[dict[str, Any]]:
    """Rows that name nobody, and are his by a reference or a session of his; those that were found are not repeated."""
    known = {hit.row for hit in holding.of(table)}
    rows = erasure.linked(cx, table, sorted(holding.references), sorted(holding.sessions))
    return [_told(seen.about) for seen in rows if seen.row not in known]


def _told(about: dict[str, Any]) -> dict[str, Any]:
    """Columns by the names and in the spelling of the API; empty ones are left out."""
    return {_name(name): _shown(name, value) for name, value in about.items() if value not in (None, "")}
