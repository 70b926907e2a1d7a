"""UIDs of RFID cards for a backend whose readers read them from the other end (`uid_byte_order = "reversed"`).

Only a configuration turns anything round: 4 bytes that are turned round can be another customer's card, so nothing is
guessed. What is no UID in hexadecimal stays as it is. A CDR is turned before it is committed, so what is signed is what
the partner knows; what the backend reads is turned for it.
"""

from typing import Final

import msgspec

from roamd.backend.ocpi.backends import OcpiSettings
from roamd.model.body import with_fields
from roamd.model.ids.rfid import parse_rfid, reversed_bytes
from roamd.model.jsontext import compact, member

_PLACES: Final = {
    "tokens": "",
    "sessions": "cdr_token",
    "cdrs": "cdr_token",
    "commands": "token",
    "locations": "publish_allowed_to",
}
"""The modules whose objects carry a UID, and the member that it stands in: a token, or an array of them."""

_decode_list: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode


def is_turned(settings: OcpiSettings) -> bool:
    """Whether anything is to be done for this backend."""
    return settings.uid_byte_order == "reversed"


def turned(settings: OcpiSettings, kind: str, uid: str) -> str:
    """One UID for, or of, this backend."""
    if not is_turned(settings) or kind.upper() != "RFID":
        return uid
    try:
        return reversed_bytes(parse_rfid(uid).canonical)
    except ValueError:
        return uid


def with_turned(settings: OcpiSettings, module: str, body: bytes) -> bytes:
    """An object for, or of, this backend; every other byte stays. Raises Malformed and TooLarge like `compact`."""
    if not is_turned(settings) or module not in _PLACES:
        return body
    body, place = compact(body), _PLACES[module]
    try:
        token = member(body, place) if place else body
        changed = None if token is None else _tokens(settings, token)
    except ValueError:  # no object: whoever checks it says so
        return body
    if changed is None:
        return body
    return with_fields(body, {place: changed}) if place else changed


def _tokens(settings: OcpiSettings, given: bytes) -> bytes | None:
    """One token or an array of them; None when there is no UID to turn."""
    if not given.startswith(b"["):
        return _token(settings, given)
    each = [bytes(raw) for raw in _decode_list(given)]
    return b"[" + b",".join(_token(settings, token) or token for token in each) + b"]"


def _token(settings: OcpiSettings, token: bytes) -> bytes | None:
    uid, kind = _text(member(token, "uid")), _text(member(token, "type"))
    return with_fields(token, {"uid": msgspec.json.encode(turned(settings, kind or "RFID", uid))}) if uid else None


def _text(raw: bytes | None) -> str:
    return msgspec.json.decode(raw, type=str) if raw is not None and raw.startswith(b'"') else ""
