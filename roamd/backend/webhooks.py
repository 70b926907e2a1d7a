"""Events pushed to the operator's own addresses, signed by the Standard Webhooks rules.

Each webhook has one task and a position in the events that the core keeps. The task reads what is new, sends all of it
that the webhook wants in one POST, and commits the new position only after a 2xx. A failed POST is repeated with the
same `webhook-id` and the same body, later and later, for as long as it takes: a webhook that is down delays itself and
nobody else. A crash between the POST and the commit repeats events; their `id` tells.

    POST url
    webhook-id: msg_..   webhook-timestamp: 1795348800   webhook-signature: v1,<base64 HMAC-SHA256>
    {"type": "events", "timestamp": "2026-11-22T12:00:00.000Z", "data": {"events": [{id, cursor, at, ...}, ...]}}

The signature is over `id.timestamp.body` under the secret's base64-decoded bytes (`whsec_` taken off).
"""

import asyncio
import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import aiohttp

from roamd import metrics
from roamd.backend.context import Api
from roamd.backend.guard import guarded_socket
from roamd.backend.requests import encode
from roamd.clock import Clock, rfc3339
from roamd.errors import ConfigError, RoamdError
from roamd.log import get_logger
from roamd.roaming.operations import Event, EventPage, ReadEvents, WebhookPosition

log = get_logger(room="backend")

PAGE: Final = 200
MAX_POST: Final = 1024 * 1024
"""Bytes of events in one POST, unless a single event is larger; receivers commonly refuse bodies of a few MB."""

TIMEOUT_S: Final = 15.0
FIRST_PAUSE_S: Final = 1.0
MAX_PAUSE_S: Final = 300.0
MAX_ANSWER: Final = 16 * 1024
IDLE_S: Final = 60.0
"""Look at least this often, should a wake-up ever be lost."""


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """One `[[webhooks]]` of the configuration. `events`: types that are wanted, none for all."""

    url: str
    secret: str
    events: tuple[str, ...] = ()
    allow_private: bool = False
    name: str = ""

    @property
    def known_as(self) -> str:
        """Under which its position is kept: its name, else a hash of its address."""
        return self.name or hashlib.sha256(self.url.encode()).hexdigest()[:16]


def secret_bytes(secret: str) -> bytes:
    """The signing key of `whsec_<base64>`. Raises ConfigError."""
    try:
        key = b64decode(secret.removeprefix("whsec_"), validate=True)
    except ValueError as error:
        raise ConfigError(["webhooks.secret: is not base64; it should read whsec_ and 32 to 88 characters"]) from error
    if not 24 <= len(key) <= 64:
        raise ConfigError([f"webhooks.secret: holds {len(key)} bytes; 24 to 64 would be right"])
    return key


