"""What partners publish and settle reaches an eMSP or CPO backend in order and surely; its drivers are asked about."""

import asyncio
import json
from typing import Any

import pytest

from roamd.backend.examples import LOCATION, TARIFF, TOKEN
from roamd.backend.waiting import Done
from roamd.model.keyedlist import keyed_body
from roamd.roaming import operations as ops
from roamd.roaming.ports import AuthorizeQuestion, BackendAnswer, NoAnswer
from tests.model import bodies
from tests.ocpi.test_offered import of_peer, publish, world
from tests.support.core import FakeCore
from tests.support.ocpi import NAME, PEER, Desk, OcpiBackend, run_ocpi

RECEIVES = [(module, "RECEIVER") for module in ("locations", "tariffs", "sessions", "tokens", "cdrs")]


def changed(core: FakeCore, feed: str, id_: str, kind: str = "object.changed") -> None:
    core.happen(kind, bodies.text({"feed": feed, "id": id_.upper(), "version": "7"}))


def emsp(**more: Any) -> OcpiBackend:
    return OcpiBackend(modules=RECEIVES, **more)


def test_at_registration_everything_is_pushed_tariffs_before_locations() -> None:
    core = world()
    publish(core, "locations", of_peer(LOCATION))
    publish(core, "tariffs", of_peer(TARIFF))
    publish(core, "user-credentials", of_peer(TOKEN))

    async def test(desk: Desk) -> None:
        await desk.register()
        location, tariff = "/locations/FR/XYZ/LOC1", "/tariffs/FR/XYZ/T1"
        await desk.sent(("PUT", location), ("PUT", tariff), ("PUT", f"/tokens/FR/XYZ/{TOKEN['uid']}?type=RFID"))
        pushed = [seen.path for seen in desk.backend.pushed("PUT")]
        assert pushed.index(tariff) < pushed.index(location)
        (put,) = [seen for seen in desk.backend.pushed("PUT") if seen.path == location]
        assert put.body == of_peer(LOCATION)
        assert (put.headers["OCPI-from-country-code"], put.headers["OCPI-to-party-id"]) == ("FR", "ABC")

    run_ocpi(test, core=core, backend=emsp())


def test_cards_of_keyed_lists_are_pushed_to_nobody() -> None:
    core = world()
    hashed = json.loads(keyed_body(bytes(16), "RFID", TOKEN["uid"], bodies.text(of_peer(TOKEN))))
    publish(core, "user-credentials", hashed)

    async def test(desk: Desk) -> None:
        await desk.register()
        await swept(core)
        changed(core, "user-credentials", hashed["uid"])
        publish(core, "tariffs", of_peer(TARIFF))
        changed(core, "tariffs", "T1")
        await desk.sent(("PUT", "/tariffs/FR/XYZ/T1"))
        assert [seen.path for seen in desk.backend.pushed("PUT") if "/tokens/" in seen.path] == []

    run_ocpi(test, core=core, backend=emsp())


def test_changes_are_pushed_in_order_once_and_go_on_after_a_restart() -> None:
    core = world()

    async def before(desk: Desk) -> None:
        await desk.register()
        await swept(core)
        for n in range(3):
            publish(core, "tariffs", of_peer(TARIFF, id=f"T{n}"))
            changed(core, "tariffs", f"T{n}")
        await desk.sent(("PUT", "/tariffs/FR/XYZ/T2"))
        await came_to(core, "3")
        assert [seen.path[-2:] for seen in desk.backend.pushed("PUT")] == ["T0", "T1", "T2"]

    async def after(desk: Desk) -> None:
        publish(core, "tariffs", of_peer(TARIFF, id="T3"))
        changed(core, "tariffs", "T3")
        await desk.sent(("PUT", "/tariffs/FR/XYZ/T3"))
        assert [seen.path for seen in desk.backend.requests] == ["/tariffs/FR/XYZ/T3"]

    backend = emsp()
    run_ocpi(before, core=core, backend=backend)
    backend.requests.clear()
    run_ocpi(after, core=core, backend=backend)


async def came_to(core: FakeCore, cursor: str) -> None:
    """Wait until the pusher's cursor stands here."""
    while core.positions.get(f"ocpi:{NAME}") != cursor:
        await asked_anything(core)


async def swept(core: FakeCore) -> None:
    """Wait until everything that there was has been pushed."""
    while b'"swept":true' not in core.registrations[NAME]:
        await asked_anything(core)


async def asked_anything(core: FakeCore) -> None:
    asked = asyncio.Event()
    core.on_asked = asked.set
    await asked.wait()


def test_a_backend_that_fails_is_tried_again_and_what_it_refuses_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roamd.backend.ocpi.push.backoff_s", lambda failures, random: 0.0)
    core, answers = world(), iter([(500, None), (503, None), (200, None), (400, None), (200, None)])

    async def test(desk: Desk) -> None:
        await desk.register()
        await swept(core)
        for n in range(3):
            publish(core, "tariffs", of_peer(TARIFF, id=f"T{n}"))
            changed(core, "tariffs", f"T{n}")
        await desk.sent(("PUT", "/tariffs/FR/XYZ/T2"))
        assert [seen.path[-2:] for seen in desk.backend.pushed("PUT")] == ["T0", "T0", "T0", "T1", "T2"]

    run_ocpi(test, core=core, backend=emsp(answer=lambda seen: next(answers)))


