"""The part of the story about who is known: a card that nobody knows, a place that is held, and a permission that
works while the CSP is dead."""

from typing import Any

from roamd.demo import objects
from roamd.demo.cast import Story
from roamd.demo.checks import check, now_ms
from roamd.demo.objects import APP_DRIVER, GRANTED_DRIVER, LOCATION_ID, REVOKED_DRIVER, STRANGER, Driver

GRANT, REVOKED = "RMD-GRANT-0001", "RMD-GRANT-0002"
RESERVATION_ID = "RMD-PLACE-0001"
OFFLINE_MS = 1500
"""What a driver is willing to wait while nobody answers."""


def show_a_strange_card(story: Story) -> None:
    """Somebody shows a card that no company knows."""
    story.csp.backend.decide(STRANGER.uid, "UNKNOWN")
    answer = _ask(story, STRANGER)
    check(answer["decision"] == "UNKNOWN", f"a stranger's card got {answer['decision']}")
    story.tell(story.cso, f"{STRANGER.name}: {answer['decision']}, source {answer['source']}")


def reserve_from_the_app(story: Story) -> None:
    """A driver reserves a place in the CSP's app, and gives it up again."""
    asked = story.csp.api.need(
        "POST", "/v1/commands/RESERVE_NOW", objects.reserve(APP_DRIVER, RESERVATION_ID, now_ms())
    )
    check(asked["result"] == "ACCEPTED", f"the reservation got {asked['result']} ({asked.get('reason')})")
    for status in ("RESERVED", "CANCELED"):
        held = objects.reservation(RESERVATION_ID, APP_DRIVER, status, now_ms())
        story.cso.api.need("PUT", f"/v1/reservations/{RESERVATION_ID}", held)
        _see_reservation(story, status)
        if status == "RESERVED":
            story.csp.api.need("POST", "/v1/commands/CANCEL_RESERVATION", {"reservation_id": RESERVATION_ID})
    story.counts["commands"] += 2


def _see_reservation(story: Story, status: str) -> None:
    def seen() -> bool:
        held = story.csp.api.find(f"/v1/peers/{story.csp.partner}/reservations/{RESERVATION_ID}")
        return bool(held and held["status"] == status)

    story.wait_until(f"the reservation being {status} at the CSP", seen)
    story.tell(story.csp, f"the place for {APP_DRIVER.name} is {status}")


def grant_two_drivers(story: Story) -> None:
    """The CSP signs a permission for two drivers, and takes one back."""
    for name, driver in ((GRANT, GRANTED_DRIVER), (REVOKED, REVOKED_DRIVER)):
        story.csp.api.need("PUT", f"/v1/grants/{name}", objects.grant(name, driver, now_ms()))
    story.csp.api.need("DELETE", f"/v1/grants/{REVOKED}")
    story.wait_until("the grants arriving", lambda: _mirrored(story, GRANT) and _revoked(story))
    story.tell(story.cso, f"has {GRANT} signed by {story.cso.partner}, and knows that {REVOKED} is revoked")


def _mirrored(story: Story, name: str) -> Any:
    return story.cso.api.find(f"/v1/peers/{story.cso.partner}/grants/{name}")


def _revoked(story: Story) -> bool:
    return bool((_mirrored(story, REVOKED) or {}).get("revoked"))


def start_on_a_grant(story: Story) -> None:
    """With the CSP dead, one driver starts on its signed permission; the one that was taken back opens nothing."""
    answer = _ask(story, GRANTED_DRIVER)
    check(answer["decision"] == "ALLOWED", f"the granted driver got {answer['decision']} ({answer.get('reason')})")
    check(answer["source"] == "GRANT", f"the answer came from {answer['source']}, not from the grant")
    story.counts["authorizations"] += 1
    story.tell(story.cso, f"{GRANTED_DRIVER.name}: ALLOWED, source GRANT, {answer['elapsed_ms']:.1f} ms")
    refused = _ask(story, REVOKED_DRIVER)
    check(refused["decision"] != "ALLOWED", "a revoked grant still opens")
    story.tell(story.cso, f"{REVOKED_DRIVER.name}: {refused['decision']}, source {refused['source']}")


def _ask(story: Story, driver: Driver) -> Any:
    place = {"location_id": LOCATION_ID, "evse_uid": objects.EVSE_UID, "connector_id": objects.CONNECTOR_ID}
    question = {"credential": driver.credential(), "location": place, "deadline_ms": OFFLINE_MS}
    return story.cso.api.need("POST", "/v1/authorizations", question)
