"""The inviting end: the pairing port, open only while an invitation is.

Whoever reaches the port may speak before anything is known of him, so everything is bounded: connections at a time (see
`doorway`), the time for each, document sizes, and tries per address. Only a try that names an open invitation counts,
so a scanner behind the same address cannot lock a partner out. The pairing is committed by `Invitations.complete`
before the joiner hears of it; a crash in between costs nothing, because the same joiner may complete again.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final, Protocol

import trio

from roamd import metrics
from roamd.clock import Clock
from roamd.errors import NotTrusted, OperatorError, PeerError, RequestError, StoreError
from roamd.log import get_logger
from roamd.peering.doorway import Doorway, GuardedListener, source_of
from roamd.peering.pairing_stream import DocumentStream
from roamd.peering.tls import TlsStream
from roamd.trust.contexts import Contexts
from roamd.trust.pairing import Claim, Inviter, Joined
from roamd.trust.words import six_words

_log = get_logger()

PLACES: Final = 16
"""An invitation has one guest, and so many do not make him wait; the link port must not feel this one."""

HANDSHAKE_S: Final = 8.0
"""Shorter than the joiner's patience, so that the joiner hears why."""

TRIES_PER_MINUTE: Final = 10
MAX_REMEMBERED: Final = 1024
"""Addresses whose tries are remembered. The limit saves work; what keeps guessers out is the 128-bit secret."""

_WINDOW_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class OpenInvitation:
    """What the server must know of an invitation; `used_by` is the endpoint id that it already brought in."""

    id: bytes
    secret: bytes = field(repr=False)
    expires_ms: int
    used_by: str | None = None


class Invitations(Protocol):
    """Where invitations are kept. None of it need be fast."""

    async def find(self, invitation_id: bytes) -> OpenInvitation | None:
        """The invitation of that id, also when it is used or has expired, as long as it is known."""
        ...

    async def record_try(self, invitation_id: bytes) -> None:
        """Note, for the operator to see, that someone named this invitation."""
        ...

    async def complete(self, invitation_id: bytes, joined: Joined, words: tuple[str, ...]) -> bool:
        """Commit the pairing and return whether it is confirmed.

        The implementer promises that it is on disk on return; that the same joiner may complete any number of times
        and gets the present state without a second effect; and that any other joiner than the first gets Conflict.
        """
        ...


Listen = Callable[[int, str], Awaitable[list[trio.SocketListener]]]


async def _listen(port: int, host: str) -> list[trio.SocketListener]:
    return await trio.open_tcp_listeners(port, host=host)


