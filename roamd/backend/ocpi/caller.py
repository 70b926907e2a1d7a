"""Calls to a backend: one request, its envelope read with patience for what is met in the field.

Nothing is followed (a redirect would carry the token elsewhere), everything read is bounded, and what went wrong is a
`CallFailed` whose words hold no token. A 401 is tried once more with the token in its other form, which is remembered.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import msgspec

from roamd import metrics
from roamd.backend.guard import guarded_socket
from roamd.backend.ocpi.backends import Backend, header_of
from roamd.errors import RoamdError

MAX_ANSWER: Final = 8 * 1024 * 1024
TIMEOUT_S: Final = 10.0
CONNECTIONS: Final = 64
"""To one backend."""

MAX_SLASHED: Final = 1000
CLOSED: Final = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionError)
"""What is said of a connection that the other side closed; what came late is none of these."""


class CallFailed(RoamdError):
    """There was no readable answer; the message says why in a few words. `sent` is False when nothing can have left."""

    code = "ocpi-call-failed"

    def __init__(self, message: str, *, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent


class _EnvelopeIn(msgspec.Struct):
    status_code: int | str | None = None
    status_message: msgspec.Raw = msgspec.Raw(b"")
    data: msgspec.Raw = msgspec.Raw(b"")


_decode = msgspec.json.Decoder(_EnvelopeIn).decode
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. `code` is OCPI's status, None where there was no envelope."""

    status: int
    code: int | None
    data: bytes = field(repr=False)
    headers: Mapping[str, str]
    quirk: str = ""

    @property
    def good(self) -> bool:
        """Whether both layers say yes."""
        return 200 <= self.status < 300 and (self.code is None or 1000 <= self.code < 2000)

    @property
    def passing(self) -> bool:
        """Whether it may be otherwise if asked again: the other side or what is between failed, or bids us wait."""
        return self.status in (401, 408, 425, 429) or self.status >= 500 or (self.code or 0) // 1000 == 3

    @property
    def words(self) -> str:
        """For a log."""
        return f"HTTP {self.status}" if self.code is None else f"HTTP {self.status} with OCPI status {self.code}"

    def one(self) -> bytes:
        """`data` as one object; some send an array of one."""
        if not self.data.startswith(b"["):
            return self.data
        elements = _decode_list(self.data)
        return bytes(elements[0]) if len(elements) == 1 else self.data


@dataclass(frozen=True, slots=True)
class Access:
    """With which token a call is made. `form` is the likelier one."""

    token: str = field(repr=False)
    form: str


