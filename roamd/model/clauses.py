"""The clauses of an agreement as one side reads them: a table of names, of what each may say, and of what does not fit.

A clause is named by a path. What belongs to one side begins with `us.` or `them.`: its feeds are what it publishes, its
services what it may ask, its records what it may write. All others are of both. `Clauses` is a plain mapping with every
clause in it, so that a file, the API, a comparison and a signed document (`model.agreementdocument`) share one form.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from roamd.errors import Fault
from roamd.model.agreement import Agreement, preset
from roamd.model.ids.party import parse_party
from roamd.model.pricing.check import MODES
from roamd.model.roles import CSO, CSP, FEEDS, RECORD_KINDS, ROLES, SERVICES
from roamd.model.terms import HOME_CSP, LIABLE, Terms
from roamd.model.times import time_ms

Clauses = dict[str, Any]

MAX_NAMES: Final = 64
"""In one list; a company with more parties than that has several endpoints."""

MAX_AMOUNT: Final = Decimal(10**9)
_CURRENCY: Final = re.compile(r"[A-Z]{3}")


@dataclass(frozen=True, slots=True)
class Clause:
    """How a clause is read from JSON or from the command line (ValueError says what would be right), and kept."""

    name: str
    read: Callable[[Any], Any]


# --- reading one value ------------------------------------------------------------------------------------------


def _texts(value: Any) -> tuple[str, ...]:
    names = [name.strip() for name in value.split(",")] if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise ValueError("must be a list of names")
    found = tuple(name for name in names if name)
    if len(found) > MAX_NAMES or len(set(found)) < len(found):
        raise ValueError(f"must be at most {MAX_NAMES} names, none of them twice")
    return found


def _names(known: Iterable[str]) -> Callable[[Any], Any]:
    order = {name: place for place, name in enumerate(known)}

    def read(value: Any) -> tuple[str, ...]:
        names = _texts(value)
        if unknown := [name for name in names if name not in order]:
            raise ValueError(f"is not known here: {', '.join(unknown)[:200]}")
        return tuple(sorted(names, key=order.__getitem__))

    return read


def _parties(value: Any) -> tuple[str, ...]:
    parties = [parse_party(name).canonical for name in _texts(value)]
    if len(set(parties)) < len(parties):
        raise ValueError("names a party twice")
    return tuple(sorted(parties))


def _currencies(value: Any) -> tuple[str, ...]:
    names = _texts(value)
    if not all(_CURRENCY.fullmatch(name) for name in names):
        raise ValueError("must be currencies such as EUR")
    return tuple(sorted(names))


def _whole(least: int, most: int) -> Callable[[Any], Any]:
    def read(value: Any) -> int:
        if isinstance(value, str) and re.fullmatch("[0-9]{1,9}", value):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise ValueError(f"must be a whole number from {least} to {most}")
        return value

    return read


def _amount(value: Any) -> Decimal:
    try:
        amount = Decimal(str(value)) if isinstance(value, str | int | float | Decimal) else None
    except InvalidOperation:
        amount = None
    if amount is None or isinstance(value, bool) or not amount.is_finite() or not 0 <= amount <= MAX_AMOUNT:
        raise ValueError("must be a decimal number that is not below 0")
    text = format(amount, "f")
    if len(text.partition(".")[2]) > 6:
        raise ValueError("has at most six decimals")
    return Decimal(text).copy_abs()


def _choice(*words: str) -> Callable[[Any], Any]:
    def read(value: Any) -> str:
        if value not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return str(value)

    return read


def _time(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}Z", value):
        raise ValueError('must be a UTC time such as "2027-01-01T00:00:00Z"')
    time_ms(value)
    return value


def _or_none(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value in (None, "", "none") else read(value)


# --- the table --------------------------------------------------------------------------------------------------

_OF_ONE_SIDE: Final[dict[str, Callable[[Any], Any]]] = {
    "roles": _names(ROLES),
    "parties": _parties,
    "evse_prefixes": _parties,
    "contract_prefixes": _parties,
    "feeds": _names(FEEDS),
    "services": _names(SERVICES),
    "records": _names(RECORD_KINDS),
    "unknown_cards_per_minute": _or_none(_whole(0, 100_000)),
}
_OF_BOTH: Final[dict[str, Callable[[Any], Any]]] = {
    "currencies": _currencies,
    "rounding.decimals": _whole(0, 6),
    "rounding.mode": _choice(*MODES),
    "rounding.level": _choice("TOTAL", "LINE"),
    "tolerance": _amount,
    "dispute_above": _or_none(_amount),
    "dispute_days": _whole(1, 3660),
    "final_days": _whole(1, 3660),
    "offline.cost": _or_none(_amount),
    "offline.kwh": _or_none(_amount),
    "offline.liability": _choice(*LIABLE),
    "retention.records_years": _or_none(_whole(1, 100)),
    "valid_from": _or_none(_time),
    "valid_until": _or_none(_time),
}
CLAUSES: Final[dict[str, Clause]] = {
    clause.name: clause
    for clause in (
        *(Clause(f"{side}.{name}", read) for side in ("us", "them") for name, read in _OF_ONE_SIDE.items()),
        *(Clause(name, read) for name, read in _OF_BOTH.items()),
    )
}
LISTS: Final = frozenset(
    {f"{side}.{name}" for side in ("us", "them") for name in _OF_ONE_SIDE if name != "unknown_cards_per_minute"}
    | {"currencies"}
)
"""Clauses to which names can be added, and from which they can be taken."""


# --- what a proposal begins with --------------------------------------------------------------------------------


def clauses_of(agreement: Agreement, own_parties: Iterable[str]) -> Clauses:
    """What rules between two sides that signed nothing: our settings, and of the peer's own what we can tell."""
    parties, roles, terms = tuple(sorted(own_parties)), agreement.our_roles, agreement.terms
    return {
        "us.roles": roles,
        "us.parties": parties,
        "us.evse_prefixes": parties if CSO in roles else (),
        "us.contract_prefixes": parties if CSP in roles else (),
        "us.feeds": agreement.feeds_out,
        "us.services": agreement.services_out,
        "us.records": agreement.records_out,
        "us.unknown_cards_per_minute": None,
        "them.roles": agreement.their_roles,
        "them.parties": tuple(sorted(agreement.parties)),
        "them.evse_prefixes": tuple(sorted(agreement.evse_prefixes)),
        "them.contract_prefixes": tuple(sorted(agreement.contract_prefixes)),
        "them.feeds": agreement.feeds_in,
        "them.services": agreement.services_in,
        "them.records": agreement.records_in,
        "them.unknown_cards_per_minute": agreement.unknown_cards_per_minute,
        **_terms_clauses(terms),
        "valid_from": None,
        "valid_until": None,
    }


