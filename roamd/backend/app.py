"""Joins the parts into one aiohttp application."""

from collections.abc import Iterable

from aiohttp import web

from roamd.backend.agreements import Agreements
from roamd.backend.authorizations import Authorizations
from roamd.backend.commands import Commands
from roamd.backend.context import Api
from roamd.backend.decisions import Decisions
from roamd.backend.edge import make_edge, remembered
from roamd.backend.events import Events
from roamd.backend.health import Health
from roamd.backend.lifecycle import Lifecycle
from roamd.backend.objects import FEEDS, PEER_FEEDS, OwnFeed, PeerFeed
from roamd.backend.ocpi.face import Face
from roamd.backend.ocpi.operating import OcpiOperating
from roamd.backend.openapi import Document
from roamd.backend.operate import Operating
from roamd.backend.records import Records
from roamd.backend.requests import MAX_BODY
from roamd.backend.routes import Route
from roamd.backend.statements import Statements
from roamd.backend.stream import Streams
from roamd.backend.subjects import Subjects


def all_routes(api: Api, streams: Streams) -> list[Route]:
    """The whole API as a table."""
    document = Document()
    rows = [
        *Authorizations(api).routes(),
        *Decisions(api).routes(),
        *(row for feed in FEEDS for row in OwnFeed(api, feed).routes()),
        *Commands(api).routes(),
        *Records(api).routes(),
        *Lifecycle(api).routes(),
        *Statements(api).routes(),
        *Events(api).routes(),
        *streams.routes(),
        *Subjects(api).routes(),
        *Operating(api, streams).routes(),
        *Agreements(api).routes(),
        *OcpiOperating(api).routes(),
        *(row for feed in PEER_FEEDS for row in PeerFeed(api, feed).routes()),
        *Health(api).routes(),
        *document.routes(),
    ]
    document.describe(rows)
    return rows


def build(api: Api, face: Face | None = None) -> web.Application:
    """The application, with the OCPI face if there is one. When it shuts down, whoever waits on it is let go."""
    streams = Streams(api)
    application = web.Application(middlewares=[make_edge(api)], client_max_size=MAX_BODY)
    _add(application, api, all_routes(api, streams))
    if face is not None:
        application.router.add_route("*", r"/ocpi{rest:(/[\s\S]*)?}", face.handle)

    async def let_go(_application: web.Application) -> None:
        api.events.close()
        await streams.close_all()

    application.on_shutdown.append(let_go)
    return application


def _add(application: web.Application, api: Api, rows: Iterable[Route]) -> None:
    for row in rows:
        handler = remembered(api, row.handler) if row.remembered else row.handler
        application.router.add_route(row.method, row.path, handler)
        if row.method == "GET" and row.path != "/v1/stream":
            application.router.add_route("HEAD", row.path, handler)
