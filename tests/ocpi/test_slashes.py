"""Slashes at the end of addresses, on both sides: none is lost, and no other redirect is followed."""

from typing import Any

import pytest
from aiohttp import web

from roamd.backend.ocpi.caller import Reply, leads_to_slash
from roamd.roaming.operations import StoredObject
from tests.model import bodies
from tests.support.core import FakeCore
from tests.support.ocpi import PEER, Desk, OcpiBackend, Seen, run_ocpi

HERE = "http://127.0.0.1:8000/cdrs"


def redirect(location: str, status: int = 307) -> Reply:
    return Reply(status, None, b"", {"Location": location})


@pytest.mark.parametrize(
    ("location", "follows"),
    [
        ("http://127.0.0.1:8000/cdrs/", True),
        ("https://127.0.0.1:8000/cdrs/", True),
        ("/cdrs/", True),
        ("/cdrs/?offset=0", True),
        ("http://127.0.0.1:8000/cdrs", False),
        ("http://127.0.0.1:8001/cdrs/", False),
        ("http://elsewhere.example/cdrs/", False),
        ("/other/", False),
        ("http://[", False),
        ("", False),
    ],
)
def test_only_a_redirect_to_the_same_address_with_a_slash_is_followed(location: str, follows: bool) -> None:
    assert leads_to_slash(HERE, redirect(location)) is follows


def test_a_slash_is_taken_away_as_well_and_an_answer_that_is_no_redirect_leads_nowhere() -> None:
    assert leads_to_slash(f"{HERE}/", redirect(HERE))
    assert not leads_to_slash(HERE, redirect(f"{HERE}/", 200))


class Slashing(OcpiBackend):
    """Serves its lists, and takes CDRs, with a slash at the end of the address alone."""

    async def _handle(self, request: web.Request) -> web.Response:
        if request.path in ("/tokens", "/cdrs"):
            self.requests.append(Seen(request.method, request.path_qs, request.headers, None))
            return web.Response(status=307, headers={"Location": f"{self.url}{request.path}/"})
        return await super()._handle(request)


def test_a_backend_that_redirects_to_the_slash_is_read_and_the_slash_is_remembered() -> None:
    backend = Slashing(modules=[("tokens", "SENDER")], answer=lambda seen: (200, [bodies.token()]))

    async def test(desk: Desk) -> None:
        await desk.register()
        await desk.sent(("GET", "/tokens/?offset=0&limit=100"))
        for _ in range(2):
            await desk.harness.send("POST", "/v1/ocpi/csms/test")
        assert [seen.path for seen in backend.requests].count("/tokens?offset=0&limit=100") == 1
        assert "/tokens/?offset=0&limit=1" in [seen.path for seen in backend.requests]
        assert "/tokens?offset=0&limit=1" not in [seen.path for seen in backend.requests]
        (shown,) = (await desk.harness.send("GET", "/v1/ocpi")).json["items"]
        assert "slash-redirect" in {each["quirk"] for each in shown["quirks"]}

    run_ocpi(test, backend=backend)


def test_advertised_modules_end_in_a_slash_for_those_who_put_what_follows_right_behind() -> None:
    async def test(desk: Desk) -> None:
        await desk.register()
        details = (await desk.need("GET", "/2.2.1")).json["data"]
        urls = {(each["identifier"], each["role"]): each["url"] for each in details["endpoints"]}
        base = urls["locations", "RECEIVER"]
        body = bodies.location()
        for where in (f"{base}DE/ABC/Loc-1", f"{base}/DE/ABC/Loc-1", f"{base.rstrip('/')}/DE/ABC/Loc-1/"):
            await desk.need("PUT", where, body)
            assert (await desk.need("GET", where)).json["data"] == body

    run_ocpi(test)


def test_news_of_who_is_connected_keeps_nothing_else_waiting() -> None:
    core = FakeCore()
    core.partners = [PEER]
    theirs: dict[str, Any] = bodies.location(country_code="FR", party_id="XYZ")
    core.theirs[PEER.peer, "locations", "LOC-1"] = StoredObject(bodies.text(theirs), '"1"', "2.2.1")
    modules = [("hubclientinfo", "RECEIVER"), ("locations", "RECEIVER")]
    backend = OcpiBackend(modules=modules, answer=lambda seen: (500 if "hubclientinfo" in seen.path else 200, None))

    async def test(desk: Desk) -> None:
        await desk.register()
        await desk.sent(("PUT", "/locations/FR/XYZ/Loc-1"))

    run_ocpi(test, core=core, backend=backend)


class Hanging(OcpiBackend):
    """Closes the connection at its first authorization, as one that gave up an idle connection at that moment."""

    left = False

    async def _handle(self, request: web.Request) -> web.Response:
        if "/authorize" in request.path and not self.left:
            self.left = True
            assert request.transport is not None
            request.transport.close()
        return await super()._handle(request)


def test_a_question_is_asked_again_when_the_connection_was_closed_meanwhile() -> None:
    backend = Hanging(modules=[("tokens", "SENDER")], answer=lambda seen: (200, []))

    async def test(desk: Desk) -> None:
        report = (await desk.harness.send("POST", "/v1/ocpi/csms/test")).json
        (step,) = [each for each in report["steps"] if each["step"] == "authorize"]
        assert (backend.left, "reached" in step["what"]) == (True, False)
        assert len([seen for seen in backend.pushed("POST") if "/authorize" in seen.path]) >= 1

    run_ocpi(test, backend=backend, registered=True)
