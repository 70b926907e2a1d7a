"""Backends that have registered at the OCPI face, by the name that the configuration gives them."""

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
