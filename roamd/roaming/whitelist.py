"""Look-ups of a credential in what the CSPs publish to us (feed user-credentials), over the read connection.

A peer may list its credentials under hashes (`model.keyedlist`); each such peer costs a look-up one HMAC and one
more place in the index, some 5 us together.

Drivers who come together are looked up together (`Whitelist.foreseeing`): a statement of their own for each costs
five times as much.
"""

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from roamd.model.agreement import may_follow
from roamd.model.credentials import EMAID, RFID, VEHICLE, UserCredential, canonical_uid
from roamd.model.ids.contract import parse_contract_id
from roamd.model.jsontext import tree
from roamd.model.keyedlist import hash_of, key_of, uid_name
from roamd.model.keys import fold
from roamd.model.views import user_credential_view
from roamd.roaming.directory import Directory, Peer
from roamd.storage import feeds
from roamd.storage.feeds import MirroredRow
from roamd.storage.store import Store


@dataclass(frozen=True, slots=True)
class Listed:
    """One CSP's listing of a credential."""

    peer: Peer
    entry: UserCredential


class Found(NamedTuple):
    """A credential as it is compared (folded type, canonical uid), and every listing of it by an active peer.

    Two CSPs may list the same one (identifiers.md 5.3). Of one party the newest counts: while a list is replaced by a
    keyed one, or back, a credential stands in it twice.
    """

    type: str
    uid: str
    listed: Sequence[Listed]


class _Sought(NamedTuple):
    type: str
    uid: str
    keys: tuple[str, ...]
    hashed: Mapping[str, tuple[str, bytes]]


Spelled = tuple[str, str]
"""Type and uid as somebody wrote them."""


@dataclass(slots=True)
class Whitelist:
    """Every list that peers publish to us."""

    store: Store
    directory: Directory
    _foreseen: dict[Spelled, Found] = field(default_factory=dict)

    def find(self, type_: str, uid: str) -> Found:
        """Who lists this credential."""
        return self._foreseen.get((type_, uid)) or self._found([(type_, uid)])[type_, uid]

    @contextlib.contextmanager
    def foreseeing(self, credentials: Iterable[Spelled]) -> Iterator[None]:
        """Within, `find` knows of these already. For plain code that is soon done, inside one snapshot of the store."""
        wanted = list(dict.fromkeys(credentials))
        self._foreseen = self._found(wanted) if len(wanted) > 1 else {}
        try:
            yield
        finally:
            self._foreseen = {}

    def _found(self, credentials: Sequence[Spelled]) -> dict[Spelled, Found]:
        sought = {spelled: self._sought(*spelled) for spelled in credentials}
        ids = list(dict.fromkeys(key for one in sought.values() for key in one.keys))
        rows: defaultdict[str, list[MirroredRow]] = defaultdict(list)
        for row in self.store.look(lambda cx: feeds.find_mirrored_any(cx, "user-credentials", ids)):
            rows[row.key.id].append(row)
        return {
            spelled: Found(one.type, one.uid, self._listings(one, rows) if rows else ())
            for spelled, one in sought.items()
        }

    def _sought(self, type_: str, uid: str) -> _Sought:
        folded, canonical = fold(type_), canonical_uid(type_, uid)
        hashed = _hashed(self.directory, folded, canonical) if self.directory.list_keys else {}
        return _Sought(folded, canonical, (*spellings(folded, canonical), *hashed), hashed)

    def _listings(self, sought: _Sought, rows: Mapping[str, list[MirroredRow]]) -> Sequence[Listed]:
        own = sorted(row for key in sought.keys for row in rows.get(key, ()) if row.key.sub == sought.type)
        found = {
            (row.peer, row.key.party): listed
            for row in own
            if (listed := _listed(self.directory, row, sought.hashed)) is not None
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
