"""Makes the face of its parts: what `serving` enters, mounts and runs."""

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from roamd.backend.context import Api
from roamd.backend.ocpi.asked import Asked
from roamd.backend.ocpi.authorize import TokensAndAuthorize
from roamd.backend.ocpi.backends import Backends, OcpiSettings
from roamd.backend.ocpi.caller import Caller, caller_session
from roamd.backend.ocpi.cards import CardQuestions
from roamd.backend.ocpi.carried import CommandQuestions
from roamd.backend.ocpi.cdrs import PostedCdrs
from roamd.backend.ocpi.commanded import Commanded
from roamd.backend.ocpi.credentials import Credentials
from roamd.backend.ocpi.envelope import Answer
from roamd.backend.ocpi.face import Face, Handler, Served
from roamd.backend.ocpi.offered import ClientInfos, Offered, Snapshots
from roamd.backend.ocpi.operating import Bench
from roamd.backend.ocpi.outcomes import Outcomes
from roamd.backend.ocpi.partners import Partners
from roamd.backend.ocpi.plain.book import Routes
from roamd.backend.ocpi.pull import Puller
from roamd.backend.ocpi.push import Pusher
from roamd.backend.ocpi.received import Received
from roamd.backend.ocpi.reserved import Reserved
from roamd.backend.ocpi.results import ResultPoster
from roamd.backend.waiting import StandingTakers
from roamd.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Plug:
    """The face to mount, what runs beside it for each backend, and the partners without roamd."""

    face: Face
    routes: Routes
    pushers: tuple[Pusher, ...]
    pullers: tuple[Puller, ...]
    posters: tuple[ResultPoster, ...]


@contextlib.asynccontextmanager
async def ocpi_plug(api: Api, settings: Sequence[OcpiSettings], random: Callable[[int], bytes]) -> AsyncIterator[Plug]:
    """All that serves these backends; its connections are closed at the end. Raises ConfigError."""
    _require_distinct(settings)
    async with contextlib.AsyncExitStack() as stack:
        backends = Backends(api.core, api.clock, settings, api.events.arrived)
        callers: dict[str, Caller] = {}
        for backend in backends:
            session = await stack.enter_async_context(caller_session(backend.settings.private))
            callers[backend.settings.name] = Caller(backend, session, random)
        routes = api.routes = Routes(api, random)
        stack.push_async_callback(routes.aclose)
        api.takers.outward = routes
        api.ocpi = Bench(api, backends, callers, Partners(api)) if settings else None
        cards = CardQuestions(api, backends, callers)
        commands = CommandQuestions(api, backends, callers, Reserved(api))
        api.takers.standing = StandingTakers((cards, commands))
        stack.push_async_callback(cards.aclose)
        stack.push_async_callback(commands.aclose)
        yield _plug(api, backends, callers, commands, routes, random)


def _require_distinct(settings: Sequence[OcpiSettings]) -> None:
    """A name is what a registration is kept under, and a token is all that tells who calls.

    Names that begin with an @ are those of partners without roamd.
    """
    if any(each.name.startswith("@") for each in settings):
        raise ConfigError(["ocpi.name: begins with @; choose another one"])
    for key in ("name", "token"):
        if len({getattr(each, key) for each in settings}) < len(settings):
            raise ConfigError([f"ocpi.{key}: two backends have the same one; give each its own"])


def _plug(
    api: Api,
    backends: Backends,
    callers: dict[str, Caller],
    questions: CommandQuestions,
    routes: Routes,
    random: Callable[[int], bytes],
) -> Plug:
    partners = Partners(api)
    offered = Offered(api, partners, Snapshots(api.clock.monotonic))
    credentials = Credentials(api, backends, partners, callers, random)
    urls = {backend.settings.name: backend.settings.url for backend in backends}
    posters = {
        each.settings.name: ResultPoster(api, backends, each, callers[each.settings.name], partners, random)
        for each in backends
    }
    modules = _modules(api, partners, offered) | _controlling(api, partners, offered, posters, questions)
    face = Face(backends, Served(api, credentials.handle, modules), routes, urls, random)
    pushers = [Pusher(api, backends, each, callers[each.settings.name], partners, offered, random) for each in backends]
    pullers = [Puller(api, backends, each, callers[each.settings.name], Received(api), random) for each in backends]
    return Plug(face, routes, tuple(pushers), tuple(pullers), tuple(posters.values()))


def _controlling(
    api: Api,
    partners: Partners,
    offered: Offered,
    posters: dict[str, ResultPoster],
    questions: CommandQuestions,
) -> dict[tuple[str, str], Handler]:
    """Commands, charging profiles and, below sessions, charging preferences."""
    commanded, outcomes = Commanded(api, partners, posters), Outcomes(api, questions, questions.reserved)

    async def sessions(asked: Asked) -> Answer:
        wishes = len(asked.path) == 2 and asked.path[1].lower() == "charging_preferences"
        return await (commanded.preferences if wishes else offered.handle)(asked)

    return {
        ("cpo", "sessions"): sessions,
        ("cpo", "commands"): commanded.commands,
        ("cpo", "chargingprofiles"): commanded.profiles,
        ("emsp", "commands"): outcomes.commands,
        ("emsp", "chargingprofiles"): outcomes.profiles,
    }


def _modules(api: Api, partners: Partners, offered: Offered) -> dict[tuple[str, str], Handler]:
    received, cdrs, infos = Received(api), PostedCdrs(api), ClientInfos(partners)
    tokens = TokensAndAuthorize(api, partners, offered)
    return {
        **{("cpo", module): offered.handle for module in ("locations", "tariffs", "sessions", "cdrs")},
        ("cpo", "tokens"): received.handle,
        **{("emsp", module): received.handle for module in ("locations", "tariffs", "sessions")},
        ("emsp", "cdrs"): cdrs.handle,
        ("emsp", "tokens"): tokens.handle,
        **{(face, "hubclientinfo"): infos.handle for face in ("cpo", "emsp")},
    }
