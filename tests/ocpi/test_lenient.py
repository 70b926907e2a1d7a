"""What backends write otherwise than OCPI has it is put right where it comes in, unless they are to be strict."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from roamd.backend.examples import LOCATION, SESSION, TARIFF, TOKEN
from roamd.backend.ocpi.backends import OcpiSettings
from roamd.backend.ocpi.mend import Mending, mend, with_nulls, without_nulls
from roamd.roaming.operations import Driver, FindDriver
from tests.model import bodies
from tests.ocpi.test_offered import of_peer, publish, world
from tests.support.api import Answered
from tests.support.core import FakeCore
from tests.support.ocpi import FIRST, NAME, PEER, Desk, OcpiBackend, run_ocpi

STRICT = OcpiSettings(NAME, FIRST, strict=True)
PLACES = {
    "locations": ("/emsp/2.3.0/locations/DE/ABC/LOC1", LOCATION),
    "tariffs": ("/emsp/2.3.0/tariffs/DE/ABC/T1", TARIFF),
    "sessions": ("/emsp/2.3.0/sessions/DE/ABC/S1", SESSION),
    "tokens": (f"/cpo/2.3.0/tokens/DE/ABC/{TOKEN['uid']}", TOKEN),
}


class KnowingCore(FakeCore):
    """One that knows whose driver a reference stands for."""

    def __init__(self, **drivers: Driver) -> None:
        super().__init__()
        self.partners = [PEER]
        self.drivers = drivers

    def _finddriver(self, asked: FindDriver) -> Driver | None:
        return self.drivers.get(asked.reference)


def changed(value: Any, path: str, new: Any) -> Any:
    """A copy with one place taken by something else; `...` takes it out."""
    copy = json.loads(json.dumps(value))
    place = copy
    *way, last = path.split(".")
    for step in way:
        place = place[int(step) if step.isdigit() else step]
    if new is ...:
        del place[last]
    else:
        place[last] = new
    return copy


QUIRKS: list[tuple[str, str, Any, Any]] = [
    ("locations", "last_updated", "2026-11-22T13:00:00+01:00", "2026-11-22T12:00:00.000Z"),
    ("locations", "last_updated", "2026-11-22T12:00:00.123456Z", "2026-11-22T12:00:00.123Z"),
    ("locations", "last_updated", "2026-11-22 12:00:00Z", "2026-11-22T12:00:00.000Z"),
    ("locations", "last_updated", "2026-11-22T12:00:00", "2026-11-22T12:00:00"),
    ("locations", "evses.0.status", "available", "AVAILABLE"),
    ("locations", "evses.0.connectors.0.standard", "iec_62196_t2", "IEC_62196_T2"),
    ("locations", "evses.0.connectors.0.max_voltage", "400", 400),
    ("locations", "evses.0.connectors.0.max_amperage", ..., 0),
    ("locations", "publish", "True", True),
    ("sessions", "kwh", "7.50", 7.5),
    ("sessions", "status", "active", "ACTIVE"),
    ("tokens", "valid", "false", False),
    ("tokens", "type", "rfid", "RFID"),
    ("tokens", "whitelist", "allowed", "ALLOWED"),
]


def value_at(value: Any, path: str) -> Any:
    for step in path.split("."):
        value = value[int(step) if step.isdigit() else step]
    return value


async def put(desk: Desk, module: str, body: Any, headers: dict[str, str] | None = None) -> Answered:
    return await desk.send("PUT", PLACES[module][0], body, headers=headers)


@pytest.mark.parametrize(("module", "path", "given", "expected"), QUIRKS)
def test_what_is_plainly_meant_is_taken_and_passed_on_as_ocpi_has_it(
    module: str, path: str, given: Any, expected: Any
) -> None:
    """Field points 11 and 18."""

    async def test(desk: Desk) -> None:
        desk.core.partners = [PEER]
        body = changed(PLACES[module][1], path, given)
        answered = await put(desk, module, body)
        assert answered.status == 201, answered.body
        stored = await desk.need("GET", PLACES[module][0])
        assert value_at(stored.json["data"], path) == expected

    run_ocpi(test, registered=True)


@pytest.mark.parametrize(("module", "path", "given"), [(m, p, g) for m, p, g, e in QUIRKS if g in ("400", "7.50", ...)])
def test_a_strict_backend_is_refused_with_the_path(module: str, path: str, given: Any) -> None:
    """Field point 11: strictness is a switch."""

    async def test(desk: Desk) -> None:
        answered = await put(desk, module, changed(PLACES[module][1], path, given))
        assert (answered.status, answered.json["status_code"]) == (400, 2001)
        assert path.split(".")[-1] in answered.json["status_message"]

    run_ocpi(test, settings=[STRICT], registered=True)


def test_a_good_object_keeps_every_byte() -> None:
    text = json.dumps(LOCATION | {"unknown": {"x": [1.50, None]}}, separators=(",", ":")).encode()
    mending = Mending("2.3.0")
    assert mend("Location", text, mending) == text
    assert not mending.met


def test_what_is_not_meant_to_be_a_number_is_left_for_the_check() -> None:
    for wrong in (b'"1e3"', b'"0x10"', b'"01"', b'" "', b'"NaN"', b'"1,5"', b'"' + b"9" * 40 + b'"'):
        text = b'{"kwh":' + wrong + b"}"
        assert mend("Session", text, Mending("2.2.1", fill=False)) == text


def test_a_patch_is_mended_and_nothing_is_put_into_it() -> None:
    """Field point 18."""

    async def test(desk: Desk) -> None:
        desk.core.partners = [PEER]
        await put(desk, "sessions", SESSION)
        patch = {"kwh": "9.25", "status": "active", "last_updated": "2026-11-22T23:00:00+01:00"}
        await desk.need("PATCH", PLACES["sessions"][0], patch)
        stored = (await desk.need("GET", PLACES["sessions"][0])).json["data"]
        assert (stored["kwh"], stored["last_updated"]) == (9.25, "2026-11-22T22:00:00.000Z")
        await put(desk, "locations", LOCATION)
        connector = f"{PLACES['locations'][0]}/{LOCATION['evses'][0]['uid']}/1"
        await desk.need("PATCH", connector, {"max_amperage": "16", "last_updated": "2026-11-22T22:00:00Z"})
        data = (await desk.need("GET", connector)).json["data"]
        assert (data["max_amperage"], data["max_voltage"]) == (
            16, LOCATION["evses"][0]["connectors"][0]["max_voltage"])  # fmt: skip

    run_ocpi(test, registered=True)


def without_token(**more: Any) -> Any:
    return {**changed(SESSION, "cdr_token", ...), **more}


REFERENCED = without_token(authorization_reference="REF-1")
KNOWN = Driver("FRXYZ", "RFID", "04AABBCC", "FR-XYZ-C1")


@pytest.mark.parametrize(
    ("body", "to", "expected"),
    [
        (REFERENCED, None, {"country_code": "FR", "party_id": "XYZ", "uid": "04AABBCC", "type": "RFID",
                            "contract_id": "FR-XYZ-C1"}),
        (without_token(), "XYZ", {"country_code": "FR", "party_id": "XYZ", "uid": "#NA", "type": "OTHER",
                                  "contract_id": "#NA"}),
        (without_token(), "ABC", None),
        (without_token(), None, None),
        (without_token(authorization_reference="REF-9"), None, None),
    ],
)  # fmt: skip
def test_a_session_without_a_driver_goes_to_whose_it_can_only_be(body: Any, to: str | None, expected: Any) -> None:
    """Field point 11: sessions without `cdr_token`. Nobody is guessed: then it is refused with the field's name."""

    async def test(desk: Desk) -> None:
        countries = {"XYZ": "FR", "ABC": "DE"}
        headers = {} if to is None else {"OCPI-to-country-code": countries[to], "OCPI-to-party-id": to}
        answered = await put(desk, "sessions", body, headers)
        if expected is None:
            assert (answered.status, answered.json["status_code"]) == (400, 2001)
            assert "$.cdr_token" in answered.json["status_message"]
        else:
            stored = (await desk.need("GET", PLACES["sessions"][0])).json["data"]
            assert stored["cdr_token"] == expected

    run_ocpi(test, core=KnowingCore(**{"REF-1": KNOWN}), registered=True)


