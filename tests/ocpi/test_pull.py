"""What a backend only offers for GET is fetched, however its paging is broken."""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from roamd.backend.examples import LOCATION, TARIFF
from roamd.roaming.operations import PostRecords, PutObject
from tests.model import bodies
from tests.support.core import operations_of
from tests.support.ocpi import Desk, OcpiBackend, Seen, run_ocpi

TARIFFS = [{**TARIFF, "id": f"T{n}"} for n in range(5)]


def asked_for(seen: Seen) -> tuple[int, int]:
    query = parse_qs(urlsplit(seen.path).query)
    return int(query["offset"][0]), int(query["limit"][0])


def paged(most: int) -> Callable[[Seen], tuple[int, Any]]:
    """Pages of the tariffs by offset, of at most so many."""

    def answer(seen: Seen) -> tuple[int, Any]:
        offset, _ = asked_for(seen)
        return 200, TARIFFS[offset : offset + most]

    return answer


def linking(text: str, total: str | None = None) -> Callable[[Seen], dict[str, str]]:
    def headers(seen: Seen) -> dict[str, str]:
        offset, limit = asked_for(seen)
        told = {"X-Total-Count": total} if total else {}
        host = seen.headers["Host"]
        more = offset + 2 < len(TARIFFS)
        return told | ({"Link": text.format(host=host, offset=offset + 2, limit=limit)} if more and text else {})

    return headers


@pytest.mark.parametrize(
    ("link", "total"),
    [
        ('<http://{host}/tariffs?offset={offset}&limit={limit}>; rel="next"', None),
        ("<http://{host}/tariffs/?offset={offset}&limit={limit}>;rel=next", "5"),
        ('<https://inner.example/tariffs?offset={offset}&limit={limit}>; rel="next"', None),
        ('<http://{host}/TariffModule?offset={offset}&limit={limit}>; rel="next"', "5"),
        ('<http://{host}/tariffs?offset={offset}&limit=None>; rel="next"', "5"),
        ('<http://{host}/tariffs?offset=0&limit={limit}>; rel="nothing"', None),
        ("", "5"),
    ],
)
def test_every_page_is_fetched_by_the_link_or_in_spite_of_it(link: str, total: str | None) -> None:
    async def test(desk: Desk) -> None:
        await desk.register("/2.3.0/credentials")
        await desk.harness.asked(PutObject, 5)
        stored = {asked.checked.key.id for asked in operations_of(desk.core, PutObject)}
        assert stored == {"T0", "T1", "T2", "T3", "T4"}

    backend = OcpiBackend("2.3.0", [("tariffs", "SENDER")], answer=paged(2), headers=linking(link, total))
    run_ocpi(test, backend=backend)


def test_a_link_that_leads_back_ends_the_crawl() -> None:
    async def test(desk: Desk) -> None:
        await desk.register("/2.3.0/credentials")
        await desk.harness.asked(PostRecords)
        assert len([seen for seen in desk.backend.requests if seen.path.startswith("/tariffs")]) == 2

    def answer(seen: Seen) -> tuple[int, Any]:
        if seen.path.startswith("/cdrs"):
            return 200, [bodies.cdr(country_code="DE", party_id="ABC")]
        return 200, TARIFFS[:1]

    def headers(seen: Seen) -> dict[str, str]:
        return {"Link": f'<http://{seen.headers["Host"]}{seen.path}>; rel="next"'}

    modules = [("tariffs", "SENDER"), ("cdrs", "SENDER")]
    run_ocpi(test, backend=OcpiBackend("2.3.0", modules, answer=answer, headers=headers))


def test_what_cannot_be_read_is_left_out_and_the_rest_taken() -> None:
    async def test(desk: Desk) -> None:
        await desk.register()
        await desk.harness.asked(PutObject)
        (asked,) = operations_of(desk.core, PutObject)
        assert asked.checked.key.id == "LOC1"

    found = [7, {"id": "X"}, {**LOCATION, "party_id": "XYZ"}, LOCATION]
    run_ocpi(test, backend=OcpiBackend(modules=[("locations", "SENDER")], answer=lambda seen: (200, found)))


def test_a_pull_after_each_start_changes_nothing_that_is_the_same() -> None:
    backend = OcpiBackend("2.3.0", [("tariffs", "SENDER")], answer=lambda seen: (200, TARIFFS[0]))

    async def test(desk: Desk) -> None:
        await desk.register("/2.3.0/credentials")
        await desk.harness.asked(PutObject)
        version = desk.core.version
        await desk.need("PUT", "/2.3.0/credentials", desk.backend.credentials())
        await desk.harness.asked(PutObject, 2)
        assert desk.core.version == version

    run_ocpi(test, backend=backend)
