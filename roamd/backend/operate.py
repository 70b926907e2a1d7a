"""What the operator asks, by the CLI or by curl. Each is one `Operate` to the core."""

import asyncio
import os
import re
from typing import Any, Final

import msgspec
from aiohttp import WSCloseCode, web

from roamd.backend.context import Api
from roamd.backend.ocpi.plain.book import Added, Routes
from roamd.backend.requests import decode_or_default, decode_strictly, peer_in_path, peer_parameter, value_answer
from roamd.backend.routes import IDEMPOTENCY_KEY, PEER, Answer, Body, Handler, Route
from roamd.backend.stream import Streams
from roamd.errors import Fault, Malformed, StoreError
from roamd.roaming.operations import Operate, VerifyLedgers

LABEL: Final = re.compile("[a-z0-9-]{1,40}")
MAX_INVITATION_HOURS: Final = 24 * 30


class InviteIn(msgspec.Struct, frozen=True):
    """`auto`: the joiner needs no confirmation. `hours`: how long the line is good. `via`: a clearing house's label."""

    auto: bool = False
    hours: float = 24.0
    via: str | None = None


class PairIn(msgspec.Struct, frozen=True):
    """The partner's line; the peer's label is made from its name when none is given."""

    line: str
    label: str | None = None


class BackupIn(msgspec.Struct, frozen=True):
    """Where the copy goes, as the daemon sees the disk."""

    path: str


class RemoveIn(msgspec.Struct, frozen=True):
    """`park`: set queued records aside instead of refusing."""

    park: bool = False


class AddOcpiIn(msgspec.Struct, frozen=True):
    """The partner's versions address, the token that it gave, and the face's address as it reaches that.

    `private` lets the addresses be private ones, and without TLS.
    """

    url: str
    token: str
    our_url: str
    label: str | None = None
    private: bool = False


class FieldsIn(msgspec.Struct, frozen=True):
    """`withhold`: the fields of this feed's objects that the peer is not sent; all others are."""

    feed: str
    withhold: tuple[str, ...] = ()


class RoutesIn(msgspec.Struct, frozen=True):
    """By function, the ways in which a peer is reached, the best first; a function that is left out stays as it is."""

    calls: tuple[str, ...] | None = None
    ledger: tuple[str, ...] | None = None
    feeds: tuple[str, ...] | None = None


class KeyedIn(msgspec.Struct, frozen=True):
    """`keyed`: the peer is sent our user credentials under hashes of its own."""

    keyed: bool


class PseudonymsIn(msgspec.Struct, frozen=True):
    """`pseudonyms`: the peer is told our contracts by names of its own."""

    pseudonyms: bool


class IntroduceIn(msgspec.Struct, frozen=True):
    """`introduce`: this peer and the others that have it are told of each other, as far as they allow it."""

    introduce: bool


class _NothingIn(msgspec.Struct, frozen=True):
    pass


_ASKED_OF_PEERS: Final = {
    "confirm": "Confirm a pairing, after both sides compared the six words.",
    "suspend": "Close the link and keep it closed until resumed.",
    "resume": "End a suspension.",
    "retry": "Dial the peer now.",
}


