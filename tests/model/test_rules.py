"""What is found good in one pass and what the slow walk finds nothing in are the same, whatever a stranger sends."""

import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roamd.errors import Malformed
from roamd.model.jsontext import compact, parse
from roamd.model.ocpi.check import VERSIONS, check
from roamd.model.ocpi.good import good
from roamd.model.ocpi.rows import classes
from roamd.model.times import is_usual_time
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
    st.sampled_from(
        [
            *(1.5, 1e300, 0.0, -2, 10**20, "", "x" * 300, "É", "\x00", "\x7f", "\x85", 'a"b', "a\\b", "/", "a b"),
            *(bodies.STAMP, "2026-02-30T00:00:00Z", "2024-02-29T00:00:00Z", "2026-01-31T00:00:00Z", "RFID", "#NA"),
            *("2026-01-01 00:00:00Z", "2026-01-01T00:00:00+01:00", "49.123456", "12:00", "DE*ABC*E1", "NL"),
        ]
    ),
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


KEY = re.compile(rb'"[a-z_]+":[^,{\[}\]]+,')

spellings = st.sampled_from(
    [
        lambda text: text,
        lambda text: text.replace(b":", b": ").replace(b",", b",\n\t "),
        lambda text: json.dumps(json.loads(text)).encode(),
        lambda text: text.replace(b"/", b"\\/"),
        lambda text: KEY.sub(lambda found: found[0] * 2, text, count=1),
        lambda text: text.replace(b"{", b'{"x_own":["\xc3\xa9",{"a":1}],', 1),
        lambda text: text.replace(b"{", b'{"x_own":{"a":1,"a":2},', 1),
        lambda text: text.replace(b"{", b'{"x_own":' + b"[" * 70 + b"]" * 70 + b",", 1),
        lambda text: text.replace(b"{", b'{"x_own":"\xff",', 1),
        lambda text: text.replace(b".5", b".5e0"),
        lambda text: text.replace(b".5", b"." + b"0" * 70 + b"1"),
        lambda text: text.replace(b"Z", b"\\u005a", 1),
        lambda text: text.replace(b'":0', b'":0e99'),
        lambda text: text.replace(b".0", b".0E99"),
        lambda text: text.replace(b".5", b".5E-70"),
        lambda text: text.replace(b".5", b".5e70"),
        lambda text: text.replace(b'"id"', b'"\\u0069d"', 1),
        lambda text: text + b" ",
        lambda text: text[:-1],
    ]
)


def findings_in(kind: str, ocpi: str, data: bytes) -> int | None:
    """How much the slow walk finds; None for what is no text that it could walk through."""
    try:
        parsed = parse(compact(data))
    except Malformed:
        return None
    found = check(kind, ocpi, parsed.value)
    return len(found.faults) + len(found.warnings) + len(parsed.faults)


def is_plain(data: bytes) -> bool:
    """Whether the text has none of the spellings that are left to the slow walk."""
    return re.search(rb"\\|[0-9][eE][-+0-9]|0{40}|\x7f|-02-29", data) is None


@settings(max_examples=600)
@given(damaged(), st.sampled_from(VERSIONS), spellings)
def test_what_is_found_good_at_once_is_what_the_slow_walk_finds_nothing_in(
    case: tuple[str, Any], ocpi: str, spelled: Any
) -> None:
    kind, value = case
    data = spelled(text(value))
    found = good(kind, ocpi, data)
    findings = findings_in(kind, ocpi, data)
    if found is None:
        assert findings != 0 or not is_plain(data)
    else:
        assert findings == 0
        assert found[0] == compact(data)
        assert_reads_like(found[1], parse(found[0]).value)


def assert_reads_like(seen: Any, value: Any) -> None:
    """Whether the struct has the fields of the parsed value, as far as the tables know them."""
    if isinstance(value, dict):
        for name in type(seen).__struct_fields__:
            assert_reads_like(seen.get(name), value.get(name))
    elif isinstance(value, list):
        assert len(seen) == len(value)
        for one, other in zip(seen, value, strict=True):
            assert_reads_like(one, other)
    else:
        assert seen == value or seen == pytest.approx(float(value))


@pytest.mark.parametrize("number", ["1e5", "0e99", "-1.5E-70", "2E+3", "12.0e1"])
@pytest.mark.parametrize("name", ["total_energy", "unknown"])
def test_a_number_with_an_exponent_is_left_to_the_slow_walk(name: str, number: str) -> None:
    body = text(bodies.cdr(total_energy=7, unknown=7))
    assert good("CDR", "2.3.0", body) is not None
    assert good("CDR", "2.3.0", body.replace(f'"{name}":7'.encode(), f'"{name}":{number}'.encode())) is None


@pytest.mark.parametrize("session", ["1e5", "84E5", "5:1e5"])
def test_a_text_that_looks_like_an_exponent_is_none(session: str) -> None:
    assert good("CDR", "2.3.0", text(bodies.cdr(session_id=session))) is not None


@pytest.mark.parametrize("ocpi", VERSIONS)
def test_texts_that_must_be_judged_one_by_one_stand_where_they_are_found(ocpi: str) -> None:
    for kind, rows in classes(ocpi).items():
        for row in rows:
            assert row.type not in {"Token", "CdrToken"} or row.card == "1", kind


@given(st.datetimes().map(lambda at: at.isoformat(timespec="milliseconds")))
def test_times_of_every_year_are_good_but_for_a_day_in_four_years(stamp: str) -> None:
    status = {"status": "AVAILABLE", "last_updated": stamp}
    passed = good("EvseStatus", "2.3.0", msgspec.json.encode(status)) is not None
    assert passed == (is_usual_time(stamp) and "-02-29" not in stamp and "1000" <= stamp < "3000")


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
        assert good(kind, "2.3.0", text(value)), kind
        found = check(kind, "2.3.0", parse(text(value)).value)
        assert (found.faults, found.warnings) == ([], []), kind
