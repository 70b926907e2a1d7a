"""A body of one version as the other says it: nothing is lost that is not listed, and nothing else is touched."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roamd.model.jsontext import compact, parse
from roamd.model.ocpi.check import check, classes
from roamd.model.ocpi.convert import RULES, Loss, convert, is_alike, value_in
from roamd.model.ocpi.convert_rules import FIELDS, NEW, OLD, VALUES
from tests.model import bodies
from tests.model.bodies import text
from tests.model.samples import REASON, Sample, samples

SAMPLES = [sample for sample in samples() if not sample.defects]


def other(version: str) -> str:
    return OLD if version == NEW else NEW


def decimals(body: bytes) -> Any:
    return json.loads(body, parse_float=Decimal, parse_int=Decimal)


def differences(one: Any, two: Any, at: str = "$") -> set[str]:
    """The paths at which two values differ; a list of another length differs as a whole."""
    if isinstance(one, dict) and isinstance(two, dict):
        names = one.keys() | two.keys()
        return {path for name in names for path in differences(one.get(name), two.get(name), f"{at}.{name}")}
    if isinstance(one, list) and isinstance(two, list) and len(one) == len(two):
        pairs = enumerate(zip(one, two, strict=True))
        return {path for i, (a, b) in pairs for path in differences(a, b, f"{at}[{i}]")}
    return set() if one == two else {at}


def is_listed(path: str, losses: tuple[Loss, ...]) -> bool:
    """Whether a loss is told at this place, above it, or, for a list that got shorter, in it."""
    return any(path.startswith(loss.path) or loss.path.startswith(f"{path}[") for loss in losses)


def assert_comes_back(kind: str, body: bytes, version: str) -> tuple[Loss, ...]:
    """Convert there and back; every difference is listed. What was lost on the way there."""
    there, lost = convert(kind, body, version, other(version))
    back, lost_too = convert(kind, there, other(version), version)
    changed = differences(decimals(body), decimals(back))
    assert {path for path in changed if not is_listed(path, lost + lost_too)} == set()
    return lost


# --- round trips ------------------------------------------------------------------------------------------------

NUMBERS = st.decimals(-10_000, 10_000, places=4, allow_nan=False).map(lambda number: json.loads(f"{number:f}"))
PRICES_OLD = st.fixed_dictionaries({"excl_vat": NUMBERS}, optional={"incl_vat": NUMBERS, "x_note": st.just("own")})
TAXES = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from(["VAT", "QST"]), "amount": NUMBERS},
        optional={"percentage": NUMBERS, "account_number": st.just("A1")},
    ),
    max_size=2,
)
PRICES_NEW = st.fixed_dictionaries({"before_taxes": NUMBERS}, optional={"taxes": TAXES, "x_note": st.just("own")})
LIMITS = st.fixed_dictionaries({"before_taxes": NUMBERS}, optional={"after_taxes": NUMBERS})
STANDARDS = st.sampled_from(["IEC_62196_T2", "MCS", "SAE_J3400", "SOMETHING_NEW"])
CAPABILITIES = st.lists(st.sampled_from(["ISO_15118_2_PLUG_AND_CHARGE"]), max_size=1)
CONNECTORS = st.builds(
    lambda standard, more: bodies.connector(standard=standard, **more),
    STANDARDS,
    st.fixed_dictionaries({}, optional={"capabilities": CAPABILITIES, "x": st.just({"deep": [1.50]})}),
)
PLACES = st.builds(
    lambda number, kinds, own: {
        "id": f"P{number}",
        "vehicle_types": kinds,
        "restricted_to_type": own,
        "reservation_required": False,
    },
    st.integers(1, 2),
    st.sampled_from([["DISABLED"], ["MOTORCYCLE"], ["VAN", "BUS"]]),
    st.booleans(),
)
EVSES = st.builds(
    lambda connectors, more: bodies.evse(connectors=connectors, **more),
    st.lists(CONNECTORS, min_size=1, max_size=3),
    st.fixed_dictionaries(
        {},
        optional={
            "parking": st.just([{"parking_id": "P1"}]),
            "parking_restrictions": st.lists(st.sampled_from(["CUSTOMERS", "TAXIS", "DISABLED"]), max_size=3),
            "accepted_service_providers": st.just(["ABC"]),
        },
    ),
)
LOCATIONS = st.builds(
    lambda evses, more: bodies.location(evses=evses, **more),
    st.lists(EVSES, max_size=2),
    st.fixed_dictionaries({}, optional={"parking_places": st.lists(PLACES, max_size=2), "help_phone": st.just("+49")}),
)
COMPONENTS = st.fixed_dictionaries(
    {"type": st.just("ENERGY"), "price": NUMBERS, "step_size": st.just(1)}, optional={"vat": st.integers(0, 30)}
)
ELEMENTS = st.lists(
    st.fixed_dictionaries({"price_components": st.lists(COMPONENTS, min_size=1, max_size=2)}), max_size=2
)


def tariffs(version: str) -> st.SearchStrategy[dict[str, Any]]:
    limits = {"min_price": LIMITS if version == NEW else PRICES_OLD}
    included = st.sampled_from(["YES", "NO", "N/A"]) if version == NEW else st.just(None)
    return st.builds(
        lambda elements, more, tax: bodies.without(
            bodies.tariff(elements=elements, tax_included=tax, **more), *(["tax_included"] if tax is None else [])
        ),
        ELEMENTS,
        st.fixed_dictionaries({}, optional=limits),
        included,
    )


def money(version: str) -> st.SearchStrategy[dict[str, Any]]:
    return PRICES_NEW if version == NEW else PRICES_OLD


def objects(version: str) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    kinds = ["RFID", "EMAID"] if version == NEW else ["RFID", "OTHER"]
    token_types = st.sampled_from(kinds)
    cdrs = st.builds(
        lambda total, tariff, kind: bodies.cdr(
            total_cost=total, tariffs=[tariff], cdr_token=bodies.cdr_token(type=kind), x_own=[1.10]
        ),
        money(version),
        tariffs(version),
        token_types,
    )
    return st.one_of(
        LOCATIONS.map(lambda value: ("Location", value)),
        tariffs(version).map(lambda value: ("Tariff", value)),
        cdrs.map(lambda value: ("CDR", value)),
        st.builds(lambda cost: bodies.session(total_cost=cost), money(version)).map(lambda value: ("Session", value)),
        token_types.map(lambda kind: ("Token", bodies.token(type=kind))),
    )


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([OLD, NEW]).flatmap(lambda version: st.tuples(st.just(version), objects(version))))
def test_there_and_back_gives_the_object_again_except_for_what_is_listed(case: tuple[str, tuple[str, Any]]) -> None:
    version, (kind, value) = case
    assert_comes_back(kind, text(value), version)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([OLD, NEW]).flatmap(lambda version: st.tuples(st.just(version), objects(version))))
def test_what_one_version_accepts_the_other_accepts_when_it_is_converted(case: tuple[str, tuple[str, Any]]) -> None:
    version, (kind, value) = case
    body = text(value)
    if not check(kind, version, parse(body).value).faults:
        there, _ = convert(kind, body, version, other(version))
        assert check(kind, other(version), parse(there).value).faults == []
        assert compact(there) == there


@pytest.mark.skipif(not SAMPLES, reason=REASON)
@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_a_real_object_comes_back_except_for_what_is_listed_and_is_good_in_the_other_version(sample: Sample) -> None:
    body = compact(sample.data)
    assert_comes_back(sample.kind, body, sample.ocpi)
    there, _ = convert(sample.kind, body, sample.ocpi, other(sample.ocpi))
    assert check(sample.kind, other(sample.ocpi), parse(there).value).faults == []


# --- prices -----------------------------------------------------------------------------------------------------


def converted(kind: str, value: bytes, source: str) -> tuple[bytes, list[tuple[str, str]]]:
    body, losses = convert(kind, value, source, other(source))
    return body, [(loss.path, loss.code) for loss in losses]


def session_with(cost: bytes) -> bytes:
    return b'{"id":"S","total_cost":' + cost + b',"kwh":1.50}'


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'{"excl_vat":10.00,"incl_vat":12.10}', b'{"before_taxes":10.00,"taxes":[{"name":"VAT","amount":2.10}]}'),
        (b'{"excl_vat":4.0}', b'{"before_taxes":4.0}'),
        (b'{"excl_vat":0,"incl_vat":0}', b'{"before_taxes":0,"taxes":[{"name":"VAT","amount":0}]}'),
        (b'{"excl_vat":-6.60,"incl_vat":-7.85}', b'{"before_taxes":-6.60,"taxes":[{"name":"VAT","amount":-1.25}]}'),
    ],
)
def test_a_price_with_vat_is_a_price_with_one_tax_and_back(old: bytes, new: bytes) -> None:
    assert converted("Session", session_with(old), OLD) == (session_with(new), [])
    assert converted("Session", session_with(new), NEW) == (session_with(old), [])


def test_several_taxes_are_told_as_their_sum() -> None:
    taxes = b'[{"name":"GST","amount":0.50},{"name":"QST","percentage":9.975,"amount":0.9975}]'
    body, losses = converted("Session", session_with(b'{"before_taxes":10,"taxes":' + taxes + b"}"), NEW)
    assert body == session_with(b'{"excl_vat":10,"incl_vat":11.4975}')
    assert losses == [("$.total_cost.taxes", "taxes-in-sum")]


@pytest.mark.parametrize("taxes", [b"[]", b'[{"name":"VAT"}]', b'[{"name":"VAT","amount":"1"}]', b"7"])
def test_taxes_that_cannot_be_added_up_are_listed_and_nothing_is_claimed(taxes: bytes) -> None:
    body, losses = converted("Session", session_with(b'{"before_taxes":10,"taxes":' + taxes + b"}"), NEW)
    assert body == session_with(b'{"excl_vat":10}')
    assert losses == [("$.total_cost.taxes", "taxes-unreadable")]


def test_limits_of_a_tariff_change_their_names_alone() -> None:
    old = b'{"id":"T","min_price":{"excl_vat":1.50,"incl_vat":1.815},"elements":[],"last_updated":"x"}'
    new = b'{"id":"T","min_price":{"before_taxes":1.50,"after_taxes":1.815},"elements":[],"last_updated":"x"'
    assert converted("Tariff", old, OLD) == (new + b',"tax_included":"NO"}', [])
    assert converted("Tariff", new + b',"tax_included":"NO"}', NEW) == (old, [])


def test_prices_that_include_their_tax_are_told_without_it() -> None:
    component = b'{"type":"ENERGY","price":%b,"vat":%b,"step_size":1}'
    elements = b'[{"price_components":[%b,{"type":"FLAT","price":2.0,"step_size":1}]}]'
    body, losses = converted(
        "Tariff", b'{"elements":' + elements % (component % (b"0.30", b"19.0")) + b',"tax_included":"YES"}', NEW
    )
    assert body == b'{"elements":' + elements % (component % (b"0.2521", b"19.0")) + b"}"
    assert losses == [
        ("$.tax_included", "tax-included-other"),
        ("$.elements[0].price_components[0].price", "price-without-vat"),
        ("$.elements[0].price_components[1].price", "price-with-unknown-tax"),
    ]


def test_the_tariffs_in_a_cdr_are_converted_with_it() -> None:
    value = {**bodies.cdr(total_cost={"excl_vat": 1}), "tariffs": [bodies.without(bodies.tariff(), "tax_included")]}
    body, losses = converted("CDR", text(value), OLD)
    assert json.loads(body)["tariffs"][0]["tax_included"] == "NO"
    assert (json.loads(body)["total_cost"], losses) == ({"before_taxes": 1}, [])


# --- locations and tokens ---------------------------------------------------------------------------------------


def test_parking_and_capabilities_are_left_out_and_listed_for_the_old_version() -> None:
    plug = bodies.connector(capabilities=["ISO_15118_2_PLUG_AND_CHARGE"])
    evse = bodies.evse(connectors=[plug], parking=[{"parking_id": "P9"}], accepted_service_providers=["ABC"])
    body, losses = converted("Location", text(bodies.location(evses=[evse], help_phone="1", parking_places=[])), NEW)
    assert json.loads(body) == bodies.location(evses=[bodies.evse()])
    assert set(losses) == {
        ("$.help_phone", "help-phone"),
        ("$.parking_places", "parking-places"),
        ("$.evses[0].parking", "evse-parking"),
        ("$.evses[0].accepted_service_providers", "service-providers"),
        ("$.evses[0].connectors[0].capabilities", "connector-capabilities"),
    }


def test_a_place_for_disabled_drivers_alone_is_told_as_a_restriction() -> None:
    place = {"id": "p1", "vehicle_types": ["DISABLED"], "restricted_to_type": True, "reservation_required": False}
    evse = bodies.evse(parking=[{"parking_id": "P1"}], parking_restrictions=["CUSTOMERS", "TENANTS"])
    body, losses = converted("Location", text(bodies.location(evses=[evse], parking_places=[place])), NEW)
    assert json.loads(body)["evses"][0]["parking_restrictions"] == ["CUSTOMERS", "DISABLED"]
    assert ("$.evses[0].parking_restrictions", "parking-told-as-restriction") in losses
    assert ("$.evses[0].parking_restrictions[1]", "parking-restriction") in losses


def test_a_plug_without_a_name_is_left_out_with_an_evse_that_has_no_other() -> None:
    mcs, tesla = bodies.connector(standard="MCS"), bodies.connector(standard="SAE_J3400", id="2")
    both, alone = bodies.evse("E1", connectors=[mcs, tesla]), bodies.evse("E2", connectors=[mcs])
    body, losses = converted("Location", text(bodies.location(evses=[both, alone])), NEW)
    (left,) = json.loads(body)["evses"]
    assert [(each["id"], each["standard"]) for each in left["connectors"]] == [("2", "TESLA_S")]
    assert losses == [
        ("$.evses[0].connectors[0]", "connector-type-none"),
        ("$.evses[0].connectors[1].standard", "connector-type-near"),
        ("$.evses[1]", "connector-type-none"),
    ]


def test_a_cdr_names_its_plug_whatever_it_is() -> None:
    value = bodies.cdr()
    value["cdr_location"]["connector_standard"] = "MCS"
    body, losses = converted("CDR", text(value), NEW)
    assert json.loads(body)["cdr_location"]["connector_standard"] == "MCS"
    assert losses == [("$.cdr_location.connector_standard", "connector-type-as-is")]


def test_an_emaid_is_another_kind_of_token_for_the_old_version() -> None:
    body, losses = converted("Token", text(bodies.token(type="EMAID")), NEW)
    assert (json.loads(body), losses) == (bodies.token(type="OTHER"), [("$.type", "token-type")])
    command = {"response_url": "https://x", "token": bodies.token(type="EMAID"), "location_id": "L"}
    body, losses = converted("StartSession", text(command), NEW)
    assert (json.loads(body)["token"]["type"], losses) == ("OTHER", [("$.token.type", "token-type")])
    assert (value_in("TokenType", "EMAID", OLD), value_in("TokenType", "EMAID", NEW)) == ("OTHER", "EMAID")
    assert value_in("TokenType", "RFID", OLD) == "RFID"


# --- what nobody knows, and what somebody calls by a taken name ----------------------------------------------------


def test_what_neither_version_knows_stays_where_it_is_byte_for_byte() -> None:
    body = b'{"x":{"n":1.500,"e":1E+2},"uid":"\\u0041","type":"RFID","y\\u002d":[ ]}'.replace(b"[ ]", b"[]")
    assert convert("Token", body, NEW, OLD) == (body, ())
    assert convert("Token", body.replace(b"RFID", b"EMAID"), NEW, OLD)[0] == body.replace(b"RFID", b"OTHER")


def test_a_field_that_the_other_version_calls_so_stays_if_it_would_take_it() -> None:
    body, losses = converted("Location", text(bodies.location(help_phone="+49 1", parking_places="full")), OLD)
    assert (json.loads(body), losses) == (
        bodies.location(help_phone="+49 1"),
        [("$.parking_places", "field-of-other-version")],
    )


def test_a_price_of_both_versions_at_once_is_read_as_its_own_version_says() -> None:
    mixed = session_with(b'{"before_taxes":7,"excl_vat":10,"taxes":[]}')
    assert converted("Session", mixed, OLD) == (
        session_with(b'{"before_taxes":10}'),
        [("$.total_cost.before_taxes", "field-of-other-version"), ("$.total_cost.taxes", "field-of-other-version")],
    )


@pytest.mark.parametrize("body", [b"[]", b"1", b'"x"', b"null", b'{"type":"EMAID","type":"EMAID"}'])
def test_what_is_no_object_is_given_back_as_it_is(body: bytes) -> None:
    assert convert("Token", body, NEW, OLD) == (body, ())


@pytest.mark.parametrize("number", ["1e64", "1e9999999", "9" * 200, "-0", "1e-60"])
def test_numbers_that_are_not_worth_calculating_with_break_nothing(number: str) -> None:
    for version, price in ((OLD, '{"excl_vat":1,"incl_vat":%s}'), (NEW, '{"before_taxes":1,"taxes":[{"amount":%s}]}')):
        body, _ = convert("Session", session_with((price % number).encode()), version, other(version))
        assert compact(body) == body


def test_the_same_version_and_a_class_that_both_say_alike_cost_nothing() -> None:
    body = b'{"result":"ACCEPTED","timeout":30}'
    assert convert("CommandResponse", body, NEW, OLD)[0] is body
    assert convert("Location", body, NEW, NEW)[0] is body
    assert {kind for kind in ("Location", "Tariff", "Token", "Session", "CDR") if not is_alike(kind)} == {
        "Location",
        "Tariff",
        "Token",
        "Session",
        "CDR",
    }


def test_every_field_and_value_of_the_new_version_alone_has_a_rule() -> None:
    told = {rule.code for rule in RULES.values()}
    assert {code for code, _ in VALUES.values()} <= told
    old, new = classes(OLD), classes(NEW)
    shared = [name for name in new if old.get(name) and new[name]]
    alone = {(name, row.name) for name in shared for row in new[name]} - {
        (name, row.name) for name in shared for row in old[name]
    }
    handled = {("Tariff", "tax_included"), ("Price", "before_taxes"), ("Price", "taxes")}
    assert alone - handled == set(FIELDS)
