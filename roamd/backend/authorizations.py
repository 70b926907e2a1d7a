"""`POST /v1/authorizations`: may this credential charge here?

The hot path of the API: a request is decoded once into its Struct and checked by a few comparisons. Only when that
finds something odd is the text read a second time, slowly, to name every fault with its path.
"""

import re
from typing import Any, Final

import msgspec
from aiohttp import web

from roamd.backend.context import Api
from roamd.backend.examples import AUTHORIZATION
from roamd.backend.idempotency import idempotency_of, numbered
from roamd.backend.problems import MAX_FAULTS
from roamd.backend.requests import encode, is_array, json_answer, refuse_larger, split_array, within
from roamd.backend.routes import IDEMPOTENCY_KEY, Answer, Body, Route
from roamd.errors import Fault, Malformed, RoamdError
from roamd.model.body import tree
from roamd.roaming.operations import Authorize, CredentialIn, Idempotency, PlaceIn

SERVICES: Final = ("CHARGING", "PARKING", "RESERVATION")
"""The first is meant where none is named."""

MIN_DEADLINE_MS: Final = 100
MAX_DEADLINE_MS: Final = 30_000
MAX_ID: Final = 36
"""OCPI's CiString(36): token uids, contract ids, location ids, EVSE uids and connector ids alike."""

MAX_TEXT: Final = 16 * 1024
"""One question has some 200 bytes; fields of the client's own may come with it."""

_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class _AuthorizationIn(msgspec.Struct, frozen=True):
    credential: CredentialIn
    location: PlaceIn | None = None
    service: str | msgspec.UnsetType = msgspec.UNSET
    deadline_ms: int | None = None


_decode: Final = msgspec.json.Decoder(_AuthorizationIn).decode
_KNOWN_KEYS: Final = tuple(
    f'"{name}"'.encode()
    for name in (
        *CredentialIn.__struct_fields__,
        *PlaceIn.__struct_fields__,
        *_AuthorizationIn.__struct_fields__,
    )
)

_KEY: Final = 2
_TEXT: Final = 4
"""Quotation marks that a key takes, and a key with a text."""


def parse_authorization(
    data: bytes,
    default_deadline_ms: int,
    idempotency: Idempotency | None = None,
    traceparent: str | None = None,
) -> Authorize:
    """One request's text as the operation. Raises Malformed with every fault, or TooLarge."""
    refuse_larger(data, MAX_TEXT, "a question about one credential")
    try:
        asked = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        asked = _read_slowly(data)
    else:
        if not _is_plain(data, asked) or not _fits(asked):
            asked = _read_slowly(data)
    return Authorize(
        asked.credential,
        asked.location,
        SERVICES[0] if asked.service is msgspec.UNSET else asked.service,
        default_deadline_ms if asked.deadline_ms is None else asked.deadline_ms,
        idempotency,
        traceparent,
    )


def _is_plain(data: bytes, asked: _AuthorizationIn) -> bool:
    """Whether no key that we look at can stand in it twice: each at most once, and none spelled with escapes."""
    if b"\\" in data:
        return False
    return data.count(b'"') == _quotes_of(asked) or all(data.count(key) < 2 for key in _KNOWN_KEYS)


def _quotes_of(asked: _AuthorizationIn) -> int:
    """The quotation marks of a text that says just this: any further key would have two more.

    One count instead of one for every key; a text with keys of the client's own, or with null, takes the long way.
    """
    credential, place = asked.credential, asked.location
    quotes = _KEY + 2 * _TEXT
    if credential.contract_id is not None:
        quotes += _TEXT
    if place is not None:
        quotes += _KEY + _TEXT
        if place.evse_uid is not None:
            quotes += _TEXT
        if place.connector_id is not None:
            quotes += _TEXT
    if asked.service is not msgspec.UNSET:
        quotes += _TEXT
    if asked.deadline_ms is not None:
        quotes += _KEY
    return quotes


def _fits(asked: _AuthorizationIn) -> bool:
    credential, place = asked.credential, asked.location
    return (
        0 < len(credential.uid) <= MAX_ID
        and 0 < len(credential.type) <= MAX_ID
        and (credential.contract_id is None or len(credential.contract_id) <= MAX_ID)
        and (asked.service is msgspec.UNSET or asked.service in SERVICES)
        and (asked.deadline_ms is None or MIN_DEADLINE_MS <= asked.deadline_ms <= MAX_DEADLINE_MS)
        and (
            place is None
            or (
                0 < len(place.location_id) <= MAX_ID
                and len(place.evse_uid or "") <= MAX_ID
                and len(place.connector_id or "") <= MAX_ID
            )
        )
    )


