"""Daemons and backends as child processes, made and driven the way an operator does it: by the `roamd` command.

Every child leads a session of its own, so that Ctrl-C reaches only us and we end them in order; `Children` ends
whatever still lives when it closes. A daemon's log goes to a file beside its directory and is read back on failure.
"""

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import roamd
from roamd.demo.client import Api, TooLateError, wait_until

ROAMD = (sys.executable, "-m", "roamd")
"""The command under test: this very package, whether installed or a checkout."""

READY_S = 20.0
STOP_S = 10.0
COMMAND_S = 30.0


class DaemonDiedError(Exception):
    """A daemon ended by itself; the text says how."""


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    command: str
    code: int
    out: str
    err: str

    @property
    def json(self) -> object:
        """What it printed, when run with `--json`."""
        return json.loads(self.out)


class CommandFailedError(Exception):
    """A command ended otherwise than it should."""

    def __init__(self, done: Done) -> None:
        said = (done.err or done.out).strip()
        super().__init__(f"`{done.command}` ended with {done.code}: {said}")
        self.done = done


INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def interrupts_later() -> Iterator[None]:
    """Hold signals back until the block is done, so that no child is started and not yet owned when one arrives.

    Not by the signal mask: children would inherit it. Handlers run on the main thread, so elsewhere this is nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    before = {number: signal.signal(number, lambda came, _frame: arrived.append(came)) for number in INTERRUPTS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for came in arrived:
            signal.raise_signal(came)


def child_environment() -> dict[str, str]:
    """Ours, without the settings that would reach into the daemons, and with this package on the path."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ROAMD")}
    here = str(Path(roamd.__file__).parent.parent)
    return kept | {"PYTHONPATH": os.pathsep.join(filter(None, [here, kept.get("PYTHONPATH")]))}


