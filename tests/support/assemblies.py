"""Whole daemons in one process: what `daemon.main` runs, without the API's thread; real files, ports and TLS.

async with Site(tmp_path) as site:
    cso, csp = await site.daemon("DE*ABC", "cso"), await site.daemon("FR*XYZ", "csp")
    await site.pair(cso, csp)
"""

import os
from pathlib import Path
from types import TracebackType
from typing import Any

import trio
from trio.testing import wait_all_tasks_blocked

from roamd.bridge import Port, port_to_trio
from roamd.clock import SystemClock
from roamd.config.load import load
from roamd.daemon.assembly import Assembly, Ground, begin_run, system_random
from roamd.demo.processes import free_ports
from roamd.errors import RoamdError
from roamd.roaming.directory import Peer
from roamd.roaming.operations import Operate
from roamd.storage.group import Delivery
from roamd.storage.store import Store
from roamd.trust.identity import Identity
from roamd.trust.succession import load_identity
from tests.support.endpoints import until
from tests.support.trust import real_now_ms


class SteppedClock(SystemClock):
    """The machine's clock, of which a test can set the wall clock."""

    def __init__(self) -> None:
        self.ahead_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.ahead_ms


class RunningDaemon:
    """One daemon in its directory; `run` is its life until `stop`."""

    def __init__(self, directory: Path, party: str, role: str, *, reachable: bool = True, settings: str = "") -> None:
        self.directory = directory
        self.name = role
        self.clock = SteppedClock()
        self.assembly: Assembly
        self.link_port, self.pairing_port = free_ports(2)
        self._head = (
            f'[endpoint]\nparties = ["{party}"]\nroles = ["{role}"]\nname = "{role}"\n'
            f"[discovery]\nmdns = false\n{settings}"
        )
        self.reachable = reachable
        directory.mkdir()
        Identity.create(real_now_ms()).save(directory / "identity.key", directory / "identity.crt")
        self.write_config()

    def write_config(self, more: str = "", *, link: str = "") -> None:
        """Write roamd.toml anew."""
        advertise = f'advertise = "127.0.0.1:{self.link_port}"\n' if self.reachable else ""
        text = (
            f'{self._head}[link]\nlisten = "127.0.0.1:{self.link_port}"\n{advertise}{link}\n'
            f'[pairing]\nlisten = "127.0.0.1:{self.pairing_port}"\n{more}'
        )
        (self.directory / "roamd.toml").write_text(text)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Start as `main` does, and run."""
        config = load(self.directory / "roamd.toml", {})
        over: list[bool] = []  # as in `main`: what is committed while the store closes has nobody left to tell
        deliveries: Port[list[Delivery]] = port_to_trio(lambda outcomes: None if over else _deliver(outcomes))
        store = Store.open(config.database, clock=self.clock, deliver=deliveries.send, ballast_bytes=0)
        self._scope, self._ended = trio.CancelScope(), trio.Event()
        try:
            endpoint = config.endpoint
            identity = load_identity(endpoint.identity_key, endpoint.identity_crt, endpoint.identity_succession)
            run, sequence = await trio.to_thread.run_sync(begin_run, store, config, self.clock, system_random, identity)
            with self._scope:
                async with trio.open_nursery() as nursery:
                    self.assembly = Assembly(
                        Ground(
                            config,
                            self.clock,
                            store,
                            run,
                            sequence,
                            identity,
                            os.urandom,
                            nursery.start_soon,
                            _raise,
                        )
                    )
                    await self._start(nursery)
                    task_status.started()
        finally:
            over.append(True)
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(store.close)
            self._ended.set()

    async def _start(self, nursery: trio.Nursery) -> None:
        assembly = self.assembly
        nursery.start_soon(assembly.core.deadlines.run)
        await nursery.start(self._listen)
        await nursery.start(assembly.pairing_server.run)
        await nursery.start(assembly.peering.run)
        await assembly.pairing.open_port_if_needed()
        assembly.lacking = None

    async def _listen(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        await self.assembly.network.listen("127.0.0.1", self.link_port, task_status=task_status)

    async def stop(self) -> None:
        """As at `systemctl stop`."""
        self.assembly.network.stop_accepting()
        await self.assembly.peering.say_goodbye(self.clock.now_ms() + 1)
        self._scope.cancel()
        await self._ended.wait()

    async def operate(self, name: str, **arguments: Any) -> dict[str, Any]:
        """An operator's request; raises what was replied."""
        replies: list[Any] = []
        replied = trio.Event()

        def reply(value: Any) -> None:
            replies.append(value)
            replied.set()

        self.assembly.core.operations.handle(Operate(name, arguments), reply)
        with trio.fail_after(20):
            await replied.wait()
        if isinstance(replies[0], RoamdError):
            raise replies[0]
        result: dict[str, Any] = replies[0]
        return result

    def peer(self, other: "RunningDaemon") -> Peer:
        """How it knows another one."""
        peer = self.assembly.directory.by_endpoint(other.assembly.ground.identity.endpoint_id)
        assert peer is not None
        return peer

    def is_up(self, other: "RunningDaemon") -> bool:
        peer = self.assembly.directory.by_endpoint(other.assembly.ground.identity.endpoint_id)
        return peer is not None and peer.exchange is not None

    def links_to(self, other: "RunningDaemon") -> int:
        return len(self.assembly.core.registry.of(self.peer(other))) if self.is_up(other) else 0

    def links(self) -> int:
        return len(self.assembly.core.registry)


class Site:
    """Owns the daemons of one test."""

    def __init__(self, room: Path) -> None:
        self.room = room
        self._manager = trio.open_nursery()
        self.daemons: list[RunningDaemon] = []

    async def __aenter__(self) -> "Site":
        self.nursery = await self._manager.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self.nursery.cancel_scope.cancel()
        return bool(await self._manager.__aexit__(kind, error, trace))

    async def daemon(self, party: str, role: str, *, reachable: bool = True, settings: str = "") -> RunningDaemon:
        """A new one, running."""
        number = len(self.daemons)
        daemon = RunningDaemon(self.room / f"{role}{number}", party, role, reachable=reachable, settings=settings)
        self.daemons.append(daemon)
        await self.start(daemon)
        return daemon

    async def start(self, daemon: RunningDaemon) -> None:
        """Start it, the first time or again."""
        await self.nursery.start(daemon.run)

    async def pair(self, inviter: RunningDaemon, joiner: RunningDaemon) -> None:
        """By invitation, and wait until the link is up and all that follows from a pairing is done."""
        line = (await inviter.operate("invite", auto=True))["line"]
        await joiner.operate("pair", line=line)
        await self.until_linked(inviter, joiner)
        for daemon in (inviter, joiner):
            await daemon.assembly.swap_contexts()  # behind those that are under way
        await wait_all_tasks_blocked()

    async def until_linked(self, one: RunningDaemon, other: RunningDaemon) -> None:
        await until(lambda: one.links_to(other) == other.links_to(one) == 1, 20)


def _deliver(deliveries: list[Delivery]) -> None:
    for done, outcome in deliveries:
        done(outcome)


def _raise(error: BaseException) -> None:
    raise error