def signature(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """The `webhook-signature` header."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + b64encode(hmac.digest(key, signed, "sha256")).decode()


def split_page(events: list[Event]) -> list[list[Event]]:
    """Runs of events that fit one POST each."""
    runs: list[list[Event]] = []
    size = MAX_POST
    for event in events:
        size += len(bytes(event.data))
        if size > MAX_POST:
            runs.append([])
            size = len(bytes(event.data))
        runs[-1].append(event)
    return runs


@dataclass(slots=True)
class Delivery:
    """One POST: its id and body stay the same however often it is tried."""

    message_id: str
    body: bytes
    cursor: str

    @classmethod
    def of(cls, name: str, events: list[Event], now_ms: int) -> "Delivery":
        """All these events in one."""
        ids = "\n".join([name, *(event.id for event in events)])
        message_id = "msg_" + hashlib.sha256(ids.encode()).hexdigest()[:32]
        body = encode({"type": "events", "timestamp": rfc3339(now_ms), "data": {"events": events}})
        return cls(message_id, body, events[-1].cursor)


@dataclass(slots=True)
class Webhook:
    """One webhook at work. `pause` sleeps and `random` jitters; both come from outside for the tests."""

    api: Api
    settings: WebhookSettings
    session: aiohttp.ClientSession
    clock: Clock
    random: Callable[[int], bytes]
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    _key: bytes = field(init=False, default=b"")
    _at: str | None = field(init=False, default=None)
    _failures: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._key = secret_bytes(self.settings.secret)

    async def run(self) -> None:
        """Until cancelled, or the API stops. What goes wrong is logged and tried again: it stops nothing else."""
        while not self.api.events.closing:
            try:
                await self._follow()
            except RoamdError as error:
                log.warning("webhook_reading_failed", webhook=self.settings.known_as, code=error.code)
            except Exception:  # an edge that restarts: a bug here must not take the daemon down
                log.exception("webhook_failed", webhook=self.settings.known_as)
            else:
                return
            self._failures += 1
            await self._back_off(self._failures, None)

    async def _follow(self) -> None:
        hub = self.api.events
        self._at = await self.api.core.ask(WebhookPosition(self.settings.known_as)) or None
        self._failures = 0
        while not hub.closing:
            generation = hub.generation
            page: EventPage = await self.api.core.ask(ReadEvents(self._at, PAGE))
            if not page.items:
                await hub.wait_beyond(generation, IDLE_S)
                continue
            await self._send_page(page)

    async def _send_page(self, page: EventPage) -> None:
        wanted = [event for event in page.items if not self.settings.events or event.type in self.settings.events]
        for events in split_page(wanted):
            delivery = Delivery.of(self.settings.known_as, events, self.clock.now_ms())
            await self.deliver(delivery)
            await self._move(delivery.cursor)
        await self._move(page.next)

    async def _move(self, cursor: str) -> None:
        if cursor != self._at:
            await self.api.core.ask(WebhookPosition(self.settings.known_as, cursor))
            self._at = cursor

    async def deliver(self, delivery: Delivery) -> None:
        """Try until a 2xx."""
        failures = 0
        while True:
            outcome, wait_s = await self._try(delivery)
            metrics.webhook_posts.labels("delivered" if outcome is None else "failed").inc()
            if outcome is None:
                return
            failures += 1
            log.warning("webhook_post_failed", webhook=self.settings.known_as, reason=outcome, failures=failures)
            await self._back_off(failures, wait_s)

    async def _try(self, delivery: Delivery) -> tuple[str | None, float | None]:
        """None when delivered, else why not; and what the receiver said of when to come back."""
        try:
            async with (
                asyncio.timeout(TIMEOUT_S),
                self.session.post(
                    self.settings.url,
                    data=delivery.body,
                    headers=self._headers(delivery),
                    allow_redirects=False,
                ) as response,
            ):
                await _drain(response)
                if 200 <= response.status < 300:
                    return None, None
                return f"status {response.status}", _retry_after(response.headers.get("Retry-After"))
        except TimeoutError:
            return "late", None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return type(error.__cause__ or error).__name__, None

    def _headers(self, delivery: Delivery) -> dict[str, str]:
        timestamp = self.clock.now_ms() // 1000
        return {
            "Content-Type": "application/json",
            "User-Agent": "roamd",
            "webhook-id": delivery.message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(self._key, delivery.message_id, timestamp, delivery.body),
        }

    async def _back_off(self, failures: int, wait_s: float | None) -> None:
        pause_s = wait_s if wait_s is not None else backoff_s(failures, self.random)
        await self.pause(pause_s)


def backoff_s(failures: int, random: Callable[[int], bytes]) -> float:
    """Doubling, capped, between half of it and all of it so that many webhooks do not knock together."""
    full = min(FIRST_PAUSE_S * 2.0 ** min(failures - 1, 16), MAX_PAUSE_S)
    return float(full * (0.5 + random(1)[0] / 510))


def _retry_after(header: str | None) -> float | None:
    """Seconds that a receiver asks for, within reason."""
    if header is None or not header.isdigit() or len(header) > 6:
        return None
    return min(max(float(header), FIRST_PAUSE_S), MAX_PAUSE_S)


async def _drain(response: aiohttp.ClientResponse) -> None:
    """Read a small answer so that the connection can be kept; cut a large one off."""
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > MAX_ANSWER:
            response.close()
            return


def webhook_session(allow_private: bool) -> aiohttp.ClientSession:
    """A session that follows nothing, and dials public addresses only unless the webhook may do otherwise."""
    connector = aiohttp.TCPConnector(limit=4, socket_factory=None if allow_private else guarded_socket)
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
        auto_decompress=False,
    )
