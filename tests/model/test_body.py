"""Changing bodies: RFC 7396 against a plain reading of it, and every byte that was not named."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roamd.errors import Malformed
from roamd.model.body import (
    find_evse,
    is_status_only,
    merge_evse,
    merge_evse_status,
    merge_patch,
    same_content,
    with_fields,
)

names = st.sampled_from(["a", "b", "c", 'q"uo:te', "é", "\\"])
scalars = st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["", "x", '":', "{}", "é\n"])
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4), max_leaves=10
)
objects = st.dictionaries(names, values, max_size=4)


def text(value: object, *, escape: bool = True) -> bytes:
    return json.dumps(value, ensure_ascii=escape, separators=(",", ":")).encode()


def plain_merge_patch(target: Any, patch: Any) -> Any:
    """The pseudo code of RFC 7396 section 2, on plain values."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = plain_merge_patch(result.get(name), value)
    return result


@given(objects, values, st.booleans())
def test_a_merge_patch_does_what_the_rfc_says(target: dict[str, Any], patch: Any, escape: bool) -> None:
    merged = merge_patch(text(target, escape=escape), text(patch))
    assert json.loads(merged) == plain_merge_patch(target, patch)


@given(objects)
def test_an_empty_patch_changes_no_byte(target: dict[str, Any]) -> None:
    assert merge_patch(text(target), b"{}") == text(target)


def test_a_patch_keeps_the_spelling_of_everything_that_it_does_not_name() -> None:
    body = (
        b'{"n":1.10,"k\\u0065y":1E+2,"deep":{"same":-0,"gone":1,"new":0.50},'
        b'"list":[1.0,{"x":null}],"\xc3\xa9":"\\u00e9"}'
    )
    patch = b' { "deep" : { "gone" : null, "new" : 7.00, "added" : 1e1 } , "last" : [ null ] } '
    assert merge_patch(body, patch) == (
        b'{"n":1.10,"k\\u0065y":1E+2,"deep":{"same":-0,"new":7.00,"added":1e1},'
        b'"list":[1.0,{"x":null}],"\xc3\xa9":"\\u00e9","last":[null]}'
    )


def test_a_key_is_found_however_it_is_spelled() -> None:
    assert merge_patch(b'{"k\\u0065y":1}', b'{"key":2}') == b'{"k\\u0065y":2}'


@pytest.mark.parametrize("patch", [b"{", b'{"a":1,"a":2}', b'{"a":{"b":1,"b":2}}', b'{"a":NaN}', b"\xff"])
def test_a_bad_patch_is_refused(patch: bytes) -> None:
    with pytest.raises(Malformed):
        merge_patch(b'{"a":1}', patch)


@given(objects, st.dictionaries(names, values, max_size=3))
def test_with_fields_replaces_in_place_and_appends_the_rest(target: dict[str, Any], fields: dict[str, Any]) -> None:
    changed = with_fields(text(target), {name: text(value) for name, value in fields.items()})
    assert json.loads(changed) == {**target, **fields}
    assert list(json.loads(changed)) == list({**target, **fields})


def test_with_fields_keeps_all_other_bytes() -> None:
    assert (
        with_fields(b'{"a":1.0,"b":[2.50],"c":"\\u0041"}', {"b": b"0", "d": b"1"})
        == b'{"a":1.0,"b":0,"c":"\\u0041","d":1}'
    )
    assert with_fields(b"{}", {"a": b"1", "b": b"2"}) == b'{"a":1,"b":2}'
    with pytest.raises(ValueError, match="not a JSON object"):
        with_fields(b"[]", {"a": b"1"})


def test_the_same_content_is_the_same_bytes() -> None:
    assert same_content(b'{"a":1.0}', b'{"a":1.0}')
    assert not same_content(b'{"a":1.0}', b'{"a":1.00}')


# --- EVSEs ------------------------------------------------------------------------------------------------------


