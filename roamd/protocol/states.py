"""The states of a connection as one table: (state, input) -> state. What is not in it is not allowed.

A connection does not know which side it plays here: dialler and listener go the same way. It goes up when its own Proof
was sent and the peer's was verified, in either order; who is up first may send at once, for the other side does not
read past a Proof that it has not judged yet.
"""

from enum import IntEnum, auto
from typing import Final

from roamd.errors import ProtocolError
from roamd.protocol.codes import GoodbyeCode


class State(IntEnum):
    """Where a connection stands. Own Hello is sent from the first moment.

    A number, as `Input` is, because those are hashed without a call, and each frame is looked up by both.
    """

    GREETING = auto()  # the peer's Hello is awaited
    PROVING = auto()  # own Proof not sent, the peer's not here
    PROOF_SENT = auto()  # own Proof sent, the peer's not here
    JUDGING = auto()  # own Proof not sent, the peer's here but not judged
    PROOF_SENT_JUDGING = auto()  # own Proof sent, the peer's here but not judged
    PEER_VERIFIED = auto()  # own Proof not sent, the peer's verified
    UP = auto()
    LEAVING = auto()  # own Goodbye is queued or sent; what still comes in is not read
    CLOSED = auto()  # the peer said Goodbye or is lost; nothing more is sent


class Input(IntEnum):
    """What moves it: frames that came in, and what the driver does."""

    RECEIVE_HELLO = auto()
    RECEIVE_PROOF = auto()
    RECEIVE_GOODBYE = auto()
    RECEIVE_OTHER = auto()
    SEND_PROOF = auto()
    VERIFY_PROOF = auto()
    SEND_OTHER = auto()
    SEND_GOODBYE = auto()
    LOSE = auto()  # the stream ended, or the peer is silent


RECEIVED: Final = frozenset({Input.RECEIVE_HELLO, Input.RECEIVE_PROOF, Input.RECEIVE_GOODBYE, Input.RECEIVE_OTHER})
OPEN: Final = frozenset(State) - {State.LEAVING, State.CLOSED}
BEING_JUDGED: Final = frozenset({State.JUDGING, State.PROOF_SENT_JUDGING})

TRANSITIONS: Final[dict[tuple[State, Input], State]] = {
    (State.GREETING, Input.RECEIVE_HELLO): State.PROVING,
    (State.PROVING, Input.SEND_PROOF): State.PROOF_SENT,
    (State.PROVING, Input.RECEIVE_PROOF): State.JUDGING,
    (State.PROOF_SENT, Input.RECEIVE_PROOF): State.PROOF_SENT_JUDGING,
    (State.JUDGING, Input.SEND_PROOF): State.PROOF_SENT_JUDGING,
    (State.JUDGING, Input.VERIFY_PROOF): State.PEER_VERIFIED,
    (State.PROOF_SENT_JUDGING, Input.VERIFY_PROOF): State.UP,
    (State.PEER_VERIFIED, Input.SEND_PROOF): State.UP,
    (State.UP, Input.RECEIVE_OTHER): State.UP,
    (State.UP, Input.SEND_OTHER): State.UP,
    **{(state, Input.RECEIVE_GOODBYE): State.CLOSED for state in OPEN},
    **{(state, Input.SEND_GOODBYE): State.LEAVING for state in OPEN},
    **{(state, Input.LOSE): State.CLOSED for state in State},
    # A Goodbye more changes nothing; frames that cross ours are not even parsed.
    (State.LEAVING, Input.SEND_GOODBYE): State.LEAVING,
    (State.CLOSED, Input.SEND_GOODBYE): State.CLOSED,
}


class MisuseError(RuntimeError):
    """Our own driver did what the connection's state does not allow: a bug here, never the peer's doing."""


class Machine:
    """Walks the table."""

    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state = State.GREETING

    def move(self, happened: Input) -> State:
        """The next state. Off the table: ProtocolError for what was received, MisuseError for what the driver did."""
        state = TRANSITIONS.get((self.state, happened))
        if state is None:
            words = f"{happened.name} is not allowed while {self.state.name}."
            raise ProtocolError(GoodbyeCode.UNEXPECTED, words) if happened in RECEIVED else MisuseError(words)
        self.state = state
        return state
