"""Whole daemons for tests: real processes made by `roamd init`, in a directory of the test's, on free ports.

    with Fleet(tmp_path) as fleet:
        cso, csp = fleet.company("cso", "BE*RMC"), fleet.company("csp", "FR*RMD")
        fleet.start(cso, csp)
        fleet.pair(cso, csp)
        cso.api.need("POST", "/v1/records", cdr)
        csp.daemon.kill()

When the block is left by an exception, each daemon's last log lines are printed, so that pytest shows them beside the
failure; every process is ended in any case. The operator's commands and the simulated backends run in the test's own
process. What drives a daemon (`Daemon`, `Api`, `wait_until`) is the demo's own.
"""

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from roamd.demo.client import Api, wait_until
from roamd.demo.processes import ROAMD, Backend, Children, Daemon, init_daemon, run_roamd
from tests.support.backend import running_backend
from tests.support.operating import OperatedHere, run_here

T = TypeVar("T")

PATIENCE_S = 20.0
LOG_LINES = 40


@dataclass
class Company:
    """A daemon, its backend if it has one, and the labels by which it knows its partners, by their names."""

    name: str
    daemon: Daemon
    backend: Backend | None
    partners: dict[str, str] = field(default_factory=dict)

    @property
    def api(self) -> Api:
        return self.daemon.api

    @property
    def authorization(self) -> dict[str, str]:
        """The header with its API key, for what `api` cannot do."""
        return {"Authorization": f"Bearer {(self.daemon.directory / 'api.key').read_text().strip()}"}

    def peer(self, partner: "Company") -> dict[str, Any]:
        """The partner as `GET /v1/peers/{peer}` shows it."""
        shown: dict[str, Any] = self.api.get(f"/v1/peers/{self.partners[partner.name]}")
        return shown

    def link_is_up(self, partner: "Company") -> bool:
        return bool(self.peer(partner)["link"] == "UP")


@dataclass
class BackendHere(Backend):
    """A backend on a thread of the test's own process, which is quicker there than a process of its own."""

    process: None = None  # type: ignore[assignment]  # there is none

    def stop(self) -> None:
        """Whoever runs it ends it."""


class Fleet:
    """Owns the companies of one test."""

    def __init__(self, room: Path, command: Sequence[str] = ROAMD, patience_s: float = PATIENCE_S) -> None:
        self.room = room
        self.command = command
        self.patience_s = patience_s
        self.children = Children()
        self._backends = ExitStack()

    def company(
        self,
        name: str,
        party: str,
        role: str = "",
        *,
        backend: bool = True,
        advertise: bool = True,
        settings: str = "",
    ) -> Company:
        """A new company that does not run yet; `role` is its name when not given. Without `advertise` it only dials.

        `settings` is TOML for `conf.d/test.toml`. mDNS is off unless they say otherwise: tests should not meet.
        """
        served = BackendHere(self._backends.enter_context(running_backend())[1]) if backend else None
        daemon = init_daemon(
            self.room / name,
            party=party,
            role=role or name,
            name=f"Test {name.upper()}",
            backend_url=served.url if served else None,
            advertise=advertise,
            command=self.command,
            run=run_here if self.command == ROAMD else run_roamd,
        )
        if self.command == ROAMD:
            daemon = OperatedHere(daemon.directory, daemon.api, daemon.link_address)
        self._settle(daemon, settings or "[discovery]\nmdns = false\n")
        return Company(name, self.children.own(daemon), served)

    def _settle(self, daemon: Daemon, settings: str) -> None:
        extra = daemon.directory / "conf.d" / "test.toml"
        extra.parent.mkdir(exist_ok=True)
        extra.write_text(settings)

    def start(self, *companies: Company) -> None:
        """Start them (again) and wait until each is ready."""
        for company in companies:
            company.daemon.start()
        for company in companies:
            company.daemon.wait_ready(self.patience_s)

    def pair(self, inviter: Company, joiner: Company, via: Company | None = None) -> None:
        """Pair two that run, by invitation and confirmation, and wait until both see the link up.

        `via` is a clearing house that both are linked with; their link goes through it, too.
        """
        before = _labels(inviter), _labels(joiner)
        through = ("--via", inviter.partners[via.name]) if via else ()
        line = inviter.daemon.run("invite", *through).out.strip()
        joiner.daemon.run("pair", line, expect=(0, 75))
        (inviter.partners[joiner.name],) = _labels(inviter) - before[0]
        inviter.daemon.run("peers", "confirm", inviter.partners[joiner.name])
        (joiner.partners[inviter.name],) = _labels(joiner) - before[1]
        self.wait_linked(inviter, joiner)

    def wait_linked(self, one: Company, other: Company) -> None:
        """Wait until both see their link up."""
        self.wait_until(f"{one.name}'s link coming up", lambda: one.link_is_up(other))
        self.wait_until(f"{other.name}'s link coming up", lambda: other.link_is_up(one))

    def wait_until(self, what: str, look: Callable[[], T | None]) -> T:
        """Look until there is something to return; raises TooLateError, naming `what`."""
        return wait_until(what, look, self.patience_s)

    def logs(self) -> str:
        """The last lines of every daemon's log."""
        parts = [
            "\n".join([f"--- {daemon.directory.name} wrote last", *daemon.log_tail(LOG_LINES)])
            for daemon in self.children.daemons
        ]
        return "\n".join(parts)

    def __enter__(self) -> "Fleet":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _tb: TracebackType | None
    ) -> None:
        if kind is not None and not issubclass(kind, KeyboardInterrupt):
            sys.stderr.write(self.logs() + "\n")
        with self._backends:
            self.children.close()


def _labels(company: Company) -> set[str]:
    return {peer["peer"] for peer in company.api.items("/v1/peers")}
