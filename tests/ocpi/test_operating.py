"""What the operator is told of an OCPI backend: its quirks, what conversions lost, and which way to it is broken."""

import asyncio
import dataclasses
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from roamd.roaming import operations as ops
from roamd.roaming.ports import CommandQuestion, CommandResult
from tests.model import bodies
from tests.model.bodies import text
from tests.support.core import FakeCore
from tests.support.ocpi import FIRST, NAME, PEER, SETTINGS, Desk, OcpiBackend, Seen, run_ocpi

ALL = [(module, "SENDER") for module in ("locations", "tariffs", "tokens", "sessions", "cdrs")]
HELD = [("locations", "RECEIVER"), ("cdrs", "RECEIVER")]


async def report(desk: Desk, name: str = NAME) -> dict[str, Any]:
    answered = await desk.harness.send("POST", f"/v1/ocpi/{name}/test")
    assert answered.status == 200
    found: dict[str, Any] = answered.json
    return found


def failed(found: dict[str, Any]) -> dict[str, str]:
    return {step["step"]: step["what"] for step in found["steps"] if not step["ok"]}


def serve(seen: Seen) -> tuple[int, Any]:
    """A backend where everything is as it should be."""
    path = seen.path.partition("?")[0]
    if path.endswith("/authorize"):
        return 404, None
    if path == "/locations":
        return 200, [bodies.location()]
    if path == "/credentials":
        return 200, {"roles": [{"role": "CPO", "country_code": "DE", "party_id": "ABC"}]}
    if path.startswith("/locations/"):
        return 404, None
    return 200, []


def broken_at(path: str, status: int, data: Any) -> Callable[[Seen], tuple[int, Any]]:
    return lambda seen: (status, data) if seen.path.startswith(path) else serve(seen)


# --- the test ---------------------------------------------------------------------------------------------------


def test_every_way_to_a_good_backend_is_tried() -> None:
    backend = OcpiBackend(modules=[*ALL, *HELD], answer=serve)

    async def test(desk: Desk) -> None:
        found = await report(desk)
        assert failed(found) == {}
        steps = [step["step"] for step in found["steps"]]
        lists = ["locations (sender)", "tariffs (sender)", "tokens (sender)", "sessions (sender)", "cdrs (sender)"]
        held = ["locations (receiver)", "cdrs (receiver)"]
        assert steps == ["registration", "versions", "credentials", *lists, *held, "authorize"]
        assert found["ok"] is True
        paths = [seen.path for seen in backend.requests]
        assert "/locations?offset=0&limit=1" in paths
        assert "/tokens/ROAMD-SELF-TEST/authorize?type=RFID" in paths
        assert [seen for seen in backend.pushed("PUT") if "ROAMD" in seen.path] == []
        assert backend.pushed("DELETE") == []

    run_ocpi(test, backend=backend, registered=True)


@pytest.mark.parametrize(
    ("path", "status", "data", "step", "words"),
    [
        ("/versions", 500, None, "versions", "HTTP 500"),
        ("/tariffs?", 503, None, "tariffs (sender)", "HTTP 503"),
        ("/locations?", 200, [{**bodies.location(), "city": 7}], "locations (sender)", "$.city: expected a string"),
        ("/tokens/ROAMD", 200, {"allowed": "ALLOWED"}, "authorize", "a card that nobody has"),
        ("/tokens/ROAMD", 200, "yes", "authorize", "holds no object"),
        ("/cdrs?", 200, "none", "cdrs (sender)", "could not be reached"),
    ],
)
def test_the_step_that_fails_is_named_with_what_to_do(path: str, status: int, data: Any, step: str, words: str) -> None:
    backend = OcpiBackend(modules=ALL, answer=serve)

    async def test(desk: Desk) -> None:
        backend.answer = broken_at(path, status, data)
        backend.fails_at = path if path == "/versions" else ""
        found = await report(desk)
        assert step in failed(found)
        assert words in failed(found)[step]
        assert all(each.get("todo") for each in found["steps"] if not each["ok"])
        assert (found["ok"], FIRST in json.dumps(found), backend.token in json.dumps(found)) == (False, False, False)

    run_ocpi(test, backend=backend, registered=True)


