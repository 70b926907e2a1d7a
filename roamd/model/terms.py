"""What two companies agree on about records: time limits, and how money is rounded and compared."""

from decimal import Decimal
from typing import Final

import msgspec

from roamd.model.pricing.check import Rounding

HOME_CSP, VISITED_CSO = "home-csp", "visited-cso"
LIABLE: Final = (HOME_CSP, VISITED_CSO)


class Terms(msgspec.Struct, frozen=True, omit_defaults=True):
    """`dispute_days`: after its receipt a record can be disputed for so long. `final_days`: after so long one that is
    not disputed is final. `tolerance`: what an amount may differ from its price, in the record's currency.
    `dispute_above`: a difference above it is disputed at once and without a person, None is never. `currencies`: those
    in which records are written, none is any. `offline_cost` (in the only currency) and `offline_kwh`: how far a driver
    may go who was let in by a list without an answer, None is not limited; `offline_liability`: who bears it if he does
    not pay. `records_years`: for how long both keep records at least, None is not agreed.
    """

    dispute_days: int = 30
    final_days: int = 60
    rounding: Rounding = Rounding()
    tolerance: Decimal = Decimal("0.01")
    dispute_above: Decimal | None = None
    currencies: tuple[str, ...] = ()
    offline_cost: Decimal | None = None
    offline_kwh: Decimal | None = None
    offline_liability: str | None = None
    records_years: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.dispute_days <= self.final_days <= 3660:
            raise ValueError("dispute_days is at least 1, final_days not less than it, and neither above 3660")
        if self.tolerance < 0 or (self.dispute_above is not None and self.dispute_above < self.tolerance):
            raise ValueError("tolerance is not below 0, and dispute_above not below tolerance")
