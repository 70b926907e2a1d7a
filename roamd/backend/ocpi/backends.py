"""Who may talk to the face: the configured backends, their registrations, and the life of their tokens.

A backend has a *first* token (OCPI's token A), which its operator entered there and which stands in our configuration.
With it the backend registers and is given a token of its own (C). We keep only hashes of our tokens.

Which tokens are open, so that no crash and no lost answer locks anybody out:

- The newest token always.
- The one before it until the newest was used, and a minute longer: requests may be under way.
- The first token for versions and credentials: while the backend is not registered, and while it is but its token
  was never used (its answer may have been lost: it may register again). A first token that has been changed in the
  configuration since is open too: that is how an operator lets in a backend whose tokens are lost.
- With `handshake = false` the first token opens everything.
"""

import asyncio
import hashlib
import hmac
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Literal
from urllib.parse import urlsplit, urlunsplit

import msgspec

from roamd.backend.context import CoreLink
from roamd.backend.ocpi.envelope import Refusal, encode
from roamd.clock import Clock
from roamd.log import get_logger
from roamd.model.keys import ObjectKey
from roamd.roaming.operations import KeepQuirk, KeepRegistration, ListQuirks, ListRegistrations

log = get_logger(room="backend")

OVERLAP_MS: Final = 60_000
MAX_KNOWN: Final = 64

Kind = Literal["first", "own", "open"]
"""Which token was presented: the first one, its own, or a first one that opens everything."""


@dataclass(frozen=True, slots=True)
class OcpiSettings:
    """One `[[ocpi]]` of the configuration, with the company's name and roles."""

    name: str
    token: str = field(repr=False)
    url: str = ""
    base_url: str = ""
    handshake: bool = True
    private: bool = True
    strict: bool = False
    nulls: str = "keep"
    company: str = "roamd"
    uid_byte_order: str = "as-is"

    @property
    def first(self) -> str:
        """The first token's hash."""
        return token_hash(self.token)


class Endpoint(msgspec.Struct, frozen=True):
    """Where the backend serves a module."""

    identifier: str
    role: str
    url: str


