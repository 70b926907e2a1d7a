"""What a backend only offers for GET: fetched when it has registered, after each start, and every few hours.

A pull is a PUT of every object that is found, with the same rules, so it may be repeated at will: what is older than
the stored one or has the same content changes nothing. After a first whole pull only what has changed since is asked
for, with an overlap, and once a day everything. What is no longer listed then is gone; `vanished` says when it goes
here.

Paging trusts nobody: a `Link` is followed when it leads to the same module on the same host; otherwise the offset is
counted on, as `X-Total-Count` bids. A page without anything new ends it in any case.
"""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlencode, urlsplit

import msgspec

from roamd.backend.context import Api
from roamd.backend.ocpi.backends import Backend, Backends
from roamd.backend.ocpi.caller import Caller, CallFailed, Reply
from roamd.backend.ocpi.received import FEED, Received
from roamd.backend.ocpi.uids import with_turned
from roamd.backend.ocpi.vanished import REMOVED, Vanished, key_of
from roamd.backend.webhooks import backoff_s
from roamd.clock import rfc3339
from roamd.errors import Conflict, Malformed, RoamdError, TooLarge
from roamd.log import get_logger
from roamd.roaming.operations import PostRecords

log = get_logger(room="backend")

EVERY_S: Final = 6 * 3600.0
"""OCPI asks for hours between polls."""

SPLAY_S: Final = 1800.0
OVERLAP_MS: Final = 5 * 60_000
SESSIONS_MS: Final = 30 * 86_400_000
"""Sessions must be asked for from a date; older ones have had their CDRs."""

LIMIT: Final = 100
WHOLE_MS: Final = 24 * 3600 * 1000
"""How often everything is fetched, and not only what has changed: only a whole list shows what is gone."""

MAX_PAGES: Final = 20_000
PULLED: Final = ("tariffs", "locations", "tokens", "sessions", "cdrs")

_NEXT: Final = re.compile(r'<([^<>]{1,2000})>\s*;[^,]*\brel="?next"?', re.IGNORECASE)
_decode_list: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode


@dataclass(slots=True)
class Puller:
    """Serves one backend."""

    api: Api
    backends: Backends
    backend: Backend
    caller: Caller
    received: Received
    random: Callable[[int], bytes]
    _since_ms: dict[str, int] = field(default_factory=dict)
    _whole_ms: dict[str, int] = field(default_factory=dict)
    _vanished: Vanished = field(init=False)

    def __post_init__(self) -> None:
        self._vanished = Vanished(self.api, self.backend)

    async def run(self) -> None:
        """Until cancelled. What goes wrong is logged and tried again: it stops nothing else."""
        failures = 0
        while True:
            try:
                await self.backends.load()
                await self._pull_all()
            except RoamdError as error:
                log.warning("ocpi_pull_interrupted", backend=self.backend.settings.name, code=error.code)
                failures += 1
            except Exception:  # an edge that restarts: a bug here must not take the daemon down
                log.exception("ocpi_pull_failed", backend=self.backend.settings.name)
                failures += 1
            else:
                failures = 0
            await self._rest(failures)

    async def _rest(self, failures: int) -> None:
        """Until it is time again, or the backend registers; after that everything is fetched anew."""
        pause_s = backoff_s(failures, self.random) if failures else EVERY_S + SPLAY_S * self.random(1)[0] / 255
        try:
            async with asyncio.timeout(pause_s):
                await self.backend.renewed.wait()
        except TimeoutError:
            return
        self._since_ms.clear()
        self._whole_ms.clear()

    async def _pull_all(self) -> None:
        self.backend.renewed.clear()
        for module in PULLED:
            if self.backend.endpoint(module, "SENDER"):
                begun_ms = self.api.clock.now_ms()
                whole = begun_ms - self._whole_ms.get(module, 0) >= WHOLE_MS
                await self._pull(module, None if whole else self._since_ms.get(module))
                self._since_ms[module] = begun_ms - OVERLAP_MS
                if whole:
                    self._whole_ms[module] = begun_ms

    async def _pull(self, module: str, since_ms: int | None) -> None:
        generation = self.api.clock.now_ms() if since_ms is None and module in REMOVED else None
        if module == "sessions" and since_ms is None:
            since_ms = self.api.clock.now_ms() - SESSIONS_MS
        crawled, taken, refused = Crawled(), 0, 0
        async for page in crawl(self.caller, module, since_ms, crawled):
            texts = [self._turned(module, text) for text in page]
            for text in texts:
                if await self._take(module, text):
                    taken += 1
                else:
                    refused += 1
            if generation is not None:
                keys = [key_of(module, text) for text in texts]
                crawled.readable &= all(keys)
                await self._vanished.listed(module, generation, [key for key in keys if key is not None])
        name = self.backend.settings.name
        log.info("ocpi_module_pulled", backend=name, module=module, taken=taken, refused=refused)
        if generation is not None:
            await self._vanished.finished(module, generation, whole=crawled.whole and crawled.readable)

    def _turned(self, module: str, text: bytes) -> bytes:
        try:
            return with_turned(self.backend.settings, module, text)
        except (Malformed, TooLarge):
            return text  # whoever takes it says what is wrong with it

    async def _take(self, module: str, text: bytes) -> bool:
        """Whether the object could be taken."""
        kept, own = self.backend.registration, self.api.own_parties
        version = kept.version if kept is not None else "2.2.1"
        try:
            if module == "cdrs":
                record = await self.received.lenient.record(self.backend, version, text)
                await self.api.core.ask(PostRecords((record,)))
            else:
                feed = FEED[module]
                checked = await self.received.lenient.object(self.backend, feed, version, text, own)
                await self.received.take(feed, checked)
        except (Malformed, TooLarge, Conflict):
            return False
        return True


