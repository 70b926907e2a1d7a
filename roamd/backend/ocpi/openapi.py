"""`/ocpi/openapi.json`: the face as an OpenAPI 3.1 document, for tools that try or draw it.

What the bodies hold is OCPI's to say; here stand the addresses, methods, parameters and the envelope.
"""

from typing import Any, Final

from roamd import __version__
from roamd.backend.ocpi.asked import VERSIONS
from roamd.backend.ocpi.envelope import encode

_OBJECT: Final = "/{country_code}/{party_id}/{id}"
_LIST: Final = ("offset", "limit", "date_from", "date_to")

OPERATIONS: Final[tuple[tuple[str, str, tuple[str, ...]], ...]] = (
    ("", "GET", ()),
    ("/credentials", "GET POST PUT DELETE", ()),
    *((f"/cpo/{module}", "GET", _LIST) for module in ("locations", "tariffs", "sessions", "cdrs", "hubclientinfo")),
    *((f"/cpo/{module}/{{id}}", "GET", ()) for module in ("locations", "tariffs", "sessions", "cdrs")),
    ("/cpo/locations/{id}/{evse_uid}", "GET", ()),
    ("/cpo/locations/{id}/{evse_uid}/{connector_id}", "GET", ()),
    (f"/cpo/tokens{_OBJECT}", "GET PUT PATCH", ("type",)),
    ("/cpo/sessions/{id}/charging_preferences", "PUT", ()),
    ("/cpo/commands/{command}", "POST", ()),
    ("/cpo/chargingprofiles/{id}", "GET PUT DELETE", ("duration", "response_url")),
    *((f"/emsp/{module}{_OBJECT}", "GET PUT PATCH", ()) for module in ("locations", "sessions")),
    (f"/emsp/locations{_OBJECT}/{{evse_uid}}", "GET PUT PATCH", ()),
    (f"/emsp/locations{_OBJECT}/{{evse_uid}}/{{connector_id}}", "GET PUT PATCH", ()),
    (f"/emsp/tariffs{_OBJECT}", "GET PUT PATCH DELETE", ()),
    ("/emsp/cdrs", "POST", ()),
    (f"/emsp/cdrs{_OBJECT}", "GET", ()),
    ("/emsp/tokens", "GET", _LIST),
    ("/emsp/tokens/{id}", "GET", ("type",)),
    ("/emsp/tokens/{id}/authorize", "POST", ("type",)),
    (f"/emsp/tokens{_OBJECT}/authorize", "POST", ("type",)),
    ("/emsp/hubclientinfo", "GET", _LIST),
)
"""What stands behind `/ocpi[/face]/{version}`: address, methods, and parameters of the query."""

_ROUTING: Final = tuple(f"OCPI-{way}-{what}" for way in ("to", "from") for what in ("country-code", "party-id"))
_NUMBERS: Final = frozenset({"offset", "limit", "duration"})
_ENVELOPE: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["status_code", "timestamp"],
    "properties": {
        "data": {},
        "status_code": {"type": "integer", "minimum": 1000, "maximum": 4999},
        "status_message": {"type": "string"},
        "timestamp": {"type": "string", "format": "date-time"},
    },
}


def face_document() -> bytes:
    """The document as JSON text."""
    paths: dict[str, dict[str, Any]] = {"/versions": _methods("GET", "/versions", ())}
    for version in VERSIONS:
        for path, methods, query in OPERATIONS:
            face, _, rest = path.removeprefix("/").partition("/")
            address = f"/{face}/{version}/{rest}" if face in ("cpo", "emsp") else f"/{version}{path}"
            paths[address] = _methods(methods, address, query)
    return encode(
        {
            "openapi": "3.1.0",
            "info": {"title": "roamd: the OCPI face", "version": __version__},
            "servers": [{"url": "/ocpi"}],
            "security": [{"token": []}],
            "paths": paths,
            "components": {
                "schemas": {"Envelope": _ENVELOPE},
                "securitySchemes": {"token": {"type": "apiKey", "in": "header", "name": "Authorization"}},
            },
        }
    )


def _methods(methods: str, address: str, query: tuple[str, ...]) -> dict[str, Any]:
    return {method.lower(): _operation(method, address, query) for method in methods.split()}


def _operation(method: str, address: str, query: tuple[str, ...]) -> dict[str, Any]:
    names = [part[1:-1] for part in address.split("/") if part.startswith("{")]
    answer = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Envelope"}}}}
    told: dict[str, Any] = {
        "parameters": [
            *(_parameter(name, "path") for name in names),
            *(_parameter(name, "query") for name in query),
            *(_parameter(name, "header") for name in (_ROUTING if "/cpo/" in address or "/emsp/" in address else ())),
        ],
        "responses": {"default": {"description": "Whatever it is: in an envelope.", **answer}},
    }
    if method in ("POST", "PUT", "PATCH"):
        told["requestBody"] = {"content": {"application/json": {"schema": {}}}}
    return told


def _parameter(name: str, place: str) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer"} if name in _NUMBERS else {"type": "string"}
    return {"name": name, "in": place, "required": place == "path", "schema": schema}
