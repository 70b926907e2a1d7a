"""A start of the process: what is committed before anything is served, and whose store it may be.

A store belongs to one endpoint. Its chains name the keys that signed them, and its partners know that endpoint alone;
on other keys the daemon would come up, be refused by everybody, and sign what nobody can follow. It happens easily: a
succession file that was left out of a copy, or a key that came from an older one.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from roamd.clock import Clock
from roamd.daemon.sealingkeys import sealing_seeds_txn
from roamd.errors import ConfigError
from roamd.roaming.control import home, moves
from roamd.roaming.ledger.chain import Random
from roamd.roaming.ledger.turning import turn_all_txn
from roamd.storage import meta
from roamd.storage.cx import Cx
from roamd.trust.sealing import SealingKey
from roamd.trust.succession import Succession

_OWNER: Final = "own-endpoint"
_NUMBER: Final = "own-key-number"


@dataclass(frozen=True, slots=True)
class Run:
    """This start of the process, committed before anything is served."""

    instance: bytes
    run_id: bytes
    secret: bytes
    restored_ms: int | None
    sealing_seeds: tuple[bytes, ...] = field(repr=False)

    @property
    def sealing_public(self) -> bytes:
        """What others seal to; stands in our descriptor."""
        return SealingKey.of_seed(self.sealing_seeds[0]).public


def begin_run_txn(cx: Cx, clock: Clock, random: Random, own_number: int = 0) -> Run:
    """Draw a run id and note it with its first version; the instance and the secrets are drawn once.

    `own_number`: of our identity; if another one was used when we stopped, our chains go on in new epochs.
    """
    run_id = random(16)
    instance, secret = _kept_txn(cx, "instance", random(16)), _kept_txn(cx, "cursor-secret", random(32))
    sealing_seeds = sealing_seeds_txn(cx, clock.now_ms(), random)
    restored_ms = meta.take_restored_txn(cx)
    meta.begin_run_txn(cx, run_id, clock.now_ms())
    home.recover_txn(cx, clock.now_ms())
    moves.recover_txn(cx, clock.now_ms())
    turn_all_txn(cx, own_number, random, clock.now_ms())
    return Run(instance, run_id, secret, restored_ms, sealing_seeds)


def hold_to_owner_txn(cx: Cx, own: Succession, database: Path) -> None:
    """Note whose store this is, and refuse all others: ConfigError, which says what is likely missing."""
    if fault := _fault_of(own, meta.get(cx, _OWNER), int(meta.get(cx, _NUMBER) or 0)):
        raise ConfigError([f"{database}: {fault}"])
    meta.set_txn(cx, _OWNER, own.endpoint_id)
    meta.set_txn(cx, _NUMBER, str(own.in_use))


def _fault_of(own: Succession, owner: str | None, number: int) -> str | None:
    if owner not in (None, own.endpoint_id):
        return (
            f"this is the store of endpoint {owner}, and the identity is that of {own.endpoint_id}. Put back the key,"
            " the certificate and, if the key was ever replaced, the succession that belong together; a new endpoint"
            " starts with a directory of its own (endpoint.state)."
        )
    if own.in_use < number:
        return (
            f"key {number} of this endpoint has been in use here, and the identity is its key {own.in_use}. Put back"
            " the newer key, its certificate and its succession."
        )
    return None


def _kept_txn(cx: Cx, name: str, fresh: bytes) -> bytes:
    kept = meta.get(cx, name)
    if kept is not None:
        return bytes.fromhex(kept)
    meta.set_txn(cx, name, fresh.hex())
    return fresh
