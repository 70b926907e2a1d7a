"""What we tell a paired endpoint of ourselves when it asks: enough to see that we live, nothing of anybody else."""

from collections.abc import Callable
from dataclasses import dataclass

from roamd import __version__
from roamd.clock import Clock
from roamd.protocol.calls import PeerStatus
from roamd.protocol.messages import AnswerStatus, Call
from roamd.roaming.calls import Respond
from roamd.roaming.directory import Peer


@dataclass(frozen=True, slots=True)
class OwnStatus:
    """`ready` says whether the API serves."""

    clock: Clock
    up_since_ms: int
    ready: Callable[[], bool]

    def answer(self, peer: Peer, call: Call, deadline_at: float, respond: Respond) -> None:
        """Serve a call of service PEER_STATUS (roaming.calls.Service)."""
        del peer, call, deadline_at
        status = PeerStatus(f"roamd {__version__}", self.clock.now_ms(), self.up_since_ms, self.ready())
        respond(AnswerStatus.ANSWERED, status.pack())
