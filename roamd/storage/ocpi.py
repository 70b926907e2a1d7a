"""Backends that have registered at the OCPI face, by the name that the configuration gives them."""

from collections.abc import Iterable
from typing import NamedTuple

from roamd.storage.cx import Cx


def load_all(cx: Cx) -> dict[str, bytes]:
    """Every registration by name."""
    return dict(cx.run("SELECT name, registration FROM ocpi_backends ORDER BY name"))


def put_txn(cx: Cx, name: str, registration: bytes, now_ms: int) -> None:
    """Keep a registration as it stands now."""
    cx.run(
        "INSERT INTO ocpi_backends (name, registration, updated_ms) VALUES (?, ?, ?)"
        " ON CONFLICT (name) DO UPDATE SET registration = excluded.registration, updated_ms = excluded.updated_ms",
        (name, registration, now_ms),
    )


def remove_txn(cx: Cx, name: str) -> None:
    """Forget a registration."""
    cx.run("DELETE FROM ocpi_backends WHERE name = ?", (name,))


class ResultRow(NamedTuple):
    """Where what became of a command is to be told, what was told last, and when silence counts as an outcome."""

    command_id: str
    url: str
    told: str
    due_ms: int


def put_result_txn(cx: Cx, command_id: str, backend: str, url: str, asked_ms: int, due_ms: int) -> None:
    """Remember where an outcome is wanted."""
    cx.run(
        "INSERT INTO ocpi_results (command_id, backend, url, told, asked_ms, due_ms) VALUES (?, ?, ?, '', ?, ?)",
        (command_id, backend, url, asked_ms, due_ms),
    )


def results_of(cx: Cx, backend: str) -> list[ResultRow]:
    """All that a backend may still have to be told, oldest first."""
    rows = cx.run(
        "SELECT command_id, url, told, due_ms FROM ocpi_results WHERE backend = ? ORDER BY rowid",
        (backend,),
    )
    return [ResultRow._make(row) for row in rows]


def told_txn(cx: Cx, command_id: str, told: str) -> None:
    """Note what was told."""
    cx.run("UPDATE ocpi_results SET told = ? WHERE command_id = ?", (told, command_id))


def remove_result_txn(cx: Cx, command_id: str) -> None:
    """Nothing more is to be told."""
    cx.run("DELETE FROM ocpi_results WHERE command_id = ?", (command_id,))


def purge_results_txn(cx: Cx, before_ms: int) -> None:
    """Give up what nobody took in all this time."""
    cx.run("DELETE FROM ocpi_results WHERE asked_ms < ?", (before_ms,))


def quirks(cx: Cx) -> list[tuple[str, str, int]]:
    """What was learned of all backends, oldest first: backend, quirk, and when it was first met."""
    return [
        (str(backend), str(quirk), int(first_ms))
        for backend, quirk, first_ms in cx.run("SELECT backend, quirk, first_ms FROM ocpi_quirks ORDER BY first_ms")
    ]


def put_quirk_txn(cx: Cx, backend: str, quirk: str, first_ms: int) -> None:
    """Keep that a quirk was met; what is known stays."""
    cx.run("INSERT OR IGNORE INTO ocpi_quirks (backend, quirk, first_ms) VALUES (?, ?, ?)", (backend, quirk, first_ms))


def listed_txn(cx: Cx, backend: str, feed: str, generation: int, digests: Iterable[bytes]) -> None:
    """A backend's list named these."""
    cx.many(
        "INSERT INTO ocpi_listed (backend, feed, digest, generation) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (backend, feed, digest) DO UPDATE SET generation = excluded.generation",
        [(backend, feed, digest, generation) for digest in digests],
    )


def unlisted(cx: Cx, backend: str, feed: str, generation: int) -> tuple[int, frozenset[bytes]]:
    """How many it ever named, and which of them not in this fetch."""
    total: int = cx.value("SELECT COUNT(*) FROM ocpi_listed WHERE backend = ? AND feed = ?", (backend, feed))
    rows = cx.run(
        "SELECT digest FROM ocpi_listed WHERE backend = ? AND feed = ? AND generation < ?", (backend, feed, generation)
    )
    return total, frozenset(row[0] for row in rows)


def forget_listed_txn(cx: Cx, backend: str, feed: str, generation: int) -> None:
    """Forget what was not named in this fetch."""
    cx.run("DELETE FROM ocpi_listed WHERE backend = ? AND feed = ? AND generation < ?", (backend, feed, generation))
