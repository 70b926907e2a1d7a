"""The fixed binary layouts of a ledger, made so that `openssl` and a few lines of shell can check them.

An entry binds a sequence number, the hash of the entry before it, a kind, a record id and a *commitment* to the body.
The commitment is SHA-256(salt, body) with a random salt, so that body and salt can be erased later without breaking the
chain, and nobody can find an erased body by guessing. A head (by the author) and a receipt (by the receiver) sign the
hash of one entry and with it all entries before it. All integers are unsigned and big-endian.

    entry    0 "roamd entry 1" and NULs to 16 | 16 sequence u64 | 24 previous hash 32 | 56 kind u16 | 58 id length u16
             | 60 commitment 32 | 92 record id, UTF-8
    head     0 "roamd head 1" and NULs to 16 | 16 author 56 | 72 receiver 56 | 128 epoch 16 | 144 sequence u64
             | 152 hash 32 | 184 time u64, milliseconds          (192 bytes)
    receipt  the same with "roamd receipt 1"
    epoch    0 old epoch 16 | 16 old sequence u64 | 24 old head hash 32 | 56 reason u8   (the 57 bytes of an EPOCH body)

The record id stands last and its length before it, so no two entries read as the same bytes.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from roamd.errors import ProtocolError
from roamd.protocol.codes import GoodbyeCode
from roamd.protocol.messages import Count, Hash32, Mark, Millis, Small, decode_as

GENESIS: Final = bytes(32)  # the "previous hash" of an epoch's first entry, whose sequence is 1
FIRST_SEQUENCE: Final = 1
SALT_SIZE: Final = 16
MAX_RECORD_ID: Final = 128  # characters; OCPI's longest id has 39
MAX_BODY: Final = 256 * 1024  # the same limit as at the API

_ENTRY: Final = struct.Struct(">16sQ32sHH32s")
_SIGNED: Final = struct.Struct(">16s56s56s16sQ32sQ")
_EPOCH: Final = struct.Struct(">16sQ32sB")
_ENTRY_MAGIC: Final = b"roamd entry 1"
_HEAD_MAGIC: Final = b"roamd head 1"
_RECEIPT_MAGIC: Final = b"roamd receipt 1"


class EpochReason(IntEnum):
    """Why an author began a new epoch; a reason that is not known is no fault."""

    ROLLED_BACK = 0
    NEW_KEY = 1


class EntryKind(IntEnum):
    """What an entry says. Kinds not listed are committed and receipted like all others, and answered with REFUSED."""

    CDR = 1
    SDR = 2
    CREDIT = 3
    ACCEPTED = 16
    DISPUTED = 17
    CORRECTED = 18
    CREDITED = 19
    FINAL = 20
    STATEMENT = 24
    REFUSED = 32
    ERASURE = 40
    ERASURE_ANSWER = 41
    EPOCH = 48
    AGREEMENT_PROPOSED = 56
    AGREEMENT_ACCEPTED = 57
    AGREEMENT_DECLINED = 58


class LedgerItem(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One entry with its body as it travels. Either salt and body are there, or the item was erased: commitment alone.

    `ocpi` says by which OCPI version the body's text reads ("" where that means nothing). It is not signed.
    """

    kind: Small
    record_id: Annotated[str, Meta(max_length=MAX_RECORD_ID)]
    salt: Annotated[bytes, Meta(min_length=SALT_SIZE, max_length=SALT_SIZE)] | None = None
    body: Annotated[bytes, Meta(max_length=MAX_BODY)] | None = None
    commitment: Hash32 | None = None
    ocpi: Annotated[str, Meta(max_length=16)] = ""

    @property
    def erased(self) -> bool:
        """Whether body and salt are gone for good."""
        return self.commitment is not None

    def well_formed(self) -> bool:
        """Exactly one of the two forms."""
        if self.commitment is not None:
            return self.salt is None and self.body is None
        return self.salt is not None and self.body is not None


def commitment(salt: bytes, body: bytes) -> bytes:
    """SHA-256 over the salt followed by the body."""
    return sha256(salt + body).digest()


def item_commitment(item: LedgerItem) -> bytes:
    """The item's commitment, computed from salt and body unless it was erased. ValueError when it is neither form."""
    if item.commitment is not None:
        return item.commitment
    if item.salt is None or item.body is None:
        raise ValueError("An item without commitment needs salt and body.")
    return commitment(item.salt, item.body)


def entry_bytes(sequence: int, previous_hash: bytes, kind: int, record_id: str, committed: bytes) -> bytes:
    """The entry's fixed layout (see above)."""
    name = record_id.encode()
    _exact(previous_hash, 32, "previous hash")
    _exact(committed, 32, "commitment")
    return _ENTRY.pack(_ENTRY_MAGIC, sequence, previous_hash, kind, len(name), committed) + name