def test_what_a_session_said_once_it_need_not_say_again() -> None:
    """Field point 11."""

    async def test(desk: Desk) -> None:
        desk.core.partners = [PEER]
        await put(desk, "sessions", SESSION)
        await put(desk, "sessions", without_token(kwh=20, last_updated="2026-11-23T00:00:00Z"))
        stored = (await desk.need("GET", PLACES["sessions"][0])).json["data"]
        assert (stored["kwh"], stored["cdr_token"]) == (20, SESSION["cdr_token"])

    run_ocpi(test, core=KnowingCore(), registered=True)


def cdr(**changes: Any) -> Any:
    place = {name: value for name, value in bodies.cdr()["cdr_location"].items() if name not in ("address", "city")}
    return bodies.cdr(country_code="DE", party_id="ABC", cdr_location={**place, **changes})


@pytest.mark.parametrize("known", [True, False])
def test_a_cdr_without_an_address_gets_that_of_its_location(known: bool) -> None:
    """Field point 11: CDRs without an address."""

    async def test(desk: Desk) -> None:
        if known:
            await put(desk, "locations", LOCATION)
        answered = await desk.need("POST", "/emsp/2.3.0/cdrs", cdr(id="LOC1"))
        place = (await desk.need("GET", answered.headers["Location"])).json["data"]["cdr_location"]
        expected = (LOCATION["address"], LOCATION["city"]) if known else ("#NA", "#NA")
        assert (place["address"], place["city"]) == expected
        again = await desk.need("POST", "/emsp/2.3.0/cdrs", cdr(id="LOC1"))
        assert again.headers["Location"] == answered.headers["Location"]

    run_ocpi(test, core=KnowingCore(), registered=True)


