"""A bad network between two daemons: a TCP proxy that forwards until it is told to cut, stall or throttle.

    with FaultProxy("127.0.0.1:4711") as proxy:      # what dials proxy.address reaches 4711
        proxy.harm(Fault(cut_after_bytes=700))       # every connection breaks in the middle of a TLS record

It runs in a thread of its own; every method may be called from any thread. Connections that are made later are whole:
a fault is done to what lives at that moment.
"""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")

PIECE = 16 * 1024
"""Forwarded at a time: about one TLS record."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done to a connection: everything after the delay, then it is cut. The default cuts at once.

    `cut_after_bytes`: it still carries so many bytes, in both directions together, before it is cut.
    `stall_s`: nothing passes for so long before. `bytes_per_s`: what passes, passes at this pace.
    """

    cut_after_bytes: int = 0
    stall_s: float = 0.0
    bytes_per_s: int | None = None
    patience_s: float = 1.0
    """A connection that carries too little to use its bytes up is cut after this long."""


class FaultProxy:
    """Listens on a port of 127.0.0.1 and forwards to `target`; `broken` counts the connections that it cut."""

    def __init__(self, target: str, port: int = 0) -> None:
        self._host, _, target_port = target.rpartition(":")
        self._target_port = int(target_port)
        self._port = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        self._live: set[_Connection] = set()
        self._server: asyncio.Server | None = None
        self.broken = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    @property
    def live(self) -> int:
        """Connections that forward at this moment and are not being harmed."""
        return sum(not one.harmed for one in list(self._live))

    def harm(self, fault: Fault) -> int:
        """Do this to every live connection; how many there were. Returns at once."""
        return self._run(self._harm(fault))

    async def _harm(self, fault: Fault) -> int:
        chosen = [one for one in self._live if not one.harmed]
        for one in chosen:
            one.harm(fault)
        self.broken += len(chosen)
        return len(chosen)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far = await asyncio.open_connection(self._host, self._target_port)
        except OSError:
            writer.transport.abort()
            return
        connection = _Connection((reader, writer), far)
        self._live.add(connection)
        try:
            await connection.forward()
        finally:
            self._live.discard(connection)

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._open())
        return self

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        for one in list(self._live):
            one.cut()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=2)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


class _Connection:
    """Two pumps, and what is being done to them."""

    def __init__(
        self,
        near: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        far: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self._near, self._far = near, far
        self._fault: Fault | None = None
        self._left = 0
        self._open = asyncio.Event()
        self._open.set()
        self._timers: list[asyncio.TimerHandle] = []

    @property
    def harmed(self) -> bool:
        return self._fault is not None

    async def forward(self) -> None:
        """Both ways until either side ends or it is cut."""
        pumps = [
            asyncio.ensure_future(self._pump(self._near[0], self._far[1])),
            asyncio.ensure_future(self._pump(self._far[0], self._near[1])),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.wait(pumps)
            for timer in self._timers:
                timer.cancel()
            await self._end()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(PIECE):
                await self._open.wait()
                if self._fault is not None:
                    await self._pass_harmed(writer, data, self._fault)
                else:
                    writer.write(data)
                    await writer.drain()

    async def _pass_harmed(self, writer: asyncio.StreamWriter, data: bytes, fault: Fault) -> None:
        piece, self._left = data[: self._left], max(0, self._left - len(data))
        if piece:
            writer.write(piece)
            await writer.drain()
            if fault.bytes_per_s:
                await asyncio.sleep(len(piece) / fault.bytes_per_s)
        if not self._left:
            self.cut()

    def harm(self, fault: Fault) -> None:
        self._fault, self._left = fault, fault.cut_after_bytes
        later = asyncio.get_running_loop().call_later
        if fault.stall_s:
            self._open.clear()
            self._timers.append(later(fault.stall_s, self._open.set))
        if fault.cut_after_bytes:
            self._timers.append(later(fault.stall_s + fault.patience_s, self.cut))
        else:
            self._timers.append(later(fault.stall_s, self.cut))

    def cut(self) -> None:
        """No farewell: what is in the buffers is gone."""
        for _, writer in (self._near, self._far):
            writer.transport.abort()

    async def _end(self) -> None:
        """One side has ended in order, or all of it was cut: let what was forwarded leave."""
        for _, writer in (self._near, self._far):
            with contextlib.suppress(OSError, RuntimeError):
                writer.close()
