"""The table of states: every (state, input) pair, and walks through a real machine."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roamd.errors import ProtocolError
from roamd.protocol.codes import GoodbyeCode
from roamd.protocol.states import OPEN, RECEIVED, TRANSITIONS, Input, Machine, MisuseError, State

ALLOWED_BEFORE_UP = {
    Input.RECEIVE_HELLO,
    Input.RECEIVE_PROOF,
    Input.RECEIVE_GOODBYE,
    Input.SEND_PROOF,
    Input.VERIFY_PROOF,
    Input.SEND_GOODBYE,
    Input.LOSE,
}


@given(st.sampled_from(State), st.sampled_from(Input))
def test_every_pair_moves_by_the_table_or_is_refused_and_changes_nothing(state: State, happened: Input) -> None:
    machine = Machine()
    machine.state = state
    expected = TRANSITIONS.get((state, happened))
    if expected is not None:
        assert machine.move(happened) is expected
    elif happened in RECEIVED:
        with pytest.raises(ProtocolError) as caught:
            machine.move(happened)
        assert caught.value.goodbye == GoodbyeCode.UNEXPECTED
    else:
        with pytest.raises(MisuseError):
            machine.move(happened)
    assert machine.state is (expected or state)


@given(st.lists(st.sampled_from(Input), max_size=12))
def test_a_machine_is_up_only_after_hello_own_proof_and_a_verified_proof(walk: list[Input]) -> None:
    machine, done = Machine(), set[Input]()
    for happened in walk:
        try:
            machine.move(happened)
        except (ProtocolError, MisuseError):
            continue
        done.add(happened)
        if machine.state is State.UP:
            assert {Input.RECEIVE_HELLO, Input.RECEIVE_PROOF, Input.SEND_PROOF, Input.VERIFY_PROOF} <= done


@given(st.lists(st.sampled_from(Input), max_size=12))
def test_nobody_comes_back_from_the_end(walk: list[Input]) -> None:
    machine, ended = Machine(), False
    for happened in walk:
        try:
            machine.move(happened)
        except (ProtocolError, MisuseError):
            continue
        assert not (ended and machine.state in OPEN)
        ended = machine.state not in OPEN


def test_nothing_but_the_handshake_is_allowed_before_up() -> None:
    for state, happened in TRANSITIONS:
        if state in OPEN and state is not State.UP:
            assert happened in ALLOWED_BEFORE_UP


def test_every_open_state_can_end_in_each_of_the_three_ways() -> None:
    for state in OPEN:
        assert TRANSITIONS[state, Input.RECEIVE_GOODBYE] is State.CLOSED
        assert TRANSITIONS[state, Input.LOSE] is State.CLOSED
        assert TRANSITIONS[state, Input.SEND_GOODBYE] is State.LEAVING
