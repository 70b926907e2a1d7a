"""The partners without roamd on the API's side: the way to each, what runs for it, and how one is added and removed."""

import asyncio
import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import msgspec

from roamd.backend.context import Api
from roamd.backend.ocpi.asked import Asked
from roamd.backend.ocpi.asking import Asking
from roamd.backend.ocpi.authorize import TokensAndAuthorize
from roamd.backend.ocpi.backends import Backend, Backends, OcpiSettings, Presented
from roamd.backend.ocpi.caller import CONNECTIONS, Caller, CallFailed, caller_session
from roamd.backend.ocpi.cards import ask_card
from roamd.backend.ocpi.cdrs import PostedCdrs
from roamd.backend.ocpi.credentials import Credentials
from roamd.backend.ocpi.envelope import Refusal
from roamd.backend.ocpi.face import Served
from roamd.backend.ocpi.offered import Offered, Snapshots
from roamd.backend.ocpi.partners import Partners
from roamd.backend.ocpi.plain.joining import Joined, Joining, our_credentials
from roamd.backend.ocpi.plain.sending import ObjectTeller, RecordSender
from roamd.backend.ocpi.plain.swapped import US, SwappedCore
from roamd.backend.ocpi.pull import Puller
from roamd.backend.ocpi.received import Received
from roamd.errors import Conflict, Fault, Malformed
from roamd.log import get_logger
from roamd.roaming import operations as op
from roamd.roaming.plainocpi.asked import DropPlainPartner, FreeLabel, KeepPlainPartner, ListPlainPartners
from roamd.roaming.ports import AuthorizeQuestion, NoAnswer, Question, Told
from roamd.storage.plainocpi import PlainPartner

log = get_logger(room="backend")

GOODBYE_S: Final = 5.0
SHOWN: Final = frozenset({"locations", "tariffs", "sessions", "cdrs", "tokens"})
"""The modules that a partner without roamd is offered."""


@dataclass(slots=True, eq=False)
class Route:
    """One of them. `api` is the API as it is for the parts that serve this partner (`swapped`)."""

    row: PlainPartner
    api: Api
    backends: Backends
    backend: Backend
    caller: Caller
    session: aiohttp.ClientSession
    served: Served
    teller: ObjectTeller
    puller: Puller
    tasks: list["asyncio.Task[None]"] = field(default_factory=list)

    def shown(self) -> dict[str, Any]:
        """How the way to it is."""
        kept = self.backend.registration
        if kept is None:
            return {"registered": False}
        endpoints = [f"{each.identifier} {each.role}" for each in kept.endpoints]
        return {"registered": True, "version": kept.version, "url": kept.their_url, "endpoints": endpoints}


@dataclass(frozen=True, slots=True)
class Added:
    """What `add` is asked for. `our_url` is the face's address as the partner reaches it, without /versions."""

    url: str
    token: str = field(repr=False)
    our_url: str = ""
    label: str | None = None
    private: bool = False


