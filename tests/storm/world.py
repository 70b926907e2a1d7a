"""Two companies whose daemons can be killed at any moment and whose links run through a bad network."""

import contextlib
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from roamd.demo import objects
from roamd.demo.client import Api, NotAnsweredError, Reply, wait_until
from roamd.demo.processes import ROAMD, Backend, Children, Daemon, free_ports, run_roamd
from tests.support.faultproxy import Fault, FaultProxy

PATIENCE_S = 60.0
AGAIN_S = 0.03
"""A real backend would wait longer; here the next kill is near."""

SETTINGS = """
[discovery]
mdns = false

[link]
heartbeat_s = 2
backoff_s = 1
"""
"""Whoever kills every second cannot wait five minutes for a link."""


class StormError(Exception):
    """Something that must never happen did; the text is one plain sentence."""


@dataclass
class Company:
    """One side: its daemon behind a proxy, and what it calls the other one."""

    name: str
    daemon: Daemon
    proxy: FaultProxy
    partner: str = ""
    retries: int = 0

    @property
    def api(self) -> Api:
        return self.daemon.api

    def insist(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Reply:
        """Ask until there is an answer, as a real backend does: the same request, the same Idempotency-Key."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            with contextlib.suppress(NotAnsweredError):
                reply = self.api.request(method, path, body, headers)
                if reply.status < 500:
                    return reply
                if reply.status == 500:
                    raise StormError(f"{method} {path} was answered 500: {reply.body}")
            if time.monotonic() > deadline:
                raise StormError(f"{self.name} did not answer {method} {path} for {PATIENCE_S:g} s")
            self.retries += 1
            time.sleep(AGAIN_S)

    def read(self, path: str) -> Any:
        """The body of a GET that must succeed sooner or later."""
        reply = self.insist("GET", path)
        if reply.status != 200:
            raise StormError(f"GET {path} was answered {reply.status}: {reply.body}")
        return reply.body

    def items(self, path: str) -> list[Any]:
        """Every item of a list."""
        found: list[Any] = []
        joint, after = "&" if "?" in path else "?", ""
        while True:
            page = self.read(f"{path}{joint}limit=1000{after}")
            found += page["items"]
            if not page["items"] or not page["next"]:
                return found
            after = f"&after={page['next']}"

    def linked(self) -> bool:
        return bool(self.read(f"/v1/peers/{self.partner}")["link"] == "UP")


@dataclass
class World:
    """The two, and the tally of what was done to them."""

    cso: Company
    csp: Company
    backend: Backend
    kills: Counter[str] = field(default_factory=Counter)

    @property
    def companies(self) -> tuple[Company, Company]:
        return self.cso, self.csp

    @property
    def broken_links(self) -> int:
        return sum(company.proxy.broken for company in self.companies)

    def kill(self, company: Company, rng: random.Random) -> None:
        """SIGKILL, a moment of death, and up again; now and then it dies a second time while it starts."""
        company.daemon.kill()
        self.kills[company.name] += 1
        time.sleep(rng.uniform(0.0, 0.3))
        company.daemon.start()
        if rng.random() < 0.1:
            time.sleep(rng.uniform(0.1, 0.7))
            company.daemon.kill()
            self.kills[company.name] += 1
            company.daemon.start()
        company.daemon.wait_ready(PATIENCE_S)

    def break_link(self, rng: random.Random) -> None:
        """Wait until something flows and break it, in one of four ways."""
        fault = rng.choice(
            (
                Fault(),
                Fault(cut_after_bytes=rng.randrange(1, 6000)),
                Fault(stall_s=rng.uniform(0.1, 0.8), cut_after_bytes=rng.choice((0, rng.randrange(1, 3000)))),
                Fault(bytes_per_s=rng.randrange(2000, 20000), cut_after_bytes=rng.randrange(500, 8000)),
            )
        )
        wait_until(
            "a link that could be broken",
            lambda: sum(company.proxy.harm(fault) for company in self.companies) or None,
            PATIENCE_S,
        )

    def wait_linked(self) -> None:
        for company in self.companies:
            wait_until(f"{company.name}'s link coming up", company.linked, PATIENCE_S)


@contextlib.contextmanager
def founded(room: Path, command: Sequence[str] = ROAMD) -> Iterator[World]:
    """Two companies, running, paired and linked; ended with the block."""
    with contextlib.ExitStack() as stack:
        children = stack.enter_context(Children())
        backend = children.backend()
        csp = _found(stack, children, room / "csp", objects.CSP_PARTY, backend.url, command)
        cso = _found(stack, children, room / "cso", objects.CSO_PARTY, backend.url, command)
        world = World(cso, csp, backend)
        for company in world.companies:
            company.daemon.start()
        for company in world.companies:
            company.daemon.wait_ready(PATIENCE_S)
        _pair(cso, csp)
        world.wait_linked()
        yield world


def _found(
    stack: contextlib.ExitStack, children: Children, directory: Path, party: str, backend: str, command: Sequence[str]
) -> Company:
    """Like `init_daemon`, but what the partner dials is the proxy."""
    role = directory.name
    link, pairing, api = (f"127.0.0.1:{port}" for port in free_ports(3))
    proxy = stack.enter_context(FaultProxy(link))
    where = ["--listen", link, "--advertise", proxy.address, "--pairing", pairing, "--api", api]
    who = ["--party", party, "--role", role, "--name", f"Storm {role.upper()}", "--backend", backend]
    run_roamd("init", str(directory), *who, *where)
    extra = directory / "conf.d" / "storm.toml"
    extra.parent.mkdir(exist_ok=True)
    extra.write_text(SETTINGS)
    daemon = Daemon(directory, Api(api, directory / "api.key"), link, command)
    return Company(role, children.own(daemon), proxy)


def _pair(inviter: Company, joiner: Company) -> None:
    line = inviter.daemon.run("invite", "--auto").out.strip()
    joiner.daemon.run("pair", line)
    for company in (inviter, joiner):
        (peer,) = company.items("/v1/peers")
        company.partner = peer["peer"]
