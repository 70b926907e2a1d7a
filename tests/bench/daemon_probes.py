"""The daemon by itself: starting, telling how it is, logging, shaking hands, and holding many peers and records."""

import subprocess
import time

import trio
from trio.testing import memory_stream_pair

from roamd.clock import SystemClock
from roamd.demo.client import wait_until
from roamd.demo.processes import Daemon, child_environment, init_daemon
from roamd.peering.tls import TlsStream
from roamd.trust.contexts import Contexts
from roamd.trust.identity import Identity
from roamd.trust.leaf import issue_leaf
from tests.bench import many, record_probes
from tests.bench.load import Measured
from tests.bench.machine import cpu_s, python, resident_kib
from tests.bench.probes import probe
from tests.bench.stage import SETTINGS, Stage, pid_of

STORED_PEERS = 500
HEARTBEATS_S = 30.0
"""How often a link that has nothing to say is heard of (`link.heartbeat_s`): so long is watched what that costs."""

RECORDS = 250_000
HANDSHAKES = 25
SETTLING_S = 2.0
"""What the links' coming up has to be followed by (events, commits) is over by then."""


def _daemon(stage: Stage, name: str) -> Daemon:
    daemon = init_daemon(stage.room / name, party="BE*RMC", role="cso", name=name)
    (daemon.directory / "conf.d").mkdir()
    (daemon.directory / "conf.d" / "bench.toml").write_text(SETTINGS)
    return stage.own(daemon)


def start_s(daemon: Daemon) -> float:
    """From nothing to READY."""
    began = time.monotonic()
    daemon.start()
    wait_until("being ready", lambda: daemon.running and daemon.api.ready(), 60, lambda _s: time.sleep(0.005))
    return time.monotonic() - began


def status_s(daemon: Daemon) -> float:
    """The fastest of five: what the command needs, not what the machine does besides."""
    took = []
    for _ in range(5):
        began = time.monotonic()
        daemon.run("status", "--json")
        took.append(time.monotonic() - began)
    return min(took)


@probe("start", once=True)
def start(stage: Stage) -> Measured:
    """A new directory, cold and once more."""
    daemon = _daemon(stage, "start")
    start_s(daemon)
    daemon.stop()
    took = start_s(daemon)
    daemon.stop()
    return {"small_s": took}


@probe("status")
def status(stage: Stage) -> Measured:
    """The operator's command as a process of its own, with its daemon at rest."""
    return {"status_s": status_s(stage.companies.cso.daemon)}


@probe("log")
def log_lines(stage: Stage) -> Measured:
    """A line with the keys that an authorization has, into the void; in a process of its own."""
    del stage
    done = subprocess.run(
        python("tests.bench.logged"),
        capture_output=True,
        check=True,
        text=True,
        env=child_environment(),
    )
    line, filtered = map(float, done.stdout.split())
    return {"line_us": line, "filtered_us": filtered}


@probe("handshakes")
def handshakes(stage: Stage) -> Measured:
    """TLS 1.3, both sides with certificates, both in this process."""
    del stage
    now_ms = SystemClock().now_ms()
    one, other = Identity.create(now_ms), Identity.create(now_ms)
    dialling = Contexts(one, issue_leaf(one, now_ms), {other.endpoint_id: (other.certificate_der,)})
    accepting = Contexts(other, issue_leaf(other, now_ms), {one.endpoint_id: (one.certificate_der,)})

    async def shake(count: int) -> None:
        for _ in range(count):
            here, there = memory_stream_pair()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(TlsStream.dial(here, dialling).handshake)
                nursery.start_soon(TlsStream.accept(there, accepting).handshake)

    trio.run(shake, 2)
    began = time.process_time()
    trio.run(shake, HANDSHAKES)
    return {"cpu_ms": (time.process_time() - began) / HANDSHAKES * 1000}


@probe("idle-peers-1000", once=True)
def thousand_idle_peers(stage: Stage) -> Measured:
    """Peers that are linked and have nothing to say; then the daemon is restarted and they come back."""
    return _idle_peers(stage, 1000)


@probe("idle-peers-5000", once=True, on_demand=True)
def five_thousand_idle_peers(stage: Stage) -> Measured:
    """The same with five thousand."""
    return _idle_peers(stage, 5000)


def _idle_peers(stage: Stage, count: int) -> Measured:
    daemon = _daemon(stage, f"idle-{count}")
    start_s(daemon)
    alone_kib = resident_kib(pid_of(daemon))
    daemon.stop()
    folder = stage.room / f"peers-{count}"
    folder.mkdir()
    many.introduce(daemon.directory, folder, count)
    start_s(daemon)
    crowd = stage.started("crowd", folder, daemon.link_address, count)
    wait_until("all peers being linked", lambda: _up(daemon) == count, 120)
    time.sleep(SETTLING_S)
    per_peer = (resident_kib(pid_of(daemon)) - alone_kib) / count
    cpu_before = cpu_s(pid_of(daemon))
    time.sleep(HEARTBEATS_S)
    heartbeats = (cpu_s(pid_of(daemon)) - cpu_before) / HEARTBEATS_S
    daemon.kill()
    began = time.monotonic()
    daemon.start()
    wait_until("all peers coming back", lambda: daemon.api.ready() and _up(daemon) == count, 120)
    back_s = time.monotonic() - began
    crowd.close()
    daemon.stop()
    return {"kib_per_peer": per_peer, "heartbeats_percent": heartbeats * 100, "back_s": back_s}


def _up(daemon: Daemon) -> int:
    return int(daemon.api.get("/v1/status")["peers"]["up"])


@probe("store-250k", once=True)
def big_store(stage: Stage) -> Measured:
    """A store with a quarter of a million records of 3 KB and many peers: how soon it serves, and how quick it is."""
    daemon = _daemon(stage, "big")
    start_s(daemon)
    daemon.stop()
    folder = stage.room / "big-peers"
    folder.mkdir()
    many.introduce(daemon.directory, folder, STORED_PEERS)
    took = many.fill(daemon.directory, RECORDS)
    ready_s, told_s = start_s(daemon), status_s(daemon)
    found = record_probes.accepted_by(daemon, stage.seconds)
    daemon.stop()
    return {"start_s": ready_s, "status_s": told_s, "filled_per_s": RECORDS / took, "per_s": found["per_s"]}
