"""Money between the versions: 2.2.1 tells a price without and with VAT, 2.3.0 a price and the taxes on it.

What only moves keeps its text. What is calculated is calculated exactly, so the other direction gives the same value
back; only prices whose VAT must be taken out are rounded. Everything here works on JSON texts of checked objects; a
text that is not what it should be is left where it is.
"""

from collections.abc import Callable
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from typing import Final

from roamd.model.jsontext import EXPONENT_MAX, elements, member, spans
from roamd.model.ocpi.convert_rules import Loss
from roamd.model.ocpi.convert_text import Members, loss

_EXACT: Final = Context(prec=300)
_MAX_DIGITS: Final = 100
_FOUR_DECIMALS: Final = Decimal("0.0001")

Step = Callable[[Members, str, list[Loss]], None]


def number_of(text: bytes | None) -> Decimal | None:
    """A number that is worth calculating with, else None."""
    if text is None or len(text) > _MAX_DIGITS or text[:1] not in b"-0123456789":
        return None
    try:
        number = Decimal(text.decode())
    except (InvalidOperation, ValueError):
        return None
    return number if number.is_finite() and abs(number.adjusted()) <= EXPONENT_MAX else None


def number_text(number: Decimal) -> bytes:
    """The number without an exponent."""
    return format(number, "f").encode()


# --- Price ------------------------------------------------------------------------------------------------------


def price_to_taxes(price: Members, at: str, losses: list[Loss]) -> None:
    """2.2.1 to 2.3.0."""
    excl, incl = number_of(price.text("excl_vat")), number_of(price.text("incl_vat"))
    if excl is None or (incl is None and price.text("incl_vat") not in (None, b"null")):
        return
    for name in ("before_taxes", "taxes"):
        _make_room(price, name, at, losses)
    price.rename("excl_vat", "before_taxes")
    price.drop("incl_vat")
    if incl is not None:
        amount = number_text(_EXACT.subtract(incl, excl))
        price.put("taxes", b'[{"name":"VAT","amount":' + amount + b"}]")


def price_to_vat(price: Members, at: str, losses: list[Loss]) -> None:
    """2.3.0 to 2.2.1."""
    before, taxes = number_of(price.text("before_taxes")), price.text("taxes")
    if before is None:
        return
    for name in ("excl_vat", "incl_vat"):
        _make_room(price, name, at, losses)
    price.rename("before_taxes", "excl_vat")
    price.drop("taxes")
    if taxes is None or taxes == b"null":
        return
    total = _sum_of(taxes)
    if total is None:
        losses.append(loss(at, "taxes", "taxes-unreadable"))
        return
    if not _is_plain_vat(taxes):
        losses.append(loss(at, "taxes", "taxes-in-sum"))
    price.put("incl_vat", number_text(_EXACT.add(before, total)))


def _sum_of(taxes: bytes) -> Decimal | None:
    """What all taxes come to; None when there is none, or one cannot be read."""
    texts = elements(taxes) if taxes.startswith(b"[") else []
    amounts = [number_of(member(text, "amount")) if text.startswith(b"{") else None for text in texts]
    known = [amount for amount in amounts if amount is not None]
    if not known or len(known) < len(amounts):
        return None
    total = Decimal(0)
    for amount in known:
        total = _EXACT.add(total, amount)
    return total


def _is_plain_vat(taxes: bytes) -> bool:
    """Whether the taxes are what the other direction makes of a VAT."""
    texts = elements(taxes)
    return (
        len(texts) == 1
        and {name for name, *_ in spans(texts[0])} == {"name", "amount"}
        and member(texts[0], "name") == b'"VAT"'
    )


# --- PriceLimit -------------------------------------------------------------------------------------------------


def limit_to_taxes(limit: Members, at: str, losses: list[Loss]) -> None:
    """2.2.1's Price as a limit to 2.3.0's PriceLimit."""
    _renamed(limit, {"excl_vat": "before_taxes", "incl_vat": "after_taxes"}, at, losses)


def limit_to_vat(limit: Members, at: str, losses: list[Loss]) -> None:
    """2.3.0's PriceLimit to 2.2.1's Price."""
    _renamed(limit, {"before_taxes": "excl_vat", "after_taxes": "incl_vat"}, at, losses)


def _renamed(members: Members, names: dict[str, str], at: str, losses: list[Loss]) -> None:
    for old, new in names.items():
        if members.text(old) is not None:
            _make_room(members, new, at, losses)
            members.rename(old, new)


def _make_room(members: Members, name: str, at: str, losses: list[Loss]) -> None:
    """A field of that name which the source's version does not know gives way."""
    if members.text(name) is not None:
        members.drop(name)
        losses.append(loss(at, name, "field-of-other-version"))


# --- Tariff -----------------------------------------------------------------------------------------------------


def tariff_to_taxes(tariff: Members, at: str, losses: list[Loss]) -> None:
    """2.2.1 to 2.3.0: what 2.2.1 takes for granted."""
    _make_room(tariff, "tax_included", at, losses)
    tariff.put("tax_included", b'"NO"', before="start_date_time")


def tariff_to_vat(tariff: Members, at: str, losses: list[Loss]) -> None:
    """2.3.0 to 2.2.1: prices are told without VAT."""
    included = tariff.text("tax_included")
    tariff.drop("tax_included")
    if included not in (b'"NO"', None):
        losses.append(loss(at, "tax_included", "tax-included-other"))
    texts = tariff.text("elements")
    if included == b'"YES"' and texts is not None and texts.startswith(b"["):
        changed = [_without_vat(text, f"{at}.elements[{i}]", losses) for i, text in enumerate(elements(texts))]
        tariff.put("elements", b"[" + b",".join(changed) + b"]")


def _without_vat(element: bytes, at: str, losses: list[Loss]) -> bytes:
    if not element.startswith(b"{"):
        return element
    members = Members(element)
    texts = members.text("price_components")
    if texts is not None and texts.startswith(b"["):
        found = [_component(text, f"{at}.price_components[{i}]", losses) for i, text in enumerate(elements(texts))]
        members.put("price_components", b"[" + b",".join(found) + b"]")
    return members.join()


def _component(component: bytes, at: str, losses: list[Loss]) -> bytes:
    if not component.startswith(b"{"):
        return component
    members = Members(component)
    price, vat = number_of(members.text("price")), number_of(members.text("vat"))
    if price is None or vat is None or vat <= -100:
        losses.append(loss(at, "price", "price-with-unknown-tax"))
        return component
    losses.append(loss(at, "price", "price-without-vat"))
    without = _EXACT.divide(_EXACT.multiply(price, Decimal(100)), _EXACT.add(Decimal(100), vat))
    members.put("price", number_text(without.quantize(_FOUR_DECIMALS, ROUND_HALF_UP, _EXACT)))
    return members.join()
