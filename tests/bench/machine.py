"""What this machine is, and what processes cost on it; Linux only, from /proc."""

import os
import platform
import ssl
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
ROOT = Path(__file__).resolve().parent.parent.parent
LIBRARIES = ("aiohttp", "apsw", "cryptography", "msgpack", "msgspec", "trio", "uvloop", "zstandard")


def cpu_s(*pids: int) -> float:
    """CPU seconds, user and system, that these processes have used with all their threads; to 10 ms."""
    return sum(_ticks(pid) for pid in pids) * TICK_S


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def resident_kib(pid: int) -> float:
    """The memory of a process that is its own: heap, stacks and what it changed of shared pages."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return float(line.split()[1])
    return 0.0


def described() -> dict[str, object]:
    """The machine and the versions, for the JSON."""
    load = os.getloadavg()[0]
    return {
        "machine": {"cpu": _cpu_name(), "cores": os.cpu_count(), "load": load, "kernel": platform.release()},
        "versions": {
            "python": platform.python_version(),
            "openssl": ssl.OPENSSL_VERSION,
            **{name: _version(name) for name in LIBRARIES},
        },
        "commit": _commit(),
    }  # fmt: skip


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except ModuleNotFoundError:
        return None


def _commit() -> str:
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def python(*arguments: str) -> list[str]:
    """A command that runs one of this package's own programs."""
    return [sys.executable, "-m", *arguments]
