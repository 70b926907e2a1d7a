"""Example objects of the OpenAPI document. The tests send every one of them."""

from typing import Any, Final

LOCATION: Final[dict[str, Any]] = {
    "country_code": "DE",
    "party_id": "ABC",
    "id": "LOC1",
    "publish": True,
    "name": "North Car Park",
    "address": "Long Street 3",
    "city": "Sometown",
    "country": "DEU",
    "coordinates": {"latitude": "51.047599", "longitude": "13.729944"},
    "evses": [
        {
            "uid": "3256",
            "evse_id": "DE*ABC*E0001",
            "status": "AVAILABLE",
            "connectors": [
                {
                    "id": "1",
                    "standard": "IEC_62196_T2",
                    "format": "SOCKET",
                    "power_type": "AC_3_PHASE",
                    "max_voltage": 230,
                    "max_amperage": 32,
                    "last_updated": "2026-11-22T10:00:00Z",
                }
            ],
            "last_updated": "2026-11-22T10:00:00Z",
        }
    ],
    "time_zone": "Europe/Berlin",
    "last_updated": "2026-11-22T10:00:00Z",
}

TARIFF: Final[dict[str, Any]] = {
    "country_code": "DE",
    "party_id": "ABC",
    "id": "T1",
    "currency": "EUR",
    "tax_included": "NO",
    "elements": [{"price_components": [{"type": "ENERGY", "price": 0.49, "vat": 19.0, "step_size": 1}]}],
    "last_updated": "2026-11-22T10:00:00Z",
}

TOKEN: Final[dict[str, Any]] = {
    "country_code": "DE",
    "party_id": "ABC",
    "uid": "04E2A1B2C3D480",
    "type": "RFID",
    "contract_id": "DE-ABC-C00000042-1",
    "issuer": "ABC Charging",
    "valid": True,
    "whitelist": "ALLOWED",
    "last_updated": "2026-11-22T10:00:00Z",
}

SESSION: Final[dict[str, Any]] = {
    "country_code": "DE",
    "party_id": "ABC",
    "id": "S1",
    "start_date_time": "2026-11-22T10:00:00Z",
    "kwh": 3.25,
    "cdr_token": {
        "country_code": "FR",
        "party_id": "XYZ",
        "uid": "04E2A1B2C3D480",
        "type": "RFID",
        "contract_id": "FR-XYZ-C00000042-W",
    },
    "auth_method": "AUTH_REQUEST",
    "location_id": "LOC1",
    "evse_uid": "3256",
    "connector_id": "1",
    "currency": "EUR",
    "status": "ACTIVE",
    "last_updated": "2026-11-22T10:20:00Z",
}

RESERVATION: Final[dict[str, Any]] = {
    "country_code": "DE",
    "party_id": "ABC",
    "id": "R-2026-000007",
    "kind": "PARKING",
    "status": "RESERVED",
    "cdr_token": SESSION["cdr_token"],
    "location_id": "LOC1",
    "parking_id": "P-12",
    "start_date_time": "2026-11-23T08:00:00Z",
    "end_date_time": "2026-11-23T10:00:00Z",
    "currency": "EUR",
    "price": {"before_taxes": 4.00},
    "last_updated": "2026-11-22T10:00:00Z",
}

GRANT: Final[dict[str, Any]] = {
    "country_code": "DE",
    "party_id": "ABC",
    "id": "G-2026-000042",
    "type": "RFID",
    "uid": "04E2A1B2C3D480",
    "contract_id": "DE-ABC-C00000042-1",
    "rule": "OFFLINE",
    "valid_until": "2026-11-23T10:00:00Z",
    "places": [{"country_code": "FR", "party_id": "XYZ", "location_id": "THEIRS-1"}],
    "limits": {"starts": 1, "kwh": 40, "cost": 25.50, "currency": "EUR", "duration_s": 14400},
    "last_updated": "2026-11-22T10:00:00Z",
}

OBJECTS: Final = {
    "locations": LOCATION,
    "tariffs": TARIFF,
    "user-credentials": TOKEN,
    "sessions": SESSION,
    "reservations": RESERVATION,
    "grants": GRANT,
}