def entry_hash(entry: bytes) -> bytes:
    """SHA-256 of the entry's bytes."""
    return sha256(entry).digest()


def chain_items(previous_hash: bytes, first_sequence: int, items: Iterable[LedgerItem]) -> list[tuple[bytes, bytes]]:
    """(entry bytes, entry hash) of each item, chained on to `previous_hash`; the last hash is the new head's."""
    chained: list[tuple[bytes, bytes]] = []
    for sequence, item in enumerate(items, first_sequence):
        entry = entry_bytes(sequence, previous_hash, item.kind, item.record_id, item_commitment(item))
        previous_hash = entry_hash(entry)
        chained.append((entry, previous_hash))
    return chained


def head_document(author: str, receiver: str, epoch: bytes, sequence: int, hash_: bytes, time_ms: int) -> bytes:
    """What the author's identity key signs: "up to this sequence, this is my chain for that receiver"."""
    return _signed(_HEAD_MAGIC, author, receiver, epoch, sequence, hash_, time_ms)


def receipt_document(author: str, receiver: str, epoch: bytes, sequence: int, hash_: bytes, time_ms: int) -> bytes:
    """What the receiver's identity key signs: "up to this sequence, I have that author's chain"."""
    return _signed(_RECEIPT_MAGIC, author, receiver, epoch, sequence, hash_, time_ms)


def mark_document(mark: Mark, *, shown_by: str, shown_to: str) -> bytes:
    """The document that `shown_to` signed if the mark is genuine: its own head, or its receipt for `shown_by`."""
    if mark.author_is_you:
        return head_document(shown_to, shown_by, mark.epoch, mark.sequence, mark.hash, mark.time_ms)
    return receipt_document(shown_by, shown_to, mark.epoch, mark.sequence, mark.hash, mark.time_ms)


def _signed(magic: bytes, author: str, receiver: str, epoch: bytes, sequence: int, hash_: bytes, time_ms: int) -> bytes:
    names = author.encode("ascii"), receiver.encode("ascii")
    for name in names:
        _exact(name, 56, "endpoint id")
    _exact(epoch, 16, "epoch")
    _exact(hash_, 32, "hash")
    return _SIGNED.pack(magic, *names, epoch, sequence, hash_, time_ms)


def _exact(value: bytes, size: int, what: str) -> None:
    """`struct` would pad or cut silently; a signed document must never be ambiguous."""
    if len(value) != size:
        raise ValueError(f"The {what} has {len(value)} bytes instead of {size}.")


@dataclass(frozen=True, slots=True)
class EpochOpening:
    """The body of an EPOCH entry: where the author ended the epoch before, and why.

    After a rollback that is what it was shown with its own signature.
    """

    old_epoch: bytes
    old_sequence: int
    old_hash: bytes
    reason: int = EpochReason.ROLLED_BACK

    def pack(self) -> bytes:
        """The fixed layout (see above)."""
        _exact(self.old_epoch, 16, "epoch")
        _exact(self.old_hash, 32, "hash")
        return _EPOCH.pack(self.old_epoch, self.old_sequence, self.old_hash, self.reason)

    @classmethod
    def unpack(cls, body: bytes) -> "EpochOpening":
        """ProtocolError when the body is not exactly 57 bytes."""
        try:
            return cls(*_EPOCH.unpack(body))
        except struct.error as error:
            raise ProtocolError(GoodbyeCode.MALFORMED, "The body of an EPOCH entry must have 57 bytes.") from error

    def record_id(self) -> str:
        """The record id of the EPOCH entry: the old epoch in hexadecimal."""
        return self.old_epoch.hex()


class Refusal(msgspec.Struct, frozen=True):
    """The JSON body of a REFUSED entry, whose record id is the refused record's.

    `epoch` and `sequence` name the refused entry, because a record may have been sent again since; 0 names none.
    """

    party: Annotated[str, Meta(max_length=16)]  # the author party of the refused record, "" when it could not be read
    reason: Annotated[str, Meta(max_length=64)]  # a short stable word
    detail: Annotated[str, Meta(max_length=500)] = ""
    epoch: Annotated[str, Meta(max_length=32)] = ""  # in hexadecimal
    sequence: Count = 0

    def names(self, epoch: bytes, sequence: int) -> bool:
        """Whether it is this entry that is refused."""
        return not self.sequence or (self.epoch, self.sequence) == (epoch.hex(), sequence)

    def pack(self) -> bytes:
        """As compact JSON text."""
        return msgspec.json.encode(self)

    @classmethod
    def unpack(cls, body: bytes) -> "Refusal":
        """ProtocolError when it cannot be read; unknown fields are ignored."""
        return decode_as(_REFUSAL, body, "REFUSED entry")


