"""Identifiers of the roaming field, each in three forms: raw as it came, canonical to compare, display to show."""

from roamd.model.ids.contract import ContractId, parse_contract_id
from roamd.model.ids.evse import EvseId, parse_evse_id
from roamd.model.ids.party import Party, parse_party, party_of
from roamd.model.ids.rfid import RfidUid, parse_rfid

__all__ = [
    "ContractId",
    "EvseId",
    "Party",
    "RfidUid",
    "parse_contract_id",
    "parse_evse_id",
    "parse_party",
    "parse_rfid",
    "party_of",
]
