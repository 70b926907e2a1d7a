"""The bodies of a RECONCILE call: two sides hold what they have of each other's records against each other.

`yours` is true where the author of the records is who the message goes to. A *group* is the settled records of one
author, kind and day (UTC, of their `end_date_time`; "" where that is not known). Groups come in the order of their
days, lines by party and folded record id, each page behind the one before.
"""

from enum import IntEnum
from hashlib import sha256
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from roamd.protocol.ledger import MAX_RECORD_ID
from roamd.protocol.messages import Count, Hash32, Id16, decode_as, encode

MAX_GROUPS: Final = 400
"""Of one page; a page ends with a whole day."""

MAX_LINES: Final = 200
"""Of one page."""

MAX_TAILS: Final = 128
"""Epochs that are compared, the newest ones; each is a restored backup."""

Day = Annotated[str, Meta(max_length=10)]
Kind = Annotated[str, Meta(max_length=16)]
Party = Annotated[str, Meta(max_length=16)]
RecordId = Annotated[str, Meta(max_length=MAX_RECORD_ID)]

LAST_DAY: Final = "9999-12-31"


class Step(IntEnum):
    """What is asked."""

    DIGESTS = 1  # the groups behind a day, up to `until`
    LINES = 2  # the records of one group
    REPAIR = 3  # put right what you lack, and say when it is done


class Reconcile(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One question. DIGESTS: of the days behind `day` up to `until`, "" for the beginning with that of unknown days.

    LINES: of the group (`yours`, `kind`, `day`) behind (`party`, `record_key`).
    """

    step: int
    day: Day = ""
    until: Day = LAST_DAY
    yours: bool = False
    kind: Kind = ""
    party: Party = ""
    record_key: RecordId = ""

    def pack(self) -> bytes:
        """As a Call's body."""
        return encode(self)

    @classmethod
    def unpack(cls, body: bytes) -> "Reconcile":
        """ProtocolError when it cannot be read."""
        return decode_as(_RECONCILE, body, "reconcile question")


class Tail(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Where a chain ends here."""

    yours: bool
    epoch: Id16
    sequence: Count


class Group(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The records of one author, kind and day: how many, and the digest of their lines."""

    yours: bool
    kind: Kind
    day: Day
    count: Count
    digest: Hash32


class GroupPage(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Answers DIGESTS. `more`: ask again behind the last day."""

    tails: Annotated[list[Tail], Meta(max_length=MAX_TAILS)]
    groups: Annotated[list[Group], Meta(max_length=2 * MAX_GROUPS)]
    more: bool = False

    def pack(self) -> bytes:
        """As an Answer's body."""
        return encode(self)

    @classmethod
    def unpack(cls, body: bytes) -> "GroupPage":
        """ProtocolError when it cannot be read."""
        return decode_as(_GROUPS, body, "reconcile groups")


class RecordLine(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One record: whose and which, where in its author's chain, and how it stands."""

    party: Party
    record_id: RecordId
    epoch: Id16
    sequence: Count
    commitment: Hash32 | None
    state: Kind

    def digest_part(self) -> bytes:
        """What it adds to its group's digest: its fields but the id's spelling, each behind its length."""
        commitment = self.commitment.hex() if self.commitment is not None else ""
        parts = (self.party, self.record_id.upper(), self.epoch.hex(), str(self.sequence), commitment, self.state)
        return "".join(f"{len(part)}:{part}" for part in parts).encode() + b"\n"


class LinePage(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Answers LINES. `more`: ask again behind the last one."""

    lines: Annotated[list[RecordLine], Meta(max_length=MAX_LINES)]
    more: bool = False

    def pack(self) -> bytes:
        """As an Answer's body."""
        return encode(self)

    @classmethod
    def unpack(cls, body: bytes) -> "LinePage":
        """ProtocolError when it cannot be read."""
        return decode_as(_LINES, body, "reconcile lines")


class Repaired(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Answers REPAIR: entries and records that were put right, and differences that were not."""

    entries: Count = 0
    records: Count = 0
    left: Count = 0

    def pack(self) -> bytes:
        """As an Answer's body."""
        return encode(self)

    @classmethod
    def unpack(cls, body: bytes) -> "Repaired":
        """ProtocolError when it cannot be read."""
        return decode_as(_REPAIRED, body, "repair report")


class GroupDigest:
    """Adds up a group's lines, which come in order."""

    def __init__(self) -> None:
        self.count = 0
        self._hash = sha256(b"roamd records 1\n")

    def add(self, line: RecordLine) -> None:
        """The next line."""
        self.count += 1
        self._hash.update(line.digest_part())

    @property
    def digest(self) -> bytes:
        """Of the lines so far."""
        return self._hash.digest()


_RECONCILE: Final = msgspec.msgpack.Decoder(Reconcile)
_GROUPS: Final = msgspec.msgpack.Decoder(GroupPage)
_LINES: Final = msgspec.msgpack.Decoder(LinePage)
_REPAIRED: Final = msgspec.msgpack.Decoder(Repaired)
