"""Introductions between whole cores: who is told of whom, what a lying voucher can do, and who has to say yes."""

from collections.abc import AsyncIterator, Callable, Sequence

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from roamd.protocol.calls import MAX_PER_CALL, Introduction, Service
from roamd.protocol.messages import Answer, AnswerStatus, Call
from roamd.roaming import vouch
from roamd.roaming.introduce import RENEW_S
from roamd.roaming.vouch import MAX_BYTES, MAX_READ, MAX_TOLD, _batches
from roamd.trust.descriptor import verify_descriptor
from tests.support.endpoints import Endpoint, Neighbourhood, logged, until
from tests.support.trust import descriptor_data, identity


@pytest.fixture
async def hood() -> AsyncIterator[Neighbourhood]:
    async with Neighbourhood() as hood:
        yield hood


class Town:
    """A voucher in the middle, and two of its partners that do not know each other."""

    def __init__(self, hood: Neighbourhood, middle: Endpoint, cso: Endpoint, csp: Endpoint) -> None:
        self.hood, self.middle, self.cso, self.csp = hood, middle, cso, csp

    @classmethod
    async def founded(cls, hood: Neighbourhood, *, allows: bool = True) -> "Town":
        middle = await hood.endpoint("DE*MID", "csp", introducible=True)
        cso = await hood.endpoint("BE*CSO", "cso", introducible=allows)
        csp = await hood.endpoint("FR*CSP", "csp", introducible=allows)
        for partner in (cso, csp):
            await hood.pair(middle, partner)
            await hood.until_linked(middle, partner)
        return cls(hood, middle, cso, csp)

    async def switch(self, partner: Endpoint, *, on: bool) -> None:
        """As `roamd peers introduce` at the middle."""
        await self.middle.core.book.introduce(self.middle.peer(partner), on=on)
        self.middle.core.vouching.tell_everyone()
        await wait_all_tasks_blocked()

    async def open(self) -> None:
        await self.switch(self.cso, on=True)
        await self.switch(self.csp, on=True)


def vouchers(at: Endpoint, whom: Endpoint) -> tuple[str, ...]:
    """Who vouches for somebody, as was said last."""
    said = [one for one in at.introduced if one.endpoint_id == whom.endpoint_id]
    return said[-1].vouchers if said else ()


async def told(liar: Endpoint, victim: Endpoint, descriptors: Sequence[bytes], *, starts: bool = True) -> int:
    """What a peer answers to a list of our own making."""
    return await asked(liar, victim, Introduction(starts, list(descriptors)).pack())


async def asked(liar: Endpoint, victim: Endpoint, body: bytes) -> int:
    answers: list[Answer | None] = []
    call = Call(liar.core.ground.random(16), Service.INTRODUCTION, 5000, body)
    liar.core.outgoing.start(liar.peer(victim), call, liar.clock.monotonic() + 5, answers.append)
    await until(lambda: bool(answers))
    await wait_all_tasks_blocked()
    assert answers[0] is not None
    return answers[0].status


async def test_partners_that_allow_it_are_told_of_each_other(hood: Neighbourhood) -> None:
    town = await Town.founded(hood)
    await town.open()
    assert vouchers(town.cso, town.csp) == (town.middle.name,)
    assert vouchers(town.csp, town.cso) == (town.middle.name,)
    shown = town.cso.introduced[-1].descriptor
    assert shown is not None
    assert shown.addresses == (town.csp.address,)


async def test_by_default_nobody_is_told_of_anybody(hood: Neighbourhood) -> None:
    town = await Town.founded(hood)
    await wait_all_tasks_blocked()
    assert town.cso.introduced == town.csp.introduced == []


async def test_one_whom_the_operator_does_not_introduce_neither_learns_of_others_nor_is_shown(
    hood: Neighbourhood,
) -> None:
    town = await Town.founded(hood)
    await town.switch(town.cso, on=True)
    assert town.cso.introduced == town.csp.introduced == []


async def test_who_has_not_allowed_it_is_not_passed_on(hood: Neighbourhood) -> None:
    town = await Town.founded(hood, allows=False)
    with logged() as lines:
        await town.open()
    assert town.cso.introduced == town.csp.introduced == []
    assert not any(line["event"] == "introduction_refused" for line in lines), "it was passed on, and refused there"


async def test_what_has_run_out_is_not_passed_on(hood: Neighbourhood) -> None:
    town = await Town.founded(hood)
    await town.open()
    town.middle.clock.jump(2000)
    town.middle.core.vouching.tell_everyone()
    await until(lambda: vouchers(town.cso, town.csp) == ())


