"""Agreements as documents, by peer: what was proposed, what both signed, and the preset that waits behind them.

The rows are what the two chains say of each document (`roaming.ledger.agreed` folds them), kept with the text and the
signatures, so that a document can be shown and proven without a walk through the ledgers.
"""

# ruff: noqa: S608 - what is formatted into statements here are constants of this file; values are always bound

from typing import NamedTuple

from roamd.storage.cx import Cx, Row

PROPOSED, SIGNED, DECLINED, REFUSED = "PROPOSED", "SIGNED", "DECLINED", "REFUSED"


class AgreementRow(NamedTuple):
    """One document. `own`: we proposed it; `side` is ours in it; `signature` is the proposer's, `answer` the other's.

    `from_ms` None: from when both have signed; `until_ms` None: until another takes its place.
    """

    peer: str
    digest: str
    number: int
    own: bool
    side: int
    state: str
    reason: str | None
    from_ms: int | None
    until_ms: int | None
    proposed_ms: int
    decided_ms: int | None
    document: bytes
    signature: bytes
    answer: bytes | None


_COLUMNS = ", ".join(AgreementRow._fields)
_UPDATES = ", ".join(f"{name} = excluded.{name}" for name in AgreementRow._fields[2:])


def _row(row: Row) -> AgreementRow:
    return AgreementRow._make(row)._replace(own=bool(row[3]))


def put_txn(cx: Cx, row: AgreementRow) -> None:
    """Add a document or replace what is known of it."""
    marks = ", ".join("?" * len(row))
    cx.run(
        f"INSERT INTO agreements ({_COLUMNS}) VALUES ({marks}) ON CONFLICT (peer, digest) DO UPDATE SET {_UPDATES}",
        tuple(row),
    )


def get(cx: Cx, peer: str, digest: str) -> AgreementRow | None:
    """One document."""
    row = cx.one(f"SELECT {_COLUMNS} FROM agreements WHERE peer = ? AND digest = ?", (peer, digest))
    return _row(row) if row else None


def of_peer(cx: Cx, peer: str) -> list[AgreementRow]:
    """All documents of a peer, by number."""
    sql = f"SELECT {_COLUMNS} FROM agreements WHERE peer = ? ORDER BY number, digest"
    return [_row(row) for row in cx.run(sql, (peer,))]


def signed(cx: Cx, peer: str) -> list[AgreementRow]:
    """Those that both signed, the highest number first."""
    sql = f"SELECT {_COLUMNS} FROM agreements WHERE peer = ? AND state = '{SIGNED}' ORDER BY number DESC, digest DESC"
    return [_row(row) for row in cx.run(sql, (peer,))]


def peers_with_signed(cx: Cx) -> list[str]:
    """The labels of the peers with whom anything was signed."""
    return [row[0] for row in cx.run(f"SELECT DISTINCT peer FROM agreements WHERE state = '{SIGNED}' ORDER BY peer")]


def count_open(cx: Cx, peer: str, above: int, *, own: bool) -> int:
    """How many proposals of one side, with a number above this one, nobody has answered."""
    sql = f"SELECT COUNT(*) FROM agreements WHERE peer = ? AND own = ? AND number > ? AND state = '{PROPOSED}'"
    count: int = cx.value(sql, (peer, int(own), above))
    return count


# --- the preset -------------------------------------------------------------------------------------------------


def keep_preset_txn(cx: Cx, peer: str, settings: bytes) -> None:
    """Keep the settings that hold while no document does; those that are kept already stay."""
    cx.run("INSERT INTO presets (peer, settings) VALUES (?, ?) ON CONFLICT (peer) DO NOTHING", (peer, settings))


def preset_of(cx: Cx, peer: str) -> bytes | None:
    """The settings that were kept."""
    settings: bytes | None = cx.value("SELECT settings FROM presets WHERE peer = ?", (peer,))
    return settings


def drop_preset_txn(cx: Cx, peer: str) -> None:
    """They hold again, or the peer is removed."""
    cx.run("DELETE FROM presets WHERE peer = ?", (peer,))
