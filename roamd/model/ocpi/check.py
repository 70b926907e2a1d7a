"""Checks objects against the tables and names what is wrong.

Every type is compiled once into a function that walks a parsed value and notes each fault and warning with its path.
That is thorough and slow; most bodies never come here, because `good` says in one pass that nothing is wrong with them.

A fault refuses the object: missing required field, wrong JSON type, over-long text, malformed date. Everything else
that looks wrong passes with a warning, and fields that the tables do not know pass without a word.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from typing import Final

from roamd.errors import Fault
from roamd.model.jsontext import child_path
from roamd.model.ocpi.judges import Judge, judge_of
from roamd.model.ocpi.rows import VERSIONS, Row, classes, enumerations
from roamd.model.times import is_usual_time, parse_time

__all__ = ["FINDINGS_MAX", "VERSIONS", "Findings", "Row", "check", "classes", "enumerations"]

FINDINGS_MAX: Final = 1000
"""No person reads more; an array of a hundred thousand wrong elements must not become megabytes of answer."""

_NUMBERS: Final = frozenset((int, Decimal))


@dataclass(slots=True)
class Findings:
    """What a check found; without faults the object is accepted."""

    faults: list[Fault] = field(default_factory=list)
    warnings: list[Fault] = field(default_factory=list)

    @property
    def full(self) -> bool:
        """Whether so much is wrong that looking further would only cost time."""
        return len(self.faults) >= FINDINGS_MAX

    def fault(self, at: str, message: str, code: str) -> None:
        """Note a reason to refuse."""
        if not self.full:
            self.faults.append(Fault(at, message, code))

    def warn(self, at: str, message: str, code: str) -> None:
        """Note what looks wrong and passes."""
        if len(self.warnings) < FINDINGS_MAX:
            self.warnings.append(Fault(at, message, code))


Rule = Callable[[object, str, Findings], None]
"""Notes what is wrong with a value that stands at a path."""


def check(kind: str, ocpi: str, value: object, at: str = "$") -> Findings:
    """Check a parsed body against a class of the tables. Raises KeyError for an unknown class or version."""
    findings = Findings()
    _rule_of(kind, ocpi)(value, at, findings)
    return findings


@cache
def _rule_of(kind: str, ocpi: str) -> Rule:
    """The rule of a class."""
    rows = classes(ocpi)[kind]
    if not rows:
        raise KeyError(kind)
    fields = {row.name: _row_rule(kind, row, ocpi) for row in rows}
    return _object_rule(fields, frozenset(row.name for row in rows if row.card in "1+"))


def _row_rule(kind: str, row: Row, ocpi: str) -> Rule:
    rule = _type_rule(kind, row, ocpi)
    return _list_rule(rule, at_least_one=row.card == "+") if row.card in "*+" else rule


def _type_rule(kind: str, row: Row, ocpi: str) -> Rule:
    name, _, limit = row.type.rstrip(")").partition("(")
    if name in {"string", "CiString", "URL"}:
        return _text_rule(row.text_limit, judge_of(kind, row.name), ascii_only=name == "CiString")
    if name == "int":
        return _int_rule(int(limit or 0))
    if name in _SIMPLE:
        return _SIMPLE[name]
    if name in enumerations(ocpi):
        return _enum_rule(enumerations(ocpi)[name])
    return _either_rule(_SIMPLE["number"], _rule_of("Price", ocpi)) if name == "Amount" else _rule_of(name, ocpi)


def _object_rule(fields: dict[str, Rule], required: frozenset[str]) -> Rule:
    def explain(value: object, at: str, findings: Findings) -> None:
        if not isinstance(value, dict):
            findings.fault(at, "expected an object", "type")
            return
        for name, rule in fields.items():
            inner = value.get(name)
            if inner is not None:
                rule(inner, child_path(at, name), findings)
            elif name in required:
                findings.fault(child_path(at, name), "missing required field", "required")

    return explain


def _list_rule(element: Rule, *, at_least_one: bool) -> Rule:
    def explain(value: object, at: str, findings: Findings) -> None:
        if not isinstance(value, list):
            findings.fault(at, "expected an array", "type")
            return
        if at_least_one and not value:
            findings.warn(at, "expected at least one element", "empty")
        for index, inner in enumerate(value):
            if findings.full:
                return
            element(inner, f"{at}[{index}]", findings)

    return explain


def _text_rule(limit: int | None, judge: Judge | None, *, ascii_only: bool) -> Rule:
    def explain(value: object, at: str, findings: Findings) -> None:
        if type(value) is not str:
            findings.fault(at, "expected a string", "type")
        elif limit is not None and len(value) > limit:
            findings.fault(at, f"{len(value)} characters, at most {limit} are allowed", "too-long")
        elif any(character < " " or "\x7f" <= character < "\xa0" for character in value):
            findings.warn(at, "has control characters", "pattern")
        elif ascii_only and not value.isascii():
            findings.warn(at, "has characters outside ASCII", "pattern")
        elif judge is not None and (message := judge.objection(value)):
            findings.warn(at, message, "check-character" if "check" in message else "pattern")

    return explain


def _int_rule(digits: int) -> Rule:
    def explain(value: object, at: str, findings: Findings) -> None:
        if type(value) not in _NUMBERS:
            findings.fault(at, "expected an integer", "type")
        elif type(value) is not int:
            findings.warn(at, "expected an integer without fraction or exponent", "pattern")
        elif digits and abs(value) >= 10**digits:
            findings.warn(at, f"more than {digits} digits", "pattern")

    return explain


def _enum_rule(values: frozenset[str]) -> Rule:
    def explain(value: object, at: str, findings: Findings) -> None:
        if type(value) is not str:
            findings.fault(at, "expected a string", "type")
        elif value not in values:
            findings.warn(at, "not a value that this version of OCPI knows", "unknown-value")

    return explain


def _either_rule(one: Rule, other: Rule) -> Rule:
    def explain(value: object, at: str, findings: Findings) -> None:
        (other if isinstance(value, dict) else one)(value, at, findings)

    return explain


def _explain_time(value: object, at: str, findings: Findings) -> None:
    if type(value) is not str:
        findings.fault(at, "expected a string", "type")
    elif parse_time(value) is None:
        findings.fault(at, "not a date and time such as 2026-11-22T12:00:00Z", "date-time")
    elif not is_usual_time(value):
        findings.warn(at, "OCPI writes times in UTC with Z, at most to the millisecond", "pattern")


def _plain_rule(types: frozenset[type], expected: str) -> Rule:
    def explain(value: object, at: str, findings: Findings) -> None:
        if type(value) not in types:
            findings.fault(at, f"expected {expected}", "type")

    return explain


_SIMPLE: Final[dict[str, Rule]] = {
    "DateTime": _explain_time,
    "boolean": _plain_rule(frozenset((bool,)), "true or false"),
    "number": _plain_rule(_NUMBERS, "a number"),
}