async def test_who_is_introduced_no_more_is_taken_back(hood: Neighbourhood) -> None:
    town = await Town.founded(hood)
    await town.open()
    await town.switch(town.csp, on=False)
    assert vouchers(town.cso, town.csp) == ()
    assert vouchers(town.csp, town.cso) == ()


async def test_who_is_suspended_or_removed_is_taken_back(hood: Neighbourhood) -> None:
    town = await Town.founded(hood)
    await town.open()
    await town.middle.core.book.suspend(town.middle.peer(town.csp))
    await until(lambda: vouchers(town.cso, town.csp) == ())


async def test_a_removed_voucher_vouches_for_nobody(hood: Neighbourhood) -> None:
    town = await Town.founded(hood)
    await town.open()
    await town.cso.core.book.remove(town.cso.peer(town.middle), park=False)
    assert vouchers(town.cso, town.csp) == ()


async def test_the_list_comes_again_with_the_next_link(hood: Neighbourhood) -> None:
    town = await Town.founded(hood)
    await town.open()
    await town.cso.stop()
    town.cso.introduced.clear()
    await town.cso.restart()
    await until(lambda: vouchers(town.cso, town.csp) == (town.middle.name,))


async def test_the_switch_outlives_a_restart(hood: Neighbourhood) -> None:
    town = await Town.founded(hood)
    await town.open()
    await town.middle.stop()
    town.cso.introduced.clear()
    await town.middle.restart()
    assert town.middle.peer(town.csp).agreement.introduce
    await until(lambda: vouchers(town.cso, town.csp) == (town.middle.name,))


async def test_a_partner_that_moved_is_reached_again_through_a_third(hood: Neighbourhood) -> None:
    """The two cannot reach each other: one has moved, the other only dials. Who knows both tells."""
    town = await Town.founded(hood)
    await town.open()
    hood.ports.pop(town.csp.address or "")
    town.csp.address, town.csp.sequence = "moved.example:63119", 2
    hood.ports["moved.example:63119"] = town.csp
    stale = descriptor_data(town.csp.identity, addresses=("gone.example:1",), sequence=1, parties=("FRCSP",))
    await town.cso.core.book.pair(
        verify_descriptor(stale), stale, ("w",) * 6, confirmed=True, joined_by_us=True, label="friend"
    )
    await hood.pair_one_way(town.csp, town.cso)
    town.csp.peer(town.cso).row = town.csp.peer(town.cso).row._replace(address=None)
    town.csp.core.introductions.tell(town.csp.peer(town.middle))
    await until(lambda: town.cso.is_up(town.csp))
    assert town.cso.peer(town.csp).row.address == "moved.example:63119"


async def test_a_descriptor_stays_young_on_a_link_that_lasts(hood: Neighbourhood, autojump_clock: MockClock) -> None:
    """Nothing in it changes for months; what others are shown of it must not run out meanwhile."""
    town = await Town.founded(hood)
    before = verify_descriptor(town.middle.peer(town.csp).row.descriptor)
    await trio.sleep(RENEW_S / 2)
    town.csp.core.introductions.renew()
    await wait_all_tasks_blocked()
    assert verify_descriptor(town.middle.peer(town.csp).row.descriptor) == before
    await trio.sleep(RENEW_S / 2)
    town.csp.core.introductions.renew()
    await until(lambda: verify_descriptor(town.middle.peer(town.csp).row.descriptor) != before)
    after = verify_descriptor(town.middle.peer(town.csp).row.descriptor)
    assert after.sequence == before.sequence
    assert after.valid_until_ms >= before.valid_until_ms + RENEW_S * 1000


async def test_what_is_hardly_younger_is_not_written_again(hood: Neighbourhood) -> None:
    town = await Town.founded(hood)
    before = town.middle.peer(town.csp).row.descriptor
    town.csp.clock.jump(3600)
    town.csp.core.introductions.tell(town.csp.peer(town.middle))
    await wait_all_tasks_blocked()
    assert town.middle.peer(town.csp).row.descriptor == before


# --- lying vouchers ---------------------------------------------------------------------------------------------


async def test_of_two_vouchers_the_higher_sequence_holds_whoever_speaks_last(hood: Neighbourhood) -> None:
    town = await Town.founded(hood)
    await hood.pair(town.cso, town.csp)
    await hood.until_linked(town.cso, town.csp)
    new, old = (
        descriptor_data(identity(50), addresses=(f"{word}.example:1",), sequence=number, introducible=True)
        for word, number in (("new", 9), ("old", 3))
    )
    await told(town.middle, town.cso, [new])
    await told(town.csp, town.cso, [old])
    assert await told(town.middle, town.cso, [old], starts=False) == AnswerStatus.ANSWERED
    said = town.cso.introduced[-1]
    assert said.descriptor is not None
    assert said.descriptor.addresses == ("new.example:1",)
    assert said.vouchers == (town.middle.name, town.csp.name)
    await told(town.middle, town.cso, [])
    said = town.cso.introduced[-1]
    assert said.descriptor is not None
    assert said.descriptor.addresses == ("old.example:1",)


