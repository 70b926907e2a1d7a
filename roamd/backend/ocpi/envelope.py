"""OCPI's answers: everything stands in an envelope, refusals too.

Which HTTP status goes with a refusal: OCPI's text wants 200 for all that reached its layer. Here a refusal is a 4xx as
well, because many clients look at HTTP alone and would take a record for stored that was not.
"""

from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from roamd.clock import rfc3339
from roamd.errors import Conflict, Fault, Forbidden, Malformed, NotFound, RequestError, RoamdError, StoreFull, TooLarge

SUCCESS: Final = 1000
CLIENT_ERROR: Final = 2000
INVALID: Final = 2001
UNKNOWN_OBJECT: Final = 2003
UNKNOWN_TOKEN: Final = 2004
SERVER_ERROR: Final = 3000
CALLBACK_FAILED: Final = 3001
UNSUPPORTED_VERSION: Final = 3002
NO_ENDPOINTS: Final = 3003
UNKNOWN_RECEIVER: Final = 4001
TIMED_OUT: Final = 4002
NOT_CONNECTED: Final = 4003

MAX_FAULTS_TOLD: Final = 10
MAX_PATH: Final = 120

encode: Final = msgspec.json.Encoder().encode


class Refusal(RoamdError):
    """A request that is refused with just these two codes."""

    code = "ocpi-refused"

    def __init__(self, status: int, ocpi_status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.ocpi_status = ocpi_status


@dataclass(slots=True)
class Answer:
    """What a handler gives: ready JSON text as `data`, or none."""

    data: bytes | None = None
    status: int = 200
    ocpi_status: int = SUCCESS
    message: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def text(self, now_ms: int) -> bytes:
        """The envelope."""
        rest: dict[str, Any] = {"status_code": self.ocpi_status}
        if self.message is not None:
            rest["status_message"] = self.message
        rest["timestamp"] = rfc3339(now_ms)
        tail = encode(rest)
        return tail if self.data is None else b'{"data":' + self.data + b"," + tail[1:]


def refused(error: RoamdError) -> Answer:
    """The answer to a request that ended in this error."""
    if isinstance(error, Refusal):
        return Answer(None, error.status, error.ocpi_status, str(error))
    for kind, status, code in _STATUSES:
        if isinstance(error, kind):
            return Answer(None, status, code, _words(error))
    return Answer(None, error.http_status, SERVER_ERROR, str(error))


_STATUSES: Final[tuple[tuple[type[RoamdError], int, int], ...]] = (
    (Malformed, 400, INVALID),
    (TooLarge, 413, INVALID),
    (NotFound, 404, UNKNOWN_OBJECT),
    (Conflict, 409, INVALID),
    (Forbidden, 403, CLIENT_ERROR),
    (StoreFull, 507, SERVER_ERROR),
)


def _words(error: RoamdError) -> str:
    """The message with the faults' places, without what the body said there."""
    faults: tuple[Fault, ...] = error.faults if isinstance(error, RequestError) else ()
    if not faults:
        return str(error)
    told = "; ".join(f"{each.path[:MAX_PATH]}: {each.message[:MAX_PATH]}" for each in faults[:MAX_FAULTS_TOLD])
    more = len(faults) - MAX_FAULTS_TOLD
    return f"{told}; and {more} more" if more > 0 else told


def invalid(message: str) -> Refusal:
    """A parameter or field is wrong."""
    return Refusal(400, INVALID, message)


def not_found(message: str) -> Refusal:
    """There is nothing at this address."""
    return Refusal(404, UNKNOWN_OBJECT, message)


def not_allowed(message: str) -> Refusal:
    """The method means nothing here."""
    return Refusal(405, CLIENT_ERROR, message)
