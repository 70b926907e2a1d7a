"""A new peer gets everything that is published: 10,000 locations with about 100,000 EVSEs."""

import asyncio
import re
import time
from functools import partial
from pathlib import Path

from roamd.demo.client import Api, wait_until
from roamd.demo.processes import Daemon, init_daemon
from tests.bench import bodies, many
from tests.bench.load import Measured
from tests.bench.machine import cpu_s, python
from tests.bench.mixed_probes import LOOK_S, while_busy
from tests.bench.probes import probe
from tests.bench.stage import SETTINGS, Stage, pid_of
from tests.support.daemons import Company, Fleet

LOCATIONS = 10_000
AT_A_TIME = 1000
PATIENCE_S = 120.0
FOLLOWERS, CHANGES, PAUSE_S = 100, 40, 0.05
_SENT = re.compile(r'^roamd_link_bytes_total\{direction="out",peer="([^"]+)"\} (\S+)$', re.MULTILINE)


class Publisher:
    """A CSO with many locations, and new CSPs that pair with it."""

    def __init__(self, room: Path, stage: Stage) -> None:
        self.fleet = stage.stack.enter_context(Fleet(room))
        self.cso = self._company("publisher", "BE*RMC", "cso")
        self.fleet.start(self.cso)
        for first in range(0, LOCATIONS, AT_A_TIME):
            lines = [bodies.encode(bodies.location(number)) for number in range(first, first + AT_A_TIME)]
            summary = self.cso.api.need("POST", "/v1/locations/batch", b"\n".join(lines))
            assert summary["stored"] == AT_A_TIME, summary
        self._followers = 0

    def _company(self, name: str, party: str, role: str) -> Company:
        daemon = init_daemon(self.fleet.room / name, party=party, role=role, name=name)
        extra = daemon.directory / "conf.d" / "bench.toml"
        extra.parent.mkdir()
        extra.write_text(SETTINGS)
        if role == "csp":
            daemon.command = python("tests.bench.answering")
        return Company(name, self.fleet.children.own(daemon), None)

    def follower(self) -> Company:
        """A new CSP, which runs and is paired and linked, and has begun to follow."""
        self._followers += 1
        csp = self._company(f"follower-{self._followers}", f"NL*IN{self._followers}", "csp")
        self.fleet.start(csp)
        self.fleet.pair(self.cso, csp)
        return csp

    def mirrored(self, csp: Company) -> int:
        """How many locations it has by now."""
        shown = csp.api.get(f"/v1/peers/{csp.partners[self.cso.name]}")
        return int(shown["feeds"]["mirrored"].get("locations", 0))

    def sent_bytes(self, csp: Company) -> float:
        """What the publisher has sent it, before TLS."""
        text = Api(self.cso.api.address).request("GET", "/metrics").body
        return float(dict(_SENT.findall(text)).get(self.cso.partners[csp.name], 0))


_publishers: dict[int, Publisher] = {}


def _publisher(stage: Stage) -> Publisher:
    if id(stage) not in _publishers:
        room = stage.room / "publisher"
        room.mkdir()
        _publishers[id(stage)] = Publisher(room, stage)
    return _publishers[id(stage)]


@probe("feed", once=True)
def feed_to_a_new_peer(stage: Stage) -> Measured:
    """CPU of either side from just before the pairing until the last location is committed."""
    publisher = _publisher(stage)
    publisher_pid = pid_of(publisher.cso.daemon)
    before = cpu_s(publisher_pid)
    began = time.monotonic()
    csp = publisher.follower()
    pause = partial(time.sleep, LOOK_S)
    wait_until("the feed arriving", lambda: publisher.mirrored(csp) == LOCATIONS, PATIENCE_S, lambda _s: pause())
    took = time.monotonic() - began
    return {
        "per_s": LOCATIONS / took,
        "publisher_cpu_s": cpu_s(publisher_pid) - before,
        "follower_cpu_s": cpu_s(pid_of(csp.daemon)),
        "bytes_per_location": publisher.sent_bytes(csp) / LOCATIONS,
    }


@probe("status-change", once=True)
def status_change(stage: Stage) -> Measured:
    """One EVSE's status, again and again, to many peers that follow; what one change costs the publisher for one."""
    daemon = init_daemon(stage.room / "changing", party="BE*RMC", role="cso", name="changing")
    _start(stage.own(daemon))
    place = bodies.location(0)
    daemon.api.need("PUT", f"/v1/locations/{place['id']}", place)
    daemon.stop()
    folder = stage.room / "changing-peers"
    folder.mkdir()
    many.introduce(daemon.directory, folder, FOLLOWERS)
    _start(daemon)
    crowd = stage.started("crowd", folder, daemon.link_address, FOLLOWERS, "locations", "evse-status")
    wait_until("all peers being linked", lambda: daemon.api.get("/v1/status")["peers"]["up"] == FOLLOWERS, PATIENCE_S)
    before, cpu_before = _settled_bytes(daemon), cpu_s(pid_of(daemon))
    path = f"/v1/locations/{place['id']}/evses/{place['evses'][0]['uid']}"
    for number in range(CHANGES):
        daemon.api.need("PATCH", path, {"status": ("CHARGING", "AVAILABLE")[number % 2]})
        time.sleep(PAUSE_S)
    used_s = cpu_s(pid_of(daemon)) - cpu_before
    sent = _settled_bytes(daemon) - before
    crowd.close()
    daemon.stop()
    times = CHANGES * FOLLOWERS
    return {"bytes_per_peer": sent / times, "us_per_peer": used_s / times * 1e6}


def _start(daemon: Daemon) -> None:
    daemon.start()
    wait_until("being ready", lambda: daemon.running and daemon.api.ready(), PATIENCE_S)


def _settled_bytes(daemon: Daemon) -> float:
    """What was sent to all peers, once that is no longer growing."""
    before, sent = -1.0, 0.0
    while sent != before:
        time.sleep(PAUSE_S * 10)
        text = daemon.api.request("GET", "/metrics").body
        before, sent = sent, sum(float(value) for _, value in _SENT.findall(text))
    return sent


@probe("authorize-beside-feed", once=True)
def beside_the_feed(stage: Stage) -> Measured:
    """Another new peer, which is asked while it takes everything in."""
    publisher = _publisher(stage)
    csp = publisher.follower()
    number_of = publisher.cso.partners[csp.name]
    assert number_of
    provider = csp.api.get("/v1/status")["parties"][0]
    prefix = f"{provider[:2]}-{provider[2:]}"
    question = bodies.remembered(lambda number: bodies.encode(bodies.question(number, prefix)))
    pids = (pid_of(publisher.cso.daemon), pid_of(csp.daemon))
    return asyncio.run(while_busy(publisher.cso, question, lambda: publisher.mirrored(csp) < LOCATIONS, pids))
