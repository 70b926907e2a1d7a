"""An authorization that is asked of a partner by plain OCPI, in place of a call over a link."""

from collections.abc import Callable
from dataclasses import dataclass

from roamd.clock import Clock
from roamd.protocol.calls import AuthorizeRequest, Service
from roamd.protocol.messages import Answer, AnswerStatus, Call
from roamd.roaming.authorization.home import checked_answer, question_of
from roamd.roaming.deadlines import Deadlines
from roamd.roaming.directory import Peer
from roamd.roaming.ports import Backend, BackendAnswer, NoAnswer


@dataclass(slots=True)
class PlainOcpi:
    """`directory.Way`: the question goes to the API's side, which knows the partner's addresses."""

    clock: Clock
    deadlines: Deadlines
    backend: Backend

    def ask(self, peer: Peer, call: Call, deadline_at: float, done: Callable[[Answer | None], None]) -> None:
        """Ask; `done` is called once, with None at the deadline."""
        if call.service != Service.AUTHORIZATION:
            done(Answer(call.id, AnswerStatus.REFUSED, b"the partner speaks plain OCPI"))
            return
        open_ = [done]

        def finish(answer: Answer | None) -> None:
            if open_:
                timer.cancel()
                open_.pop()(answer)

        def decided(given: BackendAnswer | NoAnswer) -> None:
            told = given if isinstance(given, NoAnswer) else checked_answer(given, call.id.hex())
            if isinstance(told, NoAnswer):
                finish(Answer(call.id, AnswerStatus.NO_ANSWER, told.reason.encode()))
            else:
                finish(Answer(call.id, AnswerStatus.ANSWERED, told.pack()))

        timer = self.deadlines.add(deadline_at, lambda: finish(None))
        left_ms = max(1, int((deadline_at - self.clock.monotonic()) * 1000))
        request = AuthorizeRequest.unpack(call.body)
        question = question_of(peer, call, request, left_ms, self.clock.now_ms(), via=peer.label)
        self.backend.ask_authorize(question, decided)
