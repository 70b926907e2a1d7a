"""What is sent: bodies of real size and with as much chance in them as real ones, made from a seed.

Made-up data compresses a hundredfold and would flatter every figure that has bytes in it; so names, streets,
coordinates, meter values, times and prices are drawn, not counted up.
"""

import random
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import msgspec

from roamd.clock import rfc3339
from roamd.demo import objects
from roamd.model.ids.contract import parse_contract_id

BASE_MS = 1_790_000_000_000
NAMES = (
    "station canal market mill bridge garden tower forest harbour north south east west old new upper lower school"
    " church museum theatre castle spring river lake field stone oak lime elm king queen duke abbey gate wall"
)
WORDS = tuple(NAMES.split())
KINDS = (("IEC_62196_T2", "AC_3_PHASE", 230, 32), ("IEC_62196_T2_COMBO", "DC", 920, 500), ("CHADEMO", "DC", 500, 125))
CAPABILITIES = ("RFID_READER", "REMOTE_START_STOP_CAPABLE", "UNLOCK_CAPABLE", "CREDIT_CARD_PAYABLE", "PED_TERMINAL")

encode = msgspec.json.encode


def drawn(seed: object) -> random.Random:
    """A generator for one body: the same body every time."""
    return random.Random(f"roamd bench {seed}")  # noqa: S311 -- for variety, not for secrets


def uid(chance: random.Random) -> str:
    """A seven-byte RFID UID."""
    return f"04{chance.getrandbits(48):012X}"


def contract_id(chance: random.Random, provider: str = "FR-RMD") -> str:
    """A contract id with its check character."""
    bare = f"{provider}-C{chance.randrange(10**8):08}"
    return parse_contract_id(bare).display


def question(number: int, provider: str = "FR-RMD") -> dict[str, Any]:
    """An authorization as a CSO's backend asks for it."""
    chance = drawn(number)
    credential = {"type": "RFID", "uid": uid(chance), "contract_id": contract_id(chance, provider)}
    place = {"location_id": objects.LOCATION_ID, "evse_uid": objects.EVSE_UID, "connector_id": "1"}
    return {"credential": credential, "location": place, "deadline_ms": 10000}


def cdr(name: str, provider: str = "FR-RMD") -> dict[str, Any]:
    """A CDR of about 3 KB: two hours in quarter-hour periods, with meter values and costs."""
    chance = drawn(name)
    driver = objects.Driver("", uid(chance), contract_id(chance, provider))
    end_ms = BASE_MS - chance.randrange(40_000_000)
    record = objects.cdr(name, driver, end_ms, session_id=f"S-{chance.getrandbits(64):016x}")
    record["cdr_token"] |= {"country_code": provider[:2], "party_id": provider[3:]}
    record["charging_periods"] = [_period(chance, end_ms - at * 900_000) for at in range(10, 0, -1)]
    record["cdr_location"] |= _address(chance) | {"id": f"L-{chance.getrandbits(32):08x}"}
    record["meter_id"] = f"{chance.getrandbits(40):010X}"
    record["total_energy"] = round(chance.uniform(5, 80), 4)
    return record


def _period(chance: random.Random, start_ms: int) -> dict[str, Any]:
    volumes = {"ENERGY": 12.0, "MAX_CURRENT": 32.0, "MIN_CURRENT": 8.0, "TIME": 0.25}
    dimensions = [{"type": name, "volume": round(chance.uniform(0, most), 4)} for name, most in volumes.items()]
    return {"start_date_time": rfc3339(start_ms), "dimensions": dimensions, "tariff_id": objects.TARIFF_ID}


def _address(chance: random.Random) -> dict[str, Any]:
    return {
        "address": f"{_words(chance, 2)} {chance.randrange(1, 200)}",
        "city": _words(chance, 1),
        "postal_code": str(chance.randrange(1000, 9999)),
        "coordinates": {
            "latitude": f"{chance.uniform(49.5, 51.5):.6f}",
            "longitude": f"{chance.uniform(2.5, 6.4):.6f}",
        },
    }


def _words(chance: random.Random, count: int) -> str:
    return " ".join(chance.choice(WORDS) for _ in range(count)).title()


def location(number: int) -> dict[str, Any]:
    """A location with 1 to 19 EVSEs, ten in the middle, each with its own ids, status and times."""
    chance = drawn(f"location {number}")
    name = f"L-{chance.getrandbits(48):012x}"
    changed = rfc3339(BASE_MS - chance.randrange(10**10))
    evses = [_evse(chance, name, place) for place in range(1, 1 + chance.randrange(1, 20))]
    whole = objects.location(BASE_MS) | _address(chance) | {"id": name, "name": _words(chance, 3), "evses": evses}
    whole["opening_times"] = {"twentyfourseven": chance.random() < 0.7}
    return whole | {"last_updated": changed}


def _evse(chance: random.Random, location_id: str, place: int) -> dict[str, Any]:
    standard, power, volts, amperes = chance.choice(KINDS)
    changed = rfc3339(BASE_MS - chance.randrange(10**10))
    connector = {
        "id": "1",
        "standard": standard,
        "format": "CABLE" if power == "DC" else "SOCKET",
        "power_type": power,
        "max_voltage": volts,
        "max_amperage": chance.randrange(16, amperes),
        "tariff_ids": [f"T-{chance.getrandbits(16):04x}"],
        "last_updated": changed,
    }
    return {
        "uid": f"{location_id}-{place}",
        "evse_id": f"BE*RMC*E{chance.randrange(10**8):08}*{place}",
        "status": chance.choice(("AVAILABLE", "CHARGING", "OUTOFORDER")),
        "capabilities": chance.sample(CAPABILITIES, chance.randrange(1, 4)),
        "connectors": [connector],
        "physical_reference": str(chance.randrange(1000)),
        "last_updated": changed,
    }


T = TypeVar("T")

KEPT = 512
"""Different bodies made ahead, so that making them is no part of what is measured."""


def remembered(make: Callable[[int], T]) -> Callable[[int], T]:
    """The same, from a ring of results made at first use."""

    @cache
    def ring() -> list[T]:
        return [make(number) for number in range(KEPT)]

    return lambda number: ring()[number % KEPT]


@cache
def _cdr_frames(run: str, provider: str) -> list[tuple[bytes, bytes]]:
    """CDR texts cut open where the id stands."""
    texts = [encode(cdr(f"{run}-{number}", provider)) for number in range(KEPT)]
    marks = [f'"id":"{run}-{number}"'.encode() for number in range(KEPT)]
    cut = [text.partition(mark) for text, mark in zip(texts, marks, strict=True)]
    return [(before, after) for before, _, after in cut]


def numbered_cdr(number: int, run: str = "CDR", provider: str = "FR-RMD") -> bytes:
    """A CDR with an id of its own, at the price of one join."""
    before, after = _cdr_frames("BODY", provider)[number % KEPT]
    return b'%b"id":"%b-%d"%b' % (before, run.encode(), number, after)
