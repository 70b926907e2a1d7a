"""What became of a backend's commands, told to the `response_url` that came with each: surely, and once.

What is to be told stands in the store, committed with the command, and goes when its last word was taken; so nothing
is lost in a crash (what was not noted as told before it is told again). Each address is tried on its own: one that
is dead holds nothing up.

OCPI wants one result. There are two exceptions. When nothing was heard until the time-out a TIMEOUT is told, and if the
truth comes after it, the truth is told too: late results count. And a reservation that was made may be cancelled.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from roamd import metrics
from roamd.backend.context import Api
from roamd.backend.ocpi.backends import Backend, Backends
from roamd.backend.ocpi.caller import Caller, CallFailed
from roamd.backend.ocpi.envelope import encode
from roamd.backend.ocpi.face import routing_headers
from roamd.backend.ocpi.partners import Partners
from roamd.backend.webhooks import IDLE_S, backoff_s
from roamd.errors import RoamdError
from roamd.log import get_logger
from roamd.model.commands import (
    AT_STATION,
    CLEAR_PROFILE,
    DONE,
    EXPIRED,
    FAILED,
    GET_PROFILE,
    KEEP,
    LATE,
    REJECTED,
    RESERVES,
    SET_PROFILE,
    STARTED,
    WAITING,
)
from roamd.roaming.operations import CommandReply, ListResults, MarkTold, PendingResult

log = get_logger(room="backend")

ACCEPTED: Final = "ACCEPTED"
TIMEOUT: Final = "TIMEOUT"
CANCELED: Final = "CANCELED_RESERVATION"

RESULTS: Final = frozenset(
    {ACCEPTED, CANCELED, "EVSE_OCCUPIED", "EVSE_INOPERATIVE", "FAILED", "NOT_SUPPORTED", "REJECTED", TIMEOUT}
    | {"UNKNOWN_RESERVATION"}
)
"""CommandResultType."""

WENT_WELL: Final = frozenset({AT_STATION, WAITING, STARTED, DONE, EXPIRED})
PROFILES: Final = (SET_PROFILE, CLEAR_PROFILE, GET_PROFILE)
TRIES_ANSWERED: Final = 12
AT_ONCE: Final = 16
"""Addresses that are called at a time, each for ten seconds at most."""


class Outcome(NamedTuple):
    """OCPI's word for how a command ended, a reason in words, and whether it is the last that will be told."""

    result: str
    reason: str | None
    last: bool


def outcome_of(pending: PendingResult, now_ms: int) -> Outcome | None:
    """What is to be told now; None while there is nothing new."""
    command, told = pending.command, pending.told
    if told == ACCEPTED:
        return Outcome(CANCELED, None, last=True) if pending.canceled else None
    found = _ended(command)
    if found is not None and found.result != told:
        return found
    if not told and pending.due_ms <= now_ms:
        return Outcome(TIMEOUT, None, last=False)
    return None


def _ended(command: CommandReply) -> Outcome | None:
    if command.state in WENT_WELL:
        return Outcome(ACCEPTED, command.reason, last=command.command not in RESERVES)
    if command.state == LATE:
        return Outcome(ACCEPTED if command.late == KEEP else TIMEOUT, None, last=True)
    if command.state in (FAILED, REJECTED):
        word = result_word(command)
        return Outcome(word, command.reason, last=word != TIMEOUT)
    return None


def result_word(command: CommandReply) -> str:
    """OCPI's word for a failure: the one that the station's backend used, where it used one."""
    for text in (command.reason, command.result):
        word = (text or "").partition(":")[0].strip().upper()
        if word in RESULTS and word != ACCEPTED:
            return word
    return "REJECTED" if command.state == REJECTED else "FAILED"


def result_body(command: CommandReply, outcome: Outcome) -> dict[str, Any]:
    """CommandResult, or one of the three results of charging profiles."""
    if command.command in PROFILES:
        word = {ACCEPTED: ACCEPTED, TIMEOUT: "UNKNOWN"}.get(outcome.result, "REJECTED")
        profile = {"profile": command.profile} if word == ACCEPTED and command.profile is not None else {}
        return {"result": word, **profile}
    told: dict[str, Any] = {"result": outcome.result}
    if outcome.reason and outcome.result != ACCEPTED:
        told["message"] = [{"language": "en", "text": outcome.reason[:512]}]
    return told