def test_a_cdr_that_came_in_is_posted_as_it_is() -> None:
    core = world()

    async def test(desk: Desk) -> None:
        await desk.register()
        cdr = bodies.cdr()
        data = {"record_id": cdr["id"], "state": "DELIVERED", "party": "FRXYZ", "kind": "CDR", "record": cdr}
        core.happen("record.received", bodies.text(data))
        await desk.sent(("POST", "/cdrs"))
        assert desk.backend.pushed("POST")[-1].body == cdr

    run_ocpi(test, core=core, backend=emsp())


def test_what_is_withdrawn_is_deleted_removed_or_invalid() -> None:
    core = world()
    location, token = "/locations/FR/XYZ/LOC1", f"/tokens/FR/XYZ/{TOKEN['uid']}"
    held = {location: of_peer(LOCATION), token: of_peer(TOKEN)}

    async def test(desk: Desk) -> None:
        await desk.register()
        for feed, id_ in (("tariffs", "T1"), ("locations", "LOC1"), ("user-credentials", TOKEN["uid"])):
            changed(core, feed, id_, "object.removed")
        await desk.sent(("DELETE", "/tariffs/FR/XYZ/T1"), ("PUT", location), ("PUT", f"{token}?type=RFID"))
        put = {seen.path.partition("?")[0]: seen.body for seen in desk.backend.pushed("PUT")}
        assert [evse["status"] for evse in put[location]["evses"]] == ["REMOVED"]
        assert put[token]["valid"] is False

    run_ocpi(test, core=core, backend=emsp(objects=held))


def test_who_is_there_is_pushed_at_registration_and_at_each_change() -> None:
    core = world()

    async def test(desk: Desk) -> None:
        await desk.register()
        await desk.sent(("PUT", "/hubclientinfo/FR/XYZ"), ("PUT", "/hubclientinfo/NL/OTH"))
        core.partners = [ops.Partner("xyz", "XYZ", ("FRXYZ",), ("cso",), "PAIRED", False, PEER.since_ms)]
        desk.backend.requests.clear()
        core.happen("peer.state", b'{"peer":"xyz","state":"PAIRED","link":"DOWN"}')
        await desk.sent(("PUT", "/hubclientinfo/FR/XYZ"))
        (told,) = desk.backend.pushed("PUT")
        assert told.body["status"] == "OFFLINE"
        assert "OCPI-to-party-id" not in told.headers

    run_ocpi(test, core=core, backend=OcpiBackend(modules=[("hubclientinfo", "RECEIVER")]))


def test_a_backend_without_receiver_endpoints_is_sent_nothing() -> None:
    core = world()
    publish(core, "tariffs", of_peer(TARIFF))

    async def test(desk: Desk) -> None:
        await desk.register()
        changed(core, "tariffs", "T1")
        await came_to(core, "1")
        assert desk.backend.pushed("PUT") == []

    run_ocpi(test, core=core)


# --- questions ----------------------------------------------------------------------------------------------------

QUESTION = AuthorizeQuestion(
    authorization_id="a1", peer="xyz", party="FRXYZ", credential={"type": "RFID", "uid": "04 A/B", "contract_id": None},
    service="CHARGING", deadline_ms=5000, expires_at="2026-11-22T12:00:05Z",
    location={"location_id": "L1", "evse_uid": "E1", "connector_id": None},
)  # fmt: skip


async def ask(desk: Desk) -> BackendAnswer | NoAnswer:
    answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    done: Done = answered.set_result
    desk.harness.serving.questions.ask_authorize(QUESTION, done)
    answer: BackendAnswer | NoAnswer = await answered
    return answer


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ((200, {"allowed": "ALLOWED", "authorization_reference": "R1"}), BackendAnswer("ALLOWED", None, "R1")),
        ((200, [{"allowed": "blocked", "token": {}}]), BackendAnswer("BLOCKED")),
        ((404, None), BackendAnswer("UNKNOWN")),
        ((500, None), NoAnswer("HTTP 500 with OCPI status 2000")),
        ((302, None), NoAnswer("HTTP 302 with OCPI status 2000")),
        ((200, {"no": "decision"}), NoAnswer("unreadable answer")),
    ],
)
def test_a_partners_question_is_posted_to_the_backend(answer: tuple[int, Any], expected: object) -> None:
    async def test(desk: Desk) -> None:
        await desk.register()
        assert await ask(desk) == expected
        (asked,) = desk.backend.pushed("POST")
        assert asked.path == "/tokens/04%20A%2FB/authorize?type=RFID"
        assert asked.body == {"location_id": "L1", "evse_uids": ["E1"]}

    run_ocpi(test, backend=OcpiBackend(modules=[("tokens", "SENDER")], answer=lambda seen: answer))


def test_without_such_a_backend_nobody_is_asked() -> None:
    async def test(desk: Desk) -> None:
        assert await ask(desk) == NoAnswer("not configured", asked=False)
        await desk.register()
        assert await ask(desk) == NoAnswer("not configured", asked=False)

    run_ocpi(test)
