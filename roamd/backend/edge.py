"""The outermost layer: every request passes here once on its way in, every failure on its way out.

The order matters: first the host check (a browser's page learns nothing, not even that a key is wrong), then the key,
then the route. No exception leaves this layer; what is not a `RoamdError` is a bug, logged with its traceback and
answered as a plain 500.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from aiohttp import ClientError, web
from aiohttp.typedefs import Middleware
from prometheus_client import Counter, Histogram

from roamd import metrics
from roamd.backend.auth import HostCheck, Unauthorized
from roamd.backend.context import Api
from roamd.backend.idempotency import idempotency_of
from roamd.backend.problems import problem, problem_of, problem_of_http, problem_response
from roamd.backend.routes import Handler
from roamd.errors import RoamdError
from roamd.log import get_logger

log = get_logger(room="backend")

OPEN_PATHS: Final = frozenset({"/livez", "/readyz", "/metrics"})

LOGGED_PER_S: Final = 10
"""Refusals logged a second; a client gone wild must not flood the journal. What was left out is counted."""

_UNAUTHENTICATED: Final = {"WWW-Authenticate": 'Bearer realm="roamd"'}


def make_edge(api: Api) -> Middleware:
    """The one middleware."""
    hosts = HostCheck()
    refusals = RefusalLog(api.clock.monotonic)
    tally = Tally()

    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            if not _is_ocpi(request):  # the face admits by tokens of its own
                _admit(api, hosts, request)
            return await handler(request)
        except RoamdError as error:
            refusals.note(request, error)
            told = problem_of(error)
            return problem_response(told, _UNAUTHENTICATED if told.status == Unauthorized.http_status else None)
        except web.HTTPException as error:
            return problem_of_http(error)
        except (ClientError, web.RequestPayloadError, web.PayloadAccessError, ConnectionError):
            return problem_response(problem(400, "unreadable-body", "The body could not be read to its end."))
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("api_request_failed", method=request.method, route=_route_of(request))
            return problem_response(problem(500, "internal", "The daemon failed at this request; its log says where."))

    async def edge(request: web.Request, handler: Handler) -> web.StreamResponse:
        begun = api.clock.monotonic()
        response = await answer(request, handler)
        tally.note(_route_of(request), request.method, response.status, api.clock.monotonic() - begun)
        return response

    return web.middleware(edge)


def _admit(api: Api, hosts: HostCheck, request: web.Request) -> None:
    headers = request.headers
    local = _local_address(request)
    if local is not None:
        hosts.check(api.host_names, headers.get("Host"), headers.get("Origin"), local)
    if request.path not in OPEN_PATHS and not api.keys.matches(headers.get("Authorization", "")):
        raise Unauthorized("The API key is missing or wrong; send `Authorization: Bearer` with the key of api.key.")


def _is_ocpi(request: web.Request) -> bool:
    resource = request.match_info.route.resource
    return resource is not None and resource.canonical.startswith("/ocpi")


def _local_address(request: web.Request) -> str | None:
    """Where the connection came in; None for a unix socket."""
    transport = request.transport
    name = transport.get_extra_info("sockname") if transport is not None else None
    return name[0] if isinstance(name, tuple) else None


def _route_of(request: web.Request) -> str:
    """The route's template: never a path, which may hold a credential's uid."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "-"


class Tally:
    """Counts and times requests for the metrics. Labelled children are kept: a look-up costs more than to count."""

    def __init__(self) -> None:
        self._counters: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def note(self, route: str, method: str, status: int, took_s: float) -> None:
        """One request that was answered."""
        known = self._counters.get((route, method, status))
        if known is None:
            counter = metrics.http_requests.labels(route, method, str(status))
            known = self._counters[route, method, status] = (counter, metrics.http_request_seconds.labels(route))
        known[0].inc()
        known[1].observe(took_s)


class RefusalLog:
    """Logs who is kept out and what the machine could not do, a few a second; ordinary 4xx are the client's to see."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._second = -1
        self._logged = 0
        self._left_out = 0

    def note(self, request: web.Request, error: RoamdError) -> None:
        """One refusal."""
        status = problem_of(error).status
        if status not in (401, 403) and status < 500:
            return
        if not self._may_log():
            self._left_out += 1
            return
        log.warning(
            "api_request_refused", status=status, code=error.code, route=_route_of(request), left_out=self._left_out
        )
        self._left_out = 0

    def _may_log(self) -> bool:
        second = int(self._monotonic())
        if second != self._second:
            self._second, self._logged = second, 0
        self._logged += 1
        return self._logged <= LOGGED_PER_S


def remembered(api: Api, handler: Handler) -> Handler:
    """The handler of a POST whose answer is kept in memory under its Idempotency-Key."""

    async def handle(request: web.Request) -> web.StreamResponse:
        wanted = idempotency_of(request, await request.read())
        if wanted is None:
            return await handler(request)
        return await api.answers.once(wanted, api.clock.monotonic(), lambda: handler(request))

    return handle
