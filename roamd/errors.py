"""Everything that roamd raises on purpose, sorted by who must act.

    RoamdError
    ├── OperatorError              the operator must act; the message says how
    │   ├── ConfigError            exit 78: every fault of the configuration, at once
    │   ├── UsageError             exit 2
    │   ├── TryAgain               exit 75: nothing is wrong, it is only not yet
    │   └── Unreachable            exit 69: the daemon does not answer
    ├── RequestError               the backend must act: its request is refused
    │   ├── Malformed              422, with every fault and its JSON path
    │   ├── TooLarge               413
    │   ├── NotFound               404
    │   ├── Conflict               409
    │   ├── PreconditionFailed     412
    │   └── Forbidden              403
    ├── PeerError                  the other endpoint broke the rules or is not to be trusted
    │   ├── ProtocolError          carries the Goodbye code; the link is closed
    │   └── NotTrusted             its certificate, proof or claim does not hold
    └── StoreError                 the machine must be mended
        ├── StoreFull              507: free space; nothing was stored
        ├── StoreDamaged           what the disk gave back is not what was written; it is not served
        └── StoreBroken            the process ends: a failed write or sync is never retried

`code` is stable and is what programs compare; the message is for people.
"""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with an input: where it stands and what would be right.

    `path` is a JSON path (`$.evses[0].uid`) in bodies and a dotted key in configuration.
    """

    path: str
    message: str
    code: str = "invalid"


class RoamdError(Exception):
    """Base of all; `str(error)` is one or two sentences fit for an operator."""

    code: ClassVar[str] = "error"
    http_status: ClassVar[int] = 500


class OperatorError(RoamdError):
    """The operator must act."""

    exit_code: ClassVar[int] = 1
    code = "operator"


class ConfigError(OperatorError):
    """The configuration cannot be used; `lines` are ready to print, one per fault."""

    exit_code = 78
    code = "config"
    http_status = 422

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


class UsageError(OperatorError):
    """The command's words are off."""

    exit_code = 2
    code = "usage"


class TryAgain(OperatorError):
    """Not done yet, and not wrong either."""

    exit_code = 75
    code = "try-again"


class Unreachable(OperatorError):
    """The daemon does not answer."""

    exit_code = 69
    code = "unreachable"


class RequestError(RoamdError):
    """A request of the backend or the operator that is refused; nothing was stored."""

    code = "bad-request"
    http_status = 400

    def __init__(self, message: str, *, code: str | None = None, faults: tuple[Fault, ...] = ()) -> None:
        super().__init__(message)
        self.reason = code or self.code
        self.faults = faults


class Malformed(RequestError):
    """The body or a parameter is wrong; `faults` names every place."""

    code = "malformed"
    http_status = 422

    def __init__(self, faults: tuple[Fault, ...], message: str | None = None) -> None:
        first = f"{faults[0].path}: {faults[0].message}"
        super().__init__(message or (first if len(faults) == 1 else f"{len(faults)} faults; {first}"), faults=faults)


class TooLarge(RequestError):
    """Over a size limit; the message names the limit."""

    code = "too-large"
    http_status = 413


class NotFound(RequestError):
    """No such thing here."""

    code = "not-found"
    http_status = 404


class Conflict(RequestError):
    """It contradicts what is already stored."""

    code = "conflict"
    http_status = 409


class PreconditionFailed(RequestError):
    """`If-Match` does not hold."""

    code = "precondition-failed"
    http_status = 412


class Forbidden(RequestError):
    """The agreement or the state does not allow it."""

    code = "forbidden"
    http_status = 403


class PeerError(RoamdError):
    """The other endpoint's doing."""

    code = "peer"
    http_status = 502


class ProtocolError(PeerError):
    """The peer broke the wire rules; `goodbye` is the code that it is told."""

    code = "protocol"

    def __init__(self, goodbye: int, message: str) -> None:
        super().__init__(message)
        self.goodbye = goodbye


class NotTrusted(PeerError):
    """A certificate, proof or claim that does not hold; `reason` is a short stable word."""

    code = "not-trusted"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class StoreError(RoamdError):
    """The store cannot do it."""

    code = "store"


class StoreFull(StoreError):
    """The disk is full: the transaction was rolled back."""

    code = "store-full"
    http_status = 507


class StoreDamaged(StoreError):
    """What the disk gave back is not what was written there."""

    code = "store-damaged"


class StoreBroken(StoreError):
    """A write or a sync failed; the process must end, because what is on disk is no longer known."""

    code = "store-broken"
