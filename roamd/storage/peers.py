"""Who we are paired with, and the invitations that are open."""

# ruff: noqa: S608 - what is formatted into statements here are constants of this file; values are always bound

from typing import Any, NamedTuple

from roamd.storage import meta
from roamd.storage.cx import Cx, Row


class PeerRow(NamedTuple):
    """A paired endpoint. `state` is PENDING, PAIRED or SUSPENDED; `address` None means that it only dials.

    `identity_der` is the identity that it uses; `succession` tells what was before and what comes (`trust.succession`).
    """

    peer: str
    endpoint_id: str
    identity_der: bytes
    name: str
    parties: tuple[str, ...]
    state: str
    address: str | None
    descriptor: bytes
    descriptor_sequence: int
    agreement_json: bytes
    rights_version: int
    words: str
    paired_at_ms: int
    joined_by_us: bool
    succession: bytes = b""


class InvitationRow(NamedTuple):
    """An open invitation; once used it keeps by whom and the result, which a repeat gets again until expiry."""

    id: bytes
    secret: bytes
    expires_ms: int
    auto: bool
    used_by: str | None
    result: bytes | None
    address: str


_PEER = ", ".join(PeerRow._fields)
_INVITATION = ", ".join(InvitationRow._fields)


def _upsert(table: str, fields: tuple[str, ...]) -> str:
    """The statement that inserts a row or replaces the one with the same first field."""
    updates = ", ".join(f"{name} = excluded.{name}" for name in fields[1:])
    marks = ", ".join("?" * len(fields))
    return (
        f"INSERT INTO {table} ({', '.join(fields)}) VALUES ({marks}) ON CONFLICT ({fields[0]}) DO UPDATE SET {updates}"
    )


_PUT_PEER = _upsert("peers", PeerRow._fields)
_PUT_INVITATION = _upsert("invitations", InvitationRow._fields)


def _peer(row: Row) -> PeerRow:
    peer = PeerRow._make(row)
    return peer._replace(parties=tuple(row[4].split()), joined_by_us=bool(row[13]))


def _invitation(row: Row) -> InvitationRow:
    return InvitationRow._make(row)._replace(auto=bool(row[3]))


def load_all(cx: Cx) -> list[PeerRow]:
    """Every peer, by label."""
    return [_peer(row) for row in cx.run(f"SELECT {_PEER} FROM peers ORDER BY peer")]


def get(cx: Cx, peer: str) -> PeerRow | None:
    """One peer by its label."""
    row = cx.one(f"SELECT {_PEER} FROM peers WHERE peer = ?", (peer,))
    return _peer(row) if row else None


def put_txn(cx: Cx, row: PeerRow) -> None:
    """Add a peer or replace the one with this label. Another peer with the same endpoint id is a StoreError."""
    meta.delete_txn(cx, _removed(row.peer))
    stored: list[Any] = list(row)
    stored[4], stored[13] = " ".join(row.parties), int(row.joined_by_us)
    cx.run(_PUT_PEER, stored)


def remove_txn(cx: Cx, peer: str) -> bool:
    """Forget a peer (its chains and records stay: they are evidence); False when there was none."""
    meta.set_txn(cx, _removed(peer), "")
    return cx.change("DELETE FROM peers WHERE peer = ?", (peer,)) > 0


def is_removed(cx: Cx, peer: str) -> bool:
    """Whether a peer was removed and has not come back: what was on its way then must find nothing to stay in."""
    return meta.get(cx, _removed(peer)) is not None


def _removed(peer: str) -> str:
    """The name in `meta` of that."""
    return f"peer-removed:{peer}"


def put_invitation_txn(cx: Cx, row: InvitationRow) -> None:
    """Keep an invitation."""
    cx.run(_PUT_INVITATION, (*row[:3], int(row.auto), *row[4:]))


def get_invitation(cx: Cx, invitation_id: bytes) -> InvitationRow | None:
    """One invitation, used or not, expired or not."""
    row = cx.one(f"SELECT {_INVITATION} FROM invitations WHERE id = ?", (invitation_id,))
    return _invitation(row) if row else None


def list_invitations(cx: Cx) -> list[InvitationRow]:
    """All invitations, the first to expire first."""
    return [_invitation(row) for row in cx.run(f"SELECT {_INVITATION} FROM invitations ORDER BY expires_ms, id")]


def use_invitation_txn(cx: Cx, invitation_id: bytes, used_by: str, result: bytes) -> bool:
    """Note who used it and what they were answered; False when it is unknown or someone else's already."""
    sql = "UPDATE invitations SET used_by = ?, result = ? WHERE id = ? AND (used_by IS NULL OR used_by = ?)"
    return cx.change(sql, (used_by, result, invitation_id, used_by)) > 0


def delete_used_txn(cx: Cx, endpoint_id: str) -> None:
    """Forget the invitations that brought an endpoint in."""
    cx.run("DELETE FROM invitations WHERE used_by = ?", (endpoint_id,))


def delete_expired_txn(cx: Cx, now_ms: int) -> int:
    """Forget invitations that have expired; how many."""
    return cx.change("DELETE FROM invitations WHERE expires_ms <= ?", (now_ms,))