class PairingServer:
    """`run` is the task that owns the connections; `set_open` opens and closes the port."""

    def __init__(
        self,
        host: str,
        port: int,
        contexts: Contexts,
        descriptor: Callable[[], bytes],
        invitations: Invitations,
        *,
        clock: Clock,
        random: Callable[[int], bytes],
        listen: Listen = _listen,
    ) -> None:
        self.port = port
        self._host = host
        self._contexts = contexts
        self._descriptor = descriptor
        self._invitations = invitations
        self._clock = clock
        self._random = random
        self._listen = listen
        self._tries = _Tries()
        self._doorway = Doorway(PLACES)
        self._nursery: trio.Nursery | None = None
        self._port_open: _OpenPort | None = None
        self._changing = trio.Lock()

    @property
    def is_open(self) -> bool:
        return self._port_open is not None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; the port stays closed until `set_open(True)`."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            await trio.sleep_forever()

    async def set_open(self, wanted: bool) -> None:
        """Open or close the port; to be called while `run` runs. Raises OperatorError when it cannot be opened.

        Closing lets handshakes that are under way come to their end.
        """
        async with self._changing:
            if wanted and not self._port_open:
                if self._nursery is None:
                    raise RuntimeError("set_open before run")
                self._port_open = await self._nursery.start(self._accept)
            elif not wanted and self._port_open:
                self._port_open.scope.cancel()
                await self._port_open.closed.wait()
                self._port_open = None

    async def _accept(self, task_status: trio.TaskStatus["_OpenPort"]) -> None:
        try:
            listeners = await self._listen(self.port, self._host)
        except OSError as error:
            raise OperatorError(
                f"The pairing port {self._host}:{self.port} cannot be opened: {error.strerror or error}. "
                "See `pairing.listen` in roamd.toml."
            ) from error
        self.port = listeners[0].socket.getsockname()[1]
        port = _OpenPort()
        try:
            with port.scope:
                task_status.started(port)
                doors = [GuardedListener(listener, self._doorway) for listener in listeners]
                await trio.serve_listeners(self._serve, doors, handler_nursery=self._nursery)
        finally:
            port.closed.set()

    async def _serve(self, stream: trio.SocketStream) -> None:
        """One connection; whatever a stranger does ends here, in one line of the log."""
        address = source_of(stream)
        visitor = self._doorway.enter(stream)
        if visitor is None:
            _log.warning("pairing_port_busy", address=address)
            await trio.aclose_forcefully(stream)
            return
        with self._refusals_logged(address), visitor, trio.fail_after(HANDSHAKE_S):
            await self._handshake(visitor, address)
        if visitor.made_room:
            metrics.pairings.labels("broken-off").inc()
            _log.info("pairing_broken_off", address=address)
        await trio.aclose_forcefully(stream)

    async def visit(self, stream: trio.abc.HalfCloseableStream, source: str) -> None:
        """One connection that comes another way than through the port; it is closed."""
        with self._refusals_logged(source), trio.fail_after(HANDSHAKE_S):
            await self._handshake(stream, source)
        await trio.aclose_forcefully(stream)

    @contextmanager
    def _refusals_logged(self, address: str) -> Iterator[None]:
        try:
            yield
        except NotTrusted as error:
            metrics.pairings.labels("refused").inc()
            _log.warning("pairing_refused", address=address, reason=error.reason, detail=str(error))
        except PeerError as error:
            metrics.pairings.labels("refused").inc()
            _log.warning("pairing_refused", address=address, reason="tls", detail=str(error))
        except (trio.TooSlowError, trio.BrokenResourceError, trio.ClosedResourceError):
            _log.info("pairing_broken_off", address=address)
        except Exception:  # the edge to strangers: a fault of ours must not end the daemon  # noqa: BLE001
            metrics.pairings.labels("failed").inc()
            _log.exception("pairing_failed", address=address)

    async def _handshake(self, stream: trio.abc.HalfCloseableStream, address: str) -> None:
        async with aclosing(TlsStream.accept_pairing(stream, self._contexts)) as tls:
            await tls.handshake()
            identity = self._contexts.identity
            inviter = Inviter(identity, tls.own_leaf_sha256, self._descriptor(), self._random)
            documents = DocumentStream(tls)
            try:
                await self._pair(documents, inviter, address)
            except NotTrusted as error:
                with suppress(trio.BrokenResourceError):
                    await documents.send(inviter.refusal(error.reason))
                raise

    async def _pair(self, documents: DocumentStream, inviter: Inviter, address: str) -> None:
        await documents.send(inviter.greeting())
        claim = inviter.read_claim(await documents.receive())
        invitation = await self._admit(claim, address)
        await documents.send(inviter.prove(claim, invitation.secret))
        joined = inviter.read_handover(claim, await documents.receive())
        confirmed = await self._commit(invitation, joined)
        metrics.pairings.labels("completed").inc()
        _log.info("pairing_completed", address=address, endpoint_id=claim.endpoint_id, confirmed=confirmed)
        await documents.send(inviter.outcome(confirmed=confirmed))

    async def _admit(self, claim: Claim, address: str) -> OpenInvitation:
        invitation = await self._invitations.find(claim.invitation_id)
        if invitation is None:
            raise NotTrusted("unknown-invitation", "The joiner names no invitation of ours.")
        if not self._tries.admit(address, self._clock.monotonic()):
            raise NotTrusted("slow-down", "Too many tries from this address.")
        await self._invitations.record_try(invitation.id)
        if self._clock.now_ms() >= invitation.expires_ms:
            raise NotTrusted("expired", "The joiner names an invitation that has expired.")
        return invitation

    async def _commit(self, invitation: OpenInvitation, joined: Joined) -> bool:
        joiner_id = joined.descriptor.endpoint_id
        if invitation.used_by not in (None, joiner_id):
            raise NotTrusted("used", "The joiner names an invitation that another has used.")
        own_id = self._contexts.identity.endpoint_id
        words = await trio.to_thread.run_sync(six_words, invitation.secret, invitation.id, own_id, joiner_id)
        try:
            return await self._invitations.complete(invitation.id, joined, words)
        except RequestError as error:
            raise NotTrusted("used", f"The pairing cannot be kept: {error}") from error
        except StoreError as error:
            raise NotTrusted("failed", f"The pairing cannot be kept: {error}") from error


@dataclass(frozen=True, slots=True)
class _OpenPort:
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    closed: trio.Event = field(default_factory=trio.Event)


class _Tries:
    """At most so many tries a minute per address; the oldest address is forgotten when there are too many."""

    def __init__(self) -> None:
        self._at: dict[str, list[float]] = {}

    def admit(self, address: str, now: float) -> bool:
        recent = [at for at in self._at.pop(address, []) if now - at < _WINDOW_S]
        admitted = len(recent) < TRIES_PER_MINUTE
        self._at[address] = [*recent, now] if admitted else recent
        if len(self._at) > MAX_REMEMBERED:
            del self._at[next(iter(self._at))]
        return admitted