def evse(uid: str, status: str, at: str) -> bytes:
    head = f'{{"uid":"{uid}","power":1.10,"status":"{status}","connectors":[{{"status":"x","n":1E+2}}],'
    return (head + f'"last_updated":"{at}","k\\u0065y":null}}').encode()


def location(*evses: bytes) -> bytes:
    return b'{"id":"L","evses":[' + b",".join(evses) + b'],"last_updated":"2026-01-01T00:00:00Z"}'


def status(word: str, at: str) -> bytes:
    return f'{{"status":"{word}","last_updated":"{at}"}}'.encode()


times = st.integers(0, 99).map(lambda second: f"2026-01-01T00:00:{second % 60:02d}.{second:03d}Z")
uids = st.sampled_from(["e1", "E2", "é3"])


@given(st.lists(st.tuples(uids, times), max_size=4, unique_by=lambda row: row[0]), st.dictionaries(uids, times))
def test_a_status_replaces_what_is_not_newer_and_every_other_byte_stays(
    held: list[tuple[str, str]], offered: dict[str, str]
) -> None:
    statuses = {uid.upper(): status("CHARGING", at) for uid, at in offered.items()}
    expected = [
        evse(uid, "CHARGING", offered[uid]) if offered.get(uid, "") >= at else evse(uid, "AVAILABLE", at)
        for uid, at in held
    ]
    before = location(*(evse(uid, "AVAILABLE", at) for uid, at in held))
    assert merge_evse_status(before, statuses) == location(*expected)


@pytest.mark.parametrize(
    ("held", "offered", "wins"),
    [
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z", True),
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00.001Z", True),
        ("2026-01-01T00:00:01Z", "2026-01-01T00:00:00.999Z", False),
        ("2026-01-01T12:00:00Z", "2026-01-01T13:30:00+01:00", True),
        ("2026-01-01T12:00:00Z", "2026-01-01T12:30:00+01:00", False),
        ("2026-01-01T12:00:00", "2026-01-01T12:00:00Z", True),
    ],
)
def test_times_are_compared_as_moments_and_not_as_texts(held: str, offered: str, wins: bool) -> None:
    merged = merge_evse_status(location(evse("E1", "AVAILABLE", held)), {"E1": status("CHARGING", offered)})
    assert (b'"status":"CHARGING"' in merged) is wins
    assert (offered.encode() in merged) is (wins or held == offered)


@pytest.mark.parametrize("body", [b'{"id":"L"}', b'{"id":"L","evses":null}', b'{"id":"L","evses":[]}'])
def test_a_location_without_evses_stays_as_it_is(body: bytes) -> None:
    assert merge_evse_status(body, {"E1": status("CHARGING", "2026-01-01T00:00:00Z")}) == body
    assert find_evse(body, "E1") is None
    assert merge_evse(body, "E1", b"{}") is None


def test_one_evse_is_found_and_patched_whatever_the_case_of_its_uid() -> None:
    one, other = evse("e1", "AVAILABLE", "2026-01-01T00:00:00Z"), evse("E2", "AVAILABLE", "2026-01-01T00:00:00Z")
    body = location(one, other)
    assert find_evse(body, "E1") == one
    assert find_evse(body, "E3") is None
    assert merge_evse(body, "E1", b'{"floor":"-1"}') == location(one[:-1] + b',"floor":"-1"}', other)


@pytest.mark.parametrize(
    ("patch", "alone"),
    [
        (b'{"status":"CHARGING"}', True),
        (b'{"last_updated":"2026-01-01T00:00:00Z","status":"CHARGING"}', True),
        (b'{"last_updated":"2026-01-01T00:00:00Z"}', False),
        (b'{"status":"CHARGING","floor_level":"1"}', False),
        (b"{}", False),
    ],
)
def test_a_patch_of_the_status_alone_is_told_from_others(patch: bytes, alone: bool) -> None:
    assert is_status_only(patch) is alone