def run_roamd(
    *arguments: str,
    expect: Sequence[int] = (0,),
    command: Sequence[str] = ROAMD,
    stdin: str = "",
    within_s: float = COMMAND_S,
) -> Done:
    """Run one command to its end. Raises CommandFailedError unless it ends with one of `expect` (empty: any)."""
    with contextlib.ExitStack() as stack:
        with interrupts_later():
            process = subprocess.Popen(  # noqa: S603 -- our own command, no shell
                [*command, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=child_environment(),
                start_new_session=True,
            )
            stack.callback(_end_now, process)
        out, err = process.communicate(stdin, within_s)
    done = Done(f"roamd {' '.join(arguments)}", process.returncode, out, err)
    if expect and done.code not in expect:
        raise CommandFailedError(done)
    return done


def _end_now(process: "subprocess.Popen[str]") -> None:
    with process:  # closes its pipes and waits
        process.kill()  # does nothing when it has ended already


LISTENING: Final = range(20_000, 32_768)
"""Below what systems give to outgoing connections (Linux from 32768): else one of those may have a daemon's port while
that is being restarted."""


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that are free now and differ from each other."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(_bound()) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]


def _bound() -> socket.socket:
    while True:
        one = socket.socket()
        try:
            one.bind(("127.0.0.1", secrets.choice(LISTENING)))
        except OSError:
            one.close()
        else:
            return one


@dataclass
class Daemon:
    """One directory made by `roamd init` and the process that runs it, if it runs."""

    directory: Path
    api: Api
    link_address: str
    command: Sequence[str] = ROAMD
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def config(self) -> Path:
        return self.directory / "roamd.toml"

    @property
    def log_file(self) -> Path:
        return self.directory.with_name(self.directory.name + ".log")

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start the process; its log is appended to what earlier runs wrote. Returns before it is ready."""
        with self.log_file.open("ab") as log, interrupts_later():
            self.process = subprocess.Popen(  # noqa: S603 -- our own command, no shell
                [*self.command, "run", "-c", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=child_environment(),
                start_new_session=True,
            )

    def wait_ready(self, within_s: float = READY_S) -> None:
        """Wait until it serves. Raises DaemonDiedError when it ended instead, TooLateError when it took too long."""
        wait_until(f"{self.directory.name} being ready", self._ready, within_s)

    def _ready(self) -> bool:
        if not self.running:
            code = self.process.returncode if self.process else None
            raise DaemonDiedError(f"the daemon of {self.directory.name} ended with {code} before it was ready")
        return self.api.ready()

    def run(self, *arguments: str, expect: Sequence[int] = (0,), stdin: str = "", within_s: float = COMMAND_S) -> Done:
        """Run a command of this daemon's operator (`-c` is added)."""
        config = ("-c", str(self.config))
        return run_roamd(*arguments, *config, expect=expect, command=self.command, stdin=stdin, within_s=within_s)

    def kill(self) -> None:
        """SIGKILL, as a power cut would do it, and wait for the end."""
        self._end(signal.SIGKILL, STOP_S)

    def stop(self, within_s: float = STOP_S) -> int:
        """SIGTERM and wait; the exit status. What does not end in time is killed, and that raises TooLateError."""
        if self.process is None:
            return 0
        try:
            return self._end(signal.SIGTERM, within_s)
        except subprocess.TimeoutExpired:
            self._end(signal.SIGKILL, STOP_S)
            raise TooLateError(f"{self.directory.name} did not stop within {within_s:g} s and was killed") from None

    def _end(self, how: signal.Signals, within_s: float) -> int:
        if self.process is None:
            return 0
        self.process.send_signal(how)  # does nothing when it has ended already
        return self.process.wait(within_s)

    def log_tail(self, lines: int = 15) -> list[str]:
        """The last lines of its log, as they stand."""
        if not self.log_file.exists():
            return []
        return self.log_file.read_text("utf-8", "replace").splitlines()[-lines:]


@dataclass
class Backend:
    """A simulated backend (`roamd.demo.backend`) as a process. It ends when its stdin closes, with us at the latest."""

    url: str
    process: "subprocess.Popen[str]"

    @classmethod
    def start(cls) -> "Backend":
        """Start it and wait for the address that it prints."""
        process = subprocess.Popen(
            [sys.executable, "-m", "roamd.demo.backend"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=child_environment(),
            start_new_session=True,
        )
        assert process.stdout is not None  # noqa: S101 -- asked for above
        line = process.stdout.readline()
        if not line:
            raise DaemonDiedError(f"the simulated backend ended with {process.wait()}")
        return cls(json.loads(line)["url"], process)

    @property
    def control(self) -> Api:
        """Where it is told how to behave and tells what it was asked."""
        return Api(self.url.removeprefix("http://").partition("/")[0])

    def decide(self, uid: str, decision: str) -> None:
        """What it answers for a credential from now on."""
        self.control.need("PUT", f"/decisions/{uid}", {"decision": decision})

    def asked(self, path: str = "authorize") -> list[dict[str, object]]:
        """The questions that it was asked, oldest first."""
        return [one["body"] for one in self.control.get("/asked") if one["path"] == path]

    def stop(self) -> None:
        """Close its stdin and wait; kill it if that does not help."""
        try:
            self.process.communicate(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@dataclass
class Children:
    """Owns processes: whatever it started is ended when the block is left, however it is left."""

    daemons: list[Daemon] = field(default_factory=list)
    backends: list[Backend] = field(default_factory=list)

    def backend(self) -> Backend:
        """A new simulated backend, serving."""
        backend = Backend.start()
        self.backends.append(backend)
        return backend

    def own(self, daemon: Daemon) -> Daemon:
        """Take a daemon in; it may be started, killed and started again at will."""
        self.daemons.append(daemon)
        return daemon

    def close(self) -> None:
        """End all. A second Ctrl-C during this waits its turn: no child is left behind."""
        with interrupts_later():
            for daemon in self.daemons:
                if daemon.running and daemon.process is not None:
                    daemon.process.send_signal(signal.SIGTERM)
            for daemon in self.daemons:
                with contextlib.suppress(TooLateError):
                    daemon.stop()
            for backend in self.backends:
                backend.stop()

    def __enter__(self) -> "Children":
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


def init_daemon(
    directory: Path,
    *,
    party: str,
    role: str,
    name: str,
    backend_url: str | None = None,
    advertise: bool = True,
    command: Sequence[str] = ROAMD,
    run: Callable[..., Done] = run_roamd,
) -> Daemon:
    """Make a directory with `roamd init` whose every port is free and on 127.0.0.1.

    Without `advertise` no partner is told where it listens: it dials and is never dialled, as behind NAT. `run` takes
    what `run_roamd` takes.
    """
    link, pairing, api = (f"127.0.0.1:{port}" for port in free_ports(3))
    addresses = ["--listen", link, "--pairing", pairing, "--api", api, *(["--advertise", link] if advertise else [])]
    backend = ["--backend", backend_url] if backend_url else []
    who = ["--party", party, "--role", role, "--name", name]
    run("init", str(directory), *who, *addresses, *backend, command=command)
    return Daemon(directory, Api(api, directory / "api.key"), link, command)
