"""The keys under which peers publish their user credentials to us: every tap is looked for under each of them."""

from roamd.storage.cx import Cx

KEPT = 2
"""Of one peer: an honest one has one, and two while its list is replaced."""


def put_txn(cx: Cx, peer: str, key: bytes) -> None:
    """Keep a key; of too many the oldest goes."""
    cx.run("INSERT INTO list_keys (peer, key) VALUES (?, ?) ON CONFLICT (peer, key) DO NOTHING", (peer, key))
    cx.run(
        "DELETE FROM list_keys WHERE peer = ?"
        " AND row_id NOT IN (SELECT row_id FROM list_keys WHERE peer = ? ORDER BY row_id DESC LIMIT ?)",
        (peer, peer, KEPT),
    )


def load(cx: Cx) -> dict[str, tuple[bytes, ...]]:
    """All keys by peer, oldest first."""
    keys: dict[str, tuple[bytes, ...]] = {}
    for peer, key in cx.run("SELECT peer, key FROM list_keys ORDER BY row_id"):
        keys[peer] = (*keys.get(peer, ()), key)
    return keys


def drop_peer_txn(cx: Cx, peer: str) -> None:
    """Forget a peer's."""
    cx.run("DELETE FROM list_keys WHERE peer = ?", (peer,))
