"""`Idempotency-Key`: the same request under the same key gets the same answer.

Where the effect is committed by the core (records, batches, authorizations) the key travels with the operation and is
committed with it. For every other POST the answer is kept here, in memory, for as long as the process lives and no
longer than 48 h; those requests (confirm, acknowledge, reload, ...) may be repeated without harm after a restart.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from roamd.errors import Conflict, Fault, Malformed
from roamd.roaming.operations import Idempotency

KEPT_S: Final = 48 * 3600.0
MAX_KEPT: Final = 4096
"""Answers kept; the oldest goes first. These POSTs are the operator's, a few a day."""
MAX_KEY_LENGTH: Final = 255

HEADER: Final = "Idempotency-Key"


def checked_key(key: str) -> str:
    """The key itself; raises Malformed when it is empty, too long or not printable ASCII."""
    if not key or len(key) > MAX_KEY_LENGTH or not (key.isascii() and key.isprintable()):
        fault = Fault(HEADER, f"must be 1 to {MAX_KEY_LENGTH} printable ASCII characters", "idempotency-key")
        raise Malformed((fault,))
    return key


def idempotency_of(request: web.Request, body: bytes) -> Idempotency | None:
    """The request's key with the hash of what makes it the same request: its path, its query and its body."""
    key = request.headers.get(HEADER)
    if key is None:
        return None
    return Idempotency(checked_key(key), request_hash(request.path_qs, body))


def request_hash(target: str, body: bytes) -> bytes:
    """SHA-256 over target and body; the zero byte cannot stand in a target, so the two cannot run together."""
    return hashlib.sha256(target.encode() + b"\0" + body).digest()


def numbered(idempotency: Idempotency | None, place: int) -> Idempotency | None:
    """The key of one element of an array; the first keeps the key itself."""
    if idempotency is None or place == 0:
        return idempotency
    return Idempotency(f"{idempotency.key}#{place}", idempotency.request_hash)


@dataclass(frozen=True, slots=True)
class _Kept:
    request_hash: bytes
    until: float
    answer: "asyncio.Future[tuple[int, bytes, str]]"


class MemoryAnswers:
    """Answers of POSTs that the core does not remember itself. Only successes are kept: a refusal may be repeated."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    async def once(
        self, wanted: Idempotency, now: float, do: Callable[[], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """`do()`'s answer, now or from before; who comes while it is still done waits for it.

        Raises Conflict for another request under the same key.
        """
        self._forget_old(now)
        kept = self._kept.get(wanted.key)
        if kept is not None:
            if kept.request_hash != wanted.request_hash:
                raise Conflict("This Idempotency-Key was used with another request.", code="idempotency-key-reused")
            return _again(*await asyncio.shield(kept.answer))
        return await self._first(wanted, now, do)

    async def _first(
        self, wanted: Idempotency, now: float, do: Callable[[], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        answer: asyncio.Future[tuple[int, bytes, str]] = asyncio.get_running_loop().create_future()
        self._kept[wanted.key] = _Kept(wanted.request_hash, now + KEPT_S, answer)
        try:
            response = await do()
        except BaseException as error:
            self._kept.pop(wanted.key, None)
            answer.set_exception(error if isinstance(error, Exception) else Conflict("The first request was given up."))
            answer.exception()  # looked at: nobody may be waiting
            raise
        assert isinstance(response, web.Response)  # noqa: S101  # these handlers never stream
        assert isinstance(response.body, bytes | None)  # noqa: S101
        answer.set_result((response.status, response.body or b"", response.content_type))
        return response

    def _forget_old(self, now: float) -> None:
        while self._kept and (len(self._kept) >= MAX_KEPT or next(iter(self._kept.values())).until <= now):
            self._kept.popitem(last=False)


def _again(status: int, body: bytes, content_type: str) -> web.Response:
    return web.Response(status=status, body=body or None, content_type=content_type)