@pytest.mark.parametrize(
    ("reason", "make"),
    [
        ("bad-signature", lambda data: data[:-1] + bytes([data[-1] ^ 1])),
        ("not-introducible", lambda _: descriptor_data(identity(51))),
        ("expired", lambda _: descriptor_data(identity(51), introducible=True, valid_until_ms=1)),
        ("malformed", lambda data: data[:40]),
    ],
)
async def test_a_descriptor_that_may_not_be_believed_is_refused_and_the_others_are_taken(
    hood: Neighbourhood, reason: str, make: Callable[[bytes], bytes]
) -> None:
    town = await Town.founded(hood)
    good = descriptor_data(identity(52), introducible=True)
    with logged() as lines:
        await told(town.middle, town.cso, [make(descriptor_data(identity(51), introducible=True)), good])
    assert [line["reason"] for line in lines if line["event"] == "introduction_refused"] == [reason]
    assert {one.endpoint_id for one in town.cso.introduced} == {identity(52).endpoint_id}


async def test_nobody_introduces_us_to_ourselves_or_itself(hood: Neighbourhood) -> None:
    town = await Town.founded(hood)
    await told(town.middle, town.cso, [town.cso.descriptor(), town.middle.descriptor()])
    assert town.cso.introduced == []


async def test_a_body_that_is_no_list_is_malformed(hood: Neighbourhood) -> None:
    town = await Town.founded(hood)
    assert await asked(town.middle, town.cso, b"\xc1") == AnswerStatus.MALFORMED
    too_many = b"\x92\xc3\xdc" + (MAX_PER_CALL + 1).to_bytes(2, "big") + b"\xc4\x00" * (MAX_PER_CALL + 1)
    assert await asked(town.middle, town.cso, too_many) == AnswerStatus.MALFORMED


async def test_a_voucher_that_goes_on_without_end_is_listened_to_so_much_and_no_more(
    hood: Neighbourhood, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vouch, "MAX_TOLD", 3)
    monkeypatch.setattr(vouch, "MAX_READ", 8)
    assert MAX_TOLD < MAX_READ
    town = await Town.founded(hood)
    strangers = [descriptor_data(identity(number), introducible=True) for number in range(60, 66)]
    with logged() as lines:
        for _ in range(3):
            await told(town.middle, town.cso, strangers)
    assert len({one.endpoint_id for one in town.cso.introduced}) == 3
    assert {line["reason"] for line in lines if line["event"] == "introduction_refused"} == {"too-many"}


async def test_what_is_told_again_is_not_read_again(hood: Neighbourhood) -> None:
    town = await Town.founded(hood)
    stranger = descriptor_data(identity(60), introducible=True)
    for _ in range(3):
        await told(town.middle, town.cso, [stranger])
    assert town.cso.core.vouching._told[town.middle.name].read == 1


async def test_what_has_run_out_is_forgotten(hood: Neighbourhood) -> None:
    town = await Town.founded(hood)
    until_ms = town.cso.clock.now_ms() + 60_000
    await told(town.middle, town.cso, [descriptor_data(identity(60), introducible=True, valid_until_ms=until_ms)])
    town.cso.core.vouching.forget_expired()
    assert town.cso.introduced[-1].vouchers
    town.cso.clock.jump(61)
    town.cso.core.vouching.forget_expired()
    assert not town.cso.introduced[-1].vouchers


def test_a_long_list_is_parted_into_calls_that_fit() -> None:
    descriptors = [bytes([number % 256]) * 1300 for number in range(100)]
    batches = list(_batches(descriptors))
    assert [one for batch in batches for one in batch] == descriptors
    assert all(sum(map(len, batch)) <= MAX_BYTES and len(batch) <= MAX_PER_CALL for batch in batches)
    assert list(_batches([])) == [[]]


async def test_a_list_is_answered_when_it_was_read_so_that_credit_bounds_what_waits(hood: Neighbourhood) -> None:
    town = await Town.founded(hood)
    answers: list[Answer | None] = []
    call = Call(bytes(16), Service.INTRODUCTION, 5000, Introduction(True, []).pack())
    async with town.cso.core.vouching._turn:  # another list is being read
        town.middle.core.outgoing.start(
            town.middle.peer(town.cso), call, town.middle.clock.monotonic() + 5, answers.append
        )
        await wait_all_tasks_blocked()
        assert answers == []
    await until(lambda: bool(answers))
    assert answers[0] is not None
    assert answers[0].status == AnswerStatus.ANSWERED
