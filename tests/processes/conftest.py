"""Fleets of real daemons for tests of whole processes: one for a test alone, and a pair that a module shares."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemons import Company, Fleet

TROUBLE = ("Traceback", "daemon_failed", "link_failed", "request_failed")
"""What stands in a log only when something of ours is wrong."""


def trouble_in(log: Path) -> list[str]:
    """The lines of a daemon's log that must not be there."""
    lines = log.read_text("utf-8", "replace").splitlines() if log.exists() else []
    return [line for line in lines if any(sign in line for sign in TROUBLE)]


@pytest.fixture
def fleet(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """Companies that end with the test; after a failed test their logs are printed. No log may have a traceback."""
    failed_before = request.session.testsfailed
    with Fleet(tmp_path) as fleet:
        yield fleet
        if request.session.testsfailed > failed_before:
            print(fleet.logs())  # noqa: T201 -- pytest shows it beside the failure
    assert [trouble_in(daemon.log_file) for daemon in fleet.children.daemons] == [[]] * len(fleet.children.daemons)


PARTIES = {
    "cso": ("BE*RMC", "BE*BEC", "SE*EVC", "NL*ALF", "DE*ALL", "NL*ALL", "NL*STK", "CA*FLO"),
    "csp": ("FR*RMD", "NL*TNM", "DE*TNM", "NL*TST"),
}
"""With those whom the sample objects name, so that each has a company here that may publish it."""


@dataclass
class Pair:
    """Two companies that are linked; tests that share them leave them so."""

    fleet: Fleet
    cso: Company
    csp: Company

    def arrived(self, follower: Company, path: str) -> Any:
        """Wait for an object of the other one at `follower`; its parsed body."""
        label = next(iter(follower.partners.values()))
        return self.fleet.wait_until(f"{path} arriving", lambda: follower.api.find(f"/v1/peers/{label}/{path}"))


def _settings(role: str) -> str:
    parties = ", ".join(f'"{party}"' for party in PARTIES[role])
    return f"[discovery]\nmdns = false\n\n[endpoint]\nparties = [{parties}]\n"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A CSO and a CSP with a link that is up, for a whole module."""
    with Fleet(tmp_path_factory.mktemp("pair")) as fleet:
        cso, csp = (fleet.company(role, PARTIES[role][0], settings=_settings(role)) for role in ("cso", "csp"))
        fleet.start(cso, csp)
        fleet.pair(cso, csp)
        yield Pair(fleet, cso, csp)
        assert trouble_in(cso.daemon.log_file) + trouble_in(csp.daemon.log_file) == []
