"""`POST /v1/{feed}/batch`: any number of objects, one JSON text a line.

The body is read as it comes and never held whole. Lines are checked one by one and handed to the core in groups, each
group committed before the next is read, so that a slow disk slows the sender down. A faulty line is reported with its
number and problem and stops nothing: lines before and after it are stored; only after 1,000 of them the rest is not
read, for then something else is sent than objects. The answer is a summary,

    {"lines": 3, "stored": 2, "created": 1, "unchanged": 0, "failed_count": 1, "failed": [{"line": 2, "problem": {}}]}

with status 200 when no line failed, else 422. Blank lines have a number and count for nothing. `stored` counts all good
lines; of these `created` are new objects and `unchanged` had equal content already. When the store fails (a full disk)
reading stops, the status is that error's (507), and the failed lines say from where to repeat. Repeating a whole batch
is harmless: equal content makes no new version.
"""

import hashlib
from collections.abc import AsyncIterator
from typing import Final

import msgspec
from aiohttp import StreamReader, web

from roamd.backend.context import Api
from roamd.backend.idempotency import HEADER, checked_key
from roamd.backend.problems import Problem, problem_of
from roamd.backend.requests import ocpi_version, value_answer
from roamd.errors import RequestError, RoamdError, StoreError, TooLarge
from roamd.model.objects import Checked, check_object
from roamd.roaming.operations import Idempotency, PutObjects, StoredObject

GROUP_LINES: Final = 1000
KEY_REUSED: Final = "idempotency-key-reused"
"""Why a whole group is refused (`roaming.idempotent`); any other refusal is of one line."""

GROUP_BYTES: Final = 2 * 1024 * 1024
"""A group is one commit; large groups hold up other writers."""

MAX_LINE: Final = 256 * 1024 * 2
"""An object may be 256 KiB without its white space; a longer line than this is not even kept to be looked at."""

MAX_FAILED: Final = 1000
"""More are neither told nor looked for."""


class FailedLine(msgspec.Struct, frozen=True):
    """A line that was not stored, counted from 1."""

    line: int
    problem: Problem


class Summary(msgspec.Struct):
    """What became of a batch."""

    lines: int = 0
    stored: int = 0
    created: int = 0
    unchanged: int = 0
    failed_count: int = 0
    failed: list[FailedLine] = []

    def fail(self, line: int, error: RoamdError) -> None:
        """Report a line."""
        self.failed_count += 1
        if len(self.failed) < MAX_FAILED:
            self.failed.append(FailedLine(line, problem_of(error)))

    def count(self, stored: list[StoredObject]) -> None:
        """Add a committed group."""
        self.stored += len(stored)
        self.created += sum(each.created for each in stored)
        self.unchanged += sum(not each.created and not each.changed for each in stored)


class Batch:
    """The batch of one feed."""

    def __init__(self, api: Api, feed: str) -> None:
        self._api = api
        self._feed = feed

    async def post(self, request: web.Request) -> web.Response:
        """Read, check, store, and tell."""
        key = request.headers.get(HEADER)
        run = _Run(self._api, self._feed, ocpi_version(request), checked_key(key) if key is not None else None)
        try:
            async for number, line in read_lines(request.content):
                await run.take(number, line)
                if run.summary.failed_count >= MAX_FAILED:
                    break
            await run.flush()
        except StoreError as error:
            return value_answer(run.summary, problem_of(error).status)
        return value_answer(run.summary, 422 if run.summary.failed_count else 200)


class _Run:
    """One batch while it is read."""

    def __init__(self, api: Api, feed: str, ocpi: str, key: str | None) -> None:
        self.summary = Summary()
        self._api = api
        self._feed = feed
        self._ocpi = ocpi
        self._key = key
        self._groups = 0
        self._group: list[Checked] = []
        self._numbers: list[int] = []
        self._bytes = 0

    async def take(self, number: int, line: bytes | None) -> None:
        """One line that is not blank; None is one that was too long to be kept. Stores a group when it is full."""
        self.summary.lines += 1
        try:
            if line is None:
                raise TooLarge("The line is longer than an object may be (256 KiB).")
            checked = check_object(self._feed, self._ocpi, line, own_parties=self._api.own_parties, path_id=None)
        except RequestError as error:
            self.summary.fail(number, error)
            return
        self._group.append(checked)
        self._numbers.append(number)
        self._bytes += len(checked.body)
        if len(self._group) >= GROUP_LINES or self._bytes >= GROUP_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Commit what is collected. A refusal is reported for its lines; raises StoreError after reporting it."""
        group, numbers = tuple(self._group), self._numbers
        self._group, self._numbers, self._bytes = [], [], 0
        if not group:
            return
        try:
            self.summary.count(await self._api.core.ask(PutObjects(self._feed, group, self._idempotency(group))))
        except RoamdError as error:
            if isinstance(error, RequestError) and error.reason != KEY_REUSED and len(group) > 1:
                await self._one_by_one(group, numbers)
                return
            for number in numbers:
                self.summary.fail(number, error)
            if isinstance(error, StoreError):
                raise

    async def _one_by_one(self, group: tuple[Checked, ...], numbers: list[int]) -> None:
        """A line of the group contradicts what is stored, and nothing of it was: each by itself, in their order."""
        replies = await self._api.core.ask_many([PutObjects(self._feed, (checked,)) for checked in group])
        full: StoreError | None = None
        for number, reply in zip(numbers, replies, strict=True):
            if isinstance(reply, RoamdError):
                self.summary.fail(number, reply)
                full = full or (reply if isinstance(reply, StoreError) else None)
            else:
                self.summary.count(reply)
        if full is not None:
            raise full

    def _idempotency(self, group: tuple[Checked, ...]) -> Idempotency | None:
        """Each group has a key of its own, for each is a commit of its own; equal bodies fall into equal groups."""
        if self._key is None:
            return None
        self._groups += 1
        digest = hashlib.sha256(f"{self._feed} {self._ocpi}".encode())
        for checked in group:
            digest.update(b"\n" + checked.body)
        return Idempotency(f"{self._key}#{self._groups}", digest.digest())


async def read_lines(content: StreamReader) -> AsyncIterator[tuple[int, bytes | None]]:
    """The body's lines that are not blank, with their numbers and without their ends; one beyond the limit is None."""
    rest, too_long, number = b"", False, 1
    async for chunk in content.iter_any():
        *whole, rest = (rest + chunk).split(b"\n")
        for number, line in enumerate(whole, number):  # noqa: B020 - it goes on where the last chunk ended
            if too_long or len(line) > MAX_LINE:
                too_long = False
                yield number, None
            elif line and not line.isspace():
                yield number, line
        number += bool(whole)
        if len(rest) > MAX_LINE:
            rest, too_long = b"", True
    if too_long:
        yield number, None
    elif rest and not rest.isspace():
        yield number, rest
