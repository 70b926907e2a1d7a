"""One table says what the API is: the application and its OpenAPI document are both made from it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter or header; `schema` is its JSON schema."""

    name: str
    text: str
    schema: dict[str, Any] = field(default_factory=lambda: {"type": "string"})
    place: str = "query"


@dataclass(frozen=True, slots=True)
class Body:
    """What a request carries. `example` is sent by the tests: JSON value, or text of its `media` type."""

    schema: str
    example: Any
    media: str = JSON
    required: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """What a success gives back; `schema` names a component."""

    status: int
    text: str
    schema: str | None = None
    media: str = JSON


@dataclass(frozen=True, slots=True)
class Route:
    """One operation of the API.

    `example` fills the path's parameters, and `example_query` the query, in the example request.
    `remembered`: its answer is kept in memory under an Idempotency-Key. `is_open`: it needs no key.
    """

    method: str
    path: str
    handler: Handler
    tag: str
    summary: str
    answers: tuple[Answer, ...]
    body: Body | None = None
    parameters: tuple[Parameter, ...] = ()
    example: dict[str, str] = field(default_factory=dict)
    example_query: str = ""
    example_headers: dict[str, str] = field(default_factory=dict)
    remembered: bool = False
    is_open: bool = False


LIMIT = Parameter("limit", "Items on a page, 1 to 1,000; larger is clamped.", {"type": "integer", "default": 100})
AFTER = Parameter("after", "The cursor `next` of the page before; empty or absent: from the start.")
PARTY = Parameter("party", "The owner (`DE*ABC`), where several own parties share the id.")
TOKEN_TYPE = Parameter("type", "The OCPI TokenType, where several credentials share the uid.")
DIRECTION = Parameter("direction", "`out`: handed in here; `in`: received.", {"type": "string", "enum": ["out", "in"]})
PEER = Parameter("peer", "The peer's label.", {"type": "string", "pattern": "^[a-z0-9-]{1,40}$"})
OCPI_VERSION = Parameter(
    "OCPI-Version",
    "The version in which the object is written.",
    {"type": "string", "enum": ["2.2.1", "2.3.0"], "default": "2.3.0"},
    "header",
)
IF_MATCH = Parameter("If-Match", "Only if the stored object has this ETag; `*`: only if there is one.", place="header")
IF_NONE_MATCH = Parameter("If-None-Match", "Answer 304 if the object still has this ETag.", place="header")
ONLY_NEW = Parameter("If-None-Match", "`*`: only if there is none yet.", {"type": "string", "enum": ["*"]}, "header")
IDEMPOTENCY_KEY = Parameter(
    "Idempotency-Key",
    "The same key with the same request gets the same answer for 48 h; with another request 409.",
    {"type": "string", "maxLength": 255},
    "header",
)
