"""Service records: the OCPI CDR, and roamd's general SDR with typed items (DESIGN section 8)."""

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that was sold. `type`: energy, parking, reservation, idle or other; `price` is before taxes, if known."""

    type: str
    quantity: Decimal
    unit: str
    price: Decimal | None = None
