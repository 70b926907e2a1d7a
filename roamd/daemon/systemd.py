"""What the daemon tells its service manager, by sd_notify's own protocol: datagrams of `KEY=value` lines.

Without NOTIFY_SOCKET every call does nothing, so the daemon need not know who started it. Telling never fails: a
manager that does not listen must not bring the daemon down.

Debian 12 has systemd 252, where `Type=notify-reload` silently becomes `simple`; so the unit is `Type=notify` and
RELOADING=1 is sent for the state that `systemctl` shows, with the monotonic time that newer managers ask for.
"""

import os
import socket
import time
from collections.abc import Mapping, MutableMapping
from typing import Final

MAX_STATUS: Final = 200
"""Characters of a STATUS line; `systemctl status` shows it in one row."""

_LISTEN_FDS_START: Final = 3
"""The first descriptor that a socket unit hands over (sd_listen_fds)."""


class Notifier:
    """One process's line to its service manager. Methods may be called from any thread."""

    def __init__(self, address: str | None) -> None:
        """`address` is what NOTIFY_SOCKET holds; a leading @ means the abstract namespace."""
        self._address = f"\0{address[1:]}" if address and address.startswith("@") else address

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str]) -> "Notifier":
        """The line that the environment names; the variable is taken out, so that no child speaks in our name."""
        return cls(environ.pop("NOTIFY_SOCKET", None))

    @property
    def connected(self) -> bool:
        """Whether there is anybody to tell."""
        return bool(self._address)

    def ready(self, status: str = "") -> None:
        """Everything serves: the unit is started, or a reload is over."""
        self._send("READY=1", *_status(status))

    def reloading(self) -> None:
        """A reload begins; `ready` ends it, whatever its verdict."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str = "") -> None:
        """The orderly end begins."""
        self._send("STOPPING=1", *_status(status))

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send(*_status(text))

    def watchdog(self) -> None:
        """Proof of life. Send it only after a real check of what must be alive."""
        self._send("WATCHDOG=1")

    def extend_timeout(self, seconds: float) -> None:
        """Starting or stopping takes so much longer from now on, as a migration does."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}")

    def _send(self, *lines: str) -> None:
        if not self._address or not lines:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
                # A manager that does not read must not hold us up.
                line.setblocking(False)
                line.sendto("\n".join(lines).encode(), self._address)
        except OSError:
            return


def _status(text: str) -> list[str]:
    plain = "".join(character if character.isprintable() else " " for character in text)
    return [f"STATUS={plain[:MAX_STATUS]}"] if plain.strip() else []


def watchdog_s(environ: Mapping[str, str], pid: int) -> float | None:
    """How often to send a proof of life: half the time after which the manager would restart us; None: never."""
    for_us = environ.get("WATCHDOG_PID", str(pid)) == str(pid)
    limit = environ.get("WATCHDOG_USEC", "")
    if not for_us or not limit.isascii() or not limit.isdecimal() or int(limit) == 0:
        return None
    return int(limit) / 2_000_000


def take_sockets(environ: MutableMapping[str, str], pid: int) -> list[socket.socket]:
    """The listening sockets that a socket unit opened for this very process; the variables are taken out."""
    count, owner = environ.pop("LISTEN_FDS", ""), environ.pop("LISTEN_PID", "")
    environ.pop("LISTEN_FDNAMES", None)
    if owner != str(pid) or not count.isascii() or not count.isdecimal():
        return []
    return [_adopted(_LISTEN_FDS_START + offset) for offset in range(int(count))]


def _adopted(descriptor: int) -> socket.socket:
    os.set_inheritable(descriptor, False)
    return socket.socket(fileno=descriptor)
