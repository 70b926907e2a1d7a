"""What a backend no longer lists goes here as well, but never in masses on the word of one list."""

import asyncio
import json
from typing import Any

import pytest

from roamd.backend.examples import LOCATION, TARIFF, TOKEN
from roamd.backend.ocpi.vanished import is_few
from roamd.roaming.operations import FindUnlisted, ForgetListed
from tests.support.api import KEY
from tests.support.core import FakeCore
from tests.support.ocpi import NAME, Desk, OcpiBackend, Seen, run_ocpi


def tariffs(*numbers: int) -> list[dict[str, Any]]:
    return [{**TARIFF, "id": f"T{n}"} for n in numbers]


class Lister:
    """A backend that lists tariffs."""

    def __init__(self, items: list[Any], total: int | None = None, module: str = "tariffs") -> None:
        self.items = items
        self.total = total
        self.status = 200
        self.backend = OcpiBackend(
            "2.3.0",
            [(module, "SENDER")],
            answer=lambda seen: (self.status, self.items),
            headers=self.headers,
        )

    def headers(self, seen: Seen) -> dict[str, str]:
        return {} if self.total is None else {"X-Total-Count": str(self.total)}


def held_by(core: FakeCore, feed: str = "tariffs") -> set[str]:
    return {key[2] for key in core.objects if key[0] == feed}


async def pulled(desk: Desk, times: int) -> None:
    """Until so many whole lists have been believed."""
    await desk.harness.asked(ForgetListed, times)


async def doubted(desk: Desk, times: int) -> None:
    """Until so many whole lists have been judged, and one of them is not believed."""
    await desk.harness.asked(FindUnlisted, times)
    while not await held_back(desk):
        pass


async def fetch(desk: Desk) -> None:
    """The backend registers anew, so everything is fetched once more."""
    await desk.need("PUT", "/2.3.0/credentials", desk.backend.credentials())


async def held_back(desk: Desk) -> Any:
    answered = await desk.harness.send("GET", "/v1/ocpi", key=KEY)
    return answered.json["items"][0]["removals"]


def test_one_that_is_no_longer_listed_is_removed_and_the_others_stay() -> None:
    lister, core = Lister(tariffs(*range(10))), FakeCore()

    async def test(desk: Desk) -> None:
        await desk.register("/2.3.0/credentials")
        await pulled(desk, 1)
        lister.items = tariffs(*range(9))
        await fetch(desk)
        await pulled(desk, 2)
        assert held_by(core) == {f"T{n}" for n in range(9)}
        assert await held_back(desk) == []

    run_ocpi(test, core=core, backend=lister.backend)


@pytest.mark.parametrize("left", [tariffs(), tariffs(0), tariffs(0, 1, 2)])
def test_many_at_once_are_held_back_until_an_operator_says_so(left: list[Any], capsys: Any) -> None:
    lister, core = Lister(tariffs(*range(10))), FakeCore()

    async def test(desk: Desk) -> None:
        await desk.register("/2.3.0/credentials")
        await pulled(desk, 1)
        lister.items = left
        await fetch(desk)
        await doubted(desk, 2)
        assert len(held_by(core)) == 10
        missing = 10 - len(left)
        assert await held_back(desk) == [{"module": "tariffs", "missing": missing, "listed": 10}]
        alarm = next(line for line in capsys.readouterr().err.splitlines() if "ocpi_removal_held" in line)
        assert json.loads(alarm)["confirm"] == f"roamd ocpi removals {NAME} tariffs"
        done = await desk.harness.send("POST", f"/v1/ocpi/{NAME}/removals", {"module": "tariffs"}, key=KEY)
        assert done.json["removed"] == missing
        assert held_by(core) == {each["id"] for each in left}
        assert await held_back(desk) == []
        done = await desk.harness.send("POST", f"/v1/ocpi/{NAME}/removals", {"module": "tariffs"}, key=KEY)
        assert done.json["removed"] == 0

    run_ocpi(test, core=core, backend=lister.backend)


