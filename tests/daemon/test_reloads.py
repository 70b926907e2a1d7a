"""A thousand reloads, every other one of a bad file, and new leaves between them: the link notices nothing."""

from pathlib import Path

import pytest
import trio

from roamd.errors import ConfigError
from roamd.protocol.calls import Service
from roamd.protocol.messages import Answer, AnswerStatus, Call
from roamd.trust.leaf import issue_leaf
from tests.support.assemblies import RunningDaemon, Site

RELOADS = 1000
LEAF_EVERY = 100


async def reload(daemon: RunningDaemon, number: int) -> None:
    """A good file that says something new, or a bad one, which is refused."""
    if number % 2:
        daemon.write_config(link=f"heartbeat_s = {10 + number % 50}\n")
        assert (await daemon.operate("reload"))["restart_needed"] == []
        assert daemon.assembly.core.maker.timing.heartbeat_s == 10 + number % 50
        return
    daemon.write_config(link="heartbeat_s = 0\n" if number % 4 else 'listen = "nowhere\n')
    with pytest.raises(ConfigError):
        await daemon.operate("reload")


async def still_answers(asker: RunningDaemon, asked: RunningDaemon) -> bool:
    """Whether a question goes through the link and an answer comes back."""
    answers: list[Answer | None] = []
    answered = trio.Event()

    def done(answer: Answer | None) -> None:
        answers.append(answer)
        answered.set()

    call = Call(b"s" * 16, Service.PEER_STATUS, 5000, b"")
    asker.assembly.core.outgoing.start(asker.peer(asked), call, asker.clock.monotonic() + 5, done)
    await answered.wait()
    return answers[0] is not None and answers[0].status == AnswerStatus.ANSWERED


async def test_a_link_outlives_a_thousand_reloads_good_and_bad_and_new_leaves(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        cso, csp = await site.daemon("DE*ABC", "cso"), await site.daemon("FR*XYZ", "csp")
        await site.pair(cso, csp)
        links = cso.assembly.core.registry.of(cso.peer(csp))
        for number in range(RELOADS):
            await reload(cso, number)
            if number % LEAF_EVERY == 0:
                await cso.assembly.swap_contexts(issue_leaf(cso.assembly.ground.identity, cso.clock.now_ms()))
        assert cso.assembly.core.registry.of(cso.peer(csp)) == links
        assert cso.is_up(csp)
        assert csp.is_up(cso)
        assert await still_answers(cso, csp)
