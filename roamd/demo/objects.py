"""What the invented companies of the demo own: a station, its price, drivers, and what comes of a charge.

Belgian charge point operator BE*RMC, French mobility provider FR*RMD; a car park, a taxi company and a clearing house
join them in the end. None of them is registered anywhere. Everything is
OCPI 2.3.0 and whole; numbers that are money or energy are written as a backend would write them.
"""

from dataclasses import dataclass
from typing import Any

from roamd.clock import rfc3339

CSO_PARTY, CSO_NAME = "BE*RMC", "Demo CSO"
CSP_PARTY, CSP_NAME = "FR*RMD", "Demo CSP"

LOCATION_ID = "RMC-CANAL"
EVSE_UID = "RMC-CANAL-1"
EVSE_ID = "BE*RMC*E00001*1"
CONNECTOR_ID = "1"
TARIFF_ID = "RMC-DAY"

QUARTER_MS = 900_000

PARK_PARTY, PARK_NAME = "BE*RMP", "Demo Park"
TAXI_PARTY, TAXI_NAME = "FR*RMT", "Demo Taxi"
HOUSE_PARTY, HOUSE_NAME = "NL*RMH", "Demo Hub"
SEALED_CDR, MIXED_CDR = "RMP-CDR-0001", "RMP-CDR-0002"

OWNED_BY_CSO = {"country_code": "BE", "party_id": "RMC"}
OWNED_BY_CSP = {"country_code": "FR", "party_id": "RMD"}
OWNED_BY_PARK = {"country_code": "BE", "party_id": "RMP"}
OWNED_BY_TAXI = {"country_code": "FR", "party_id": "RMT"}

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Driver:
    """A customer of the CSP. The contract ids carry their right check character."""

    name: str
    uid: str
    contract_id: str

    def credential(self) -> Object:
        """As the CSO's backend hands it in after the card was read."""
        return {"type": "RFID", "uid": self.uid, "contract_id": self.contract_id}

    def cdr_token(self) -> Object:
        """As OCPI's sessions and CDRs carry it."""
        return OWNED_BY_CSP | self.credential()

    def user_credential(self, at_ms: int) -> Object:
        """The OCPI Token that stands on the whitelist: always allowed, without asking."""
        return self.cdr_token() | {
            "issuer": CSP_NAME,
            "valid": True,
            "whitelist": "ALWAYS",
            "language": "fr",
            "last_updated": rfc3339(at_ms),
        }


LIVE_DRIVER = Driver("the driver with a new card", "04C7A1B25E6180", "FR-RMD-C00000042-X")
APP_DRIVER = Driver("the driver with the app", "04F19C22B7D380", "FR-RMD-C00000044-Z")
GRANTED_DRIVER = Driver("the driver with a signed permission", "04AA31C0527B80", "FR-RMD-C00000045-W")
REVOKED_DRIVER = Driver("the driver whose permission was taken back", "04BB42D1638C80", "FR-RMD-C00000046-Y")
STRANGER = Driver("somebody with a card that nobody knows", "04CC53E2749D80", "FR-RMD-C00000047-V")
TAXI_DRIVER = Driver("a taxi", "04DE64F3850A80", "FR-RMT-C00000042-0")
LISTED_DRIVER = Driver("the driver on the whitelist", "04D83F90AA1280", "FR-RMD-C00000043-T")


def location(at_ms: int) -> Object:
    """One location with one EVSE and one connector."""
    at = rfc3339(at_ms)
    connector = {
        "id": CONNECTOR_ID,
        "standard": "IEC_62196_T2",
        "format": "SOCKET",
        "power_type": "AC_3_PHASE",
        "max_voltage": 230,
        "max_amperage": 32,
        "tariff_ids": [TARIFF_ID],
        "last_updated": at,
    }
    evse = {
        "uid": EVSE_UID,
        "evse_id": EVSE_ID,
        "status": "AVAILABLE",
        "capabilities": ["RFID_READER", "REMOTE_START_STOP_CAPABLE"],
        "connectors": [connector],
        "last_updated": at,
    }
    return OWNED_BY_CSO | {
        "id": LOCATION_ID,
        "publish": True,
        "name": "Canal bank",
        "address": "Canal bank 12",
        "city": "Brussels",
        "postal_code": "1000",
        "country": "BEL",
        "coordinates": {"latitude": "50.857500", "longitude": "4.347800"},
        "time_zone": "Europe/Brussels",
        "evses": [evse],
        "last_updated": at,
    }


def tariff(at_ms: int) -> Object:
    """45 cents a kWh."""
    energy = {"type": "ENERGY", "price": 0.45, "vat": 21.0, "step_size": 1}
    return OWNED_BY_CSO | {
        "id": TARIFF_ID,
        "currency": "EUR",
        "elements": [{"price_components": [energy]}],
        "tax_included": "NO",
        "last_updated": rfc3339(at_ms),
    }


