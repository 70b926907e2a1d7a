"""The tables against the reference, and what checking by them says."""

import json
from pathlib import Path
from typing import Any

import pytest

from roamd.model.jsontext import compact, tree
from roamd.model.ocpi.check import FINDINGS_MAX, VERSIONS, Findings, check, classes, enumerations
from roamd.model.ocpi.good import good
from roamd.model.ocpi.own import OWN_CLASSES, OWN_ENUMS

REFERENCE = Path(__file__).parents[3] / "shared" / "reference" / "ocpi-model.json"
OWN = {line for line in (OWN_CLASSES + OWN_ENUMS).splitlines() if line and not line.startswith(" ")}

needs_reference = pytest.mark.skipif(not REFERENCE.exists(), reason="the reference is not beside this checkout")


def spelled(field: dict[str, Any]) -> str:
    return f"{field['type']}({field['max']})" if "max" in field else str(field["type"])


@needs_reference
@pytest.mark.parametrize("ocpi", VERSIONS)
def test_every_class_has_exactly_the_reference_fields(ocpi: str) -> None:
    reference = json.loads(REFERENCE.read_text())[ocpi]["classes"]
    ours = {name: rows for name, rows in classes(ocpi).items() if name not in OWN and rows}
    assert {"Location", "Tariff", "Session", "Token", "CDR", "StartSession"} <= ours.keys()
    for name, rows in ours.items():
        expected = {field: (spelled(row), row["card"]) for field, row in reference[name].items()}
        assert {row.name: (row.type, row.card) for row in rows} == expected, name


@needs_reference
@pytest.mark.parametrize("ocpi", VERSIONS)
def test_every_enumeration_has_exactly_the_reference_values(ocpi: str) -> None:
    reference = json.loads(REFERENCE.read_text())
    for name, values in enumerations(ocpi).items():
        if name in OWN:
            continue
        if name in reference[ocpi]["enums"]:
            assert values == set(reference[ocpi]["enums"][name]["values"]), name


@pytest.mark.parametrize("ocpi", VERSIONS)
def test_every_class_of_a_version_compiles(ocpi: str) -> None:
    for name, rows in classes(ocpi).items():
        if rows:
            assert good(name, ocpi, b"null") is None
            assert check(name, ocpi, None).faults


def test_a_class_or_version_that_is_not_there_is_a_key_error() -> None:
    for kind, ocpi in (("Parking", "2.2.1"), ("Nothing", "2.3.0"), ("Location", "3.0")):
        with pytest.raises(KeyError):
            check(kind, ocpi, {})


# --- what is found ----------------------------------------------------------------------------------------------

CONNECTOR: dict[str, Any] = {
    "id": "1",
    "standard": "IEC_62196_T2",
    "format": "CABLE",
    "power_type": "AC_3_PHASE",
    "max_voltage": 230,
    "max_amperage": 32,
    "last_updated": "2026-01-01T00:00:00Z",
}
EVSE: dict[str, Any] = {
    "uid": "E1",
    "status": "AVAILABLE",
    "connectors": [CONNECTOR, CONNECTOR],
    "last_updated": "2026-01-01T00:00:00Z",
}


def of(findings: Findings) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    return [(f.path, f.code) for f in findings.faults], [(w.path, w.code) for w in findings.warnings]


def checked(kind: str, value: object, ocpi: str = "2.3.0") -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    return of(check(kind, ocpi, tree(compact(json.dumps(value).encode()))))


def test_a_good_object_has_nothing_to_say_and_unknown_fields_pass() -> None:
    assert checked("EVSE", EVSE) == ([], [])
    assert checked("EVSE", {**EVSE, "x_ours": {"deep": [1.5, None]}, "connectors": [{**CONNECTOR, "y": 1}]}) == ([], [])


def test_every_fault_is_named_with_its_path() -> None:
    bad = {**CONNECTOR, "id": 5, "max_voltage": "230", "tariff_ids": ["x" * 37, 4], "terms_and_conditions": "u" * 256}
    del bad["last_updated"]
    value = {**EVSE, "connectors": [CONNECTOR, bad], "last_updated": "yesterday", "evse_id": None, "status": None}
    faults, warnings = checked("EVSE", value)
    assert sorted(faults) == [
        ("$.connectors[1].id", "type"),
        ("$.connectors[1].last_updated", "required"),
        ("$.connectors[1].max_voltage", "type"),
        ("$.connectors[1].tariff_ids[0]", "too-long"),
        ("$.connectors[1].tariff_ids[1]", "type"),
        ("$.connectors[1].terms_and_conditions", "too-long"),
        ("$.last_updated", "date-time"),
        ("$.status", "required"),
    ]
    assert warnings == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("connectors", {}),
        ("connectors", "x"),
        ("connectors", [None]),
        ("connectors", [[]]),
        ("status", ["AVAILABLE"]),
        ("status", {}),
        ("status", True),
        ("coordinates", "51.0,3.7"),
        ("floor_level", 1),
        ("capabilities", [{}]),
        ("last_updated", 1767225600),
    ],
)
def test_a_wrong_json_type_is_a_fault_and_never_an_exception(field: str, value: object) -> None:
    faults, _ = checked("EVSE", {**EVSE, field: value})
    assert [code for _, code in faults] == ["type"]
    assert faults[0][0].startswith(f"$.{field}")


