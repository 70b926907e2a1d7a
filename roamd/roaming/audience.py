"""To whom an object is shown: a text that is stored with it and judged by the agreements of the day.

"*" is everyone whose agreement lets it follow the feed. A session or reservation is shown to its home-CSP alone, so
its audience is the identifiers that may name that CSP, contract prefix first: "FRRMD BEXYZ". It holds no peer's label,
so a partner that is paired tomorrow finds the sessions that are its own. A grant that names places is shown to those
whose they are, each party with a sign of its own: "#DEABC #NLXYZ". What concerns one endpoint alone, such as the state
of its commands, has "@" and that endpoint's id: a label may be given to another one later.
"""

from roamd.model.agreement import owns_party
from roamd.model.grants import GrantView
from roamd.model.objects import Checked
from roamd.model.views import ReservationView, SessionView
from roamd.roaming.directory import Directory, Peer, provider_of

EVERYONE = "*"


def only(endpoint_id: str) -> str:
    """The audience of one endpoint."""
    return f"@{endpoint_id}"


def audience_of(checked: Checked) -> str:
    """The audience of an object that is about to be published."""
    view = checked.view
    if isinstance(view, GrantView) and view.places:
        return " ".join(sorted({f"#{place.party}" for place in view.places}))
    if not isinstance(view, SessionView | ReservationView):
        return EVERYONE
    names = (provider_of(view.contract_id), view.token_party)
    return " ".join(dict.fromkeys(name for name in names if name))


def is_shown(audience: str, peer: Peer, directory: Directory) -> bool:
    """Whether `peer` is in the audience: the first name that anyone owns decides."""
    if audience == EVERYONE:
        return True
    if audience.startswith("@"):
        return audience == only(peer.endpoint_id)
    if audience.startswith("#"):
        return any(owns_party(peer.agreement, party[1:]) for party in audience.split())
    for prefix in audience.split():
        owners = directory.contract_owners(prefix)
        if owners:
            return peer in owners
    return False