def test_a_pull_is_as_patient_as_a_push() -> None:
    tariff = changed(TARIFF, "currency", "EUR") | {"last_updated": "2026-11-22T13:00:00+01:00"}

    async def test(desk: Desk) -> None:
        await desk.register("/2.3.0/credentials")
        while not desk.core.objects:
            await desk.harness.asked(object, len(desk.core.asked) + 1)
        ((body, *_),) = desk.core.objects.values()
        assert json.loads(body)["last_updated"] == "2026-11-22T12:00:00.000Z"

    run_ocpi(test, backend=OcpiBackend("2.3.0", [("tariffs", "SENDER")], answer=lambda seen: (200, [tariff])))


# --- nulls --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nulls", "has"),
    [("keep", lambda t: t["name"] is None and "group_id" not in t),
     ("add", lambda t: t["name"] is None and t["group_id"] is None),
     ("drop", lambda t: "name" not in t and "group_id" not in t)],
)  # fmt: skip
def test_explicit_nulls_are_a_switch(nulls: str, has: Callable[[Any], bool]) -> None:
    """Field point 15."""
    core = world()
    publish(core, "user-credentials", of_peer(TOKEN) | {"name": None})

    async def test(desk: Desk) -> None:
        (token,) = (await desk.need("GET", "/emsp/2.3.0/tokens")).json["data"]
        assert has(token)

    run_ocpi(test, core=core, settings=[OcpiSettings(NAME, FIRST, nulls=nulls)], registered=True)


def test_nulls_go_and_come_at_every_depth_and_lists_stay_lists() -> None:
    text = b'{"a":null,"b":[{"c":null,"d":"null"},null],"e":{"f":null}}'
    assert without_nulls(text) == b'{"b":[{"d":"null"},null],"e":{}}'
    added = json.loads(with_nulls("Location", "2.3.0", json.dumps(LOCATION, separators=(",", ":")).encode()))
    assert added["evses"][0]["physical_reference"] is None
    assert "images" not in added