class Erasure(msgspec.Struct, frozen=True, omit_defaults=True):
    """The JSON body of an ERASURE entry, whose record id is the erased record's: "I have erased this; do the same".

    `author` says in whose chain the entry stands, as the sender sees it: "me" or "you". An ERASURE_ANSWER repeats what
    it answers, with `result`: ERASED, or KEPT and until when (0: no date), or UNKNOWN.
    """

    author: Literal["me", "you"]
    epoch: Annotated[str, Meta(max_length=32)]  # in hexadecimal
    sequence: Count
    result: Annotated[str, Meta(max_length=16)] = ""
    until_ms: Millis = 0

    def pack(self) -> bytes:
        """As compact JSON text."""
        return msgspec.json.encode(self)

    @classmethod
    def unpack(cls, body: bytes) -> "Erasure":
        """ProtocolError when it cannot be read; unknown fields are ignored."""
        return decode_as(_ERASURE, body, "ERASURE entry")

    @property
    def epoch_id(self) -> bytes:
        """ProtocolError when it is not hexadecimal."""
        try:
            return bytes.fromhex(self.epoch)
        except ValueError as error:
            raise ProtocolError(GoodbyeCode.MALFORMED, "The epoch of an ERASURE entry is not hexadecimal.") from error


_REFUSAL: Final = msgspec.json.Decoder(Refusal)
_ERASURE: Final = msgspec.json.Decoder(Erasure)


class Word(msgspec.Struct, frozen=True, omit_defaults=True):
    """The JSON body of an ACCEPTED, DISPUTED, CORRECTED, CREDITED or FINAL entry, whose record id is the record's.

    `credit` and `replacement` name records of the same party, in the same chain.
    """

    party: Annotated[str, Meta(max_length=16)]  # the author party of the record
    reason: Annotated[str, Meta(max_length=64)] = ""  # a short stable word
    detail: Annotated[str, Meta(max_length=2000)] = ""
    evidence: Annotated[list[Annotated[str, Meta(max_length=500)]], Meta(max_length=100)] = []
    credit: Annotated[str, Meta(max_length=MAX_RECORD_ID)] = ""
    replacement: Annotated[str, Meta(max_length=MAX_RECORD_ID)] = ""

    def pack(self) -> bytes:
        """As compact JSON text."""
        return msgspec.json.encode(self)

    @classmethod
    def unpack(cls, body: bytes) -> "Word":
        """ProtocolError when it cannot be read; unknown fields are ignored."""
        return decode_as(_WORD, body, "entry about a record")


_WORD: Final = msgspec.json.Decoder(Word)


class AgreementProposal(msgspec.Struct, frozen=True):
    """The JSON body of an AGREEMENT_PROPOSED entry, whose record id is the SHA-256 of the document in hexadecimal.

    `document` is the agreement's own text, `signature` (base64) the author's identity key's over it.
    """

    document: Annotated[str, Meta(max_length=16 * 1024)]
    algorithm: Annotated[str, Meta(max_length=32)]
    signature: Annotated[str, Meta(max_length=128)]

    def pack(self) -> bytes:
        """As compact JSON text."""
        return msgspec.json.encode(self)

    @classmethod
    def unpack(cls, body: bytes) -> "AgreementProposal":
        """ProtocolError when it cannot be read; unknown fields are ignored."""
        return decode_as(_PROPOSAL, body, "AGREEMENT_PROPOSED entry")


class AgreementDecision(msgspec.Struct, frozen=True, omit_defaults=True):
    """The JSON body of an AGREEMENT_ACCEPTED entry (with a signature over the document) or AGREEMENT_DECLINED."""

    algorithm: Annotated[str, Meta(max_length=32)] = ""
    signature: Annotated[str, Meta(max_length=128)] = ""
    reason: Annotated[str, Meta(max_length=500)] = ""

    def pack(self) -> bytes:
        """As compact JSON text."""
        return msgspec.json.encode(self)

    @classmethod
    def unpack(cls, body: bytes) -> "AgreementDecision":
        """ProtocolError when it cannot be read; unknown fields are ignored."""
        return decode_as(_DECISION, body, "entry about an agreement")


_PROPOSAL: Final = msgspec.json.Decoder(AgreementProposal)
_DECISION: Final = msgspec.json.Decoder(AgreementDecision)