@dataclass(slots=True)
class Crawled:
    """What is to be said of a crawl when it is over: whether it came to the list's end and found all that it said.

    `readable`: whether every object that was found has a key.
    """

    whole: bool = False
    readable: bool = True


async def crawl(
    caller: Caller, module: str, since_ms: int | None, crawled: Crawled | None = None
) -> AsyncIterator[list[bytes]]:
    """Page after page of what is new in the backend's list. Raises CallFailed."""
    crawled = crawled or Crawled()
    seen: set[bytes] = set()
    offset, url = 0, None
    for _ in range(MAX_PAGES):
        endpoint = caller.backend.whole_endpoint(module, "SENDER")
        if endpoint is None:
            raise CallFailed("not registered")
        reply = await caller.call("GET", url or _page_url(endpoint, since_ms, offset))
        if not reply.good:
            raise CallFailed(reply.words)
        page = items_of(reply)
        fresh = [text for text in page if _is_fresh(text, seen)]
        offset += len(page)
        crawled.whole = (not page or bool(fresh)) and offset >= (total_of(reply) or 0)
        if not fresh:
            return
        yield fresh
        url = next_link(caller.backend, endpoint, reply)
        if url is None and reply.headers.get("Link"):
            caller.backend.met("link-broken")
        if url is None and not _has_more(reply, offset):
            return


def items_of(reply: Reply) -> list[bytes]:
    """The elements of `data`; one object where a list belongs is a list of one."""
    if reply.data in (b"", b"null"):
        return []
    if reply.data.startswith(b"{"):
        return [reply.data]
    try:
        return [bytes(each) for each in _decode_list(reply.data)]
    except (msgspec.DecodeError, RecursionError) as error:
        raise CallFailed("unreadable list") from error


def next_link(backend: Backend, endpoint: str, reply: Reply) -> str | None:
    """The next page's address, when the backend gives one that can be meant."""
    found = _NEXT.search(reply.headers.get("Link", ""))
    if found is None:
        return None
    url = backend.reach(found[1])
    try:
        told, own = urlsplit(url), urlsplit(endpoint)
        same = (told.scheme, told.netloc, told.path.rstrip("/")) == (own.scheme, own.netloc, own.path.rstrip("/"))
    except ValueError:
        return None
    return url if same and "None" not in told.query else None


def _has_more(reply: Reply, offset: int) -> bool:
    """Without a usable link: whether there is a broken one, or the count says that more is to come."""
    total = total_of(reply)
    return offset < total if total is not None else "Link" in reply.headers


def total_of(reply: Reply) -> int | None:
    """How many objects the backend says there are; None when it does not say."""
    total = reply.headers.get("X-Total-Count", "").strip()
    return int(total) if total.isascii() and total.isdigit() and len(total) < 12 else None


def _page_url(endpoint: str, since_ms: int | None, offset: int) -> str:
    dated = {"date_from": rfc3339(since_ms)} if since_ms is not None else {}
    return f"{endpoint}?{urlencode({**dated, 'offset': offset, 'limit': LIMIT})}"


def _is_fresh(text: bytes, seen: set[bytes]) -> bool:
    digest = hashlib.blake2b(text, digest_size=16).digest()
    if digest in seen:
        return False
    seen.add(digest)
    return True
