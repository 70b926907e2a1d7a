"""The daemon's life: what starts after what, what makes it end, and in which order it stops.

trio is the main program. The order of a start: the store (migrated, this run committed), the parts, the link port, the
API, and only then READY. A stop is the same backwards: no new work, Goodbye to the peers, what is open is committed,
the store is closed. Whatever part fails other than a link, a sender or a finder takes the daemon down with an exit
status of 1, and the service manager starts it again.
"""

import gc
import os
import signal
from collections.abc import Callable
from typing import Any

import trio

from roamd import log as logging
from roamd import metrics
from roamd.backend.auth import KeyHolder
from roamd.bridge import Port, port_to_trio, run_asyncio
from roamd.clock import SystemClock
from roamd.config.schema import Config
from roamd.daemon.assembly import Assembly, Ground, begin_run, system_random
from roamd.daemon.gauges import Gauges
from roamd.daemon.local import LocalSide
from roamd.daemon.systemd import Notifier, take_sockets, watchdog_s
from roamd.daemon.upkeep import MINUTE_S, every
from roamd.daemon.watchdog import Watchdog
from roamd.errors import OperatorError, RoamdError, StoreBroken
from roamd.log import get_logger
from roamd.storage.group import Delivery
from roamd.storage.store import Store
from roamd.trust.identity import Identity
from roamd.trust.succession import load_identity

log = get_logger()

MIGRATION_S = 300.0
"""What the service manager is asked to wait for while the schema is brought up to date."""

RESTART_MS = 5_000
"""When peers may dial again after a Goodbye of ours; a restart takes about a second."""


YOUNG_OBJECTS = 20_000
"""Allocations between two looks of the cycle collector. Python's 700 is one for every twenty questions that are open,
and each look walks them all; almost nothing here is ever part of a cycle."""


def run(config: Config) -> int:
    """Be the daemon until a signal or a failure; the exit code. Raises OperatorError when it cannot start."""
    logging.configure(config.log.level)
    metrics.begin_run()
    notifier = Notifier.from_environment(os.environ)
    try:
        trio.run(_Daemon(config, notifier).run, strict_exception_groups=True)
    except BaseExceptionGroup as group:
        return _report(group)
    return 0


def _report(group: BaseExceptionGroup[BaseException]) -> int:
    """What ended the daemon: the operator's faults as they are, everything else in the log with its place."""
    for error in _leaves(group):
        if isinstance(error, OperatorError):
            raise error
        if not isinstance(error, KeyboardInterrupt):
            log.critical("daemon_failed", exc_info=error, error=str(error))
    return 1


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