def session(session_id: str, driver: Driver, reference: str | None, start_ms: int) -> Object:
    """A session that has just begun."""
    at = rfc3339(start_ms)
    echoed = {"authorization_reference": reference} if reference else {}
    return OWNED_BY_CSO | {
        "id": session_id,
        "start_date_time": at,
        "kwh": 0.0,
        "cdr_token": driver.cdr_token(),
        "auth_method": "AUTH_REQUEST",
        **echoed,
        "location_id": LOCATION_ID,
        "evse_uid": EVSE_UID,
        "connector_id": CONNECTOR_ID,
        "currency": "EUR",
        "status": "ACTIVE",
        "last_updated": at,
    }


def start(driver: Driver, reference: str, at_ms: int) -> Object:
    """What the CSP's app asks for: a session for this driver, at the one connector."""
    token = driver.user_credential(at_ms) | {"type": "APP_USER", "whitelist": "NEVER"}
    place = {"location_id": LOCATION_ID, "evse_uid": EVSE_UID, "connector_id": CONNECTOR_ID}
    return {"token": token, **place, "authorization_reference": reference}


def reserve(driver: Driver, reservation_id: str, at_ms: int) -> Object:
    """What an app asks for: the station, for the next quarter of an hour."""
    token = driver.user_credential(at_ms) | {"type": "APP_USER", "whitelist": "NEVER"}
    place = {"location_id": LOCATION_ID, "evse_uid": EVSE_UID}
    return {"token": token, "reservation_id": reservation_id, "expiry_date": rfc3339(at_ms + QUARTER_MS), **place}


def reservation(reservation_id: str, driver: Driver, status: str, at_ms: int) -> Object:
    """How the place is held, as the CSO's backend publishes it."""
    return OWNED_BY_CSO | {
        "id": reservation_id,
        "kind": "NOW",
        "status": status,
        "cdr_token": driver.cdr_token(),
        "location_id": LOCATION_ID,
        "evse_uid": EVSE_UID,
        "start_date_time": rfc3339(at_ms),
        "end_date_time": rfc3339(at_ms + QUARTER_MS),
        "last_updated": rfc3339(at_ms),
    }


def grant(grant_id: str, driver: Driver, at_ms: int) -> Object:
    """A permission that the CSO may honour alone: once, here, within a day."""
    return OWNED_BY_CSP | {
        "id": grant_id,
        **driver.credential(),
        "rule": "OFFLINE",
        "valid_until": rfc3339(at_ms + 24 * 3_600_000),
        "places": [OWNED_BY_CSO | {"location_id": LOCATION_ID}],
        "limits": {"starts": 1, "kwh": 40},
        "last_updated": rfc3339(at_ms),
    }


def session_news(at_ms: int, kwh: float, *, ended: bool = False) -> Object:
    """What a backend patches into a running session."""
    end = {"status": "COMPLETED", "end_date_time": rfc3339(at_ms)} if ended else {}
    return {"kwh": kwh, "last_updated": rfc3339(at_ms), **end}


def evse_news(at_ms: int, status: str) -> Object:
    """What a backend patches into an EVSE."""
    return {"status": status, "last_updated": rfc3339(at_ms)}


def cdr(
    cdr_id: str, driver: Driver, end_ms: int, *, session_id: str | None = None, reference: str | None = None
) -> Object:
    """The bill of one hour's charging: 20 kWh."""
    start_ms = end_ms - 3_600_000
    known = {"session_id": session_id, "authorization_reference": reference}
    energy = [{"type": "ENERGY", "volume": 20.0}, {"type": "TIME", "volume": 1.0}]
    return OWNED_BY_CSO | {
        "id": cdr_id,
        "start_date_time": rfc3339(start_ms),
        "end_date_time": rfc3339(end_ms),
        **{key: value for key, value in known.items() if value is not None},
        "cdr_token": driver.cdr_token(),
        "auth_method": "AUTH_REQUEST" if reference else "WHITELIST",
        "cdr_location": _cdr_location(),
        "currency": "EUR",
        "charging_periods": [{"start_date_time": rfc3339(start_ms), "dimensions": energy, "tariff_id": TARIFF_ID}],
        "total_cost": {"before_taxes": 9.0, "taxes": [{"name": "VAT", "percentage": 21.0, "amount": 1.89}]},
        "total_energy": 20.0,
        "total_time": 1.0,
        "last_updated": rfc3339(end_ms),
    }


def taxi_cdr(cdr_id: str, end_ms: int) -> Object:
    """The same hour, of a taxi at the car park."""
    token = OWNED_BY_TAXI | TAXI_DRIVER.credential()
    place = _cdr_location() | {"evse_id": "BE*RMP*E00001*1"}
    return cdr(cdr_id, TAXI_DRIVER, end_ms) | OWNED_BY_PARK | {"cdr_token": token, "cdr_location": place}


def _cdr_location() -> Object:
    return {
        "id": LOCATION_ID,
        "address": "Canal bank 12",
        "city": "Brussels",
        "postal_code": "1000",
        "country": "BEL",
        "coordinates": {"latitude": "50.857500", "longitude": "4.347800"},
        "evse_uid": EVSE_UID,
        "evse_id": EVSE_ID,
        "connector_id": CONNECTOR_ID,
        "connector_standard": "IEC_62196_T2",
        "connector_format": "SOCKET",
        "connector_power_type": "AC_3_PHASE",
    }
