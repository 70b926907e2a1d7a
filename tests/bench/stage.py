"""The processes that are measured, each made when a probe first asks for it, all ended with the stage."""

import contextlib
import tempfile
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from types import TracebackType

from roamd.demo.processes import Children, Daemon, init_daemon
from tests.bench import certificates
from tests.bench.children import Child
from tests.bench.machine import python
from tests.support.daemons import Company, Fleet

SETTINGS = '[discovery]\nmdns = false\n\n[log]\nlevel = "info"\n'
CSO = "BE*RMC"
IN_PROCESS, WITH_BACKEND = "NL-INP", "FR-RMD"
"""Providers: the CSP whose daemon answers by itself, and the one that asks its backend."""


class Companies:
    """A CSO and two CSPs, paired and linked. `prepare` is given each one's directory before it is first started."""

    def __init__(
        self, room: Path, stack: contextlib.ExitStack, prepare: Callable[[Path], object] = lambda directory: None
    ) -> None:
        self.fleet = stack.enter_context(Fleet(room))
        self.backend = stack.enter_context(contextlib.closing(Child("backend")))
        self.cso = self._company("cso", CSO)
        self.quick = self._company("quick", "NL*INP", role="csp", command=python("tests.bench.answering"))
        self.csp = self._company("csp", "FR*RMD", backend=self.backend.hello["url"])
        for company in (self.cso, self.csp):
            prepare(company.daemon.directory)
        self.fleet.start(self.cso, self.quick, self.csp)
        self.fleet.pair(self.cso, self.quick)
        self.fleet.pair(self.cso, self.csp)

    def _company(
        self, name: str, party: str, *, role: str = "", backend: str | None = None, command: list[str] | None = None
    ) -> Company:
        daemon = init_daemon(
            self.fleet.room / name, party=party, role=role or name, name=f"Bench {name}", backend_url=backend
        )
        extra = daemon.directory / "conf.d" / "bench.toml"
        extra.parent.mkdir()
        extra.write_text(SETTINGS)
        if command is not None:
            daemon.command = command
        return Company(name, self.fleet.children.own(daemon), None)

    def pids(self, *companies: Company) -> tuple[int, ...]:
        """Of the daemons of the CSO and these."""
        return tuple(pid_of(company.daemon) for company in (self.cso, *companies))

    def answer_by_stream(self) -> None:
        """The CSP's backend takes its questions by the stream from now on."""
        api = self.csp.api
        self.backend.tell(("stream", api.address, api.key_file))

    def answer_by_http(self) -> None:
        """The CSP's backend is asked by HTTP from now on."""
        self.backend.tell(("http",))


def pid_of(daemon: Daemon) -> int:
    """The process of a daemon that runs."""
    assert daemon.process is not None
    return daemon.process.pid


class Stage:
    """Owns everything that a run starts."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._links: dict[str, Child] = {}
        self.stack = contextlib.ExitStack()
        self.room = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="roamd-bench-")))

    @cached_property
    def companies(self) -> Companies:
        """The three paired daemons."""
        room = self.room / "companies"
        room.mkdir()
        return Companies(room, self.stack)

    def started(self, *words: object) -> Child:
        """A program of this package as a child, ended with the stage at the latest."""
        return self.stack.enter_context(contextlib.closing(Child(*map(str, words))))

    @cached_property
    def certificates(self) -> Path:
        """A folder with what the yardsticks show each other in their handshakes."""
        folder = self.room / "tls"
        folder.mkdir()
        certificates.make(folder)
        return folder

    @cached_property
    def ocpi(self) -> Child:
        """The sender of the OCPI pair; its receiver is behind it."""
        receiver = self.started("ocpi", "receiver", self.certificates)
        return self.started("ocpi", "sender", self.certificates, receiver.hello["port"], receiver.pid)

    def link(self, kind: str) -> Child:
        """The dialling end of a link between two processes: `linked` is roamd's, `bare` the floor."""
        if kind not in self._links:
            listener = self.started(kind, "listener", self.certificates)
            self._links[kind] = self.started(kind, "dialler", self.certificates, listener.hello["port"], listener.pid)
        return self._links[kind]

    def own(self, daemon: Daemon) -> Daemon:
        """Take a daemon in; it ends with the stage at the latest."""
        return self._children.own(daemon)

    @cached_property
    def _children(self) -> Children:
        return self.stack.enter_context(Children())

    def __enter__(self) -> "Stage":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stack.__exit__(kind, error, trace)
