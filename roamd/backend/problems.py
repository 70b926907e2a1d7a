"""Refusals as RFC 9457 problem details: one form for HTTP and for the stream."""

from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import web

from roamd.errors import (
    ConfigError,
    Fault,
    OperatorError,
    RequestError,
    RoamdError,
    TryAgain,
    Unreachable,
    UsageError,
)

TYPE_PREFIX: Final = "urn:roamd:problem:"

MAX_FAULTS: Final = 1000
"""Faults told in one problem; a body with more is broken throughout."""

_OPERATOR_STATUS: Final[dict[type[RoamdError], int]] = {
    UsageError: 400,
    TryAgain: 503,
    Unreachable: 503,
    OperatorError: 409,
}
"""HTTP has no exit codes; errors that carry a status of their own are not listed."""


class FaultOut(msgspec.Struct, frozen=True):
    """One thing wrong, and where."""

    path: str
    message: str
    code: str


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of a refusal. `code` is stable and is what programs compare."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    faults: list[FaultOut] = []


def problem(status: int, code: str, detail: str, faults: tuple[Fault, ...] = ()) -> Problem:
    """A problem of this API."""
    told = [FaultOut(fault.path, fault.message, fault.code) for fault in faults[:MAX_FAULTS]]
    return Problem(TYPE_PREFIX + code, HTTPStatus(status).phrase, status, detail, code, told)


def problem_of(error: RoamdError) -> Problem:
    """How an error is told to a client."""
    if isinstance(error, RequestError):
        return problem(error.http_status, error.reason, str(error), error.faults)
    if isinstance(error, ConfigError):
        return problem(error.http_status, error.code, "The configuration has faults.", _line_faults(error))
    status = _OPERATOR_STATUS.get(type(error), error.http_status)
    return problem(status, error.code, str(error))


def _line_faults(error: ConfigError) -> tuple[Fault, ...]:
    return tuple(Fault("", line, "config") for line in error.lines)


def problem_response(what: Problem, headers: dict[str, str] | None = None) -> web.Response:
    """The problem as an HTTP answer."""
    return web.Response(
        status=what.status,
        body=msgspec.json.encode(what),
        content_type="application/problem+json",
        headers=headers,
    )


_HTTP_DETAILS: Final = {
    404: ("no-such-route", "There is no such resource; /v1/openapi.json lists all."),
    405: ("method-not-allowed", "This resource does not take this method; see the Allow header."),
    413: ("too-large", "The body is larger than the 8 MiB that one request may carry."),
}


def problem_of_http(error: web.HTTPException) -> web.Response:
    """What aiohttp itself refuses, in our form."""
    code, detail = _HTTP_DETAILS.get(error.status, ("http", error.reason))
    allow = error.headers.get("Allow")
    return problem_response(problem(error.status, code, detail), {"Allow": allow} if allow else None)