SERVICE_RECORD: Final[dict[str, Any]] = {
    "kind": "SDR",
    "country_code": "DE",
    "party_id": "ABC",
    "id": "SDR-2026-000042",
    "cdr_token": {
        "country_code": "FR",
        "party_id": "XYZ",
        "uid": "04E2A1B2C3D480",
        "type": "RFID",
        "contract_id": "FR-XYZ-C00000042-W",
    },
    "start_date_time": "2026-11-22T10:00:00Z",
    "end_date_time": "2026-11-22T11:30:00Z",
    "currency": "EUR",
    "items": [{"type": "parking", "quantity": 1.5, "unit": "h", "price": 2.00}],
    "total_cost": {"before_taxes": 3.00},
    "last_updated": "2026-11-22T11:31:00Z",
}

CREDIT: Final[dict[str, Any]] = {
    "country_code": "DE",
    "party_id": "ABC",
    "id": "SDR-2026-000042-C",
    "start_date_time": "2026-11-22T10:00:00Z",
    "end_date_time": "2026-11-22T11:30:00Z",
    "cdr_token": SERVICE_RECORD["cdr_token"],
    "auth_method": "AUTH_REQUEST",
    "cdr_location": {
        "id": "LOC1",
        "address": "Long Street 3",
        "city": "Sometown",
        "country": "DEU",
        "coordinates": {"latitude": "51.047599", "longitude": "13.729944"},
        "evse_uid": "3256",
        "evse_id": "DE*ABC*E0001",
        "connector_id": "1",
        "connector_standard": "IEC_62196_T2",
        "connector_format": "SOCKET",
        "connector_power_type": "AC_3_PHASE",
    },
    "currency": "EUR",
    "charging_periods": [
        {"start_date_time": "2026-11-22T10:00:00Z", "dimensions": [{"type": "PARKING_TIME", "volume": 1.5}]}
    ],
    "total_cost": {"before_taxes": -3.00},
    "total_energy": 0,
    "total_time": 1.5,
    "credit": True,
    "credit_reference_id": "SDR-2026-000042",
    "last_updated": "2026-11-22T12:00:00Z",
}

COMMANDS: Final[dict[str, dict[str, Any]]] = {
    "START_SESSION": {
        "token": {**TOKEN, "type": "APP_USER", "whitelist": "NEVER"},
        "location_id": "THEIRS-1",
        "evse_uid": "3256",
        "connector_id": "1",
        "authorization_reference": "APP-2026-000042",
    },
    "STOP_SESSION": {"session_id": "THEIRS-1"},
    "RESERVE_NOW": {
        "token": {**TOKEN, "type": "APP_USER", "whitelist": "NEVER"},
        "expiry_date": "2026-11-22T11:00:00Z",
        "reservation_id": "R-2026-000042",
        "location_id": "THEIRS-1",
        "evse_uid": "3256",
    },
    "RESERVE": {
        "token": {**TOKEN, "type": "APP_USER", "whitelist": "NEVER"},
        "reservation_id": "R-2026-000043",
        "kind": "ADVANCE",
        "location_id": "THEIRS-1",
        "evse_uid": "3256",
        "start_date_time": "2026-11-23T08:00:00Z",
        "end_date_time": "2026-11-23T10:00:00Z",
    },
    "CANCEL_RESERVATION": {"reservation_id": "R-2026-000042"},
    "SET_CHARGING_PROFILE": {
        "session_id": "THEIRS-1",
        "charging_profile": {
            "charging_rate_unit": "W",
            "charging_profile_period": [{"start_period": 0, "limit": 11000.0}],
        },
        "expires_s": 900,
    },
    "CLEAR_CHARGING_PROFILE": {"session_id": "THEIRS-1"},
    "GET_ACTIVE_PROFILE": {"session_id": "THEIRS-1", "duration_s": 3600},
    "SET_CHARGING_PREFERENCES": {
        "session_id": "THEIRS-1",
        "profile_type": "CHEAP",
        "departure_time": "2026-11-23T06:30:00Z",
        "energy_need": 20.5,
    },
    "UNLOCK_CONNECTOR": {"location_id": "THEIRS-1", "evse_uid": "3256", "connector_id": "1"},
}

AUTHORIZATION: Final[dict[str, Any]] = {
    "credential": {"type": "RFID", "uid": "04E2A1B2C3D480", "contract_id": "FR-XYZ-C00000042-W"},
    "location": {"location_id": "LOC1", "evse_uid": "3256"},
    "deadline_ms": 2000,
}