@pytest.mark.parametrize("value", [None, True, 1, 1.5, "x", []])
def test_an_object_that_is_none_is_one_fault_at_the_given_place(value: object) -> None:
    assert of(check("EVSE", "2.3.0", value, "$[7]")) == ([("$[7]", "type")], [])


def test_what_is_found_is_bounded() -> None:
    found = check("EVSE", "2.3.0", {**EVSE, "connectors": [1] * 5000, "capabilities": ["X"] * 5000})
    assert (len(found.faults), len(found.warnings)) == (FINDINGS_MAX, FINDINGS_MAX)


def test_a_boolean_is_no_number_and_a_number_no_boolean() -> None:
    hours = {"twentyfourseven": 1, "regular_hours": [{"weekday": True, "period_begin": "08:00", "period_end": "18:00"}]}
    assert checked("Hours", hours)[0] == [("$.twentyfourseven", "type"), ("$.regular_hours[0].weekday", "type")]
    assert checked("Price", {"before_taxes": True})[0] == [("$.before_taxes", "type")]


def test_a_number_out_of_range_is_a_fault_where_the_field_is_known() -> None:
    assert of(check("Price", "2.3.0", tree(b'{"before_taxes":1e999999999}'))) == ([("$.before_taxes", "type")], [])


@pytest.mark.parametrize(
    ("changes", "path", "code"),
    [
        ({"status": "DANCING"}, "$.status", "unknown-value"),
        ({"evse_id": "not-one"}, "$.evse_id", "pattern"),
        ({"connectors": []}, "$.connectors", "empty"),
        ({"coordinates": {"latitude": "51.5", "longitude": "3.729944"}}, "$.coordinates.latitude", "pattern"),
        ({"last_updated": "2026-01-01T00:00:00+00:00"}, "$.last_updated", "pattern"),
        ({"uid": "É1"}, "$.uid", "pattern"),
        ({"floor_level": "1\n"}, "$.floor_level", "pattern"),
        ({"connectors": [{**CONNECTOR, "max_voltage": 230.0}]}, "$.connectors[0].max_voltage", "pattern"),
        (
            {"images": [{"url": "u", "category": "OTHER", "type": "png", "width": 123456}]},
            "$.images[0].width",
            "pattern",
        ),
    ],
)
def test_what_only_looks_wrong_passes_with_a_warning(changes: dict[str, Any], path: str, code: str) -> None:
    assert checked("EVSE", {**EVSE, **changes}) == ([], [(path, code)])


def test_not_available_passes_as_an_evse_id() -> None:
    assert checked("SdrLocation", {"evse_id": "#NA", "evse_uid": "#NA", "connector_id": "#NA"}) == ([], [])


TOKEN: dict[str, Any] = {
    "country_code": "DE",
    "party_id": "ABC",
    "uid": "04A1B2C3",
    "type": "RFID",
    "contract_id": "FR-RMD-C00000042-X",
}


@pytest.mark.parametrize(
    ("contract", "warned"),
    [("FR-RMD-C00000042-X", False), ("FR-RMD-C00000042-Y", True), ("CO124", False), ("FRRMDC00000042", False)],
)
def test_only_a_wrong_check_character_of_a_contract_id_warns(contract: str, warned: bool) -> None:
    expected = [("$.contract_id", "check-character")] if warned else []
    assert checked("CdrToken", {**TOKEN, "contract_id": contract}) == ([], expected)


def test_an_energy_contract_is_no_roaming_contract() -> None:
    assert checked("EnergyContract", {"supplier_name": "S", "contract_id": "FR-RMD-C00000042-Y"}) == ([], [])


def test_optional_fields_may_be_null_and_required_ones_may_not() -> None:
    assert checked("EVSE", {**EVSE, "floor_level": None, "capabilities": None}) == ([], [])
    assert checked("EVSE", {**EVSE, "connectors": None})[0] == [("$.connectors", "required")]


def test_the_versions_differ_where_ocpi_says_so() -> None:
    assert checked("Price", {"excl_vat": 1}, "2.2.1") == ([], [])
    assert checked("Price", {"excl_vat": 1}, "2.3.0")[0] == [("$.before_taxes", "required")]
    assert checked("CdrToken", {**TOKEN, "type": "EMAID"}, "2.3.0") == ([], [])
    assert checked("CdrToken", {**TOKEN, "type": "EMAID"}, "2.2.1") == ([], [("$.type", "unknown-value")])
