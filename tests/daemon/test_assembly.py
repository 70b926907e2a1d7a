"""Two whole daemons: pairing, links, what an operator does to them, and what survives a restart."""

from pathlib import Path

import pytest
import trio

from roamd.demo.processes import free_ports
from roamd.errors import ConfigError, Conflict, NotFound, OperatorError, RoamdError
from roamd.protocol.calls import PeerStatus, Service
from roamd.protocol.messages import Answer, AnswerStatus, Call
from roamd.trust.leaf import issue_leaf
from tests.support.assemblies import RunningDaemon, Site
from tests.support.endpoints import until


async def pair_of(site: Site) -> tuple[RunningDaemon, RunningDaemon]:
    """Two that are paired and linked."""
    cso, csp = await site.daemon("DE*ABC", "cso"), await site.daemon("FR*XYZ", "csp")
    await site.pair(cso, csp)
    return cso, csp


# --- pairing ------------------------------------------------------------------------------------------------------


async def test_an_invitation_a_confirmation_and_the_link_is_up(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        cso, csp = await site.daemon("DE*ABC", "cso"), await site.daemon("FR*XYZ", "csp")
        line = (await cso.operate("invite"))["line"]
        joined = await csp.operate("pair", line=line, label="abc")
        assert (joined["peer"], joined["state"]) == ("abc", "PENDING")
        label = cso.peer(csp).label
        assert (await cso.operate("peer", peer=label))["state"] == "PENDING"
        assert not cso.is_up(csp)

        confirmed = await cso.operate("peers.confirm", peer=label)
        assert confirmed["words"] == joined["words"]
        await site.until_linked(cso, csp)
        assert (await csp.operate("pairing", peer="abc"))["state"] == "PAIRED"
        shown = await cso.operate("peer", peer=label)
        assert (shown["link"], shown["state"], shown["next_attempt_s"]) == ("UP", "PAIRED", None)
        assert (await cso.operate("status"))["peers"] == {"known": 1, "up": 1, "pending": 0, "suspended": 0}


async def test_the_same_line_gives_the_same_pairing_again_and_nobody_else(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        cso, csp = await site.daemon("DE*ABC", "cso"), await site.daemon("FR*XYZ", "csp")
        other = await site.daemon("NL*OTH", "csp")
        line = (await cso.operate("invite", auto=True))["line"]
        first = await csp.operate("pair", line=line)
        again = await csp.operate("pair", line=line)
        assert (again["words"], again["peer"]) == (first["words"], first["peer"])
        with pytest.raises(RoamdError, match="used"):
            await other.operate("pair", line=line)
        with pytest.raises(Conflict):
            await cso.operate("pair", line=line)
        assert len(cso.assembly.directory) == 1


async def test_the_pairing_port_is_open_exactly_while_an_invitation_is(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        cso = await site.daemon("DE*ABC", "cso")
        assert not cso.assembly.pairing_server.is_open
        await cso.operate("invite", hours=1.0)
        assert cso.assembly.pairing_server.is_open
        (shown,) = (await cso.operate("invites"))["items"]
        assert "secret" not in shown

        await cso.stop()
        await site.start(cso)
        assert cso.assembly.pairing_server.is_open, "the invitation outlived the restart"

        cso.clock.ahead_ms += 3600_000
        await cso.assembly.pairing.open_port_if_needed()
        assert not cso.assembly.pairing_server.is_open
        assert (await cso.operate("invites"))["items"] == []


async def test_who_cannot_be_reached_does_not_invite_but_joins_and_is_never_dialled(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        hidden = await site.daemon("DE*ABC", "cso", reachable=False)
        csp = await site.daemon("FR*XYZ", "csp")
        with pytest.raises(Conflict, match="ask the partner to invite"):
            await hidden.operate("invite")
        assert (await hidden.operate("status"))["reach"] == "dial-only"
        await site.pair(csp, hidden)
        assert csp.peer(hidden).row.address is None
        assert csp.assembly._addresses(csp.peer(hidden)) == ()
        assert hidden.assembly.core.registry.of(hidden.peer(csp))[0].dialler == hidden.assembly.core.endpoint_id


# --- links --------------------------------------------------------------------------------------------------------


async def test_suspending_ends_the_link_at_once_and_resuming_brings_it_back(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        cso, csp = await pair_of(site)
        label = cso.peer(csp).label
        shown = await cso.operate("peers.suspend", peer=label)
        assert shown["state"] == "SUSPENDED"
        await until(lambda: cso.links() == csp.links() == 0)
        assert csp.peer(cso).last_error is not None
        await until(lambda: "refuses" in (csp.peer(cso).last_error or ""), 10)
        assert cso.links() == 0, "it dialled, and was refused"

        await cso.operate("peers.resume", peer=label)
        await site.until_linked(cso, csp)


async def test_a_removed_peer_is_gone_at_once(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        cso, csp = await pair_of(site)
        removed = await cso.operate("peers.remove", peer=cso.peer(csp).label)
        assert (removed["state"], removed["link"]) == ("REMOVED", "DOWN")
        await until(lambda: cso.links() == csp.links() == 0)
        assert (await cso.operate("peers"))["items"] == []
        with pytest.raises(NotFound):
            await cso.operate("peer", peer=removed["peer"])
        assert csp.assembly.peering.next_attempt_s(csp.peer(cso)) is None, "it was told, and does not insist"


async def test_a_new_leaf_keeps_links_up_and_serves_new_ones(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        cso, csp = await pair_of(site)
        before = cso.assembly.core.registry.of(cso.peer(csp)), cso.assembly.contexts.leaf
        fresh = issue_leaf(cso.assembly.ground.identity, cso.clock.now_ms())
        await cso.assembly.swap_contexts(fresh)
        assert cso.assembly.contexts.leaf is fresh is not before[1]
        assert cso.assembly.core.registry.of(cso.peer(csp)) == before[0]
        assert cso.is_up(csp)
        for link in before[0]:
            link.close(0, "the test cuts it")
        await until(lambda: not cso.is_up(csp))
        await site.until_linked(cso, csp)


async def test_swaps_of_contexts_that_meet_do_not_undo_each_other(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        cso, csp = await pair_of(site)
        fresh = issue_leaf(cso.assembly.ground.identity, cso.clock.now_ms())
        await cso.operate("peers.suspend", peer=cso.peer(csp).label)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cso.assembly.swap_contexts, fresh)
            await cso.operate("peers.resume", peer=cso.peer(csp).label)
        await site.until_linked(cso, csp)
        assert cso.assembly.contexts.leaf is fresh
        assert set(cso.assembly.contexts.identities) == {csp.assembly.core.endpoint_id}


async def test_a_restart_at_another_address_is_learnt_by_the_partner(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        cso, csp = await pair_of(site)
        await csp.stop()
        (csp.link_port,) = free_ports(1)
        csp.write_config()
        await site.start(csp)
        moved = f"127.0.0.1:{csp.link_port}"
        await until(lambda: cso.peer(csp).row.address == moved, 20)
        await site.until_linked(cso, csp)


async def test_a_peer_tells_what_it_runs_and_whether_it_is_ready(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        cso, csp = await pair_of(site)
        csp.assembly.lacking = "the API"
        answers: list[Answer | None] = []
        answered = trio.Event()

        def done(answer: Answer | None) -> None:
            answers.append(answer)
            answered.set()

        call = Call(b"s" * 16, Service.PEER_STATUS, 5000, b"")
        cso.assembly.core.outgoing.start(cso.peer(csp), call, cso.clock.monotonic() + 5, done)
        await answered.wait()
        (answer,) = answers
        assert answer is not None
        assert answer.status == AnswerStatus.ANSWERED
        status = PeerStatus.unpack(answer.body)
        assert status.software.startswith("roamd ")
        assert not status.ready
        assert 0 <= status.clock_ms - status.up_since_ms < 60_000


# --- reload -------------------------------------------------------------------------------------------------------


async def test_a_reload_keeps_links_uses_what_it_can_and_names_the_rest(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        cso, csp = await pair_of(site)
        links = cso.assembly.core.registry.of(cso.peer(csp))
        cso.write_config(
            '[authorization]\nwithout_answer = "deny"\nunknown_cards_per_minute = 5\n[[webhooks]]\nurl = "https://erp.abc.example/"\n'
            'secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"\n',
            link="heartbeat_s = 7\nbackoff_s = 9\nhandshakes = 3\n",
        )
        reloaded = await cso.operate("reload")
        assert set(reloaded["restart_needed"]) == {"link.handshakes", "webhooks"}
        assert cso.assembly.core.registry.of(cso.peer(csp)) == links
        assert cso.is_up(csp)
        assert cso.assembly.core.maker.timing.heartbeat_s == 7
        assert cso.assembly.peering.cap_s == 9
        assert not cso.assembly.core.visited.whitelist_offline
        assert cso.assembly.core.unknown.usual_per_minute == 5
        again = await cso.operate("reload")
        assert set(again["restart_needed"]) == {"link.handshakes", "webhooks"}, "still so"


async def test_a_reload_of_a_faulty_file_changes_nothing(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        cso, csp = await pair_of(site)
        before = cso.assembly.config
        cso.write_config("[nonsense]\nkey = 1\n", link="heartbeat_s = 0\n")
        with pytest.raises(ConfigError) as caught:
            await cso.operate("reload")
        assert len(caught.value.lines) == 2, "every fault at once"
        assert cso.assembly.config is before
        assert cso.assembly.core.maker.timing.heartbeat_s == 30.0
        assert cso.is_up(csp)


# --- the operator's desk --------------------------------------------------------------------------------------------


async def test_what_is_asked_wrongly_is_refused_and_harms_nobody(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        cso = await site.daemon("DE*ABC", "cso")
        for name, arguments in [
            ("no.such.thing", {}),
            ("peer", {"peer": "nobody"}),
            ("peers.suspend", {"peer": "nobody"}),
            ("peers.suspend", {}),
            ("peer", {}),
            ("invite", {"hours": "many"}),
        ]:
            with pytest.raises(NotFound):
                await cso.operate(name, **arguments)
        assert (await cso.operate("status"))["peers"]["known"] == 0


async def test_reports_of_an_empty_daemon(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        cso = await site.daemon("DE*ABC", "cso")
        for name in ("peers", "candidates", "queue", "ledger.chains", "invites"):
            assert (await cso.operate(name))["items"] == []
        assert await cso.operate("queue.shape") == {"queued": {}, "parked": {}, "kinds": {}}
        status = await cso.operate("status")
        assert status["parties"] == ["DEABC"]
        assert status["alarms"] == []
        assert status["records"] == {"accepted": 0, "settled": 0, "queued": 0, "parked": 0}


async def test_a_backup_is_made_while_it_runs(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        cso, csp = await pair_of(site)
        made = await cso.operate("backup", path=str(tmp_path / "copy.db"))
        assert (tmp_path / "copy.db").stat().st_size == made["bytes"] > 0
        assert cso.is_up(csp)
        with pytest.raises(OperatorError, match="cannot be written"):
            await cso.operate("backup", path=str(tmp_path / "nowhere" / "copy.db"))


async def test_a_pairing_port_that_is_taken_is_told_and_the_links_live(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        cso, csp = await pair_of(site)
        await cso.assembly.pairing_server.set_open(False)
        (taken,) = await trio.open_tcp_listeners(cso.pairing_port, host="127.0.0.1")
        async with taken:
            with pytest.raises(OperatorError, match="cannot be opened"):
                await cso.operate("invite")
        assert cso.is_up(csp)
