"""The invitation: one line that one operator sends to another.

    roamd-invite-1.<base64url without padding of>
        8   invitation id, random
       32   pin: SHA-256 of the inviter's public key (the digest behind its endpoint id)
       16   one-time secret, random
        6   expiry, ms since 1970 UTC, big-endian
        n   address of the pairing port, `host:port`, UTF-8; or `via:` and the endpoint id of a clearing house
        4   checksum: the first bytes of SHA-256 over all before it

White space inside the line is ignored, for mail programs wrap. The checksum is against slips, not against attackers:
who changes the line changes the pin or the secret, and the six words differ.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Self

from roamd.errors import Fault, Malformed
from roamd.trust.descriptor import is_address
from roamd.trust.endpoint import endpoint_digest, endpoint_id_of_digest

PREFIX: Final = "roamd-invite-1."
ID_SIZE: Final = 8
SECRET_SIZE: Final = 16
DEFAULT_LIFE_MS: Final = 24 * 3600 * 1000
MAX_LINE: Final = 600
"""Without its white space, of which a mail program adds some."""

_VIA: Final = "via:"
_ENDPOINT: Final = re.compile("[A-Z2-7]{56}")
_PIN_SIZE: Final = 32
_EXPIRY_SIZE: Final = 6
_CHECKSUM_SIZE: Final = 4
_SHORTEST: Final = ID_SIZE + _PIN_SIZE + SECRET_SIZE + _EXPIRY_SIZE + len("h:1") + _CHECKSUM_SIZE


@dataclass(frozen=True, slots=True)
class Invitation:
    """`endpoint_id` is the pin, as a name."""

    id: bytes
    endpoint_id: str
    secret: bytes = field(repr=False)
    expires_ms: int
    address: str

    @classmethod
    def create(
        cls, endpoint_id: str, address: str, now_ms: int, random: Callable[[int], bytes], life_ms: int = DEFAULT_LIFE_MS
    ) -> Self:
        """A new one of this endpoint; `address` is where partners reach the pairing port."""
        return cls(random(ID_SIZE), endpoint_id, random(SECRET_SIZE), now_ms + life_ms, address)

    @property
    def relay_id(self) -> str | None:
        """The clearing house through which the inviter is reached; None for an address that can be dialled."""
        return relay_in(self.address)

    def line(self) -> str:
        """The line to send. It holds the secret: it goes to the partner and into no log."""
        payload = (
            self.id
            + endpoint_digest(self.endpoint_id)
            + self.secret
            + self.expires_ms.to_bytes(_EXPIRY_SIZE, "big")
            + self.address.encode()
        )
        return PREFIX + base64.urlsafe_b64encode(payload + _checksum(payload)).decode().rstrip("=")

    @classmethod
    def parse(cls, line: str) -> Self:
        """Read a line; raises Malformed that says what is wrong with it. Expiry is not looked at."""
        payload = _payload("".join(line[: 4 * MAX_LINE].split()))
        identity_at, secret_at = ID_SIZE, ID_SIZE + _PIN_SIZE
        expiry_at, address_at = secret_at + SECRET_SIZE, secret_at + SECRET_SIZE + _EXPIRY_SIZE
        address = payload[address_at:].decode("ascii", "replace")
        if not is_address(address) and relay_in(address) is None:
            raise _wrong("its address is not of the form host:port; ask for a new invitation")
        return cls(
            id=payload[:identity_at],
            endpoint_id=endpoint_id_of_digest(payload[identity_at:secret_at]),
            secret=payload[secret_at:expiry_at],
            expires_ms=int.from_bytes(payload[expiry_at:address_at], "big"),
            address=address,
        )


def through(relay_id: str) -> str:
    """What stands in the place of an address: the endpoint id of a clearing house that both are partners of."""
    return f"{_VIA}{relay_id}"


def relay_in(address: str) -> str | None:
    """The endpoint id in such an address."""
    name = address.removeprefix(_VIA)
    return name if name != address and _ENDPOINT.fullmatch(name) else None


def _payload(line: str) -> bytes:
    if not line.startswith(PREFIX):
        if line.startswith("roamd-invite-"):
            raise _wrong("it was made by another version of roamd than this one can read")
        raise _wrong(f"it does not begin with `{PREFIX}`; copy the whole line that `roamd invite` printed")
    if len(line) > MAX_LINE:
        raise _wrong("it is far too long; copy one line only")
    try:
        text = line.removeprefix(PREFIX)
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise _wrong("it is damaged or cut short; copy it again") from error
    payload, checksum = data[:-_CHECKSUM_SIZE], data[-_CHECKSUM_SIZE:]
    if len(data) < _SHORTEST or checksum != _checksum(payload):
        raise _wrong("it is damaged or cut short; copy it again")
    return payload


def _checksum(payload: bytes) -> bytes:
    return hashlib.sha256(payload).digest()[:_CHECKSUM_SIZE]


def _wrong(what: str) -> Malformed:
    return Malformed((Fault("line", what),), f"This is no invitation: {what}.")