def _terms_clauses(terms: Terms) -> Clauses:
    return {
        "currencies": terms.currencies,
        "rounding.decimals": terms.rounding.decimals,
        "rounding.mode": terms.rounding.mode,
        "rounding.level": terms.rounding.level,
        "tolerance": terms.tolerance,
        "dispute_above": terms.dispute_above,
        "dispute_days": terms.dispute_days,
        "final_days": terms.final_days,
        "offline.cost": terms.offline_cost,
        "offline.kwh": terms.offline_kwh,
        "offline.liability": terms.offline_liability or HOME_CSP,
        "retention.records_years": terms.records_years,
    }


def with_preset_rights(clauses: Clauses) -> Clauses:
    """The same with everything that the two sides' roles are for in today's tables, and all else as it is."""
    fresh = preset(clauses["us.roles"], clauses["them.roles"], ())
    return clauses | {
        "us.feeds": fresh.feeds_out,
        "us.services": fresh.services_out,
        "us.records": fresh.records_out,
        "them.feeds": fresh.feeds_in,
        "them.services": fresh.services_in,
        "them.records": fresh.records_in,
    }


# --- changing and checking --------------------------------------------------------------------------------------


def changed_by(
    clauses: Clauses, given: Mapping[str, Any], add: Mapping[str, Any], remove: Mapping[str, Any]
) -> tuple[Clauses, list[Fault]]:
    """The clauses with what an operator gives in place of theirs, and what of it cannot be read and changes nothing."""
    faults: list[Fault] = []
    result = dict(clauses)
    for values, put in ((given, _instead), (add, _with), (remove, _without)):
        for name, value in values.items():
            fault = _unknown(name) or (None if put is _instead or name in LISTS else _no_list(name))
            try:
                if fault is None:
                    clause = CLAUSES[name]
                    result[name] = clause.read(put(result[name], clause.read(value)))
            except ValueError as error:
                fault = Fault(name, str(error), "invalid")
            if fault is not None:
                faults.append(fault)
    return result, faults


