"""The fast and the slow half of every rule agree, whatever a stranger sends."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from roamd.model.jsontext import parse
from roamd.model.ocpi.check import VERSIONS, Findings, check, rule_of
from tests.model import bodies
from tests.model.bodies import text

WHOLE: dict[str, dict[str, Any]] = {
    "Location": bodies.location(),
    "Tariff": bodies.tariff(),
    "Session": bodies.session(),
    "Token": bodies.token(),
    "CDR": bodies.cdr(),
    "SDR": bodies.sdr(),
    "EvseStatus": {"status": "AVAILABLE", "last_updated": bodies.STAMP},
}

junk = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([1.5, 1e300, "", "x" * 300, "É", "\x00", bodies.STAMP, "2026-02-30T00:00:00Z", "RFID"]),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.sampled_from(["id", "uid", "type"]), st.integers(), max_size=2),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, child in inner for place in places(child, (*path, key)))]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """A copy with one place changed, or removed when `new` is the function `replaced` itself."""
    if not path:
        return new
    copy = json.loads(json.dumps(value))
    holder = copy
    for key in path[:-1]:
        holder = holder[key]
    if new is replaced:
        del holder[path[-1]]
    else:
        holder[path[-1]] = new
    return copy


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, Any]:
    kind = draw(st.sampled_from(sorted(WHOLE)))
    value = WHOLE[kind]
    for _ in range(draw(st.integers(0, 2))):
        path = draw(st.sampled_from(places(value)))
        value = replaced(value, path, draw(junk | st.just(replaced)) if path else draw(junk))
    return kind, value


@settings(max_examples=200)
@given(damaged(), st.sampled_from(VERSIONS))
def test_what_the_fast_half_passes_the_slow_half_finds_nothing_in(case: tuple[str, Any], ocpi: str) -> None:
    kind, value = case
    parsed = parse(text(value)).value
    slow = Findings()
    rule_of(kind, ocpi).explain(parsed, "$", slow)
    fast = check(kind, ocpi, parsed)
    assert (fast.faults, fast.warnings) == (slow.faults, slow.warnings)


@settings(max_examples=200)
@given(damaged())
def test_every_path_that_is_named_leads_to_the_place(case: tuple[str, Any]) -> None:
    kind, value = case
    existing = {
        "$" + "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path) for path in places(value)
    }
    found = check(kind, "2.3.0", parse(text(value)).value)
    for fault in found.faults + found.warnings:
        if fault.code != "required":
            assert fault.path in existing


def test_whole_objects_have_nothing_to_say() -> None:
    for kind, value in WHOLE.items():
        found = check(kind, "2.3.0", parse(text(value)).value)
        assert (found.faults, found.warnings) == ([], []), kind
