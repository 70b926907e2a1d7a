"""What the OCPI face asks of the core about partners without roamd. `peer` is always such a partner's label."""

from dataclasses import dataclass, field
from typing import Literal

from roamd.model.objects import Checked, CheckedRecord
from roamd.roaming.operations import PlaceIn
from roamd.storage.plainocpi import PlainPartner


@dataclass(frozen=True, slots=True)
class ListPlainPartners:
    """Every partner without roamd. Reply: list of PlainPartner."""


@dataclass(frozen=True, slots=True)
class FreeLabel:
    """A label for a new one: `wanted`, or one made of `name`. Reply: the label; Conflict when it is, or was, taken."""

    name: str
    wanted: str | None = None


@dataclass(frozen=True, slots=True)
class KeepPlainPartner:
    """Begin to exchange with a partner. Reply: None; Conflict when its label is another's."""

    row: PlainPartner


@dataclass(frozen=True, slots=True)
class DropPlainPartner:
    """End it: its objects go, records and answers stay. Forbidden while records wait, unless they may be parked.

    Reply: None.
    """

    peer: str
    park: bool = False


@dataclass(frozen=True, slots=True)
class PutTheirs:
    """An object of the partner's. Reply: StoredObject; PreconditionFailed as for PutObject."""

    peer: str
    feed: str
    checked: Checked
    if_match: str | None = None
    only_new: bool = False


@dataclass(frozen=True, slots=True)
class PatchTheirs:
    """Merge a patch into an object of the partner's, or into one EVSE of a location. Reply: StoredObject."""

    peer: str
    feed: str
    id: str
    patch: bytes = field(repr=False)
    party: str | None = None
    token_type: str | None = None
    if_match: str | None = None
    evse_uid: str | None = None


@dataclass(frozen=True, slots=True)
class RemoveTheirs:
    """An object of the partner's is no more. Reply: None; NotFound when there is none."""

    peer: str
    feed: str
    id: str
    party: str | None = None
    token_type: str | None = None


@dataclass(frozen=True, slots=True)
class TakeRecords:
    """Records that the partner sent. Reply: list of RecordReply; Conflict for one with other content than before."""

    peer: str
    records: tuple[CheckedRecord, ...]


@dataclass(frozen=True, slots=True)
class GetShown:
    """One own object, if the partner may see it. Reply: StoredObject."""

    peer: str
    feed: str
    id: str
    party: str | None = None
    token_type: str | None = None


@dataclass(frozen=True, slots=True)
class ListShown:
    """Own objects that the partner may see. Reply: Page of StoredObject."""

    peer: str
    feed: str
    after: str | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True)
class AskHome:
    """The partner asks about a driver of ours. Reply: AuthorizationReply, by the deadline."""

    peer: str
    type: str
    uid: str = field(repr=False)
    place: PlaceIn | None = None
    deadline_ms: int = 1800


@dataclass(frozen=True, slots=True)
class Due:
    """The partner is to be told of a version of an own object; `body` None: it is gone, or no longer for its eyes."""

    feed: str
    version: int
    party: str
    id: str
    sub: str
    ocpi: str
    body: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class DueObjects:
    """What a partner is to be told of a feed next. Reply: (list of Due, the version up to which that is everything)."""

    peer: str
    feed: str


@dataclass(frozen=True, slots=True)
class NotePushed:
    """The partner was told everything up to this version; 0: it is to be told everything again. Reply: None."""

    peer: str
    feed: str
    version: int


@dataclass(frozen=True, slots=True)
class DueRecord:
    """A record that waits for the partner. `number` is its id in the store, `unsure` whether a try had no answer."""

    number: int
    party: str
    id: str
    ocpi: str
    unsure: bool
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class NextRecord:
    """The oldest record that waits for the partner. Reply: DueRecord, or None."""

    peer: str


@dataclass(frozen=True, slots=True)
class NoteSent:
    """A try to send a record, committed: before it (`begun`), and with its answer.

    `taken` makes the record DELIVERED, `refused` PARKED, and `waits` leaves it QUEUED. Reply: None.
    """

    peer: str
    number: int
    outcome: Literal["begun", "taken", "refused", "waits"]
    reason: str = ""
    http: int | None = None
    ocpi: int | None = None
    location: str | None = None