class Routes:
    """All of them. `run` keeps what serves them alive."""

    def __init__(self, api: Api, random: Callable[[int], bytes]) -> None:
        self._api = api
        self._random = random
        self._routes: dict[str, Route] = {}
        self._asking = Asking(CONNECTIONS)
        self._group: asyncio.TaskGroup | None = None
        self._ourselves = op.Partner(US, "roamd", (), (), "PAIRED", True, 0)
        self._turn = asyncio.Lock()
        self._loaded = asyncio.Event()

    async def load(self) -> None:
        """Read those that are stored; until then whoever presents a token waits."""
        rows: list[PlainPartner] = await self._api.core.ask(ListPlainPartners())
        if rows:
            await self._know_ourselves()
        self._routes = {row.peer: self._made(row) for row in rows}
        self._loaded.set()

    async def run(self) -> None:
        """Serve all of them, until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for route in self._routes.values():
                self._start(route)
            await asyncio.get_running_loop().create_future()

    async def aclose(self) -> None:
        """Give up what is open, and close the connections."""
        await self._asking.aclose()
        for route in self._routes.values():
            await route.session.close()

    def find(self, label: str) -> Route | None:
        """The one of that label."""
        return self._routes.get(label)

    async def identify(self, authorization: str | None) -> tuple[Presented, Served] | None:
        """Which of them presents this header; None when none does."""
        await self._loaded.wait()
        for route in list(self._routes.values()):
            with contextlib.suppress(Refusal):
                return await route.backends.identify(authorization), route.served
        return None

    # --- questions ---

    def takes(self, question: Question) -> bool:
        """Authorizations for one of them."""
        return isinstance(question, AuthorizeQuestion) and question.via is not None

    def take_question(self, question: Question, done: Told) -> None:
        """Ask the partner; `done` is called once, by the deadline."""
        route = self._routes.get(question.via or "") if isinstance(question, AuthorizeQuestion) else None
        if route is None or not isinstance(question, AuthorizeQuestion):
            done(NoAnswer("not registered", asked=False))
        elif not route.backend.endpoint("tokens", "SENDER"):
            done(NoAnswer("it offers no tokens", asked=False))
        else:
            to = route.row.parties[0]
            self._asking.begin(question, partial(ask_card, route.backend, route.caller, question, to), done)

    # --- adding and removing ---

    async def add(self, asked: Added) -> PlainPartner:
        """Register at a partner and begin to exchange with it. Malformed, Conflict or NotJoined."""
        _require_url("url", asked.url, asked.private)
        our_url = asked.our_url.rstrip("/").removesuffix("/versions")
        _require_url("our_url", our_url, asked.private)
        async with self._turn:
            await self._know_ourselves()
            now_ms = self._api.clock.now_ms()
            provisional = PlainPartner(f"joining-{self._random(8).hex()}", "", ("ZZZZZ",), (), asked.private, now_ms)
            route = self._made(provisional)
            self._routes[provisional.peer] = route  # the partner reads our versions while it answers
            try:
                return await self._joined(route, asked, our_url)
            finally:
                del self._routes[provisional.peer]
                await route.session.close()

    async def _joined(self, route: Route, asked: Added, our_url: str) -> PlainPartner:
        joining = Joining(route.caller, asked.url, asked.token, our_url)
        token, route.backend.registration = await joining.begin(self._random(64))
        us = self._ourselves
        joined = await joining.finish(our_credentials(token, our_url, us.name, us.parties, us.roles))
        try:
            row = await self._kept(joined, asked)
        except BaseException:
            await self._goodbye(route, joined)
            raise
        made = self._made(row)
        registration = msgspec.structs.replace(joined.registration, used_ms=None)
        await made.backends.load()
        await made.backends.keep(made.backend, registration)
        self._routes[row.peer] = made
        self._start(made)
        log.info("route_joined", peer=row.peer, version=registration.version)
        return row

    async def _kept(self, joined: Joined, asked: Added) -> PlainPartner:
        if set(joined.parties) & self._api.own_parties:
            raise Conflict("Its credentials name a party of our own.", code="own-party")
        taken = {party for route in self._routes.values() for party in route.row.parties}
        if set(joined.parties) & taken:
            raise Conflict("One of its parties is a partner's already; remove that first.", code="party-taken")
        label: str = await self._api.core.ask(FreeLabel(joined.name, asked.label))
        row = PlainPartner(label, joined.name, joined.parties, joined.roles, asked.private, self._api.clock.now_ms())
        await self._api.core.ask(KeepPlainPartner(row))
        return row

    async def remove(self, label: str, *, park: bool) -> None:
        """End it here, and tell the partner. Forbidden while records wait, unless they may be parked."""
        async with self._turn:
            route = self._routes[label]
            await self._api.core.ask(DropPlainPartner(label, park))
            del self._routes[label]
            for task in route.tasks:
                task.cancel()
            kept = route.backend.registration
            if kept is not None:
                await self._goodbye(route, Joined(kept, "", (), ()))
            await route.session.close()

    async def _goodbye(self, route: Route, joined: Joined) -> None:
        """DELETE our credentials at the partner; one that cannot be reached is left to find out."""
        route.backend.registration = joined.registration
        backend = route.backend
        endpoint = backend.whole_endpoint("credentials", "SENDER") or backend.whole_endpoint("credentials", "RECEIVER")
        try:
            if endpoint is not None:
                await route.caller.call("DELETE", endpoint, timeout_s=GOODBYE_S)
        except CallFailed as error:
            log.warning("route_not_told", peer=route.row.peer, why=str(error))

    # --- making ---

    async def _know_ourselves(self) -> None:
        status: Mapping[str, Any] = await self._api.core.ask(op.Operate("status", {}))
        self._ourselves = op.Partner(
            US, str(status["name"]), tuple(sorted(self._api.own_parties)), tuple(status["roles"]), "PAIRED", True, 0
        )

    def _made(self, row: PlainPartner) -> Route:
        core = SwappedCore(self._api.core, row.peer, lambda: self._ourselves)
        api = dataclasses.replace(self._api, core=core, own_parties=frozenset(row.parties))
        secret = self._random(32).hex()  # there is no first token: the partner gave one to us
        settings = OcpiSettings(f"@{row.peer}", secret, private=row.private, company=self._ourselves.name)
        backends = Backends(core, api.clock, [settings], api.events.arrived)
        (backend,) = backends
        session = caller_session(row.private)
        caller = Caller(backend, session, self._random)
        partners = Partners(api)
        offered = Offered(api, partners, Snapshots(api.clock.monotonic))
        credentials = Credentials(api, backends, partners, {settings.name: caller}, self._random, is_hub=False)
        served = Served(api, credentials.handle, _modules(api, partners, offered), backend, SHOWN)
        teller = ObjectTeller(
            api, backends, backend, caller, partners, offered, self._random, core=self._api.core, label=row.peer
        )
        puller = Puller(api, backends, backend, caller, Received(api), self._random)
        return Route(row, api, backends, backend, caller, session, served, teller, puller)

    def _start(self, route: Route) -> None:
        assert self._group is not None  # noqa: S101 - nothing is added before `run`
        runners = (route.teller.run, RecordSender(route.teller).run, route.puller.run)
        route.tasks = [self._group.create_task(run()) for run in runners]


def _modules(api: Api, partners: Partners, offered: Offered) -> dict[tuple[str, str], Callable[[Asked], Any]]:
    received, cdrs = Received(api), PostedCdrs(api)
    return {
        **{("cpo", module): offered.handle for module in ("locations", "tariffs", "sessions", "cdrs")},
        ("cpo", "tokens"): received.handle,
        **{("emsp", module): received.handle for module in ("locations", "tariffs", "sessions")},
        ("emsp", "cdrs"): cdrs.handle,
        ("emsp", "tokens"): TokensAndAuthorize(api, partners, offered).handle,
    }


def _require_url(name: str, url: str, private: bool) -> None:
    parts = urlsplit(url) if url.isprintable() else None
    schemes = ("https", "http") if private else ("https",)
    if parts is None or parts.scheme not in schemes or not parts.hostname or parts.username:
        wanted = " or ".join(f"{scheme}://" for scheme in schemes)
        raise Malformed((Fault(f"$.{name}", f"must be an address that begins with {wanted}", "bad-url"),))
