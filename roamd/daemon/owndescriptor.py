"""What we say of ourselves: signed, with a sequence that grows only when something in it has changed.

Partners keep the highest sequence, and a store that was restored has forgotten the last ones. So a new one is no less
than the seconds since 1970, and what a restored store says is new: after a disaster it has often another address.
"""

import hashlib
from collections.abc import Callable

from roamd.config.schema import Config
from roamd.storage import meta
from roamd.storage.store import Cx
from roamd.trust.descriptor import Descriptor, encode_descriptor
from roamd.trust.identity import Identity

VALID_MS = 90 * 24 * 3600 * 1000
"""How long others may pass it on; a daemon that is alive makes a new one long before."""

_KEY = "descriptor"


def descriptor_sequence_txn(
    cx: Cx, config: Config, sealing_key: bytes, identity: Identity, now_ms: int, *, restored: bool
) -> int:
    """The sequence of what we say of ourselves: a higher one than the last if that was something else."""
    endpoint, introduce = config.endpoint, config.discovery.introduce
    keys = hashlib.sha256(identity.certificate_der + identity.succession).hexdigest()
    place = str(config.link.advertise)
    content = repr((endpoint.name, endpoint.parties, endpoint.roles, place, introduce, sealing_key.hex(), keys))
    number, _, before = (meta.get(cx, _KEY) or "0 ").partition(" ")
    if before == content and not restored:
        return int(number)
    sequence = max(int(number) + 1, now_ms // 1000)
    meta.set_txn(cx, _KEY, f"{sequence} {content}")
    return sequence


def own_descriptor(
    config: Config, identity: Identity, sequence: int, now_ms: Callable[[], int], sealing_key: bytes
) -> Callable[[], bytes]:
    """A function that gives our signed descriptor of now."""

    def descriptor() -> bytes:
        return encode_descriptor(
            Descriptor(
                endpoint_id=identity.endpoint_id,
                identity_der=identity.certificate_der,
                name=config.endpoint.name,
                parties=config.endpoint.parties,
                roles=config.endpoint.roles,
                addresses=(str(config.link.advertise),) if config.link.advertise else (),
                sequence=sequence,
                valid_until_ms=now_ms() + VALID_MS,
                introducible=config.discovery.introduce,
                sealing_key=sealing_key,
                succession=identity.succession,
            ),
            identity,
        )

    return descriptor
