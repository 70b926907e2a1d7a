"""Small whole objects of our own to vary: one of each class, and the text of any value."""

import json
from typing import Any


def text(value: object) -> bytes:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":")).encode()


STAMP = "2026-01-05T09:00:00Z"
STAMP_MS = 1_767_603_600_000


def connector(**changes: Any) -> dict[str, Any]:
    plain = {"id": "1", "standard": "IEC_62196_T2", "format": "CABLE", "power_type": "AC_3_PHASE"}
    return {**plain, "max_voltage": 230, "max_amperage": 32, "last_updated": STAMP, **changes}


def evse(uid: str = "E1", **changes: Any) -> dict[str, Any]:
    return {"uid": uid, "status": "AVAILABLE", "connectors": [connector()], "last_updated": STAMP, **changes}


def location(**changes: Any) -> dict[str, Any]:
    return {
        "country_code": "DE",
        "party_id": "ABC",
        "id": "Loc-1",
        "publish": True,
        "address": "Way 1",
        "city": "Town",
        "country": "DEU",
        "coordinates": {"latitude": "51.04759", "longitude": "3.72994"},
        "evses": [evse("e1"), evse("E2")],
        "time_zone": "Europe/Berlin",
        "last_updated": STAMP,
        **changes,
    }


def tariff(**changes: Any) -> dict[str, Any]:
    component = {"type": "ENERGY", "price": 0.25, "step_size": 1}
    return {
        "country_code": "DE",
        "party_id": "ABC",
        "id": "T-1",
        "currency": "EUR",
        "elements": [{"price_components": [component]}],
        "tax_included": "NO",
        "last_updated": STAMP,
        **changes,
    }


def token(**changes: Any) -> dict[str, Any]:
    return {
        "country_code": "DE",
        "party_id": "ABC",
        "uid": "04:a1:b2:c3",
        "type": "RFID",
        "contract_id": "DE-ABC-C00000001-3",
        "issuer": "ABC",
        "valid": True,
        "whitelist": "ALLOWED",
        "last_updated": STAMP,
        **changes,
    }


def cdr_token(**changes: Any) -> dict[str, Any]:
    plain = {"country_code": "fr", "party_id": "rmd", "uid": "04A1B2C3", "type": "RFID"}
    return {**plain, "contract_id": "FR-RMD-C00000042-X", **changes}


def session(**changes: Any) -> dict[str, Any]:
    return {
        "country_code": "DE",
        "party_id": "ABC",
        "id": "S-1",
        "start_date_time": STAMP,
        "kwh": 1.5,
        "cdr_token": cdr_token(),
        "auth_method": "AUTH_REQUEST",
        "authorization_reference": "REF-1",
        "location_id": "Loc-1",
        "evse_uid": "E1",
        "connector_id": "1",
        "currency": "EUR",
        "status": "ACTIVE",
        "last_updated": STAMP,
        **changes,
    }


def cdr(**changes: Any) -> dict[str, Any]:
    place = {"id": "Loc-1", "address": "Way 1", "city": "Town", "country": "DEU", "evse_uid": "E1"}
    plug = {"connector_standard": "IEC_62196_T2", "connector_format": "CABLE", "connector_power_type": "AC_3_PHASE"}
    where = {"coordinates": {"latitude": "51.04759", "longitude": "3.72994"}, "evse_id": "DE*ABC*E1"}
    return {
        "country_code": "DE",
        "party_id": "ABC",
        "id": "Cdr-1",
        "start_date_time": STAMP,
        "end_date_time": STAMP,
        "cdr_token": cdr_token(),
        "auth_method": "AUTH_REQUEST",
        "cdr_location": {**place, **plug, **where, "connector_id": "1"},
        "currency": "EUR",
        "charging_periods": [{"start_date_time": STAMP, "dimensions": [{"type": "ENERGY", "volume": 15.25}]}],
        "total_cost": {"before_taxes": 6.6},
        "total_energy": 15.25,
        "total_time": 2,
        "last_updated": STAMP,
        **changes,
    }


def sdr(**changes: Any) -> dict[str, Any]:
    return {
        "kind": "SDR",
        "country_code": "DE",
        "party_id": "ABC",
        "id": "Sdr-1",
        "cdr_token": cdr_token(),
        "start_date_time": STAMP,
        "end_date_time": STAMP,
        "currency": "EUR",
        "items": [{"type": "parking", "quantity": 1.50, "unit": "h", "price": 3}],
        "total_cost": 3,
        "last_updated": STAMP,
        **changes,
    }


def without(value: dict[str, Any], *names: str) -> dict[str, Any]:
    """The object without some of its fields."""
    return {name: inner for name, inner in value.items() if name not in names}


OBJECTS: dict[str, dict[str, Any]] = {
    "locations": location(),
    "tariffs": tariff(),
    "sessions": session(),
    "user-credentials": token(),
}
