"""The asyncio side of the daemon: the API with its questions and webhooks, and mDNS. One main in one thread."""

import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from roamd import metrics
from roamd.backend.auth import KeyHolder
from roamd.backend.context import Api, ApiSettings
from roamd.backend.ocpi.backends import OcpiSettings
from roamd.backend.questions import BackendSettings, Questions
from roamd.backend.server import serving
from roamd.backend.webhooks import WebhookSettings
from roamd.bridge import Port, port_to_asyncio, port_to_trio, sleep_forever
from roamd.config.schema import Config
from roamd.config.values import Address, UnixAddress
from roamd.daemon.assembly import Assembly
from roamd.discovery.finder import Sighting
from roamd.discovery.mdns import keep_mdns, run_mdns
from roamd.discovery.multicast import interfaces_for


class LocalSide:
    """Made on the trio thread; `main` runs on the asyncio thread."""

    def __init__(
        self, assembly: Assembly, keys: KeyHolder, readiness: Callable[[], str | None], handed: socket.socket | None
    ) -> None:
        self._assembly = assembly
        self._config = assembly.config
        self._handed = handed
        self._sightings: Port[Sighting] = port_to_trio(assembly.board.take)
        self._mdns_states: Port[str] = port_to_trio(self._note_mdns)
        self._reconfigure: Port[Config] | None = None
        self._api = Api(
            core=assembly.client,
            keys=keys,
            clock=assembly.ground.clock,
            own_parties=frozenset(self._config.endpoint.parties),
            settings=self._settings(self._config, readiness),
        )
        self._readiness = readiness
        assembly.reloader.listeners.append(self._reload)

    def _settings(self, config: Config, readiness: Callable[[], str | None]) -> ApiSettings:
        return ApiSettings(
            names=frozenset(name.lower() for name in config.api.hosts),
            default_deadline_ms=config.authorization.deadline_ms,
            readiness=readiness,
            metrics=metrics.render,
        )

    async def main(self, started: Callable[[Any], None]) -> None:
        """Serve until cancelled."""
        config = self._config
        listen = self._handed or str(config.api.listen)
        backend, webhooks = _backend(config), [_webhook(each) for each in config.webhooks]
        ocpi = _ocpi(config)
        async with serving(self._api, listen, backend=backend, webhooks=webhooks, ocpi=ocpi) as serving_now:
            self._reconfigure = port_to_asyncio(lambda new: self._use(new, serving_now.questions))
            self._assembly.backend.attach(serving_now.questions)
            try:
                started([_written(address) for address in serving_now.addresses])
                await self._look_around()
            finally:
                self._assembly.backend.detach()

    def _reload(self, config: Config) -> None:
        """On the trio thread; the port carries it over."""
        if self._reconfigure is not None:
            self._reconfigure.send(config)

    def _use(self, config: Config, questions: Questions) -> None:
        questions.configure(_backend(config))
        self._api.settings = self._settings(config, self._readiness)

    async def _look_around(self) -> None:
        """mDNS, begun again with patience whenever it ends; without it the daemon lives on static addresses."""
        if self._config.discovery.mdns:
            await keep_mdns(self._run_mdns, self._mdns_states.send)
        await sleep_forever()

    async def _run_mdns(self) -> None:
        link = self._config.link
        await run_mdns(
            self._assembly.ground.identity.endpoint_id,
            self._assembly.network.port if link.advertise else None,
            (),
            self._sightings.send,
            interfaces=interfaces_for(str(link.listen)),
        )

    def _note_mdns(self, state: str) -> None:
        """On the trio thread."""
        self._assembly.mdns_state = state
        if state != "on":
            self._assembly.board.forget("mdns")


def _written(address: Any) -> str:
    """What the system calls an address, as an operator writes it: a path, or a tuple that begins with host and port."""
    return str(UnixAddress(Path(address)) if isinstance(address, str) else Address(*address[:2]))


def _backend(config: Config) -> BackendSettings:
    ours = config.backend
    return BackendSettings(ours.url, ours.key, ours.timeout_ms, ours.connections)


def _webhook(row: Any) -> WebhookSettings:
    return replace(
        WebhookSettings(url=row.url, secret=row.secret), events=row.events, allow_private=row.private, name=row.name
    )


def _ocpi(config: Config) -> list[OcpiSettings]:
    return [
        OcpiSettings(
            row.name,
            row.token,
            row.url,
            row.base_url,
            row.handshake,
            row.private,
            strict=row.strict,
            nulls=row.nulls,
            company=config.endpoint.name,
            uid_byte_order=row.uid_byte_order,
        )
        for row in config.ocpi
    ]
