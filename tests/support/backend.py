"""The simulated backend of `roamd.demo.backend` beside a test: in a thread, so that trio and plain tests can use it.

with running_backend() as (backend, url):
    backend.mood = "silent"
    ... backend.asked
"""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from roamd.demo.backend import Asked, SimulatedBackend, serving

__all__ = ["Asked", "SimulatedBackend", "running_backend"]

START_S = 10.0


@contextmanager
def running_backend(backend: SimulatedBackend | None = None) -> Iterator[tuple[SimulatedBackend, str]]:
    """Serve on a free port of 127.0.0.1; gives the backend and the URL for `backend.url`."""
    backend = backend or SimulatedBackend()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="simulated-backend", daemon=True)
    thread.start()
    try:
        runner, url = asyncio.run_coroutine_threadsafe(serving(backend), loop).result(START_S)
        try:
            yield backend, url
        finally:
            asyncio.run_coroutine_threadsafe(_finish(runner), loop).result(START_S)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(START_S)
        loop.close()


async def _finish(runner: web.AppRunner) -> None:
    """Stop serving; a silent backend's handlers still wait and are cancelled."""
    await runner.cleanup()
    waiting = asyncio.all_tasks() - {asyncio.current_task()}
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