def test_what_was_held_back_and_is_listed_again_stays() -> None:
    lister, core = Lister(tariffs(*range(10))), FakeCore()

    async def test(desk: Desk) -> None:
        await desk.register("/2.3.0/credentials")
        await pulled(desk, 1)
        lister.items = []
        await fetch(desk)
        await doubted(desk, 2)
        lister.items = tariffs(*range(10))
        await fetch(desk)
        await pulled(desk, 2)
        assert await held_back(desk) == []
        assert len(held_by(core)) == 10

    run_ocpi(test, core=core, backend=lister.backend)


@pytest.mark.parametrize(
    "broken",
    [
        {"items": tariffs(*range(9)), "total": 10},
        {"items": [*tariffs(*range(9)), {"id": 7}]},
        {"items": [*tariffs(*range(9)), "T9"]},
    ],
)
def test_a_list_that_is_not_whole_removes_nothing(broken: dict[str, Any]) -> None:
    lister, core = Lister(tariffs(*range(10))), FakeCore()

    async def test(desk: Desk) -> None:
        await desk.register("/2.3.0/credentials")
        await pulled(desk, 1)
        for name, value in broken.items():
            setattr(lister, name, value)
        await fetch(desk)
        await doubted(desk, 2)
        assert len(held_by(core)) == 10

    run_ocpi(test, core=core, backend=lister.backend)


def test_a_list_that_breaks_off_removes_nothing() -> None:
    lister, core = Lister(tariffs(*range(10))), FakeCore()

    async def test(desk: Desk) -> None:
        await desk.register("/2.3.0/credentials")
        await pulled(desk, 1)
        lister.status = 500
        await desk.need("PUT", "/2.3.0/credentials", desk.backend.credentials())
        came = asyncio.Event()
        desk.backend.on_request = came.set
        await came.wait()
        assert len(held_by(core)) == 10

    run_ocpi(test, core=core, backend=lister.backend)


def test_what_came_in_another_way_is_never_removed_by_a_list() -> None:
    lister, core = Lister(tariffs(*range(10))), FakeCore()

    async def test(desk: Desk) -> None:
        await desk.register("/2.3.0/credentials")
        await pulled(desk, 1)
        await desk.need("PUT", "/emsp/2.3.0/tariffs/DE/ABC/PUSHED", {**TARIFF, "id": "PUSHED"})
        await fetch(desk)
        await pulled(desk, 2)
        assert "PUSHED" in held_by(core)

    run_ocpi(test, core=core, backend=lister.backend)


def test_a_card_and_a_location_go_too_and_no_card_number_is_kept_for_it() -> None:
    cards = [{**TOKEN, "uid": f"04AABB{n:02}"} for n in range(10)]
    lister, core = Lister(cards, module="tokens"), FakeCore()

    async def test(desk: Desk) -> None:
        await desk.register("/2.3.0/credentials")
        await pulled(desk, 1)
        assert all(b"04AABB" not in key[2] for key in core.listed)
        lister.items = cards[1:]
        await fetch(desk)
        await pulled(desk, 2)
        assert len(held_by(core, "user-credentials")) == 9

    run_ocpi(test, core=core, backend=lister.backend)


def test_an_evse_that_is_removed_stays_an_evse_with_that_status() -> None:
    """OCPI's deletion of an EVSE is its status, and is passed on as such."""

    async def test(desk: Desk) -> None:
        await desk.need("PUT", "/emsp/2.3.0/locations/DE/ABC/LOC1", LOCATION)
        evse = {**LOCATION["evses"][0], "status": "REMOVED", "last_updated": "2027-01-01T00:00:00Z"}
        await desk.need("PUT", f"/emsp/2.3.0/locations/DE/ABC/LOC1/{evse['uid']}", evse)
        data = (await desk.need("GET", "/emsp/2.3.0/locations/DE/ABC/LOC1")).json["data"]
        assert data["evses"][0]["status"] == "REMOVED"

    run_ocpi(test, registered=True)


@pytest.mark.parametrize(
    ("missing", "total", "few"),
    [(0, 0, True), (1, 1, False), (1, 2, True), (2, 10, False), (1, 10, True), (10, 100, True), (11, 100, False)],
)
def test_few_are_one_of_several_or_a_tenth(missing: int, total: int, few: bool) -> None:
    assert is_few(missing, total) == few