# --- the slow reading, for faults ---------------------------------------------------------------------------------


def _read_slowly(data: bytes) -> _AuthorizationIn:
    value = tree(data)  # raises Malformed for what is no JSON, for duplicate keys, NaN and depth
    faults = _faults_of(value)
    if faults:
        raise Malformed(tuple(faults))
    try:
        return msgspec.convert(value, _AuthorizationIn)
    except msgspec.ValidationError as error:  # a rule that the walk below does not know
        raise Malformed((Fault("$", str(error), "type"),)) from error


def _faults_of(value: Any) -> list[Fault]:
    if not isinstance(value, dict):
        return [Fault("$", "must be an object", "type")]
    faults = [
        *_object_faults(value, "credential", required=True, needed=("type", "uid"), other=("contract_id",)),
        *_object_faults(value, "location", required=False, needed=("location_id",), other=("evse_uid", "connector_id")),
    ]
    if "service" in value and value["service"] not in SERVICES:
        faults.append(Fault("$.service", f"must be one of {', '.join(SERVICES)}", "value"))
    deadline = value.get("deadline_ms")
    if deadline is not None and (type(deadline) is not int or not MIN_DEADLINE_MS <= deadline <= MAX_DEADLINE_MS):
        message = f"must be a whole number from {MIN_DEADLINE_MS} to {MAX_DEADLINE_MS}"
        faults.append(Fault("$.deadline_ms", message, "value"))
    return faults


def _object_faults(
    parent: dict[str, Any], name: str, *, required: bool, needed: tuple[str, ...], other: tuple[str, ...]
) -> list[Fault]:
    value = parent.get(name)
    if value is None:
        return [Fault(f"$.{name}", "is missing", "missing")] if required else []
    if not isinstance(value, dict):
        return [Fault(f"$.{name}", "must be an object", "type")]
    faults = [each for field in needed for each in _text_faults(value, name, field, required=True)]
    return faults + [each for field in other for each in _text_faults(value, name, field, required=False)]


def _text_faults(parent: dict[str, Any], name: str, field: str, *, required: bool) -> list[Fault]:
    path, value = f"$.{name}.{field}", parent.get(field)
    if value is None:
        return [Fault(path, "is missing", "missing")] if required else []
    if not isinstance(value, str):
        return [Fault(path, "must be a string", "type")]
    if required and not value:
        return [Fault(path, "must not be empty", "value")]
    return [Fault(path, f"is longer than {MAX_ID} characters", "too-long")] if len(value) > MAX_ID else []


# --- the handler --------------------------------------------------------------------------------------------------


class Authorizations:
    """The handler and its route."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def post(self, request: web.Request) -> web.Response:
        """One question or an array of them."""
        data = await request.read()
        idempotency = idempotency_of(request, data)
        traceparent = traceparent_of(request.headers.get("traceparent"))
        default = self._api.settings.default_deadline_ms
        if not is_array(data):
            return json_answer(
                encode(await self._api.core.ask(parse_authorization(data, default, idempotency, traceparent)))
            )
        asked = parse_authorizations(data, default, idempotency, traceparent)
        replies = await self._api.core.ask_many(asked)
        for reply in replies:
            if isinstance(reply, RoamdError):
                raise reply
        return json_answer(encode(replies))

    def routes(self) -> list[Route]:
        """The table's rows."""
        return [
            Route(
                "POST",
                "/v1/authorizations",
                self.post,
                "authorizations",
                "May this credential charge here? One question, or an array of up to 1,000, answered in order.",
                (Answer(200, "The decision; never later than the deadline.", "Authorization"),),
                Body("AuthorizationRequest", AUTHORIZATION),
                (IDEMPOTENCY_KEY,),
            )
        ]


def parse_authorizations(
    data: bytes, default_deadline_ms: int, idempotency: Idempotency | None, traceparent: str | None
) -> list[Authorize]:
    """An array's elements; one malformed element refuses the whole, with every fault of all."""
    asked: list[Authorize] = []
    faults: list[Fault] = []
    for place, element in enumerate(split_array(data)):
        try:
            asked.append(parse_authorization(element, default_deadline_ms, numbered(idempotency, place), traceparent))
        except Malformed as error:
            faults += within(f"$[{place}]", error.faults)
            if len(faults) >= MAX_FAULTS:
                break
    if faults:
        raise Malformed(tuple(faults))
    return asked


def traceparent_of(header: str | None) -> str | None:
    """A W3C trace context that is one; anything else is ignored, as its specification says."""
    return header if header is not None and _TRACEPARENT.fullmatch(header) else None
