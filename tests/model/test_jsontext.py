"""JSON as text: nothing is lost, nothing dangerous is believed."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roamd.errors import Malformed, TooLarge
from roamd.model import jsontext
from roamd.model.jsontext import (
    DEPTH_MAX,
    DUPLICATES_MAX,
    NAME_MAX,
    OBJECT_MAX,
    PARTS_MAX,
    OutOfRange,
    compact,
    elements,
    member,
    parse,
    spans,
    tree,
)

texts = st.text(st.characters(codec="utf-8"))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


def faults_of(error: pytest.ExceptionInfo[Malformed]) -> list[tuple[str, str]]:
    return [(fault.path, fault.code) for fault in error.value.faults]


@given(values, st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_compacting_keeps_every_value_and_is_done_after_once(
    value: object, escape: bool, indent: int | str | None
) -> None:
    spaced = json.dumps(value, ensure_ascii=escape, indent=indent).encode()
    body = compact(spaced)
    assert json.loads(body) == value
    assert compact(body) == body
    assert body == json.dumps(value, ensure_ascii=escape, separators=(",", ":")).encode()


@pytest.mark.parametrize("number", ["1.10", "1E+2", "-0", "0.1e-7", "100000000000000000000.0000000000000000001"])
def test_numbers_keep_their_text_and_are_read_exactly(number: str) -> None:
    body = compact(f'{{ "a" : {number} }}'.encode())
    assert body == f'{{"a":{number}}}'.encode()
    value = tree(body)
    assert isinstance(value, dict)
    assert Decimal(value["a"]) == Decimal(number)
    assert not isinstance(value["a"], float)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b'{"a":"\xff"}', "encoding"),
        (b"\xef\xbb\xbf{}", "json"),
        (b"", "json"),
        (b"{", "json"),
        (b'{"a":1,}', "json"),
        (b'{"a":01}', "json"),
        (b'{"a":NaN}', "json"),
        (b'{"a":-Infinity}', "json"),
        (b'{"a":1} {"b":2}', "json"),
        (b'{"a":"line\nbreak"}', "json"),
        (b'{"a":"\\ud800"}', "json"),
        (b"[" * 200_000, "json"),
        (b"[" * 500 + b"]" * 500, "too-deep"),
        (b"[" * 100_000 + b"]" * 100_000, "too-deep"),
    ],
)
def test_what_is_no_json_text_is_refused_with_its_path(data: bytes, code: str) -> None:
    with pytest.raises(Malformed) as refused:
        compact(data, at="$[3]")
    path, found = faults_of(refused)[0]
    assert path == "$[3]"
    assert found == code or (found, code) == ("too-deep", "json")


def test_nesting_is_counted_exactly_up_to_the_limit_also_beside_brackets_in_strings() -> None:
    for filling in (b"1", b'"}{]["', b'"[[[["', b'"]]"'):
        deep = b'{"a":' * DEPTH_MAX + filling + b"}" * DEPTH_MAX
        assert compact(deep) == deep
        with pytest.raises(Malformed, match="deep"):
            compact(b"[" + deep + b"]")


def test_arrays_and_objects_are_counted_exactly_up_to_the_limit_and_not_those_in_strings() -> None:
    full = b"[" + b",".join([b"[]", b"{}", b'"[{"'] * (PARTS_MAX // 2 - 1) + [b"[]"]) + b"]"
    assert compact(full) == full
    with pytest.raises(Malformed, match="arrays and objects"):
        compact(b"[" + full + b"]")


def test_a_body_over_the_limit_is_too_large_and_white_space_does_not_count() -> None:
    full = b'"' + b"x" * (OBJECT_MAX - 2) + b'"'
    assert compact(b"  " + full + b"\n") == full
    with pytest.raises(TooLarge, match=str(OBJECT_MAX)):
        compact(b'"x' + full[1:])


def test_every_duplicate_key_is_a_fault_at_its_own_path() -> None:
    body = b'{"a":1,"b":[{"c":1,"d":2,"c":3},{"x y":1,"x y":1}],"a":{"e":1,"\\u0065":2}}'
    with pytest.raises(Malformed) as refused:
        tree(body)
    assert sorted(faults_of(refused)) == [
        ("$.a", "duplicate-key"),
        ("$.a.e", "duplicate-key"),
        ("$.b[0].c", "duplicate-key"),
        ('$.b[1]["x y"]', "duplicate-key"),
    ]
    assert parse(body).value == json.loads(body)


def test_a_strangers_long_and_many_names_do_not_become_a_long_answer() -> None:
    doubled = b'{"' + b"k" * 9999 + b'":1,"' + b"k" * 9999 + b'":2}'
    with pytest.raises(Malformed) as refused:
        tree(b"[" + b",".join([b'{"a":1,"a":2}'] * 5000 + [doubled]) + b"]")
    assert len(refused.value.faults) == DUPLICATES_MAX
    assert len(parse(doubled).faults[0].path) < 2 * NAME_MAX


def test_numbers_that_would_burst_when_printed_are_marked_and_never_calculated_with() -> None:
    value = tree(b'{"a":1e999999999,"b":1e-99999999999999999999,"c":0E+999,"d":1e60}')
    assert isinstance(value, dict)
    assert [type(value[name]) for name in "abcd"] == [OutOfRange, OutOfRange, OutOfRange, Decimal]
    with pytest.raises(Malformed, match="digits"):
        tree(b"1" * 5000)


@pytest.mark.parametrize("body", [b'{"a":Infinity}', b'{"a":NaN}', b'"\xff"', b"{", b'{"a":1}x'])
def test_parsing_what_was_never_compacted_is_refused_too(body: bytes) -> None:
    with pytest.raises(Malformed):
        tree(body)


def test_no_message_repeats_what_stood_there() -> None:
    secret = "04A1B2C3D4E580"
    for data in (f'{{"uid":"{secret}"'.encode(), f'{{"{secret}":}}'.encode(), f'"{secret}\\x"'.encode()):
        with pytest.raises(Malformed) as refused:
            tree(compact(data))
        assert secret not in str(refused.value)


@given(st.dictionaries(texts, values), st.booleans())
def test_the_spans_of_an_object_are_its_members(value: dict[str, object], escape: bool) -> None:
    body = json.dumps(value, ensure_ascii=escape, separators=(",", ":")).encode()
    found = spans(body)
    assert [key for key, *_ in found] == list(value)
    for key, begin, start, end in found:
        assert json.loads(body[begin : start - 1]) == key
        assert json.loads(body[start:end]) == value[key]
        assert member(body, key) == body[start:end]
    assert b"{" + b",".join(body[begin:end] for _, begin, _, end in found) + b"}" == body


@given(st.lists(values))
def test_the_elements_of_an_array_are_its_texts(value: list[object]) -> None:
    body = json.dumps(value, separators=(",", ":")).encode()
    assert b"[" + b",".join(elements(body)) + b"]" == body


@pytest.mark.parametrize(
    "body", [b"[]", b"1", b"", b'{"a":1,"a":2}', b'{"a":1,"b":2,"a":333}', b'{"a": 1}', b'{"a":1 }']
)
def test_spans_refuse_what_is_no_compact_object_with_distinct_keys(body: bytes) -> None:
    with pytest.raises(ValueError, match="not a"):
        spans(body)


def test_the_cheap_depth_never_differs_from_the_counted_one() -> None:
    for body in (b"[]", b'["[[",{"a":"}"}]', b'{"a":[{"b":[[]]}]}', b'"' + b"[" * 500 + b'"'):
        assert jsontext.is_shallow(body) is (jsontext._depth(body) <= DEPTH_MAX)
