"""The door between bytes that someone sent and objects that the rest of roamd may believe."""

from dataclasses import dataclass

from roamd.errors import Fault
from roamd.model.keys import ObjectKey
from roamd.model.records import Item

__all__ = ["Checked", "CheckedRecord", "Item", "ObjectKey"]


@dataclass(frozen=True, slots=True)
class Checked:
    """An object whose body has no faults. `kind` is its OCPI class; `body` is compact and is what is stored and sent."""

    kind: str
    ocpi: str
    body: bytes
    key: ObjectKey
    view: object
    warnings: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckedRecord:
    """A service record whose body has no faults.

    `id` is spelled as in the body; `key` is the folded one to compare by. `items` are derived, never added to the body.
    """

    kind: str
    ocpi: str
    body: bytes
    party: str
    id: str
    token_party: str
    token_type: str
    token_uid: str
    contract_id: str
    authorization_reference: str | None
    credit: bool
    credit_reference_id: str | None
    last_updated_ms: int
    items: tuple[Item, ...]
    warnings: tuple[Fault, ...] = ()

    @property
    def key(self) -> ObjectKey:
        """The folded key."""
        return ObjectKey(self.party, self.id.upper())
