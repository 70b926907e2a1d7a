"""Keyed whitelists: user credentials that a peer can recognise when it meets them, and not read.

Theory of operation. In a keyed list the numbers of a credential (uid, contract id, driver group) are replaced by the
first half of an HMAC-SHA256 under a key that is the one peer's own. The visited-CSO puts the number that was tapped
through the same function and finds the listing; beside it stands what decides without the home-CSP (type, valid,
whitelist, group). Each object carries the key, as the objects of a credential filter do: so an object can be read
alone, in any order, also while a list under another key is being replaced.

What it hides and what not. The peer holds the key, so it can try numbers: all uids of 4 bytes are tried in minutes on
one machine, whatever the function. For uids of 7 bytes and more and for contract ids that is out of reach, and two
peers who lay their lists side by side find no two numbers alike. What stands beside the numbers is cut down to what
decides, and the stamp to its day, for the same reason; but who compares *when* objects came, or in what order, may
still guess which are the same.
"""

import re
from hmac import digest
from typing import Any, Final

import msgspec

from roamd.errors import Fault
from roamd.model.credentials import EMAID, canonical_uid
from roamd.model.ids.contract import parse_contract_id
from roamd.model.jsontext import child_path
from roamd.model.keys import fold
from roamd.model.times import parse_time

FIELD: Final = "keyed"
"""The member of an object that says so: the key."""
KEY: Final = 16
HASH: Final = 16
"""Bytes, 32 characters in hexadecimal: a uid has room for 36. Two numbers alike are not to be expected."""

_KEY_TEXT: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_HASH_TEXT: Final = re.compile(r"[0-9A-F]{32}", re.ASCII)
_MARK: Final = b'"keyed"'


class _Plain(msgspec.Struct, frozen=True):
    """What of a checked Token goes into a keyed list."""

    country_code: str
    party_id: str
    type: str
    contract_id: str
    issuer: str
    valid: bool
    whitelist: str
    last_updated: str
    group_id: str | None = None


class _Keyed(msgspec.Struct, frozen=True, omit_defaults=True):
    country_code: str
    party_id: str
    uid: str
    type: str
    contract_id: str
    issuer: str
    valid: bool
    whitelist: str
    last_updated: str
    keyed: str
    group_id: str | None = None


class _Head(msgspec.Struct, frozen=True):
    """What tells an object of a keyed list."""

    uid: str = ""
    keyed: Any = msgspec.UNSET


_decode: Final = msgspec.json.Decoder(_Plain).decode
_decode_head: Final = msgspec.json.Decoder(_Head).decode


# --- numbers ----------------------------------------------------------------------------------------------------


def uid_hash(key: bytes, type_: str, uid: str) -> str:
    """What stands for a uid, however it is spelled; `type_` is folded."""
    return hash_of(key, uid_name(type_, uid))


def uid_name(type_: str, uid: str) -> str:
    """What is hashed of a uid: the same for every peer, so that a tap makes it once."""
    name = parse_contract_id(uid).canonical if type_ == EMAID else canonical_uid(type_, uid)
    return f"roamd uid 1 {type_} {name}"


def contract_hash(key: bytes, contract_id: str) -> str:
    """What stands for a contract id, with or without separators and check character."""
    return hash_of(key, contract_name(contract_id))


def contract_name(contract_id: str) -> str:
    """What is hashed of a contract id."""
    return f"roamd contract 1 {parse_contract_id(contract_id).canonical}"


def group_hash(key: bytes, group_id: str) -> str:
    """What stands for a driver group: a group of one would be as good as a number."""
    return hash_of(key, group_name(group_id))


def group_name(group_id: str) -> str:
    """What is hashed of a driver group."""
    return f"roamd group 1 {fold(group_id)}"


def hash_of(key: bytes, name: str) -> str:
    """What stands for a name under a key."""
    return digest(key, name.encode(errors="replace"), "sha256")[:HASH].hex().upper()


# --- objects ----------------------------------------------------------------------------------------------------


def keyed_body(key: bytes, type_: str, uid: str, body: bytes) -> bytes:
    """The object under a key, the same for the same body; `type_` and `uid` are those of the object's own key."""
    plain = _decode(body)
    day = parse_time(plain.last_updated)
    return msgspec.json.encode(
        _Keyed(
            plain.country_code,
            plain.party_id,
            uid_hash(key, type_, uid),
            plain.type,
            contract_hash(key, plain.contract_id),
            plain.issuer,
            plain.valid,
            plain.whitelist,
            f"{day:%Y-%m-%d}T00:00:00Z" if day else plain.last_updated,
            key.hex(),
            group_hash(key, plain.group_id) if plain.group_id else None,
        )
    )


def key_of(body: bytes) -> bytes | None:
    """The key of an object of a keyed list; None for any other, also one that holds something else there."""
    said = _decode_head(body).keyed if is_marked(body) else None
    return bytes.fromhex(said) if isinstance(said, str) and _KEY_TEXT.fullmatch(said) else None


def is_marked(body: bytes) -> bool:
    """Whether an object may be one of a keyed list; of other credentials hardly ever, and it costs next to nothing."""
    return _MARK in body


def mark_of(key: bytes) -> bytes:
    """What stands in every object under a key."""
    return b'%s:"%s"' % (_MARK, key.hex().encode())


def keyed_faults(body: bytes, at: str) -> list[Fault]:
    """What is wrong with a peer's Token that says it is keyed; nothing of one that does not. Of checked bodies."""
    head = _decode_head(body) if is_marked(body) else None
    if head is None or head.keyed is msgspec.UNSET:
        return []
    if key_of(body) is None:
        return [Fault(child_path(at, FIELD), "expected 16 bytes in lower-case hexadecimal", "key")]
    if not _HASH_TEXT.fullmatch(head.uid):
        return [Fault(child_path(at, "uid"), "expected 16 bytes in upper-case hexadecimal in a keyed list", "hash")]
    return []


def own_faults(body: bytes, at: str) -> list[Fault]:
    """What is wrong with a Token of our own backend that says it is keyed: each peer's key is put there by us."""
    if not is_marked(body) or _decode_head(body).keyed is msgspec.UNSET:
        return []
    return [Fault(child_path(at, FIELD), "is written when the credential is sent to a peer", "reserved")]
