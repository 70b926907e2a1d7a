"""Look-ups of a credential in what the CSPs publish to us (feed user-credentials), over the read connection."""

from dataclasses import dataclass

from roamd.model.credentials import UserCredential
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
    for row in feeds.find_mirrored(cx, "user-credentials", uid, fold(type_)):
        peer = directory.find(row.peer)
        if peer is not None and peer.active:
            body = tree(row.body)
            assert isinstance(body, dict)  # noqa: S101 - it was checked as a Token when it came in
            found.append(Listed(peer, user_credential_view(body)))
    return found