def test_endpoints_that_are_others_now_call_for_a_new_registration() -> None:
    backend = OcpiBackend(modules=ALL[:1], answer=serve)

    async def test(desk: Desk) -> None:
        backend.modules = ALL[:2]
        found = await report(desk)
        assert "tariffs SENDER" in failed(found)["versions"]
        assert "PUT" in next(step["todo"] for step in found["steps"] if not step["ok"])

    run_ocpi(test, backend=backend, registered=True)


def test_a_backend_that_knows_our_token_no_more_and_one_that_is_gone_are_told_apart() -> None:
    backend = OcpiBackend(answer=serve)

    async def test(desk: Desk) -> None:
        backend.token = "another-token-0123456789"
        lost = await report(desk)
        assert "401" in failed(lost)["versions"]
        await backend.stop()
        gone = await report(desk)
        assert "could not be read" in failed(gone)["versions"]

    run_ocpi(test, backend=backend, registered=True)


def test_one_that_never_registered_is_told_what_its_last_try_failed_at() -> None:
    async def test(desk: Desk) -> None:
        assert "has not registered" in failed(await report(desk))["registration"]
        given = desk.backend.credentials(url="http://127.0.0.1:1/versions")
        await desk.send("POST", "/2.2.1/credentials", given)
        assert "its last try failed: $.url" in failed(await report(desk))["registration"]
        await desk.register()
        assert failed(await report(desk)) == {}

    run_ocpi(test, backend=OcpiBackend(answer=serve))


def test_a_name_that_is_not_configured_is_a_failed_step() -> None:
    async def test(desk: Desk) -> None:
        assert "configuration" in failed(await report(desk, "nobody"))

    run_ocpi(test)


# --- quirks -----------------------------------------------------------------------------------------------------


async def quirks(desk: Desk) -> set[str]:
    (shown,) = (await desk.harness.send("GET", "/v1/ocpi")).json["items"]
    assert all(each["what"] for each in shown["quirks"])
    return {each["quirk"] for each in shown["quirks"]}


def test_what_is_odd_about_requests_is_learned_and_kept() -> None:
    core = FakeCore()

    async def test(desk: Desk) -> None:
        await desk.need("GET", "/versions", headers={"Authorization": f"Token {FIRST}"})
        assert await quirks(desk) == {"token-raw"}
        await desk.need("GET", "//versions/", headers={"Authorization": f"token {FIRST}"})
        await desk.register()
        await desk.need("GET", "/cpo/2.2.1/tariffs?date_from=2026-01-01T00:00:00%2B00:00")
        assert await quirks(desk) == {
            "token-raw",
            "path-slashes",
            "token-scheme",
            "no-content-type",
            "no-routing",
            "odd-date",
        }

    run_ocpi(test, core=core)
    assert {quirk for name, quirk in core.quirks if name == NAME} >= {"token-raw", "odd-date"}
    kept = dict(core.quirks)

    async def again(desk: Desk) -> None:
        assert await quirks(desk) == {quirk for _, quirk in kept}

    run_ocpi(again, core=core)


def test_a_backend_that_does_as_the_text_says_has_no_quirks() -> None:
    backend = OcpiBackend(modules=ALL, answer=serve)
    core = FakeCore()
    core.partners = [PEER]

    async def test(desk: Desk) -> None:
        routed = {"OCPI-to-country-code": "DE", "OCPI-to-party-id": "ABC", "Content-Type": "application/json"}
        answered = await desk.send("POST", "/2.2.1/credentials", backend.credentials(), headers=routed)
        desk.token = answered.json["data"]["token"]
        await desk.need("GET", "/cpo/2.2.1/tariffs?date_from=2026-01-01T00:00:00Z", headers=routed)
        await desk.need("PUT", "/emsp/2.2.1/locations/DE/ABC/Loc-1", bodies.location(), headers=routed)
        await report(desk)
        assert await quirks(desk) == set()

    run_ocpi(test, backend=backend, core=core)


