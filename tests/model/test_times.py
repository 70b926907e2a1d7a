"""OCPI's DateTime: strict about the calendar, lenient about zones."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roamd.model.times import is_usual_time, parse_time, time_ms


@pytest.mark.parametrize(
    ("text", "usual"),
    [
        ("2015-06-29T20:39:09Z", True),
        ("2015-06-29T20:39:09", True),
        ("2015-06-29T20:39:09.1Z", True),
        ("2015-06-29T20:39:09.123", True),
        ("2024-02-29T00:00:00Z", True),
        ("2015-01-31T23:59:59Z", True),
        ("2015-06-29T20:39:09.123456Z", False),
        ("2015-06-29T20:39:09+00:00", False),
        ("2015-06-29T20:39:09+0000", False),
        ("2015-06-29t20:39:09z", False),
        ("2015-06-29 20:39:09", False),
    ],
)
def test_every_spelling_of_the_field_is_read_and_only_ocpis_own_is_usual(text: str, usual: bool) -> None:
    parsed = parse_time(text)
    assert parsed is not None
    assert parsed.utcoffset() == timedelta(0)
    assert is_usual_time(text) is usual


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2015-06-29",
        "20150629T203909Z",
        "2015-W26-1T20:39:09Z",
        "2015-02-29T00:00:00Z",
        "2015-04-31T00:00:00Z",
        "2015-13-01T00:00:00Z",
        "2015-00-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "2015-06-29T24:00:00Z",
        "2015-06-29T20:60:00Z",
        "2015-06-29T20:39:60Z",
        "2015-06-29T20:39Z",
        "2015-06-29T20:39:09.Z",
        "2015-06-29T20:39:09ZZ",
        "2015-06-29T20:39:09Z\n",
        " 2015-06-29T20:39:09Z",
        "2015-06-29T20:39:09+25:00",
        "0001-01-01T00:00:00+01:00",
        "\u0662015-06-29T20:39:09Z",
        "now",
    ],
)
def test_what_is_no_moment_is_malformed(text: str) -> None:
    assert parse_time(text) is None
    assert not is_usual_time(text)
    with pytest.raises(ValueError, match="not a DateTime"):
        time_ms(text)


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
offsets = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
stamps = st.integers(-1_000_000_000_000, 4_000_000_000_000)


@given(stamps, offsets)
def test_a_moment_is_the_same_in_every_zone(stamp: int, zone: timezone) -> None:
    moment = EPOCH + timedelta(milliseconds=stamp)
    assert parse_time(moment.astimezone(zone).isoformat()) == moment
    assert time_ms(moment.astimezone(zone).isoformat()) == stamp


@given(stamps)
def test_no_zone_means_utc(stamp: int) -> None:
    text = (EPOCH + timedelta(milliseconds=stamp)).isoformat().removesuffix("+00:00")
    assert time_ms(text) == time_ms(text + "Z") == stamp