class Operating:
    """The handlers and their routes."""

    def __init__(self, api: Api, streams: Streams) -> None:
        self._api = api
        self._streams = streams
        self._closing: set[asyncio.Task[None]] = set()

    async def _operate(self, name: str, status: int = 200, **arguments: Any) -> web.Response:
        return value_answer(await self._api.core.ask(Operate(name, arguments)), status)

    def _plain(self, name: str) -> Handler:
        """A request that carries nothing."""

        async def handle(request: web.Request) -> web.Response:
            return await self._operate(name)

        return handle

    def _of_peer(self, name: str) -> Handler:
        """A request about one peer that carries nothing else."""

        async def handle(request: web.Request) -> web.Response:
            return await self._operate(name, peer=peer_in_path(request))

        return handle

    async def remove(self, request: web.Request) -> web.Response:
        """End the relation; refused while records are queued unless they may be parked."""
        asked = await decode_or_default(request, RemoveIn)
        label, routes = peer_in_path(request), self._routes
        if routes.find(label) is not None:
            shown: dict[str, Any] = await self._api.core.ask(Operate("peer", {"peer": label}))
            await routes.remove(label, park=asked.park)
            return value_answer({**shown, "state": "REMOVED", "link": "DOWN"})
        return await self._operate("peers.remove", peer=peer_in_path(request), park=asked.park)

    @property
    def _routes(self) -> Routes:
        assert isinstance(self._api.routes, Routes)  # noqa: S101 - it is made with the API
        return self._api.routes

    async def add_ocpi(self, request: web.Request) -> web.Response:
        """Register at a partner that speaks plain OCPI."""
        asked = decode_strictly(await request.read(), AddOcpiIn)
        if asked.label is not None and not LABEL.fullmatch(asked.label):
            raise Malformed((Fault("$.label", "expected up to 40 of a-z, 0-9 and -", "bad-label"),))
        row = await self._routes.add(Added(asked.url, asked.token, asked.our_url, asked.label, asked.private))
        return await self._operate("peer", 201, peer=row.peer)

    async def one(self, request: web.Request) -> web.Response:
        """One peer; of one that speaks plain OCPI also how the way to it is."""
        label = peer_in_path(request)
        shown: dict[str, Any] = await self._api.core.ask(Operate("peer", {"peer": label}))
        route = self._routes.find(label)
        return value_answer(shown if route is None else {**shown, "ocpi": route.shown()})

    async def fields(self, request: web.Request) -> web.Response:
        """Say which fields of what we publish a peer is not sent."""
        asked = decode_strictly(await request.read(), FieldsIn)
        peer = peer_in_path(request)
        return await self._operate("peers.fields", peer=peer, feed=asked.feed, withhold=list(asked.withhold))

    async def routes_of(self, request: web.Request) -> web.Response:
        """Say by which ways a peer is reached."""
        asked = msgspec.structs.asdict(decode_strictly(await request.read(), RoutesIn))
        routes = {function: list(wanted) for function, wanted in asked.items() if wanted is not None}
        return await self._operate("peers.routes", peer=peer_in_path(request), routes=routes)

    async def keyed(self, request: web.Request) -> web.Response:
        """Say whether a peer is sent hashes in place of our credentials' numbers."""
        asked = decode_strictly(await request.read(), KeyedIn)
        return await self._operate("peers.keyed", peer=peer_in_path(request), keyed=asked.keyed)

    async def pseudonyms(self, request: web.Request) -> web.Response:
        """Say whether a peer is told our contracts by names of its own."""
        asked = decode_strictly(await request.read(), PseudonymsIn)
        return await self._operate("peers.pseudonyms", peer=peer_in_path(request), pseudonyms=asked.pseudonyms)

    async def introduce(self, request: web.Request) -> web.Response:
        """Say whether a peer takes part in introductions."""
        asked = decode_strictly(await request.read(), IntroduceIn)
        return await self._operate("peers.introduce", peer=peer_in_path(request), introduce=asked.introduce)

    async def invite(self, request: web.Request) -> web.Response:
        """Make an invitation line."""
        asked = await decode_or_default(request, InviteIn)
        hours = min(max(asked.hours, 0.0), MAX_INVITATION_HOURS)
        via = {} if asked.via is None else {"via": asked.via}
        return await self._operate("invite", 201, auto=asked.auto, hours=hours, **via)

    async def pair(self, request: web.Request) -> web.Response:
        """Follow a partner's invitation line."""
        asked = decode_strictly(await request.read(), PairIn)
        return await self._operate("pair", line=asked.line, label=asked.label)

    async def backup(self, request: web.Request) -> web.Response:
        """Copy the store while it works."""
        return await self._operate("backup", path=decode_strictly(await request.read(), BackupIn).path)

    async def verify(self, request: web.Request) -> web.Response:
        """Walk the chains."""
        return value_answer(await self._api.core.ask(VerifyLedgers(peer_parameter(request))))

    async def chains(self, request: web.Request) -> web.Response:
        """The chains' outlines."""
        return await self._operate("ledger.chains", peer=peer_parameter(request))

    async def rotate(self, request: web.Request) -> web.Response:
        """A new API key; the old one ends at once."""
        try:
            key = await asyncio.to_thread(self._api.keys.rotate, os.urandom)
        except OSError as error:
            raise StoreError(f"The key file cannot be written ({error.strerror}); the old key stays.") from error
        self._end_sessions()
        return value_answer({"api_key": key})

    def _end_sessions(self) -> None:
        """What was opened with the old key ends; not awaited, for a client may be slow to close."""
        self._api.events.end_sessions()
        closing = self._streams.close_all(WSCloseCode.POLICY_VIOLATION, b"the key was rotated")
        task = asyncio.get_running_loop().create_task(closing)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def routes(self) -> list[Route]:
        """The table's rows."""
        return [*self._peer_routes(), *self._pairing_routes(), *self._daemon_routes()]

    def _peer_routes(self) -> list[Route]:
        tag, one, answer = "peers", {"peer": "xyz"}, (Answer(200, "The peer.", "Peer"),)
        path = "/v1/peers/{peer}"
        return [
            Route("GET", "/v1/peers", self._plain("peers"), tag, "All peers.", (Answer(200, "All.", "PeerPage"),)),
            Route("POST", "/v1/peers", self.add_ocpi, tag,
                  "Register at a partner that does not run roamd and speaks plain OCPI.",
                  (Answer(201, "The partner.", "Peer"),), Body("AddOcpi", {
                      "url": "https://ocpi.xyz.example/versions", "token": "the token that it gave",
                      "our_url": "https://roamd.abc.example/ocpi"})),
            Route("GET", path, self.one, tag, "One peer.", answer, example=one),
            *(
                Route("POST", f"{path}/{word}", self._of_peer(f"peers.{word}"), tag, text, answer,
                      parameters=(IDEMPOTENCY_KEY,), example=one, remembered=True)
                for word, text in _ASKED_OF_PEERS.items()
            ),
            Route("POST", f"{path}/remove", self.remove, tag, "End the relation with a peer.", answer,
                  Body("Remove", {"park": True}, required=False), (IDEMPOTENCY_KEY,), one, remembered=True),
            Route("POST", f"{path}/introduce", self.introduce, tag,
                  "Say whether this peer and others with this are told of each other; it shows who our partners are.",
                  answer, Body("Introduce", {"introduce": True}), (IDEMPOTENCY_KEY,), one, remembered=True),
            Route("POST", f"{path}/fields", self.fields, tag, "Say which optional fields of a feed a peer is not sent.",
                  answer, Body("Fields", {"feed": "user-credentials", "withhold": ["visual_number"]}),
                  (IDEMPOTENCY_KEY,), one, remembered=True),
            Route("POST", f"{path}/routes", self.routes_of, tag,
                  "Say by which ways a peer is reached, per function: direct, or through a clearing house.",
                  answer, Body("Routes", {"calls": ["direct", "hub"], "ledger": ["hub"]}),
                  (IDEMPOTENCY_KEY,), one, remembered=True),
            Route("POST", f"{path}/keyed", self.keyed, tag,
                  "Say whether a peer is sent hashes in place of our credentials' numbers.",
                  answer, Body("KeyedList", {"keyed": True}), (IDEMPOTENCY_KEY,), one, remembered=True),
            Route("POST", f"{path}/pseudonyms", self.pseudonyms, tag,
                  "Say whether a peer is told our contracts by names of its own.",
                  answer, Body("Pseudonyms", {"pseudonyms": True}), (IDEMPOTENCY_KEY,), one, remembered=True),
        ]  # fmt: skip

    def _pairing_routes(self) -> list[Route]:
        tag = "pairing"
        return [
            Route("GET", "/v1/candidates", self._plain("candidates"), tag, "Endpoints that are seen; none is trusted.",
                  (Answer(200, "All, with who vouches for whom.", "CandidatePage"),)),
            Route("POST", "/v1/invites", self.invite, tag, "Make an invitation: one line for the partner.",
                  (Answer(201, "The line, and when it ends.", "Invitation"),),
                  Body("Invite", {"auto": False, "hours": 24, "via": None}, required=False), (IDEMPOTENCY_KEY,),
                  remembered=True),
            Route("GET", "/v1/invites", self._plain("invites"), tag, "Invitations, without their lines.",
                  (Answer(200, "All.", "InvitationPage"),)),
            Route("POST", "/v1/pairings", self.pair, tag, "Follow a partner's invitation line.",
                  (Answer(200, "With the six words to compare.", "Pairing"),),
                  Body("Pair", {"line": "roamd-invite-1.X", "label": "xyz"}), (IDEMPOTENCY_KEY,), remembered=True),
            Route("GET", "/v1/pairings/{peer}", self._of_peer("pairing"), tag, "How far a pairing is.",
                  (Answer(200, "The pairing.", "Pairing"),), example={"peer": "xyz"}),
        ]  # fmt: skip

    def _daemon_routes(self) -> list[Route]:
        tag, report = "daemon", (Answer(200, "The report.", "Report"),)
        key = (IDEMPOTENCY_KEY,)
        return [
            Route("GET", "/v1/status", self._plain("status"), tag, "How the daemon is.", report),
            Route("GET", "/v1/identity", self._plain("identity"), tag, "Our keys, and who knows the next one.",
                  (Answer(200, "The keys.", "Identity"),)),
            Route("GET", "/v1/queue", self._plain("queue"), tag, "What waits, by peer.", report),
            Route("GET", "/v1/queue/shape", self._plain("queue.shape"), tag, "Ages and sizes of what waits.", report),
            Route("GET", "/v1/ledger/chains", self.chains, tag, "The ledgers' chains.", report, parameters=(PEER,)),
            Route("GET", "/v1/ledger/verify", self.verify, tag, "Check the ledgers' hashes and signatures.", report,
                  parameters=(PEER,)),
            Route("POST", "/v1/reload", self._plain("reload"), tag,
                  "Read the configuration; a faulty one changes nothing.", report, parameters=key, remembered=True),
            Route("POST", "/v1/backup", self.backup, tag, "Copy the store while it works.", report,
                  Body("Backup", {"path": "backup.db"}), key, remembered=True),
            Route("POST", "/v1/api-key/rotate", self.rotate, tag, "A new API key; the old one ends at once.",
                  (Answer(200, "The new key.", "ApiKey"),), parameters=key),
        ]  # fmt: skip
