"""A driver as somebody who asks about himself names him, and how texts are searched for him.

What a person wants exported or erased is found by the numbers that stand for him: a credential (type and uid) or a
contract id. Both are written in many ways (separators, case, check characters, the three widths of one contract id),
and all of them are the same person.

Two questions are kept apart, because what follows from them differs. A text *names* a subject where a token, or
whatever else carries these fields, has his uid or contract id: such a text is his, and may be erased. A text only
*mentions* him where his number stands anywhere else, in a remark or in another's record id: it may be another
person's record, so that is for people to look at. Both begin with the same quick search through the bytes.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec

from roamd.errors import Fault, Malformed
from roamd.model.credentials import RFID, canonical_uid
from roamd.model.ids.contract import ContractId, parse_contract_id
from roamd.model.keyedlist import contract_hash, uid_hash
from roamd.model.keys import fold
from roamd.model.personal import masked

Found = Literal["named", "mentioned"]

_SEARCHABLE: Final = 6
"""Shorter numbers stand in every text by chance: such a uid is looked for in the fields of tokens only."""


@dataclass(frozen=True, slots=True)
class Identifiers:
    """What a token says of its driver, spelled as it was found there."""

    type: str | None
    uid: str | None
    contract_id: str | None

    @property
    def canonical(self) -> tuple[str | None, str | None, str | None]:
        """The same for every spelling of the same numbers."""
        uid = canonical_uid(self.type, self.uid) if self.type is not None and self.uid is not None else self.uid
        contract = parse_contract_id(self.contract_id).canonical if self.contract_id is not None else None
        return self.type, uid, contract

    def as_json(self) -> dict[str, str]:
        """Without what is not there."""
        named = {"type": self.type, "uid": self.uid, "contract_id": self.contract_id}
        return {name: value for name, value in named.items() if value is not None}


@dataclass(frozen=True, slots=True, repr=False)
class Subject:
    """One driver. `type` and `uid` are canonical and both there or both None; `contracts` are all canonical forms."""

    type: str | None
    uid: str | None
    contracts: frozenset[str]
    _pattern: "re.Pattern[str] | None" = field(compare=False)

    def __repr__(self) -> str:
        return f"Subject({self.type} {masked(self.uid or '')}, {len(self.contracts)} contract ids)"

    def has_uid(self, type_: str, uid: str) -> bool:
        """Whether a credential is his; `type_` and `uid` as they were written."""
        return self.uid is not None and fold(type_) == self.type and canonical_uid(type_, uid) == self.uid

    def has_contract(self, contract_id: str) -> bool:
        """Whether a contract id is his, however it is written."""
        return bool(self.contracts) and parse_contract_id(contract_id).canonical in self.contracts

    def hashed(self, key: bytes) -> frozenset[str]:
        """What stands for his numbers in a keyed list under this key."""
        contracts = [contract_hash(key, contract) for contract in self.contracts]
        uids = [uid_hash(key, self.type, self.uid)] if self.type is not None and self.uid is not None else []
        return frozenset((*contracts, *uids))

    def also_by(self, contract_ids: Iterable[str]) -> "Subject":
        """The same driver under further contract ids: his pseudonyms."""
        others = [
            contract for each in contract_ids if not self.has_contract(each) for contract in [parse_contract_id(each)]
        ]
        if not others:
            return self
        contracts = self.contracts.union(*(contract.aliases for contract in others))
        patterns = [self._pattern, *(_pattern_of(None, None, contract) for contract in others)]
        texts = [pattern.pattern for pattern in patterns if pattern is not None]
        joined = re.compile("|".join(texts), re.IGNORECASE) if len(texts) == len(patterns) else None
        return Subject(self.type, self.uid, contracts, joined)

    def stands_in(self, text: str) -> bool:
        """Whether one of his numbers stands anywhere in a text, in any spelling."""
        return self._pattern is not None and self._pattern.search(text) is not None

    def look(self, body: bytes) -> "Finding":
        """What a JSON text has to do with him. One that cannot be read names him where it mentions him."""
        text = body.decode("utf-8", "replace")
        if not (self._pattern is None or "\\" in text or self.stands_in(text)):
            return NOTHING
        try:
            tree = msgspec.json.decode(body)
        except (msgspec.DecodeError, RecursionError):
            return Finding("named") if self.stands_in(text) else NOTHING
        tokens = tuple(token for token in _tokens(tree) if self._is_his(token))
        if tokens:
            return Finding("named", tokens)
        # Written anew, because escapes may hide what the text says.
        return Finding("mentioned") if self.stands_in(msgspec.json.encode(tree).decode()) else NOTHING

    def _is_his(self, token: Identifiers) -> bool:
        his_uid = token.type is not None and token.uid is not None and self.has_uid(token.type, token.uid)
        return his_uid or (token.contract_id is not None and self.has_contract(token.contract_id))


@dataclass(frozen=True, slots=True)
class Finding:
    """What a text has to do with a subject, and every token in it that is his."""

    found: Found | None = None
    tokens: tuple[Identifiers, ...] = ()


NOTHING: Final = Finding()


def subject(*, type_: str | None = None, uid: str | None = None, contract_id: str | None = None) -> Subject:
    """The subject of a credential, a contract id, or both. A uid without a type is an RFID card's.

    Raises Malformed when neither is given, or a type without a uid.
    """
    if not uid and (type_ or not contract_id):
        fault = Fault("$.uid", "name the driver by type and uid, by contract_id, or by both", "required")
        raise Malformed((fault,))
    kind = fold(type_ or RFID) if uid else None
    canonical = canonical_uid(kind, uid) if kind and uid else None
    contract = parse_contract_id(contract_id) if contract_id else None
    return Subject(
        kind, canonical, frozenset(contract.aliases if contract else ()), _pattern_of(kind, canonical, contract)
    )


def _tokens(value: object) -> Iterator[Identifiers]:
    """Everything in a JSON value that names a driver: objects with a uid and a type, or with a contract id."""
    pending = [value]
    while pending:
        one = pending.pop()
        if isinstance(one, dict):
            pending += one.values()
            found = Identifiers(*(_text(one.get(name)) for name in ("type", "uid", "contract_id")))
            if found.contract_id is not None or (found.type is not None and found.uid is not None):
                yield found
        elif isinstance(one, list):
            pending += one


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


# --- spellings --------------------------------------------------------------------------------------------------------


def _pattern_of(type_: str | None, uid: str | None, contract: ContractId | None) -> "re.Pattern[str] | None":
    """Finds every spelling of his numbers; None when one of them is too short to be looked for in texts."""
    spelled = [_of_uid(type_, uid)] if uid else []
    if contract is not None:
        spelled += [_of_contract(alias, contract) for alias in contract.aliases]
    if any(len(name) < _SEARCHABLE for name in (uid, contract and contract.canonical) if name):
        return None
    return re.compile(rf"(?<![0-9A-Za-z])(?:{'|'.join(spelled)})(?![0-9A-Za-z])", re.IGNORECASE)


def _of_uid(type_: str | None, uid: str) -> str:
    if type_ != RFID or len(uid) % 2:
        return re.escape(uid)
    return "[:\\- ]?".join(re.escape(uid[at : at + 2]) for at in range(0, len(uid), 2))


def _of_contract(canonical: str, contract: ContractId) -> str:
    """With any separators between its parts, with or without a check character."""
    if contract.form == "other":
        return re.escape(contract.raw)
    parts = (canonical[:2], canonical[2:5], canonical[5:])
    return "[*-]?".join(map(re.escape, parts)) + "(?:[*-]?[0-9A-Za-z])?"
