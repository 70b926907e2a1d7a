"""The ways in which backends differ from OCPI's text: which there are, and where each is noticed.

A quirk is tolerated whether or not it is known. It is noted once for each backend, kept, and listed by
`roamd ocpi quirks`, so that whoever looks for a fault between two systems begins with what is known of one of them.
"""

from base64 import b64decode
from typing import Final

from aiohttp import web

from roamd.backend.ocpi.backends import Backend
from roamd.model.times import is_usual_time

QUIRKS: Final = {
    # --- in its requests ---
    "token-raw": "presents its token as it is; OCPI wants it in base64. It is called in the same form",
    "token-padded": "white space stands in its token behind the base64, such as a line feed at its end",
    "token-scheme": "writes the word Token in another case",
    "path-slashes": "doubles slashes in addresses, or leaves one at their end",
    "no-content-type": "sends bodies without saying that they are JSON",
    "odd-date": "writes dates in addresses with an offset, without zone or in another form than OCPI's",
    "no-routing": "sends no routing headers; its requests are for whoever the object or token belongs to",
    "details-as-versions": "gives the address of its version details in place of its versions",
    "no-role": "names no role for its endpoints; they count as SENDER",
    # --- in its objects ---
    "times": "writes times with an offset, without zone or with microseconds; they are put right where they come in",
    "numbers": "writes numbers as texts; they are put right",
    "booleans": "writes true and false as texts or numbers; they are put right",
    "enumerations": "writes enumerations in another case; they are put right",
    "connector-limits": "leaves voltage and current of connectors out; 0 stands for them",
    "cdr-token": "leaves cdr_token out of sessions or CDRs; it is filled in from the authorization that they name",
    "cdr-location": "leaves fields of the location out of CDRs that OCPI demands; they are filled in",
    # --- in its answers ---
    "token-form": "refuses the form of token that it uses itself; the other form is used",
    "no-envelope": "answers without OCPI's envelope",
    "status-text": "writes status_code as a text",
    "array-of-one": "puts one object into an array where OCPI wants the object",
    "link-broken": "gives next pages by a Link that leads elsewhere; the offset is counted on instead",
    "limit-ignored": "gives more objects on a page than it was asked for",
    "refused-with-200": "refuses with HTTP 200 and an OCPI status, where the object is what is wrong",
    "slash-redirect": "redirects addresses to the same with a slash more or less; just that redirect is followed",
    "wrong-host": "names addresses of another host than the one it is reached at; base_url replaces it",
    # --- by configuration alone ---
    "uid-reversed": "reads the UIDs of RFID cards from the other end, as its configuration says",
}
"""Every quirk and what it means; `uid-reversed` is listed because it is configured, and never learned."""

_LINE_FEED: Final = ("Cg==", "Cg", "o=", "o", "K")
"""What base64 ends in when a line feed is its last character; nothing else is decoded a second time."""


def note_request(backend: Backend, request: web.Request, form: str) -> None:
    """Note what is odd about a request. On every request's way: what is usual costs next to nothing."""
    path, headers = request.raw_path, request.headers
    if form == "raw":
        backend.met("token-raw")
    _note_token(backend, headers.get("Authorization", ""), form)
    plain = path.partition("?")[0]
    if plain.endswith("/") or "//" in plain:
        backend.met("path-slashes")
    if "date_" in path:
        _note_dates(backend, request)
    if request.can_read_body and "json" not in headers.get("Content-Type", "").lower():
        backend.met("no-content-type")


def _note_token(backend: Backend, authorization: str, form: str) -> None:
    if not authorization.startswith("Token "):
        backend.met("token-scheme")
    if form == "base64" and authorization.endswith(_LINE_FEED) and _has_space(authorization.rpartition(" ")[2]):
        backend.met("token-padded")


def _has_space(value: str) -> bool:
    try:
        return b64decode(value + "=" * (-len(value) % 4))[-1:].isspace()
    except ValueError:
        return False


def _note_dates(backend: Backend, request: web.Request) -> None:
    for name in ("date_from", "date_to"):
        text = request.query.get(name)
        if text and not is_usual_time(text):
            backend.met("odd-date")


def listed(backend: Backend) -> dict[str, int | None]:
    """What is known of a backend: each quirk, and when it was first met in ms (None: configured)."""
    configured = {"uid-reversed": None} if backend.settings.uid_byte_order == "reversed" else {}
    return {**backend.quirks, **configured}
