"""Our sealing keys: the newest stands in our descriptor, and older ones go on opening what was sealed to them.

What is sealed to them opens a passage through a clearing house and holds no secret (`peering.passage`: the keys of a
passage are its own, and forgotten with it), but no key should serve for ever. So the first start after `LIFE_MS` draws
a new one. A partner that knows an old descriptor reaches us all the same, and is told the new one on that link; one
that was away for longer than we keep old keys is reached by our own dialling.
"""

from typing import Final

import msgspec

from roamd.roaming.ledger.chain import Random
from roamd.storage import meta
from roamd.storage.cx import Cx
from roamd.trust.sealing import SEED_SIZE

LIFE_MS: Final = 90 * 24 * 3600 * 1000
"""As long as a descriptor is valid."""

KEPT: Final = 8
"""The newest and those of two years before; each costs a stranger's envelope a try."""

_KEY: Final = "sealing-seeds"


class _Seed(msgspec.Struct, frozen=True):
    made_ms: int
    seed: bytes


def sealing_seeds_txn(cx: Cx, now_ms: int, random: Random) -> tuple[bytes, ...]:
    """The seeds of our sealing keys, the newest first; a new one is drawn when that has served its time."""
    text = meta.get(cx, _KEY)
    kept = [] if text is None else msgspec.json.decode(text, type=list[_Seed])
    if not kept or now_ms - kept[0].made_ms > LIFE_MS:
        kept = [_Seed(now_ms, random(SEED_SIZE)), *kept][:KEPT]
        meta.set_txn(cx, _KEY, msgspec.json.encode(kept).decode())
    return tuple(one.seed for one in kept)
