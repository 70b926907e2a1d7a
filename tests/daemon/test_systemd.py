"""sd_notify's protocol, against a real socket as the service manager opens it."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from roamd.daemon.systemd import Notifier, take_sockets, watchdog_s


class Manager:
    """The manager's end of the line."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        self._socket.setblocking(False)

    def heard(self) -> list[str]:
        return self._socket.recv(4096).decode().split("\n")

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["file", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    opened = Manager(str(tmp_path / "notify") if request.param == "file" else f"@roamd-test-{os.getpid()}")
    yield opened
    opened.close()


def test_every_message_is_what_the_manager_expects(manager: Manager) -> None:
    notifier = Notifier(manager.address)
    notifier.ready("2 peers")
    assert manager.heard() == ["READY=1", "STATUS=2 peers"]
    notifier.stopping()
    assert manager.heard() == ["STOPPING=1"]
    notifier.status("up")
    assert manager.heard() == ["STATUS=up"]
    notifier.watchdog()
    assert manager.heard() == ["WATCHDOG=1"]
    notifier.extend_timeout(1.5)
    assert manager.heard() == ["EXTEND_TIMEOUT_USEC=1500000"]


def test_a_reload_carries_the_time_that_newer_managers_ask_for(manager: Manager) -> None:
    Notifier(manager.address).reloading()
    first, second = manager.heard()
    assert first == "RELOADING=1"
    assert int(second.removeprefix("MONOTONIC_USEC=")) > 0


def test_a_status_cannot_smuggle_a_second_assignment(manager: Manager) -> None:
    Notifier(manager.address).status("a\nREADY=1\x1b" + "x" * 1000)
    (line,) = manager.heard()
    assert line.startswith("STATUS=a READY=1 x")
    assert len(line) == len("STATUS=") + 200


def test_the_variable_is_taken_out_so_that_children_do_not_speak() -> None:
    environ = {"NOTIFY_SOCKET": "/run/x"}
    assert Notifier.from_environment(environ).connected
    assert environ == {}


def test_without_a_manager_nothing_happens() -> None:
    notifier = Notifier.from_environment({})
    assert not notifier.connected
    notifier.ready("ok")


def test_a_manager_that_is_gone_or_deaf_is_survived(tmp_path: Path) -> None:
    Notifier(str(tmp_path / "gone")).ready()
    deaf = Manager(str(tmp_path / "deaf"))
    notifier = Notifier(deaf.address)
    for _ in range(10_000):  # far more than a socket holds; a blocking send would hang here
        notifier.watchdog()
    deaf.close()


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "²"}, None),
    ],
)
def test_proofs_of_life_come_twice_in_the_managers_time(environ: dict[str, str], expected: float | None) -> None:
    assert watchdog_s(environ, 7) == expected


def test_sockets_are_for_the_process_that_they_name() -> None:
    environ = {"LISTEN_FDS": "1", "LISTEN_PID": "8", "LISTEN_FDNAMES": "api"}
    assert take_sockets(environ, 7) == []
    assert environ == {}


def test_a_socket_units_socket_is_taken_over(tmp_path: Path) -> None:
    """In a child, because it is always descriptor 3, which here is pytest's."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "api.sock"))
        listening.listen()
        program = (
            "import os, sys; from roamd.daemon.systemd import take_sockets;"
            f"os.dup2({listening.fileno()}, 3); os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()));"
            "one, = take_sockets(os.environ, os.getpid()); print(one.getsockname(), one.get_inheritable())"
        )
        checkout = Path(__file__).parents[2]
        done = subprocess.run(
            [sys.executable, "-c", program],
            pass_fds=[listening.fileno()],
            capture_output=True,
            text=True,
            cwd=checkout,
            check=False,
        )
    assert done.stdout.strip() == f"{tmp_path / 'api.sock'} False", done.stderr
