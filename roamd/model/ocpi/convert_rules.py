"""What the two versions say differently: each rule of the conversion, whether it loses anything, and why.

The conversion has no knowledge beside these tables and the classes of `tables`. A rule with `loses` stands at every
place where something of the object could not be said in the other version.
"""

from dataclasses import dataclass
from typing import Final

OLD: Final = "2.2.1"
NEW: Final = "2.3.0"


@dataclass(frozen=True, slots=True)
class Rule:
    """One difference. `where` is class and field, `what` becomes of it in `target`, `why` it cannot be more."""

    code: str
    target: str
    where: str
    what: str
    why: str = ""

    @property
    def loses(self) -> bool:
        """Whether something is not said that the original says."""
        return bool(self.why)


@dataclass(frozen=True, slots=True)
class Loss:
    """Something that the converted object does not say, and where the original says it."""

    path: str
    rule: Rule

    @property
    def code(self) -> str:
        """The rule's name."""
        return self.rule.code

    @property
    def what(self) -> str:
        """What became of it."""
        return self.rule.what

    @property
    def why(self) -> str:
        """Why it could not be kept."""
        return self.rule.why


_LEFT_OUT: Final = "left out"

RULES: Final[dict[str, Rule]] = {
    rule.code: rule
    for rule in (
        # --- to 2.3.0 ---
        Rule("price-to-taxes", NEW, "Price.excl_vat, incl_vat", "before_taxes; the difference as one tax named VAT"),
        Rule("limit-to-taxes", NEW, "Tariff.min_price, max_price", "excl_vat as before_taxes, incl_vat as after_taxes"),
        Rule("tax-included-added", NEW, "Tariff.tax_included", "NO: in 2.2.1 every price is without VAT"),
        Rule("hub-role-to-parties", NEW, "Credentials.roles HUB", "hub_party_id, and a role for each party behind it"),
        Rule(
            "field-of-other-version",
            "both",
            "any field that only the target's version knows",
            _LEFT_OUT,
            "the object used a name for something of its own that the target's version uses for something else",
        ),
        # --- to 2.2.1 ---
        Rule("price-to-vat", OLD, "Price.before_taxes, taxes", "excl_vat; incl_vat is the sum with all taxes"),
        Rule(
            "taxes-in-sum",
            OLD,
            "Price.taxes",
            "in the sum incl_vat",
            "2.2.1 knows one tax, VAT, without percentage or account; names and shares of others have no place",
        ),
        Rule(
            "taxes-unreadable",
            OLD,
            "Price.taxes",
            _LEFT_OUT,
            "an amount that is no number, or none at all, cannot be added up",
        ),
        Rule("limit-to-vat", OLD, "Tariff.min_price, max_price", "before_taxes as excl_vat, after_taxes as incl_vat"),
        Rule("tax-included-no", OLD, "Tariff.tax_included NO", "nothing: 2.2.1 means just that"),
        Rule(
            "tax-included-other",
            OLD,
            "Tariff.tax_included YES, N/A",
            _LEFT_OUT,
            "in 2.2.1 every price is without VAT, and that no tax applies cannot be said",
        ),
        Rule(
            "price-without-vat",
            OLD,
            "PriceComponent.price with tax_included YES and a vat",
            "calculated without its VAT and rounded to four decimals",
            "in 2.2.1 prices are without VAT, and OCPI gives numbers four decimals",
        ),
        Rule(
            "price-with-unknown-tax",
            OLD,
            "PriceComponent.price with tax_included YES and no vat",
            "as it is",
            "without a percentage the tax in it cannot be taken out; 2.2.1 readers take it for a price without VAT",
        ),
        Rule("parking-places", OLD, "Location.parking_places", _LEFT_OUT, "2.2.1 knows no parking places"),
        Rule("help-phone", OLD, "Location.help_phone", _LEFT_OUT, "2.2.1 has no such field"),
        Rule("evse-parking", OLD, "EVSE.parking", _LEFT_OUT, "2.2.1 knows no parking places"),
        Rule(
            "parking-told-as-restriction",
            OLD,
            "EVSE.parking of places for motorcycles or disabled drivers alone",
            "parking_restrictions MOTORCYCLES, DISABLED",
            "the place's other facts have no place; the restriction stands there though the original does not name it",
        ),
        Rule("service-providers", OLD, "EVSE.accepted_service_providers", _LEFT_OUT, "2.2.1 has no such field"),
        Rule("connector-capabilities", OLD, "Connector.capabilities", _LEFT_OUT, "2.2.1 has no such field"),
        Rule("parking-restriction", OLD, "ParkingRestriction EMPLOYEES, TAXIS, TENANTS", _LEFT_OUT, "not in 2.2.1"),
        Rule(
            "connector-type-near",
            OLD,
            "ConnectorType SAE_J3400",
            "TESLA_S",
            "2.2.1 knows the plug only by the name of the company that it comes from",
        ),
        Rule(
            "connector-type-none",
            OLD,
            "ConnectorType MCS in a Location",
            "the connector is left out, and an EVSE that has no other",
            "2.2.1 has no name for the plug, and many readers refuse a whole location for one",
        ),
        Rule(
            "connector-type-as-is",
            OLD,
            "ConnectorType MCS in a CDR",
            "as it is",
            "2.2.1 has no name for the plug, and a CDR must be told whole",
        ),
        Rule("token-type", OLD, "TokenType EMAID", "OTHER", "2.2.1 has no name for it; OTHER is what it has for such"),
        Rule("parties-to-hub-role", OLD, "Credentials.hub_party_id, roles", "the one role HUB, and hubclientinfo"),
    )
}
"""Every rule by its code, in the order in which they are shown."""

FIELDS: Final = {
    ("Location", "parking_places"): "parking-places",
    ("Location", "help_phone"): "help-phone",
    ("EVSE", "parking"): "evse-parking",
    ("EVSE", "accepted_service_providers"): "service-providers",
    ("Connector", "capabilities"): "connector-capabilities",
}
"""Fields of 2.3.0 alone that are left out for 2.2.1, and the rule that says so."""

VALUES: Final = {
    ("ConnectorType", "SAE_J3400"): ("connector-type-near", "TESLA_S"),
    ("ConnectorType", "MCS"): ("connector-type-as-is", "MCS"),
    ("TokenType", "EMAID"): ("token-type", "OTHER"),
    ("ParkingRestriction", "EMPLOYEES"): ("parking-restriction", None),
    ("ParkingRestriction", "TAXIS"): ("parking-restriction", None),
    ("ParkingRestriction", "TENANTS"): ("parking-restriction", None),
}
"""Values of 2.3.0 alone: the rule and what stands for them in 2.2.1, None where they are left out of their list."""

RESTRICTED_TO: Final = {"MOTORCYCLE": "MOTORCYCLES", "DISABLED": "DISABLED"}
"""What a place that is for one type of vehicle alone is called in 2.2.1, where it has a name."""
