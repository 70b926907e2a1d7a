"""Runs the API, the questions and the webhooks on the asyncio loop: the daemon's asyncio main enters `serving`."""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from roamd.backend.app import build
from roamd.backend.context import Api
from roamd.backend.ocpi.backends import OcpiSettings
from roamd.backend.ocpi.plug import ocpi_plug
from roamd.backend.questions import BackendSettings, Questions, backend_session
from roamd.backend.webhooks import Webhook, WebhookSettings, webhook_session
from roamd.errors import ConfigError

SHUTDOWN_S: Final = 2.0
"""How long open requests may take to end; long polls and streams are let go at once."""

SOCKET_MODE: Final = 0o660
"""Who may connect to a unix socket: its owner and its group. The key is asked for all the same."""

_quiet = logging.getLogger("roamd.backend.http")
_quiet.setLevel(logging.CRITICAL)  # aiohttp logs every unreadable request with a traceback; clients see their 400


@dataclass(frozen=True, slots=True)
class Listen:
    """`127.0.0.1:8119`, `[::1]:8119`, `unix:/run/roamd/api.sock`."""

    host: str = ""
    port: int = 0
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> "Listen":
        """Raises ConfigError."""
        if text.startswith("unix:"):
            return cls(path=text.removeprefix("unix:"))
        host, _, port = text.rpartition(":")
        if not host or not port.isdigit() or int(port) > 65535:
            raise ConfigError([f"api.listen: {text!r} is no address; 127.0.0.1:8119 or unix:/path would be right"])
        return cls(host=host.removeprefix("[").removesuffix("]"), port=int(port))

    @property
    def names(self) -> frozenset[str]:
        """What the API may be called by because it listens there."""
        return frozenset({self.host.lower()}) - {"", "0.0.0.0", "::"}  # noqa: S104  # compared, not bound


@dataclass(frozen=True, slots=True)
class Serving:
    """The API at work. `backend` is what `BackendPort.attach` takes; `addresses` are those really bound."""

    questions: Questions
    addresses: list[Any]


@contextlib.asynccontextmanager
async def serving(
    api: Api,
    listen: str | socket.socket,
    *,
    backend: BackendSettings | None = None,
    webhooks: Sequence[WebhookSettings] = (),
    ocpi: Sequence[OcpiSettings] = (),
    random: Callable[[int], bytes] = os.urandom,
) -> AsyncIterator[Serving]:
    """Listen, and answer until the block ends; then whoever waits is let go and everything is closed.

    Raises OSError when the address cannot be had, ConfigError for a wrong webhook secret. A socket that is handed in
    (systemd's) must be bound and listening. A failing webhook task is a bug and ends the block.
    """
    async with contextlib.AsyncExitStack() as stack:
        backend = backend or BackendSettings()
        session = await stack.enter_async_context(backend_session(backend.connections))
        questions = Questions(api, backend, session)
        stack.push_async_callback(questions.aclose)
        hooks = [await _webhook(stack, api, each, random) for each in webhooks]
        if isinstance(listen, str):
            api.listen_names = Listen.parse(listen).names
        plug = await stack.enter_async_context(ocpi_plug(api, ocpi, random))
        runner = web.AppRunner(
            build(api, plug.face), access_log=None, handle_signals=False, logger=_quiet, shutdown_timeout=SHUTDOWN_S
        )
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await _site(runner, listen).start()
        _open_socket_file(listen)
        await plug.routes.load()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(hook.run()) for hook in hooks]
            tasks += [group.create_task(pusher.run()) for pusher in plug.pushers]
            tasks += [group.create_task(puller.run()) for puller in plug.pullers]
            tasks += [group.create_task(poster.run()) for poster in plug.posters]
            tasks.append(group.create_task(plug.routes.run()))
            try:
                yield Serving(questions, runner.addresses)
            finally:
                for task in tasks:
                    task.cancel()


def _site(runner: "web.AppRunner", listen: str | socket.socket) -> web.BaseSite:
    if isinstance(listen, socket.socket):
        return web.SockSite(runner, listen)
    where = Listen.parse(listen)
    if where.path:
        return web.UnixSite(runner, where.path)
    return web.TCPSite(runner, where.host, where.port)


def _open_socket_file(listen: str | socket.socket) -> None:
    if isinstance(listen, str) and listen.startswith("unix:"):
        Path(listen.removeprefix("unix:")).chmod(SOCKET_MODE)


async def _webhook(
    stack: contextlib.AsyncExitStack, api: Api, settings: WebhookSettings, random: Callable[[int], bytes]
) -> Webhook:
    session = await stack.enter_async_context(webhook_session(settings.allow_private))
    return Webhook(api, settings, session, api.clock, random)
