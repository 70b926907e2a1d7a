"""`/v1/openapi.json`: the OpenAPI 3.1 document, made from the same table as the application."""

from collections.abc import Iterable
from typing import Any

from aiohttp import web

from roamd import __version__
from roamd.backend.requests import encode, json_answer
from roamd.backend.routes import Answer, Body, Parameter, Route
from roamd.backend.schemas import SCHEMAS

_DESCRIPTION = """\
The local API of a roaming endpoint. Every refusal is problem+json (RFC 9457) with a stable `code`, and every fault with
its JSON path. Objects are OCPI 2.3.0 or 2.2.1, told apart by the header `OCPI-Version`, and come back byte for byte.
"""

_PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}


class Document:
    """Serves the description of a table that is complete only after this row was added to it."""

    def __init__(self) -> None:
        self._text = b""

    def describe(self, rows: Iterable[Route]) -> None:
        """Take the whole table."""
        self._text = encode(openapi_of(rows))

    async def get(self, request: web.Request) -> web.Response:
        """The document."""
        return json_answer(self._text)

    def routes(self) -> list[Route]:
        """The table's row."""
        told = (Answer(200, "OpenAPI 3.1.", "Report"),)
        return [Route("GET", "/v1/openapi.json", self.get, "health", "This document.", told)]


def openapi_of(rows: Iterable[Route]) -> dict[str, Any]:
    """The document as plain values."""
    paths: dict[str, dict[str, Any]] = {}
    for row in rows:
        paths.setdefault(row.path, {})[row.method.lower()] = _operation(row)
    return {
        "openapi": "3.1.0",
        "info": {"title": "roamd", "version": __version__, "description": _DESCRIPTION},
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(row: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": operation_id(row),
        "tags": [row.tag],
        "summary": row.summary,
        "parameters": [*_path_parameters(row), *map(_parameter, row.parameters)],
        "responses": {str(answer.status): _response(answer) for answer in row.answers},
    }
    operation["responses"]["default"] = {"description": "A refusal.", "content": _PROBLEM}
    if row.body is not None:
        operation["requestBody"] = _request_body(row.body)
    if row.is_open:
        operation["security"] = []
    return operation


def operation_id(row: Route) -> str:
    """A name that is unique: the method and the path's words."""
    words = row.path.removeprefix("/v1").replace("{", "").replace("}", "").replace(".", "_").replace("-", "_")
    return row.method.lower() + "_" + "_".join(filter(None, words.split("/")))


def _path_parameters(row: Route) -> list[dict[str, Any]]:
    names = [part[1:-1] for part in row.path.split("/") if part.startswith("{")]
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, "example": row.example[name]}
        for name in names
    ]


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.text,
        "schema": parameter.schema,
    }


def _request_body(body: Body) -> dict[str, Any]:
    schema = {"type": "string"} if body.media == "application/x-ndjson" else _ref(body.schema)
    return {"required": body.required, "content": {body.media: {"schema": schema, "example": body.example}}}


def _response(answer: Answer) -> dict[str, Any]:
    told: dict[str, Any] = {"description": answer.text}
    if answer.schema is not None:
        told["content"] = {answer.media: {"schema": _ref(answer.schema)}}
    elif answer.status == 200:
        told["content"] = {answer.media: {"schema": {"type": "string"}}}
    if answer.status >= 400:
        told["content"] |= _PROBLEM
    return told


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}