class _Daemon:
    """One life."""

    def __init__(self, config: Config, notifier: Notifier) -> None:
        self._config = config
        self._notifier = notifier
        self._clock = SystemClock()
        self._failure: BaseException | None = None
        self._failed = trio.Event()
        self._over = False

    async def run(self) -> None:
        endpoint = self._config.endpoint
        identity = load_identity(endpoint.identity_key, endpoint.identity_crt, endpoint.identity_succession)
        keys = KeyHolder.load(self._config.api.key_file)
        self._notifier.extend_timeout(MIGRATION_S)
        store = await self._open_store()
        try:
            await self._serve(store, identity, keys)
        finally:
            self._over = True
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(store.close)
            log.info("daemon_stopped")

    async def _open_store(self) -> Store:
        deliveries: Port[list[Delivery]] = port_to_trio(self._deliver)
        broken: Port[StoreBroken] = port_to_trio(self._fail)
        return await trio.to_thread.run_sync(
            lambda: Store.open(
                self._config.database,
                clock=self._clock,
                deliver=deliveries.send,
                on_broken=broken.send,
                ballast_bytes=self._config.storage.ballast_mib << 20,
            )
        )

    def _deliver(self, deliveries: list[Delivery]) -> None:
        """One wake-up for all outcomes of a commit. A fault of a callback ends the daemon, not trio's own loop.

        What is committed while the store closes has nobody left to tell: the parts are gone, their store is shut.
        """
        for done, outcome in () if self._over else deliveries:
            try:
                done(outcome)
            except Exception as error:  # noqa: BLE001 - the edge between the writer and the tree: raised again in it
                self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if self._failure is None:
            self._failure = error
        self._failed.set()

    async def _raise_failure(self) -> None:
        await self._failed.wait()
        if self._failure is not None:
            raise self._failure

    async def _serve(self, store: Store, identity: Identity, keys: KeyHolder) -> None:
        this_run, sequence = await trio.to_thread.run_sync(
            begin_run, store, self._config, self._clock, system_random, identity
        )
        async with trio.open_nursery() as nursery:
            ground = Ground(
                self._config, self._clock, store, this_run, sequence, identity, system_random, _starter(nursery),
                self._fail,
            )  # fmt: skip
            assembly = Assembly(ground)
            with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
                await self._start(nursery, assembly, keys)
                await self._until_stopped(signals, assembly)
            await self._stop(assembly)
            nursery.cancel_scope.cancel()

    async def _start(self, nursery: trio.Nursery, assembly: Assembly, keys: KeyHolder) -> None:
        config = self._config
        nursery.start_soon(self._raise_failure)
        nursery.start_soon(assembly.core.deadlines.run)
        await nursery.start(_listening(assembly, config))
        await nursery.start(assembly.pairing_server.run)
        nursery.start_soon(assembly.look_around)
        sockets = take_sockets(os.environ, os.getpid())
        local = LocalSide(assembly, keys, lambda: assembly.lacking, sockets[0] if sockets else None)
        addresses = await nursery.start(_asyncio_side, local)
        await nursery.start(assembly.peering.run)
        upkeep, gauges = assembly.upkeep, Gauges(assembly.ground.store, assembly.directory, assembly.board)
        for task in (
            upkeep.renew_leaf, upkeep.forget_old, upkeep.close_records, upkeep.watch_clock,
            assembly.core.price_checks.run, assembly.core.reconciliation.run, gauges.run,
        ):  # fmt: skip
            nursery.start_soon(task)
        nursery.start_soon(every, MINUTE_S, assembly.pairing.open_port_if_needed)
        nursery.start_soon(Watchdog(assembly, self._notifier, watchdog_s(os.environ, os.getpid())).run)
        assembly.lacking = None
        _spare_the_collector()
        self._notifier.ready(f"{len(assembly.directory)} peers")
        log.info(
            "daemon_ready",
            endpoint_id=assembly.ground.identity.endpoint_id,
            link_port=assembly.network.port,
            api=addresses,
            peers=len(assembly.directory),
        )

    async def _until_stopped(self, signals: Any, assembly: Assembly) -> None:
        async for number in signals:
            if number != signal.SIGHUP:
                log.info("signal_received", signal=signal.Signals(number).name)
                return
            self._notifier.reloading()
            try:
                await assembly.reloader.reload()
            except RoamdError as error:
                log.warning("reload_refused", detail=str(error))
            self._notifier.ready()

    async def _stop(self, assembly: Assembly) -> None:
        assembly.lacking = "stopping"
        self._notifier.stopping()
        assembly.network.stop_accepting()
        await assembly.peering.say_goodbye(self._clock.now_ms() + RESTART_MS)
        assembly.core.journal.flush()


def _spare_the_collector() -> None:
    """What is there when the daemon is ready stays: it need not be walked again and again for what comes and goes."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 20, 20)


def _starter(nursery: trio.Nursery) -> Callable[..., None]:
    def start(function: Callable[..., Any], *arguments: Any) -> None:
        nursery.start_soon(function, *arguments)

    return start


def _listening(assembly: Assembly, config: Config) -> Callable[..., Any]:
    async def listen(*, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        await assembly.network.listen(config.link.listen.host, config.link.listen.port, task_status=task_status)

    return listen


async def _asyncio_side(local: LocalSide, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
    try:
        await run_asyncio(local.main, task_status=task_status)
    except OSError as error:
        raise OperatorError(f"The API cannot be served: {error}. See `api.listen` in roamd.toml.") from error
