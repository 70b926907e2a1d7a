"""Classes of roamd's own, in the notation of `tables`: the general service record, the states of EVSEs and commands.

`Amount` is a number, or a Price as the record's OCPI version has it. A place without a connector (a parking spot) is a
place too, so an SDR's location demands no field of it.
"""

from typing import Final

OWN_CLASSES: Final = """
SDR
    kind                        string(3)                   1
    country_code                CiString(2)                 1
    party_id                    CiString(3)                 1
    id                          CiString(39)                1
    session_id                  CiString(36)                ?
    cdr_token                   CdrToken                    1
    authorization_reference     CiString(36)                ?
    cdr_location                SdrLocation                 ?
    start_date_time             DateTime                    1
    end_date_time               DateTime                    1
    currency                    string(3)                   1
    items                       SdrItem                     +
    total_cost                  Amount                      1
    credit                      boolean                     ?
    credit_reference_id         CiString(39)                ?
    last_updated                DateTime                    1

SdrItem
    type                        SdrItemType                 1
    quantity                    number                      1
    unit                        string(16)                  1
    price                       Amount                      1

SdrLocation
    id                          CiString(36)                ?
    name                        string(255)                 ?
    address                     string(255)                 ?
    city                        string(45)                  ?
    postal_code                 string(10)                  ?
    state                       string(45)                  ?
    country                     string(3)                   ?
    coordinates                 GeoLocation                 ?
    evse_uid                    CiString(36)                ?
    evse_id                     CiString(48)                ?
    connector_id                CiString(36)                ?
    connector_standard          ConnectorType               ?
    connector_format            ConnectorFormat             ?
    connector_power_type        PowerType                   ?

EvseStatus
    status                      Status                      1
    last_updated                DateTime                    1

ProfileSetting
    session_id                  CiString(36)                1
    charging_profile            ChargingProfile             1
    expires_s                   int                         ?

ProfileClearing
    session_id                  CiString(36)                1

ProfileQuestion
    session_id                  CiString(36)                1
    duration_s                  int                         ?

PreferencesSetting
    session_id                  CiString(36)                1
    profile_type                ProfileType                 1
    departure_time              DateTime                    ?
    energy_need                 number                      ?
    discharge_allowed           boolean                     ?

Reservation
    country_code                CiString(2)                 1
    party_id                    CiString(3)                 1
    id                          CiString(36)                1
    kind                        ReservationKind             1
    status                      ReservationState            1
    cdr_token                   CdrToken                    1
    authorization_reference     CiString(36)                ?
    location_id                 CiString(36)                1
    evse_uid                    CiString(36)                ?
    connector_id                CiString(36)                ?
    parking_id                  CiString(36)                ?
    start_date_time             DateTime                    1
    end_date_time               DateTime                    1
    session_id                  CiString(36)                ?
    currency                    string(3)                   ?
    price                       Amount                      ?
    last_updated                DateTime                    1

ReservationAsk
    token                       Token                       1
    reservation_id              CiString(36)                1
    kind                        ReservationKind             1
    location_id                 CiString(36)                1
    evse_uid                    CiString(36)                ?
    connector_id                CiString(36)                ?
    parking_id                  CiString(36)                ?
    start_date_time             DateTime                    1
    end_date_time               DateTime                    1
    authorization_reference     CiString(36)                ?

Grant
    country_code                CiString(2)                 1
    party_id                    CiString(3)                 1
    id                          CiString(36)                1
    type                        TokenType                   1
    uid                         CiString(36)                1
    contract_id                 CiString(36)                ?
    rule                        GrantRule                   ?
    revoked                     boolean                     ?
    valid_from                  DateTime                    ?
    valid_until                 DateTime                    1
    places                      GrantPlace                  *
    limits                      GrantLimits                 ?
    authorization_reference     CiString(36)                ?
    info                        DisplayText                 ?
    last_updated                DateTime                    1
    algorithm                   string(32)                  ?
    signature                   string(128)                 ?

GrantPlace
    country_code                CiString(2)                 1
    party_id                    CiString(3)                 1
    location_id                 CiString(36)                ?
    evse_uid                    CiString(36)                ?

GrantLimits
    starts                      int                         ?
    kwh                         number                      ?
    cost                        number                      ?
    currency                    string(3)                   ?
    duration_s                  int                         ?

CredentialFilter
    country_code                CiString(2)                 1
    party_id                    CiString(3)                 1
    id                          CiString(36)                1
    key                         string(32)                  1
    cards                       int                         ?
    filter                      string(110000)              ?
    matches_all                 boolean                     ?

SessionLease
    country_code                CiString(2)                 1
    party_id                    CiString(3)                 1
    id                          CiString(36)                1
    lease_until                 DateTime                    1
    last_updated                DateTime                    1

CommandState
    country_code                CiString(2)                 1
    party_id                    CiString(3)                 1
    id                          CiString(36)                1
    command                     string(36)                  1
    state                       CommandStateType            1
    reason                      string(255)                 ?
    session_id                  CiString(36)                ?
    authorization_reference     CiString(36)                ?
    last_updated                DateTime                    1
"""

OWN_ENUMS: Final = """
SdrItemType
    energy parking reservation idle other

ReservationKind
    NOW ADVANCE PARKING

ReservationState
    PENDING RESERVED FULFILLED CANCELED EXPIRED NO_SHOW FAILED

GrantRule
    AT_ONCE OFFLINE

CommandStateType
    ASKED ACCEPTED AT_STATION WAITING_FOR_CABLE STARTED DONE REJECTED FAILED LATE UNKNOWN EXPIRED
"""
