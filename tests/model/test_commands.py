"""Commands as tables: their bodies, their life, the rule for late starts."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roamd.errors import Malformed
from roamd.model import commands
from roamd.model.commands import check_command, may_report, next_state, with_reference
from tests.model import bodies
from tests.model.bodies import text

START = {"response_url": "https://csp.example/1", "token": bodies.token(), "location_id": "Loc-1", "evse_uid": "E1"}

states = st.sampled_from(commands.STATES)
reports = st.sampled_from((*commands.STARTING, *commands.DOING))


def test_a_command_passes_byte_for_byte_but_for_the_askers_own_address() -> None:
    body = b'{"session_id":"s1","x":1.50,"response_url":"https://csp.example/back"}'
    checked = check_command("STOP_SESSION", "2.3.0", b" " + body)
    assert checked.body == b'{"session_id":"s1","x":1.50}'
    assert (checked.subject, checked.is_about_session) == ("S1", True)


def test_a_start_needs_no_address_but_all_else_that_ocpi_asks_for() -> None:
    plain = {name: value for name, value in START.items() if name != "response_url"}
    checked = check_command("START_SESSION", "2.3.0", text(plain))
    assert (checked.subject, checked.evse_uid, checked.token_party) == ("LOC-1", "E1", "DEABC")
    with pytest.raises(Malformed) as caught:
        check_command("START_SESSION", "2.3.0", b'{"evse_uid":7}')
    assert {fault.path for fault in caught.value.faults} == {"$.token", "$.location_id", "$.evse_uid"}


def test_a_start_without_reference_bears_its_own_id_and_one_with_keeps_it() -> None:
    checked = with_reference(check_command("START_SESSION", "2.3.0", text(START)), "ab" * 16)
    assert checked.authorization_reference == "ab" * 16
    assert json.loads(checked.body)["authorization_reference"] == "ab" * 16
    given_one = check_command("START_SESSION", "2.3.0", text(START | {"authorization_reference": "R-1"}))
    assert with_reference(given_one, "ab" * 16) is given_one
    stop = check_command("STOP_SESSION", "2.3.0", b'{"session_id":"s1"}')
    assert with_reference(stop, "ab" * 16) is stop


@given(states, reports)
def test_every_pair_of_state_and_report_is_decided(state: str, report: str) -> None:
    after = next_state(state, report)
    assert after is None or after in commands.STATES


@given(st.lists(reports, max_size=8))
def test_whatever_is_reported_a_command_that_was_given_up_never_counts_as_started(told: list[str]) -> None:
    state, given_up = commands.ASKED, False
    for report in told:
        state = next_state(state, report) or state
        given_up = given_up or state in (commands.FAILED, commands.REJECTED)
        assert not (given_up and state == commands.STARTED)


@given(states, reports)
def test_a_report_that_is_repeated_changes_nothing_more(state: str, report: str) -> None:
    once = next_state(state, report)
    if once is not None:
        assert next_state(once, report) == once


def test_a_start_that_was_refused_or_failed_and_starts_is_late() -> None:
    for state in (commands.FAILED, commands.REJECTED):
        assert next_state(state, commands.STARTED) == commands.LATE
    assert next_state(commands.DONE, commands.FAILED) is None


def test_only_a_start_waits_for_a_cable_and_only_others_are_done() -> None:
    assert may_report("START_SESSION", commands.WAITING)
    assert not may_report("START_SESSION", commands.DONE)
    assert may_report("UNLOCK_CONNECTOR", commands.DONE)
    assert not may_report("STOP_SESSION", commands.STARTED)