def named(faults: Iterable[Fault]) -> str:
    """Every fault with its clause, a line each."""
    return "\n".join(("These clauses cannot be:", *(f"{fault.path}: {fault.message}" for fault in faults)))


def _unknown(name: str) -> Fault | None:
    if name in CLAUSES:
        return None
    return Fault(name[:80], f"is no clause; clauses are {', '.join(CLAUSES)}", "unknown-clause")


def _no_list(name: str) -> Fault:
    return Fault(name, "is no list; say what it shall be", "no-list")


def _instead(_before: Any, value: Any) -> Any:
    return value


def _with(names: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    return (*names, *(name for name in more if name not in names))


def _without(names: tuple[str, ...], gone: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if name not in gone)


def faults_of(clauses: Clauses) -> list[Fault]:
    """Everything in which readable clauses do not fit together."""
    faults = [fault for side, other in (("us", "them"), ("them", "us")) for fault in _role_faults(clauses, side, other)]
    for name in ("parties", "evse_prefixes", "contract_prefixes"):
        for one, other in overlaps(clauses[f"us.{name}"], clauses[f"them.{name}"]):
            faults.append(Fault(f"them.{name}", f"{other} is ours ({one} in us.{name})", "overlap"))
    return faults + list(_term_faults(clauses))


def _role_faults(clauses: Clauses, side: str, other: str) -> Iterable[Fault]:
    roles, others = clauses[f"{side}.roles"], clauses[f"{other}.roles"]
    if not roles:
        yield Fault(f"{side}.roles", "names no role", "missing")
    if not clauses[f"{side}.parties"]:
        yield Fault(f"{side}.parties", "names no party", "missing")
    rows = [
        *(("feeds", FEEDS[name].publisher_role, FEEDS[name].follower_role, name) for name in clauses[f"{side}.feeds"]),
        *(("services", SERVICES[n].asker_role, SERVICES[n].answerer_role, n) for n in clauses[f"{side}.services"]),
        *(
            ("records", RECORD_KINDS[n].author_role, RECORD_KINDS[n].receiver_role, n)
            for n in clauses[f"{side}.records"]
        ),
    ]
    for clause, role, counterpart, name in rows:
        if role not in roles or counterpart not in others:
            text = (
                f"{name} is between a {role} and a {counterpart}, and the roles are {_said(roles)} and {_said(others)}"
            )
            yield Fault(f"{side}.{clause}", text, "wrong-role")


def _term_faults(clauses: Clauses) -> Iterable[Fault]:
    if clauses["final_days"] < clauses["dispute_days"]:
        yield Fault("final_days", "is less than dispute_days", "too-short")
    if clauses["dispute_above"] is not None and clauses["dispute_above"] < clauses["tolerance"]:
        yield Fault("dispute_above", "is below tolerance", "too-small")
    if clauses["offline.cost"] is not None and len(clauses["currencies"]) != 1:
        yield Fault("offline.cost", "needs `currencies` to name exactly one", "no-currency")
    from_, until = clauses["valid_from"], clauses["valid_until"]
    if until is not None and from_ is not None and time_ms(until) <= time_ms(from_):
        yield Fault("valid_until", "is not after valid_from", "too-early")


def overlaps(ours: Iterable[str], theirs: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of prefixes of which one is the beginning of the other."""
    mine = list(ours)
    return [(one, other) for other in theirs for one in mine if one.startswith(other) or other.startswith(one)]


# --- comparing --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Difference:
    """One clause that is not as before, with what it says in words."""

    clause: str
    before: Any
    after: Any
    words: str


def differences(before: Clauses, after: Clauses) -> list[Difference]:
    """Clause by clause, in the order of the table."""
    return [
        Difference(name, before[name], after[name], _words(name, before[name], after[name]))
        for name in CLAUSES
        if before[name] != after[name]
    ]


def _words(name: str, before: Any, after: Any) -> str:
    if name not in LISTS:
        return f"{name}: {_said(before)} becomes {_said(after)}"
    added, gone = [one for one in after if one not in before], [one for one in before if one not in after]
    said = [f"adds {', '.join(added)}"] if added else []
    said += [f"drops {', '.join(gone)}"] if gone else []
    return f"{name}: {'; '.join(said) or 'in another order'}"


def _said(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    return "none" if value is None else str(value)
