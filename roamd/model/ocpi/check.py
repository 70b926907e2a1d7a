"""Checks objects against the tables.

Every type is compiled once into a `Rule` of two functions over the same facts. `clean` says only whether there is
nothing to say: no paths, no messages, the whole of a good object's cost. `explain` is run when it says no, walks
everything and names each fault and warning with its path. So `clean` may say no to what `explain` then finds good, and
never the other way round; a Hypothesis test holds the two together.

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
from roamd.model.ocpi.enums import ENUMS
from roamd.model.ocpi.judges import Judge, judge_of
from roamd.model.ocpi.own import OWN_CLASSES, OWN_ENUMS
from roamd.model.ocpi.tables import CLASSES
from roamd.model.times import is_usual_time, parse_time

VERSIONS: Final = ("2.2.1", "2.3.0")
URL_MAX: Final = 255
NO_LIMIT: Final = 1 << 30
FINDINGS_MAX: Final = 1000
"""No person reads more; an array of a hundred thousand wrong elements must not become megabytes of answer."""

_NUMBERS: Final = frozenset((int, Decimal))

Clean = Callable[[object], bool]


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


@dataclass(frozen=True, slots=True)
class Rule:
    """One compiled type; see the module's text for what the two functions promise each other."""

    clean: Clean
    explain: Callable[[object, str, Findings], None]


@dataclass(frozen=True, slots=True)
class Row:
    """One field of a class: `card` is `1`, `?`, `*` or `+`."""

    name: str
    type: str
    card: str


def check(kind: str, ocpi: str, value: object, at: str = "$") -> Findings:
    """Check a parsed body against a class of the tables. Raises KeyError for an unknown class or version."""
    rule = rule_of(kind, ocpi)
    findings = Findings()
    if not _is_clean(rule, value):
        rule.explain(value, at, findings)
    return findings


def _is_clean(rule: Rule, value: object) -> bool:
    try:
        return rule.clean(value)
    except TypeError:  # an array or object where an enumeration's value belongs cannot be looked up
        return False


# --- tables -----------------------------------------------------------------------------------------------------


@cache
def classes(ocpi: str) -> dict[str, tuple[Row, ...]]:
    """Every class of a version with its rows. Raises KeyError for an unknown version."""
    if ocpi not in VERSIONS:
        raise KeyError(ocpi)
    return {name: tuple(_rows(lines, ocpi)) for name, lines in _blocks(CLASSES + OWN_CLASSES).items()}


@cache
def enumerations(ocpi: str) -> dict[str, frozenset[str]]:
    """Every enumeration of a version with its values."""
    return {name: frozenset(_values(lines, ocpi)) for name, lines in _blocks(ENUMS + OWN_ENUMS).items()}


def _blocks(text: str) -> dict[str, list[str]]:
    """The indented lines under each heading."""
    blocks: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in filter(None, text.splitlines()):
        if line.startswith(" "):
            lines.append(line)
        else:
            lines = blocks[line] = []
    return blocks


def _rows(lines: list[str], ocpi: str) -> list[Row]:
    cells = [line.split() for line in lines]
    return [Row(cell[0], cell[1], cell[2]) for cell in cells if len(cell) == 3 or cell[3] == ocpi]


def _values(lines: list[str], ocpi: str) -> list[str]:
    words = [word.partition("@") for line in lines for word in line.split()]
    return [value for value, _, only in words if only in {"", ocpi}]


# --- rules ------------------------------------------------------------------------------------------------------


@cache
def rule_of(kind: str, ocpi: str) -> Rule:
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
        limit = limit or str(URL_MAX if name == "URL" else NO_LIMIT)
        return _text_rule(int(limit), judge_of(kind, row.name), ascii_only=name == "CiString")
    if name == "int":
        return _int_rule(int(limit or 0))
    if name in _SIMPLE:
        return _SIMPLE[name]
    if name in enumerations(ocpi):
        return _enum_rule(enumerations(ocpi)[name])
    return _either_rule(_SIMPLE["number"], rule_of("Price", ocpi)) if name == "Amount" else rule_of(name, ocpi)


def _object_rule(fields: dict[str, Rule], required: frozenset[str]) -> Rule:
    cleans = {name: rule.clean for name, rule in fields.items()}

    def clean(value: object) -> bool:
        if type(value) is not dict or not value.keys() >= required:
            return False
        for name, inner in value.items():
            inner_clean = cleans.get(name)
            if inner_clean is not None and not inner_clean(inner) and (inner is not None or name in required):
                return False
        return True

    def explain(value: object, at: str, findings: Findings) -> None:
        if not isinstance(value, dict):
            findings.fault(at, "expected an object", "type")
            return
        for name, rule in fields.items():
            inner = value.get(name)
            if inner is not None:
                rule.explain(inner, child_path(at, name), findings)
            elif name in required:
                findings.fault(child_path(at, name), "missing required field", "required")

    return Rule(clean, explain)