def test_a_line_feed_in_the_token_is_learned() -> None:
    async def test(desk: Desk) -> None:
        await desk.need("GET", "/versions", headers={"Authorization": "Token Zmlyc3QtdG9rZW4tMDEyMzQ1Njc4OQo="})
        assert await quirks(desk) == {"token-padded"}

    run_ocpi(test)


def test_what_is_odd_about_answers_is_learned() -> None:
    backend = OcpiBackend(modules=ALL, answer=lambda seen: (200, [bodies.location(), bodies.location(id="L2")]))

    async def test(desk: Desk) -> None:
        await report(desk)
        assert "limit-ignored" in await quirks(desk)
        backend.forms = ("raw",)
        await report(desk)
        assert "token-form" in await quirks(desk)

    run_ocpi(test, backend=backend, registered=True)


# --- losses -----------------------------------------------------------------------------------------------------


def test_what_conversions_lost_is_counted_by_module_and_rule() -> None:
    core = FakeCore()
    core.partners = [PEER]
    body = bodies.location(country_code="FR", party_id="XYZ", help_phone="1")
    core.theirs[PEER.peer, "locations", "LOC-1"] = ops.StoredObject(text(body), '"1"', "2.3.0")

    async def test(desk: Desk) -> None:
        await desk.register()
        for _ in range(2):
            await desk.need("GET", "/cpo/2.2.1/locations")
        (shown,) = (await desk.harness.send("GET", "/v1/ocpi")).json["items"]
        (loss,) = shown["losses"]
        assert (loss["module"], loss["rule"], loss["count"]) == ("locations", "help-phone", 2)
        assert loss["what"]
        assert loss["why"]

    run_ocpi(test, core=core)


def test_nothing_is_listed_where_nothing_is_configured() -> None:
    async def test(desk: Desk) -> None:
        assert (await desk.harness.send("GET", "/v1/ocpi")).json == {"items": []}

    run_ocpi(test, settings=())


# --- the byte order of UIDs -------------------------------------------------------------------------------------

TURNED = dataclasses.replace(SETTINGS, uid_byte_order="reversed")
UID, OTHER_WAY = "04A1B2C3", "C3B2A104"


def test_uids_are_turned_round_on_their_way_in_and_out_where_that_is_configured() -> None:
    core = FakeCore()
    core.partners = [PEER]
    theirs = bodies.token(country_code="FR", party_id="XYZ", uid=UID)
    core.theirs[PEER.peer, "user-credentials", UID] = ops.StoredObject(text(theirs), '"1"', "2.2.1")
    backend = OcpiBackend(modules=[("tokens", "RECEIVER")])

    async def test(desk: Desk) -> None:
        await desk.register()
        await desk.sent(("PUT", f"/tokens/FR/XYZ/{OTHER_WAY}?type=RFID"))
        assert backend.pushed("PUT")[-1].body["uid"] == OTHER_WAY
        assert (await desk.need("GET", "/emsp/2.2.1/tokens")).json["data"] == [{**theirs, "uid": OTHER_WAY}]
        info = (await desk.need("POST", f"/emsp/2.2.1/tokens/{OTHER_WAY}/authorize")).json["data"]
        assert info["token"]["uid"] == OTHER_WAY
        (asked,) = [each for each in core.asked if isinstance(each, ops.Authorize)]
        assert asked.credential.uid == UID
        assert await quirks(desk) >= {"uid-reversed"}

        cdr = bodies.cdr(cdr_token=bodies.cdr_token(uid=OTHER_WAY), total_cost={"excl_vat": 1})
        where = (await desk.send("POST", "/emsp/2.2.1/cdrs", cdr)).headers["Location"]
        assert json.loads(core.records["CDR-1"][1])["cdr_token"]["uid"] == UID
        assert (await desk.need("GET", where)).json["data"] == cdr

    run_ocpi(test, core=core, backend=backend, settings=(TURNED,))


