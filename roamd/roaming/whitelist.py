"""Look-ups of a credential in what the CSPs publish to us (feed user-credentials), over the read connection."""

from dataclasses import dataclass

from roamd.model.agreement import may_follow
from roamd.model.credentials import RFID, UserCredential
from roamd.model.jsontext import tree
from roamd.model.keys import fold
from roamd.model.views import user_credential_view
from roamd.roaming.directory import Directory, Peer
from roamd.storage import feeds
from roamd.storage.store import Cx


@dataclass(frozen=True, slots=True)
class Listed:
    """One CSP's listing of a credential."""

    peer: Peer
    entry: UserCredential


def look_up(cx: Cx, directory: Directory, type_: str, uid: str) -> list[Listed]:
    """Every listing of a canonical uid by an active peer; two CSPs may list the same one (identifiers.md 5.3)."""
    found = []
    rows = [
        row for one in spellings(type_, uid) for row in feeds.find_mirrored(cx, "user-credentials", one, fold(type_))
    ]
    for row in rows:
        peer = directory.find(row.peer)
        if peer is not None and peer.active and may_follow(peer.agreement, "user-credentials"):
            body = tree(row.body)
            assert isinstance(body, dict)  # noqa: S101 - it was checked as a Token when it came in
            found.append(Listed(peer, user_credential_view(body)))
    return found


def spellings(type_: str, uid: str) -> tuple[str, ...]:
    """The folded keys under which a canonical uid may have been published: RFID also with a sign between the bytes."""
    if fold(type_) != RFID or len(uid) % 2:
        return (uid,)
    pairs = [uid[at : at + 2] for at in range(0, len(uid), 2)]
    return (uid, *(sign.join(pairs) for sign in ":- "))