def _list_rule(element: Rule, *, at_least_one: bool) -> Rule:
    element_clean = element.clean

    def clean(value: object) -> bool:
        return type(value) is list and (not at_least_one or bool(value)) and all(map(element_clean, value))

    def explain(value: object, at: str, findings: Findings) -> None:
        if not isinstance(value, list):
            findings.fault(at, "expected an array", "type")
            return
        if at_least_one and not value:
            findings.warn(at, "expected at least one element", "empty")
        for index, inner in enumerate(value):
            if findings.full:
                return
            element.explain(inner, f"{at}[{index}]", findings)

    return Rule(clean, explain)


def _text_rule(limit: int, judge: Judge | None, *, ascii_only: bool) -> Rule:
    def clean_plain(value: object) -> bool:
        return type(value) is str and len(value) <= limit and value.isprintable()

    def clean_ascii(value: object) -> bool:
        return type(value) is str and len(value) <= limit and value.isascii() and value.isprintable()

    clean = clean_ascii if ascii_only else clean_plain

    def clean_judged(value: object) -> bool:
        return clean(value) and judge is not None and judge(str(value)) is None

    def explain(value: object, at: str, findings: Findings) -> None:
        if type(value) is not str:
            findings.fault(at, "expected a string", "type")
        elif len(value) > limit:
            findings.fault(at, f"{len(value)} characters, at most {limit} are allowed", "too-long")
        elif any(character < " " or "\x7f" <= character < "\xa0" for character in value):
            findings.warn(at, "has control characters", "pattern")
        elif ascii_only and not value.isascii():
            findings.warn(at, "has characters outside ASCII", "pattern")
        elif judge is not None and (message := judge(value)):
            findings.warn(at, message, "check-character" if "check" in message else "pattern")

    return Rule(clean_judged if judge else clean, explain)


def _int_rule(digits: int) -> Rule:
    beyond = 10**digits if digits else None

    def clean(value: object) -> bool:
        return type(value) is int and (beyond is None or -beyond < value < beyond)

    def explain(value: object, at: str, findings: Findings) -> None:
        if type(value) not in _NUMBERS:
            findings.fault(at, "expected an integer", "type")
        elif type(value) is not int:
            findings.warn(at, "expected an integer without fraction or exponent", "pattern")
        elif not clean(value):
            findings.warn(at, f"more than {digits} digits", "pattern")

    return Rule(clean, explain)


def _enum_rule(values: frozenset[str]) -> Rule:
    def explain(value: object, at: str, findings: Findings) -> None:
        if type(value) is not str:
            findings.fault(at, "expected a string", "type")
        elif value not in values:
            findings.warn(at, "not a value that this version of OCPI knows", "unknown-value")

    return Rule(values.__contains__, explain)


def _either_rule(one: Rule, other: Rule) -> Rule:
    def clean(value: object) -> bool:
        return one.clean(value) or other.clean(value)

    def explain(value: object, at: str, findings: Findings) -> None:
        (other if isinstance(value, dict) else one).explain(value, at, findings)

    return Rule(clean, explain)


def _clean_time(value: object) -> bool:
    return type(value) is str and is_usual_time(value)


def _explain_time(value: object, at: str, findings: Findings) -> None:
    if type(value) is not str:
        findings.fault(at, "expected a string", "type")
    elif parse_time(value) is None:
        findings.fault(at, "not a date and time such as 2026-11-22T12:00:00Z", "date-time")
    elif not is_usual_time(value):
        findings.warn(at, "OCPI writes times in UTC with Z, at most to the millisecond", "pattern")


def _plain_rule(types: frozenset[type], expected: str) -> Rule:
    def clean(value: object) -> bool:
        return type(value) in types

    def explain(value: object, at: str, findings: Findings) -> None:
        if type(value) not in types:
            findings.fault(at, f"expected {expected}", "type")

    return Rule(clean, explain)


_SIMPLE: Final = {
    "DateTime": Rule(_clean_time, _explain_time),
    "boolean": _plain_rule(frozenset((bool,)), "true or false"),
    "number": _plain_rule(_NUMBERS, "a number"),
}