@dataclass(slots=True)
class ResultPoster:
    """Serves one backend. `hold` an address while its first answer is under way; `release` it then."""

    api: Api
    backends: Backends
    backend: Backend
    caller: Caller
    partners: Partners
    random: Callable[[int], bytes]
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    _held: list[str] = field(default_factory=list)
    _sent: asyncio.Event = field(default_factory=asyncio.Event)
    _busy: set[str] = field(default_factory=set)
    _tries: dict[str, int] = field(default_factory=dict)
    _not_before: dict[str, float] = field(default_factory=dict)

    def hold(self, url: str) -> None:
        """Tell nothing there until it is released."""
        self._held.append(url)

    def release(self, url: str) -> None:
        """From now on."""
        self._held.remove(url)
        self._sent.set()
        self.api.events.arrived()

    async def forget(self, command_id: str) -> None:
        """The backend knows already what became of this one."""
        await self.api.core.ask(MarkTold(command_id, "", last=True))

    async def run(self) -> None:
        """Until cancelled. What goes wrong is logged and tried again: it stops nothing else."""
        async with asyncio.TaskGroup() as group:
            await self._serve(group)

    async def _serve(self, group: asyncio.TaskGroup) -> None:
        failures = 0
        while not self.api.events.closing:
            try:
                await self.backends.load()
                await self._round(group)
                failures = 0
            except RoamdError as error:
                log.warning("ocpi_results_interrupted", backend=self.backend.settings.name, code=error.code)
                failures += 1
            except Exception:  # an edge that restarts: a bug here must not take the daemon down
                log.exception("ocpi_results_failed", backend=self.backend.settings.name)
                failures += 1
            if failures:
                await self.pause(backoff_s(failures, self.random))

    async def _round(self, group: asyncio.TaskGroup) -> None:
        """Tell what there is to tell, and wait until there may be more."""
        generation = self.api.events.generation
        self._sent.clear()
        found: list[PendingResult] = await self.api.core.ask(ListResults(self.backend.settings.name))
        if not found:
            self._tries.clear()
            self._not_before.clear()
            await self._sent.wait()
            return
        now_ms = self.api.clock.now_ms()
        for pending in found:
            outcome = outcome_of(pending, now_ms)
            if outcome is not None and self._may_begin(pending):
                self._busy.add(pending.command.command_id)
                group.create_task(self._tell_alone(pending, outcome))
        await self.api.events.wait_beyond(generation, self._idle_s(found, now_ms))

    def _may_begin(self, pending: PendingResult) -> bool:
        command_id = pending.command.command_id
        if pending.url in self._held or command_id in self._busy or len(self._busy) >= AT_ONCE:
            return False
        return self._not_before.get(command_id, 0.0) <= self.api.clock.monotonic()

    def _idle_s(self, found: Iterable[PendingResult], now_ms: int) -> float:
        """Until something is due, or is to be tried again."""
        now = self.api.clock.monotonic()
        waits = [(each.due_ms - now_ms) / 1000 for each in found if not each.told and each.due_ms > now_ms]
        waits += [at - now for at in self._not_before.values() if at > now]
        return max(0.01, min([IDLE_S, *waits]))

    async def _tell_alone(self, pending: PendingResult, outcome: Outcome) -> None:
        """Whatever happens, it is over in the end, and the next round looks again."""
        try:
            await self._tell(pending, outcome)
        except RoamdError as error:
            log.warning("ocpi_results_interrupted", backend=self.backend.settings.name, code=error.code)
            self._again(pending.command.command_id, count=False)
        finally:
            self._busy.discard(pending.command.command_id)
            self.api.events.arrived()

    async def _tell(self, pending: PendingResult, outcome: Outcome) -> None:
        command = pending.command
        try:
            words = await self._post(pending, encode(result_body(command, outcome)))
        except CallFailed as error:
            words = str(error)
            self._again(command.command_id, count=False)
        else:
            if words is None or self._again(command.command_id, count=True):
                await self.api.core.ask(MarkTold(command.command_id, outcome.result, outcome.last))
                self._tries.pop(command.command_id, None)
                self._not_before.pop(command.command_id, None)
        metrics.ocpi_results.labels("told" if words is None else "failed").inc()
        name, told = self.backend.settings.name, outcome.result
        if words is None:
            log.info("ocpi_result_told", backend=name, message_id=command.command_id, result=told)
        else:
            log.warning("ocpi_result_waits", backend=name, message_id=command.command_id, result=told, why=words)

    async def _post(self, pending: PendingResult, body: bytes) -> str | None:
        """None when it was taken or will never be; else why it was not, this time. CallFailed when it did not go."""
        command = pending.command
        party = await self._station(command.peer)
        routing = routing_headers(min(self.api.own_parties), party or min(self.api.own_parties))
        reply = await self.caller.call("POST", self.backend.reach(pending.url), body, routing=routing)
        if reply.good or not reply.passing:
            if not reply.good:
                name = self.backend.settings.name
                log.warning("ocpi_result_refused", backend=name, message_id=command.command_id, why=reply.words)
            return None
        return reply.words

    async def _station(self, peer: str) -> str | None:
        """A party of the partner, for the routing headers."""
        for partner in await self.partners.recent():
            if partner.peer == peer and partner.parties:
                return partner.parties[0]
        return None

    def _again(self, command_id: str, *, count: bool) -> bool:
        """Try once more later; True when it was answered badly too often."""
        tries = self._tries[command_id] = self._tries.get(command_id, 0) + 1
        self._not_before[command_id] = self.api.clock.monotonic() + backoff_s(tries, self.random)
        return count and tries > TRIES_ANSWERED