@dataclass(slots=True)
class Caller:
    """Calls one backend."""

    backend: Backend
    session: aiohttp.ClientSession
    random: Callable[[int], bytes]
    other_form: bool = False
    _slashed: set[str] = field(default_factory=set)
    """Addresses that are served with the slash at their end that they are named without, or the other way round."""

    def access(self) -> Access:
        """By its registration; CallFailed when it has none."""
        kept = self.backend.registration
        if kept is None:
            raise CallFailed("not registered", sent=False)
        return Access(kept.their_token, kept.form)

    async def call(
        self,
        method: str,
        url: str,
        body: bytes | None = None,
        *,
        access: Access | None = None,
        routing: Mapping[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
        question: bool = False,
    ) -> Reply:
        """One request; raises CallFailed.

        A `question` changes nothing, so it is asked once more when the backend had closed the connection meanwhile; of
        itself aiohttp does that for GET alone.
        """
        if question:
            try:
                return await self.call(method, url, body, access=access, routing=routing, timeout_s=timeout_s)
            except CallFailed as error:
                if not error.sent or not isinstance(error.__cause__, CLOSED):
                    raise
        try:
            reply = await self._called(method, url, body, access or self.access(), routing, timeout_s)
        except CallFailed:
            self._count("failed")
            raise
        self._count("good" if reply.good else "refused")
        return reply

    def _count(self, outcome: str) -> None:
        metrics.child(metrics.ocpi_calls, self.backend.settings.name, outcome).inc()

    async def _called(
        self,
        method: str,
        url: str,
        body: bytes | None,
        given: Access,
        routing: Mapping[str, str] | None,
        timeout_s: float,
    ) -> Reply:
        forms = [given.form, "raw" if given.form == "base64" else "base64"]
        if self.other_form:
            forms.reverse()
        try:
            async with asyncio.timeout(timeout_s):
                reply = await self._once(method, url, body, header_of(given.token, forms[0]), routing)
                if reply.status != 401:
                    self._note(reply)
                    return reply
                second = await self._once(method, url, body, header_of(given.token, forms[1]), routing)
        except TimeoutError as error:
            raise CallFailed("late") from error
        except aiohttp.ClientConnectorError as error:
            raise CallFailed("not reachable", sent=False) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise CallFailed(type(error.__cause__ or error).__name__) from error
        if second.status != 401:
            self.other_form = not self.other_form
            self.backend.met("token-form")
        self._note(second)
        return second

    def _note(self, reply: Reply) -> None:
        if reply.quirk:
            self.backend.met(reply.quirk)
        if reply.status < 300 and (reply.code or 0) // 1000 == 2:
            self.backend.met("refused-with-200")

    async def _once(
        self, method: str, url: str, body: bytes | None, authorization: str, routing: Mapping[str, str] | None
    ) -> Reply:
        ids = self.random(32).hex()
        headers = {
            "Authorization": authorization,
            "X-Request-ID": id_of(ids[:32]),
            "X-Correlation-ID": id_of(ids[32:]),
            "User-Agent": "roamd",
            **(routing or {}),
        }
        if body is not None:
            headers["Content-Type"] = "application/json"
        path, mark, query = url.partition("?")
        if path in self._slashed:
            url = f"{with_slash(path)}{mark}{query}"
        async with self.session.request(method, url, data=body, headers=headers, allow_redirects=False) as response:
            reply = read_reply(response.status, await _bounded(response), response.headers)
        if path in self._slashed or not leads_to_slash(path, reply):
            return reply
        self.backend.met("slash-redirect")
        if len(self._slashed) >= MAX_SLASHED:
            self._slashed.clear()
        self._slashed.add(path)
        return await self._once(method, url, body, authorization, routing)


def read_reply(status: int, text: bytes, headers: Mapping[str, str]) -> Reply:
    """The answer, whether or not it stands in an envelope."""
    try:
        envelope = _decode(text)
        code = None if envelope.status_code is None else int(envelope.status_code)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return Reply(status, None, b"", headers, "no-envelope" if status < 300 and text else "")
    quirk = "status-text" if isinstance(envelope.status_code, str) else ""
    quirk = "no-envelope" if code is None and status < 300 else quirk
    return Reply(status, code, bytes(envelope.data).strip(), headers, quirk)


def id_of(digits: str) -> str:
    """32 random digits in hexadecimal as a UUID of version 4; by hand, for it is made twice on every call's way."""
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def with_slash(path: str) -> str:
    """The address with a slash at its end, or without the one that it has."""
    return path.rstrip("/") if path.endswith("/") else f"{path}/"


def leads_to_slash(path: str, reply: Reply) -> bool:
    """Whether a redirect leads to the very same address but for a slash at its end: no other one is followed."""
    if reply.status not in (301, 302, 303, 307, 308):
        return False
    try:
        wanted, told = urlsplit(with_slash(path)), urlsplit(reply.headers.get("Location", "").partition("?")[0])
    except ValueError:
        return False
    return told.path == wanted.path and told.netloc in ("", wanted.netloc)


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    if (response.content_length or MAX_ANSWER + 1) <= MAX_ANSWER and "Content-Encoding" not in response.headers:
        return await response.read()
    parts, size = [], 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > MAX_ANSWER:
            response.close()
            raise ValueError("answer too large")
        parts.append(chunk)
    return b"".join(parts)


def caller_session(private: bool) -> aiohttp.ClientSession:
    """A session without cookies, proxies and, unless private ones are meant, without private addresses."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=CONNECTIONS, socket_factory=None if private else guarded_socket),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
    )
