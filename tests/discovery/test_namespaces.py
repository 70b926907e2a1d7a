"""mDNS between two machines, which are network namespaces joined by a virtual cable: all interfaces but loopback.

Needs root and `ip`; the processes in the namespaces run this file as a script.
"""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from roamd.discovery.finder import Sighting
from roamd.discovery.mdns import run_mdns

CSO, CSP = "A" * 56, "B" * 56
HERE, THERE = "192.0.2.1", "192.0.2.2"
PATIENCE_S = 30


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=PATIENCE_S)


@pytest.fixture
def machines() -> Iterator[tuple[str, str]]:
    """The names of two namespaces on one cable."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("making network namespaces needs root and the `ip` command")
    names = tuple(f"roamd-{side}-{os.getpid()}" for side in "ab")
    made = []
    try:
        for name in names:
            ip("netns", "add", name)
            made.append(name)
        ip("link", "add", "cable", "netns", names[0], "type", "veth", "peer", "name", "cable", "netns", names[1])
        for name, address in zip(names, (HERE, THERE), strict=True):
            ip("-n", name, "address", "add", f"{address}/30", "dev", "cable")
            ip("-n", name, "link", "set", "cable", "up")
            ip("-n", name, "link", "set", "lo", "up")
    except subprocess.CalledProcessError as error:
        for name in made:
            ip("netns", "delete", name)
        pytest.skip(f"no network namespaces on this machine: {error.stderr.decode().strip()}")
    yield names[0], names[1]
    for name in made:
        ip("netns", "delete", name)


def look(machine: str, me: str, other: str) -> "subprocess.Popen[str]":
    """Look out for `other` from within a machine; prints its addresses and stays visible until stdin closes."""
    root = str(Path(__file__).parent.parent.parent)
    return subprocess.Popen(
        ["ip", "netns", "exec", machine, sys.executable, __file__, me, other],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": root},
    )


def test_two_machines_find_each_other_at_their_own_addresses(machines: tuple[str, str]) -> None:
    cso, csp = look(machines[0], CSO, CSP), look(machines[1], CSP, CSO)
    try:
        assert cso.stdout is not None
        assert csp.stdout is not None
        assert cso.stdout.readline().split() == [f"{THERE}:63119"]
        assert csp.stdout.readline().split() == [f"{HERE}:63119"]
    finally:
        ended = [one.communicate(timeout=PATIENCE_S) for one in (cso, csp)]
    assert [err for _, err in ended] == ["", ""]


async def main(me: str, other: str) -> None:
    found = asyncio.Event()

    def report(sighting: Sighting) -> None:
        if sighting.veil is not None and sighting.veil.hides(other):
            print(*sighting.addresses, flush=True)  # noqa: T201
            found.set()

    looking = asyncio.ensure_future(run_mdns(me, 63119, (), report))
    seen = asyncio.ensure_future(found.wait())
    await asyncio.wait([looking, seen], timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
    if looking.done():
        looking.result()
    await asyncio.wait_for(asyncio.to_thread(sys.stdin.read), PATIENCE_S)
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
