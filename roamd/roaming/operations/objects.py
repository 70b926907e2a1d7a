"""Own objects, and those that partners publish."""

from dataclasses import dataclass, field

from roamd.model.objects import Checked
from roamd.roaming.operations.general import Idempotency


@dataclass(frozen=True, slots=True)
class PutObject:
    """Publish an own object. Reply: StoredObject.

    PreconditionFailed when `if_match` (the header's text: `*` or quoted tags) does not hold, or when `only_new` is
    asked for and there is one already.
    """

    feed: str
    checked: Checked
    if_match: str | None = None
    idempotency: Idempotency | None = None
    only_new: bool = False


@dataclass(frozen=True, slots=True)
class PutObjects:
    """Publish many in one go. Reply: list of StoredObject, in order."""

    feed: str
    checked: tuple[Checked, ...]
    idempotency: Idempotency | None = None


@dataclass(frozen=True, slots=True)
class PatchObject:
    """Merge `patch` (RFC 7396 text) into an own object; the result is checked like a PUT. Reply: StoredObject."""

    feed: str
    id: str
    patch: bytes
    ocpi: str
    party: str | None = None
    token_type: str | None = None
    if_match: str | None = None


@dataclass(frozen=True, slots=True)
class PatchEvse:
    """Merge `patch` into one EVSE of an own location; status and last_updated alone go to the feed evse-status.

    Reply: StoredObject of the EVSE (`body` is the EVSE as it now reads).
    """

    location_id: str
    evse_uid: str
    patch: bytes
    ocpi: str
    party: str | None = None


@dataclass(frozen=True, slots=True)
class DeleteObject:
    """Withdraw an own object (peers get a tombstone). Reply: None; NotFound when there is none."""

    feed: str
    id: str
    party: str | None = None
    token_type: str | None = None
    if_match: str | None = None


@dataclass(frozen=True, slots=True)
class GetObject:
    """One own object. Reply: StoredObject; Conflict when several parties or types share the id and none is named."""

    feed: str
    id: str
    party: str | None = None
    token_type: str | None = None


@dataclass(frozen=True, slots=True)
class ListObjects:
    """Own objects, stable under change. Reply: Page of StoredObject."""

    feed: str
    after: str | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True)
class GetPeerObject:
    """One object that a peer publishes to us. Reply: StoredObject."""

    peer: str
    feed: str
    id: str
    party: str | None = None
    token_type: str | None = None


@dataclass(frozen=True, slots=True)
class ListPeerObjects:
    """What a peer publishes to us. Reply: Page of StoredObject."""

    peer: str
    feed: str
    after: str | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as it was published, byte for byte (EVSE status merged in); `etag` is opaque and quoted.

    `contract_id` is our own contract where a peer names it by its pseudonym.
    """

    body: bytes
    etag: str
    ocpi: str
    created: bool = False
    changed: bool = False
    contract_id: str | None = field(default=None, repr=False)
