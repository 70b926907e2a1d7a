"""OCPI's DateTime as it is met in the field: UTC by rule, sometimes with an offset, sometimes without any zone."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

_DATE_TIME: Final = re.compile(
    r"(\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01]))[Tt ]((?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d)(\.\d{1,9})?"
    r"(?:([Zz])|([+-])((?:[01]\d|2[0-3])):?([0-5]\d))?",
    re.ASCII,
)
_CLOCK: Final = r"T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,3})?Z?"
_USUAL_ON_ANY_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}" + _CLOCK).fullmatch
USUAL: Final = (
    "[12][0-9]{3}-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
    + _CLOCK
)
"""A pattern of OCPI's own spelling on days that are in every calendar: all but 29 February."""

_USUAL: Final = re.compile(USUAL).fullmatch
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


def parse_time(text: str) -> datetime | None:
    """The aware UTC time that a DateTime names; no zone means UTC. None when it is malformed or no real day."""
    if _USUAL(text):
        return _utc(datetime.fromisoformat(text))
    match = _DATE_TIME.fullmatch(text)
    if match is None:
        return None
    day, clock, fraction, _, sign, hours, minutes = match.groups()
    zone = f"{sign}{hours}:{minutes}" if sign else "+00:00"
    try:
        return datetime.fromisoformat(f"{day}T{clock}{fraction or ''}{zone}").astimezone(UTC)
    except (ValueError, OverflowError):  # 30 February, or an offset that leaves the years 1 to 9999
        return None


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def is_usual_time(text: str) -> bool:
    """Whether a DateTime is well formed and written as OCPI's text allows: without offset, at most milliseconds."""
    if _USUAL(text):
        return True  # every year has these days, so the calendar need not be asked
    if not _USUAL_ON_ANY_DAY(text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def time_ms(text: str) -> int:
    """Milliseconds since 1970 of a DateTime that was found well formed. Raises ValueError when it is not."""
    parsed = parse_time(text)
    if parsed is None:
        raise ValueError("not a DateTime")
    return (parsed - _EPOCH) // _MILLISECOND
