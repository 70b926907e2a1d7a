"""Pairwise pseudonyms: a contract has another name towards each partner, so that two of them cannot join their data.

A pseudonym is a contract id like any other, of the same party and with a right check character: nine characters made of
a keyed hash of the contract, some 46 bits. Whoever sees it routes, prices and bills by it and need not know what it is.
Here is how one is made, and how the texts that bear contract ids are rewritten; which contract bears which pseudonym is
remembered by `storage.pseudonyms`.
"""

from collections.abc import Iterator, Mapping
from hashlib import sha256
from hmac import digest
from itertools import count
from typing import Final

import msgspec

from roamd.model.body import with_fields
from roamd.model.credentials import EMAID
from roamd.model.ids.contract import parse_contract_id
from roamd.model.ids.party import party_of
from roamd.model.jsontext import member
from roamd.model.keys import fold

_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LENGTH: Final = 9


class Named(msgspec.Struct, frozen=True):
    """What of a Token, a CdrToken or a Grant names a contract."""

    contract_id: str = ""
    type: str = ""
    uid: str = ""
    country_code: str = ""
    party_id: str = ""

    @property
    def party(self) -> str:
        """The canonical party of the token; empty when it is none."""
        return party_of(self.country_code, self.party_id) or ""

    @property
    def contracts(self) -> tuple[str, ...]:
        """Every contract id in it, as it is spelled; of Plug & Charge the uid is one."""
        ids = (self.contract_id, self.uid if fold(self.type) == EMAID else "")
        return tuple(dict.fromkeys(id_ for id_ in ids if id_))


class _Holder(msgspec.Struct, frozen=True):
    cdr_token: Named | None = None


_decode_named: Final = msgspec.json.Decoder(Named).decode
_decode_holder: Final = msgspec.json.Decoder(_Holder).decode


def named_in(token: bytes) -> Named:
    """What a checked Token, CdrToken or Grant names."""
    return _decode_named(token)


def named_by(body: bytes) -> Named | None:
    """What the `cdr_token` of a checked session, reservation or record names."""
    return _decode_holder(body).cdr_token


# --- names ------------------------------------------------------------------------------------------------------


def contract_name(contract_id: str, party: str) -> str:
    """What a contract is known by, however it is spelled. `party` tells contracts apart whose ids have no party."""
    contract = parse_contract_id(contract_id)
    return min(contract.aliases) if contract.provider else f"{contract.canonical} {party}"


def names_of(key: bytes, contract_id: str, party: str) -> Iterator[str]:
    """The canonical pseudonyms that a contract may have under a key, best first: later ones if others are taken.

    None of them can be read as the widened form of an older contract id, which would give it a second name.
    """
    owner, name = parse_contract_id(contract_id).provider or party, contract_name(contract_id, party)
    for attempt in count():
        hashed = digest(key, f"roamd pseudonym 1 {attempt} {owner} {name}".encode(errors="replace"), sha256)
        found = owner + _text_of(int.from_bytes(hashed[:16]))
        if len(parse_contract_id(found).aliases) == 1:
            yield found


def spelled(pseudonym: str) -> str:
    """A canonical pseudonym as it is sent: with hyphens and check character."""
    return parse_contract_id(pseudonym).display


def _text_of(number: int) -> str:
    characters = []
    for _ in range(_LENGTH):
        number, rest = divmod(number, len(_ALPHABET))
        characters.append(_ALPHABET[rest])
    return "".join(characters)


# --- texts ------------------------------------------------------------------------------------------------------


def renamed(token: bytes, names: Mapping[str, str]) -> bytes:
    """A Token with other contract ids, by how they are spelled in it; what is not in `names` keeps its bytes."""
    said = _decode_named(token)
    fields = {}
    if said.contract_id in names:
        fields["contract_id"] = msgspec.json.encode(names[said.contract_id])
    if fold(said.type) == EMAID and said.uid in names:
        fields["uid"] = msgspec.json.encode(names[said.uid])
    return with_fields(token, fields) if fields else token


def with_renamed(body: bytes, holder: str, names: Mapping[str, str]) -> bytes:
    """A body whose member `holder` is a token, with that renamed."""
    token = member(body, holder)
    if token is None or not token.startswith(b"{"):
        return body
    changed = renamed(token, names)
    return body if changed == token else with_fields(body, {holder: changed})


def with_contract(body: bytes, contract_id: str) -> bytes:
    """A session, reservation or record as a backend knows it that has only one name for the contract: its own."""
    said = named_by(body)
    return body if said is None else with_renamed(body, "cdr_token", dict.fromkeys(said.contracts, contract_id))