class Registration(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is kept of a backend. `token` and `previous` are hashes; `their_token` must be sent and is not.

    `base` is the face's address as the backend called it when it registered.
    """

    first: str
    token: str
    form: str
    their_token: str
    their_url: str
    version: str
    endpoints: tuple[Endpoint, ...]
    roles: tuple[dict[str, Any], ...] = ()
    previous: str | None = None
    used_ms: int | None = None
    swept: bool = False
    base: str = ""

    def __repr__(self) -> str:
        return f"Registration({self.version} {self.their_url})"


@dataclass(frozen=True, slots=True)
class Held:
    """Own objects that a list of the backend no longer names, and that stay until it is confirmed (`vanished`)."""

    keys: tuple[ObjectKey, ...] = field(repr=False)
    total: int
    generation: int


@dataclass(slots=True, eq=False)
class Backend:
    """A configured backend. `lock` is held through each handshake; `changed` is set whenever anything is kept of it.

    `renewed` is set when it registers, anew or for the first time since the start.
    """

    settings: OcpiSettings
    registration: Registration | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    renewed: asyncio.Event = field(default_factory=asyncio.Event)
    losses: Counter[tuple[str, str]] = field(default_factory=Counter)
    """What conversions for it could not say since the start: by module and rule."""
    quirks: dict[str, int] = field(default_factory=dict)
    """The ways in which it was met to differ from OCPI's text, and when each was first met, in ms."""
    on_quirk: Callable[[str], None] = lambda quirk: None
    """Called with each quirk that is new."""
    held: dict[str, Held] = field(default_factory=dict)
    """What is not removed yet, by module."""
    refused: str = ""
    """Why its last try to register failed; empty after one that succeeded."""

    def met(self, quirk: str) -> None:
        """Note a quirk (one of `quirks.QUIRKS`), once."""
        if quirk not in self.quirks:
            self.on_quirk(quirk)

    def endpoint(self, identifier: str, role: str) -> str | None:
        """Where it serves a module in a role, to put more behind it; the wrong host is put right."""
        whole = self.whole_endpoint(identifier, role)
        return None if whole is None else whole.rstrip("/")

    def whole_endpoint(self, identifier: str, role: str) -> str | None:
        """The same just as it names it, closing slash and all: for lists, and for what is posted."""
        for each in self.registration.endpoints if self.registration else ():
            if each.identifier.lower() == identifier and each.role.upper() == role:
                return self.reach(each.url)
        return None

    @property
    def base(self) -> str:
        """The face's own address as this backend reaches it; empty when that is not known."""
        return self.settings.url or (self.registration.base if self.registration else "")

    def hosts(self) -> frozenset[str]:
        """The hosts that it registered, in lower case."""
        kept = self.registration
        urls = [kept.their_url, *(each.url for each in kept.endpoints)] if kept is not None else []
        return frozenset(host for url in urls if (host := host_of(url)) is not None)

    def reach(self, url: str) -> str:
        """The address with the configured scheme and host in place of its own."""
        if not self.settings.base_url:
            return url
        base, parts = urlsplit(self.settings.base_url), urlsplit(url)
        if (base.scheme, base.netloc) != (parts.scheme, parts.netloc):
            self.met("wrong-host")
        return urlunsplit((base.scheme, base.netloc, parts.path, parts.query, ""))


@dataclass(frozen=True, slots=True)
class Presented:
    """Who calls, with which token, and in which form it came."""

    backend: Backend
    kind: Kind
    token: str = field(repr=False)
    form: str


class Backends:
    """All configured backends."""

    def __init__(
        self, core: CoreLink, clock: Clock, settings: Iterable[OcpiSettings], wake: Callable[[], None]
    ) -> None:
        """`wake` is called after each change, so that whoever waits looks again."""
        self._wake = wake
        self._core = core
        self._clock = clock
        self._all = [Backend(each) for each in settings]
        for backend in self._all:
            backend.on_quirk = partial(self._learn, backend)
        self._known: dict[str, tuple[Registration, Presented]] = {}
        self._loading: asyncio.Future[None] | None = None

    def __iter__(self) -> Iterator[Backend]:
        return iter(self._all)

    async def load(self) -> None:
        """Read the registrations, once."""
        if self._loading is None:
            self._loading = asyncio.ensure_future(self._load())
        try:
            await asyncio.shield(self._loading)
        except BaseException:
            self._loading = None
            raise

    async def _load(self) -> None:
        kept: dict[str, bytes] = await self._core.ask(ListRegistrations())
        learned: list[tuple[str, str, int]] = await self._core.ask(ListQuirks())
        for backend in self._all:
            backend.quirks |= {quirk: at_ms for name, quirk, at_ms in learned if name == backend.settings.name}
            if backend.settings.name in kept:
                backend.registration = msgspec.json.decode(kept[backend.settings.name], type=Registration)
                backend.changed.set()
                backend.renewed.set()

    async def keep(self, backend: Backend, registration: Registration | None) -> None:
        """Commit a registration, or that there is none; only then is it in force."""
        text = None if registration is None else encode(registration)
        await self._core.ask(KeepRegistration(backend.settings.name, text))
        before, backend.registration = backend.registration, registration
        backend.changed.set()
        if registration is not None and (before is None or before.token != registration.token):
            backend.renewed.set()
        self._wake()

    def _learn(self, backend: Backend, quirk: str) -> None:
        backend.quirks[quirk] = self._clock.now_ms()
        log.info("ocpi_quirk_met", backend=backend.settings.name, quirk=quirk)
        self._core.tell(KeepQuirk(backend.settings.name, quirk), lambda _reply: None)

    async def identify(self, authorization: str | None) -> Presented:
        """Who presents this header; Refusal (401) when nobody does."""
        known = self._known.get(authorization or "")
        if known is not None and known[0] is known[1].backend.registration:
            return known[1]
        await self.load()
        if authorization is None:
            raise _unauthorized("The Authorization header is missing; send `Token` and the credentials token.")
        for token, form in candidates(authorization):
            hashed = token_hash(token)
            for backend in self._all:
                kind = self._kind(backend, hashed)
                if kind is not None:
                    await self._note_use(backend, hashed)
                    presented = Presented(backend, kind, token, form)
                    self._remember(authorization, presented, hashed)
                    return presented
        raise _unauthorized("The credentials token is not known here.")

    def _remember(self, authorization: str, presented: Presented, hashed: str) -> None:
        """A newest token that was used is good until anything is kept of its backend: it is not looked up again.

        Looking a header up in a dict tells nothing by its time: where it is looked for is drawn from a random hash.
        """
        kept = presented.backend.registration
        if kept is not None and kept.used_ms is not None and _same(hashed, kept.token):
            self._known = {**self._known, authorization: (kept, presented)} if len(self._known) < MAX_KNOWN else {}

    def _kind(self, backend: Backend, hashed: str) -> Kind | None:
        kept = backend.registration
        is_first = _same(hashed, backend.settings.first)
        if is_first and not backend.settings.handshake:
            return "open"
        if kept is not None and _same(hashed, kept.token):
            return "own"
        if kept is not None and kept.previous is not None and _same(hashed, kept.previous) and self._overlaps(kept):
            return "own"
        return "first" if is_first and _first_is_open(backend) else None

    def _overlaps(self, kept: Registration) -> bool:
        return kept.used_ms is None or self._clock.now_ms() - kept.used_ms < OVERLAP_MS

    async def _note_use(self, backend: Backend, hashed: str) -> None:
        kept = backend.registration
        if kept is not None and kept.used_ms is None and _same(hashed, kept.token):
            await self.keep(backend, msgspec.structs.replace(kept, used_ms=self._clock.now_ms()))


def host_of(url: str) -> str | None:
    """The host of an http address, in lower case; None for what is none, or carries a password."""
    try:
        parts = urlsplit(url)
        return parts.hostname if parts.scheme.lower() in ("http", "https") and not parts.username else None
    except ValueError:
        return None


def _first_is_open(backend: Backend) -> bool:
    kept = backend.registration
    if kept is None or kept.first != backend.settings.first:
        return True
    return kept.used_ms is None and kept.previous is None


def candidates(authorization: str) -> list[tuple[str, str]]:
    """The tokens that a header may mean, each with its form: as OCPI says in base64, or raw as many send it."""
    scheme, _, value = authorization.strip().partition(" ")
    value = value.strip()
    if scheme.lower() != "token" or not value:
        return []
    decoded = _decoded(value)
    found = [(decoded, "base64")] if decoded else []
    return [*found, (value, "raw")]


def _decoded(value: str) -> str | None:
    try:
        text = b64decode(value.encode("ascii") + b"=" * (-len(value) % 4), validate=True).decode("ascii").strip()
    except ValueError:
        return None
    return text if text.isprintable() else None


def header_of(token: str, form: str) -> str:
    """The header that presents a token."""
    return "Token " + (b64encode(token.encode()).decode() if form == "base64" else token)


def token_hash(token: str) -> str:
    """What is kept of a token that we gave out."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one, other)


def _unauthorized(message: str) -> Refusal:
    return Refusal(401, 2001, message)