def test_a_card_of_the_backend_is_known_by_its_own_uid_and_what_is_no_uid_stays() -> None:
    async def test(desk: Desk) -> None:
        await desk.register()
        for uid, stored, kind in (
            (OTHER_WAY, UID, "RFID"),
            ("ABC-1", "ABC-1", "RFID"),
            ("AABBCCDD", "AABBCCDD", "APP_USER"),
        ):
            path = f"/cpo/2.2.1/tokens/DE/ABC/{uid}?type={kind}"
            await desk.need("PUT", path, bodies.token(uid=uid, type=kind))
            assert (await desk.need("GET", path)).json["data"]["uid"] == uid
            assert any(key[0] == "user-credentials" and key[2] == stored for key in desk.core.objects)

    run_ocpi(test, settings=(TURNED,))


def test_the_cards_inside_of_commands_and_locations_are_turned_round_as_well() -> None:
    async def test(desk: Desk) -> None:
        await desk.register()
        allowed = [{"uid": OTHER_WAY, "type": "RFID"}, {"uid": "AABBCCDD", "type": "APP_USER"}, {"issuer": "NewMotion"}]
        location = bodies.location(publish=False, publish_allowed_to=allowed)
        path = f"/emsp/2.2.1/locations/DE/ABC/{location['id']}"
        await desk.need("PUT", path, location)
        stored = json.loads(next(body for key, (body, *_) in desk.core.objects.items() if key[0] == "locations"))
        assert stored["publish_allowed_to"] == [{"uid": UID, "type": "RFID"}, *allowed[1:]]
        assert (await desk.need("GET", path)).json["data"]["publish_allowed_to"] == allowed

        wanted = {"token": bodies.token(uid=OTHER_WAY), "location_id": "L", "response_url": f"{desk.backend.url}/r"}
        await desk.send("POST", "/cpo/2.2.1/commands/START_SESSION", wanted)
        (sent,) = [each for each in desk.core.asked if isinstance(each, ops.SendCommand)]
        assert json.loads(sent.command.body)["token"]["uid"] == UID

    run_ocpi(test, settings=(TURNED,))


def test_a_command_for_a_backend_of_the_other_order_carries_its_own_uid() -> None:
    backend = OcpiBackend(modules=[("commands", "RECEIVER")], answer=lambda seen: (200, {"result": "ACCEPTED"}))

    async def test(desk: Desk) -> None:
        await desk.register()
        body = msgspec.Raw(text({"token": bodies.token(uid=UID), "location_id": "L"}))
        answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        asked = CommandQuestion("0" * 32, "xyz", "FRXYZ", "START_SESSION", "2.2.1", body, 5000, "2026-11-22T12:00:05Z")
        desk.harness.serving.questions.ask_command(asked, answered.set_result)
        assert await answered == CommandResult("ACCEPTED")
        (seen,) = [each for each in desk.backend.requests if each.path == "/commands/START_SESSION"]
        assert seen.body["token"]["uid"] == OTHER_WAY

    run_ocpi(test, settings=(TURNED,), backend=backend)


def test_nothing_is_turned_round_by_itself() -> None:
    async def test(desk: Desk) -> None:
        await desk.register()
        await desk.need("POST", f"/emsp/2.2.1/tokens/{OTHER_WAY}/authorize")
        (asked,) = [each for each in desk.core.asked if isinstance(each, ops.Authorize)]
        assert asked.credential.uid == OTHER_WAY

    run_ocpi(test)
