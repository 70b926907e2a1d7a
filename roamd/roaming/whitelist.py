"""Look-ups of a credential in what the CSPs publish to us (feed user-credentials), over the read connection.

A peer may list its credentials under hashes (`model.keyedlist`); each such peer costs a look-up one HMAC and one
more place in the index, some 5 us together.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from roamd.model.agreement import may_follow
from roamd.model.credentials import EMAID, RFID, VEHICLE, UserCredential
from roamd.model.ids.contract import parse_contract_id
from roamd.model.jsontext import tree
from roamd.model.keyedlist import hash_of, key_of, uid_name
from roamd.model.keys import fold
from roamd.model.views import user_credential_view
from roamd.roaming.directory import Directory, Peer
from roamd.storage import feeds
from roamd.storage.feeds import MirroredRow
from roamd.storage.store import Cx


@dataclass(frozen=True, slots=True)
class Listed:
    """One CSP's listing of a credential."""

    peer: Peer
    entry: UserCredential


def look_up(cx: Cx, directory: Directory, type_: str, uid: str) -> list[Listed]:
    """Every listing of a canonical uid by an active peer; two CSPs may list the same one (identifiers.md 5.3).

    Of one party the newest: while a list is replaced by a keyed one, or back, a credential stands in it twice.
    """
    folded, plain = fold(type_), spellings(type_, uid)
    hashed = _hashed(directory, folded, uid) if directory.list_keys else {}
    rows = feeds.find_mirrored_any(cx, "user-credentials", (*plain, *hashed), folded)
    if not rows:
        return []
    found = {
        (row.peer, row.key.party): listed for row in rows if (listed := _listed(directory, row, hashed)) is not None
    }
    return list(found.values())


def _hashed(directory: Directory, folded: str, uid: str) -> dict[str, tuple[str, bytes]]:
    """The keys under which it would stand in keyed lists, with whose list that is and its key."""
    name = uid_name(folded, uid)
    return {hash_of(key, name): (peer, key) for peer, keys in directory.list_keys.items() for key in keys}


def _listed(directory: Directory, row: MirroredRow, hashed: Mapping[str, tuple[str, bytes]]) -> Listed | None:
    key = key_of(row.body)
    if hashed.get(row.key.id) != (None if key is None else (row.peer, key)):
        return None  # somebody types what stands in a list, or lists what was never his to hash
    peer = directory.find(row.peer)
    if peer is None or not peer.active or not may_follow(peer.agreement, "user-credentials"):
        return None
    body = tree(row.body)
    assert isinstance(body, dict)  # noqa: S101 - it was checked as a Token when it came in
    return Listed(peer, user_credential_view(body))


def spellings(type_: str, uid: str) -> tuple[str, ...]:
    """The folded keys under which a canonical uid may have been published.

    RFID and vehicle ids also with a sign between the bytes, contract ids with and without hyphens and check character.
    """
    folded = fold(type_)
    if folded in (RFID, VEHICLE) and len(uid) % 2 == 0:
        return (uid, *_separated(uid))
    if folded == EMAID:
        return _contract_spellings(uid)
    return (uid,)


def _separated(uid: str) -> tuple[str, ...]:
    try:
        data = bytes.fromhex(uid)
    except ValueError:  # OCPI allows any text
        return tuple(sign.join(uid[at : at + 2] for at in range(0, len(uid), 2)) for sign in ":- ")
    return data.hex(":").upper(), data.hex("-").upper(), data.hex(" ").upper()


def _contract_spellings(uid: str) -> tuple[str, ...]:
    contract = parse_contract_id(uid)
    if contract.form == "other":
        return (uid,)
    shown = contract.display  # with hyphens and check character
    return tuple(dict.fromkeys((uid, contract.canonical, shown, shown.replace("-", ""), shown[:-2])))
