"""The part of the story that is told from a driver's app: a session that the CSP starts and stops from afar."""

from typing import Any

from roamd.demo import objects
from roamd.demo.cast import Story
from roamd.demo.checks import check, now_ms
from roamd.demo.objects import APP_DRIVER

SESSION_ID = "RMC-SESSION-0002"
REFERENCE = "RMD-APP-0001"


def start_from_the_app(story: Story) -> None:
    """A driver taps start in the CSP's app: the CSO's backend is told, and both sides watch it begin."""
    asked = story.csp.api.need("POST", "/v1/commands/START_SESSION", objects.start(APP_DRIVER, REFERENCE, now_ms()))
    check(asked["result"] == "ACCEPTED", f"the start got {asked['result']} ({asked.get('reason')})")
    command_id = asked["command_id"]
    told = story.cso.backend.asked("command")
    check(
        [one["command_id"] for one in told] == [command_id], f"the CSO's backend was told {len(told)} times, not once"
    )
    story.tell(story.csp, f"{APP_DRIVER.name}: START_SESSION is ACCEPTED, command {command_id[:8]}...")
    story.cso.api.need("POST", f"/v1/commands/{command_id}/state", {"state": "WAITING_FOR_CABLE"})
    _see_state(story, command_id, "WAITING_FOR_CABLE")
    session = objects.session(SESSION_ID, APP_DRIVER, REFERENCE, now_ms())
    story.cso.api.need("PUT", f"/v1/sessions/{SESSION_ID}", session | {"auth_method": "COMMAND"})
    seen = _see_state(story, command_id, "STARTED")
    check(seen["session_id"] == SESSION_ID, f"the command led to session {seen.get('session_id')}")
    story.tell(story.csp, f"the session with its reference {REFERENCE} is {SESSION_ID}")
    story.counts["commands"] += 1


def stop_from_the_app(story: Story) -> None:
    """The driver taps stop."""
    asked = story.csp.api.need("POST", "/v1/commands/STOP_SESSION", {"session_id": SESSION_ID})
    check(asked["result"] == "ACCEPTED", f"the stop got {asked['result']} ({asked.get('reason')})")
    ended = objects.session_news(now_ms(), 3.2, ended=True)
    story.cso.api.need("PATCH", f"/v1/sessions/{SESSION_ID}", ended)
    _see_state(story, asked["command_id"], "DONE")
    story.counts["commands"] += 1


def _see_state(story: Story, command_id: str, state: str) -> Any:
    def reached() -> Any:
        command = story.csp.api.get(f"/v1/commands/{command_id}")
        return command if command["state"] == state else None

    command = story.wait_until(f"the command being {state} at the CSP", reached)
    story.tell(story.csp, f"{command['command']} is {state}")
    return command
