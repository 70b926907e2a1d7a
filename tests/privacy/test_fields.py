"""A peer is not sent what it need not see: fields are cut out on their way, and nothing else changes."""

import json
from pathlib import Path
from typing import Any

import pytest

from roamd.errors import Malformed
from roamd.model.body import without_fields
from roamd.model.fields import FEEDS_WITH_FIELDS, checked_fields, withholdable
from roamd.model.objects import check_peer_object
from tests.model import bodies
from tests.privacy.drivers import CSP, Driver, publish
from tests.support.assemblies import RunningDaemon, Site
from tests.support.endpoints import until

ANNA = Driver(1001)


def test_what_is_left_keeps_its_bytes() -> None:
    body = b'{"a":1.50,"b":{"a":[1,{"c":"\\u0041"}]},"c":null,"a\\"b":"x"}'
    assert without_fields(body, ("b",)) == b'{"a":1.50,"c":null,"a\\"b":"x"}'
    assert without_fields(body, ("a", "c")) == b'{"b":{"a":[1,{"c":"\\u0041"}]},"a\\"b":"x"}'
    assert without_fields(body, ("none",)) is body
    assert without_fields(b'{"a":1}', ("a",)) == b"{}"


@pytest.mark.parametrize("feed", FEEDS_WITH_FIELDS)
@pytest.mark.parametrize("ocpi", ["2.2.1", "2.3.0"])
def test_an_object_without_all_that_can_be_withheld_is_still_one(feed: str, ocpi: str) -> None:
    whole = bodies.OBJECTS[feed]
    if ocpi == "2.2.1":
        whole = bodies.without(whole, "tax_included")
    left = without_fields(bodies.text(whole), withholdable(feed))
    check_peer_object(feed, ocpi, left)


@pytest.mark.parametrize(
    ("feed", "name"),
    [("user-credentials", "issuer"), ("sessions", "cdr_token"), ("sessions", "authorization_reference"),
     ("locations", "evses"), ("locations", "colour"), ("evse-status", "status"), ("grants", "uid")],
)  # fmt: skip
def test_what_a_peer_cannot_do_without_cannot_be_withheld(feed: str, name: str) -> None:
    with pytest.raises(Malformed):
        checked_fields(feed, [name])


def held(daemon: RunningDaemon, feed: str) -> list[dict[str, Any]]:
    rows = daemon.assembly.ground.store.read(lambda cx: cx.run("SELECT body FROM mirror WHERE feed = ?", (feed,)))
    return [json.loads(row[0]) for row in rows]


async def test_a_changed_rule_replaces_what_was_sent_at_once_and_after_a_restart(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        cso, csp = await site.daemon("DE*ABC", "cso"), await site.daemon("FR*XYZ", "csp")
        await site.pair(cso, csp)
        label = csp.peer(cso).label
        token = ANNA.token(group_id="G-1", language="fr")
        await publish(csp, "user-credentials", CSP, token)
        await until(lambda: held(cso, "user-credentials") == [token], 20)

        withhold = ["visual_number", "group_id"]
        shown = await csp.operate("peers.fields", peer=label, feed="user-credentials", withhold=withhold)
        assert shown["agreement"]["withheld"] == {"user-credentials": ["group_id", "visual_number"]}
        await until(lambda: held(cso, "user-credentials") == [bodies.without(token, *withhold)], 20)
        with pytest.raises(Malformed):
            await csp.operate("peers.fields", peer=label, feed="user-credentials", withhold=["issuer"])

        await csp.stop()
        await site.start(csp)
        await site.until_linked(cso, csp)
        changed = token | {"language": "de"}
        await publish(csp, "user-credentials", CSP, changed)
        await until(lambda: held(cso, "user-credentials") == [bodies.without(changed, *withhold)], 20)

        await cso.stop()
        await csp.operate("peers.fields", peer=label, feed="user-credentials", withhold=[])
        await site.start(cso)
        await site.until_linked(cso, csp)
        await until(lambda: held(cso, "user-credentials") == [changed], 20)
