"""Two companies that know each other, and the log."""

from collections.abc import Iterator

import pytest

from tests.support.roaming import Company, LogLines, StillClock, captured


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def cso(clock: StillClock) -> Company:
    """ABC, which runs stations; it knows the CSP as "rmd"."""
    return Company(1, "DEABC", "cso", clock=clock)


@pytest.fixture
def csp(cso: Company, clock: StillClock) -> Company:
    """RMD, which has drivers; it knows the CSO as "abc"."""
    company = Company(2, "FRRMD", "csp", clock=clock)
    cso.meets(company, "rmd")
    company.meets(cso, "abc")
    return company


@pytest.fixture
def log() -> Iterator[LogLines]:
    with captured() as lines:
        yield lines
