"""What a CSP's answer says, once nothing in it can spoil our own."""

import msgspec

from roamd.errors import ProtocolError, RoamdError
from roamd.model.credentials import DECISIONS, SOURCES
from roamd.model.jsontext import compact
from roamd.protocol.calls import AuthorizeAnswer
from roamd.protocol.messages import Answer, AnswerStatus

ORDER: dict[str, int] = {decision: rank for rank, decision in enumerate(DECISIONS)}
"""ALLOWED, then refusals with the most telling first: of several CSPs asked, the one that knows the card speaks."""


def decision_of(answer: Answer | None) -> AuthorizeAnswer | None:
    """What the CSP decided; an answer that cannot be read or decides nothing known counts as none."""
    if answer is None or answer.status != AnswerStatus.ANSWERED:
        return None
    try:
        decided = AuthorizeAnswer.unpack(answer.body)
    except ProtocolError:
        return None
    if decided.decision not in ORDER:
        return None
    if decided.source in SOURCES and decided.location is None and decided.info is None:
        return decided
    return _believable(decided)


def _believable(decided: AuthorizeAnswer) -> AuthorizeAnswer:
    """The same without what our backend could not read: a peer's texts are put into our own answer as they are."""
    return msgspec.structs.replace(
        decided,
        source=decided.source if decided.source in SOURCES else "BACKEND",
        location=_json_or_none(decided.location),
        info=_json_or_none(decided.info),
    )


def _json_or_none(text: bytes | None) -> bytes | None:
    try:
        return None if text is None else compact(text)
    except RoamdError:
        return None


def why_silent(answer: Answer | None) -> str:
    """In a few words; a peer's own words are bounded and made harmless."""
    if answer is None:
        return "late"
    if answer.status == AnswerStatus.REFUSED:
        return "refused"
    words = answer.body[:80].decode(errors="replace") if answer.status == AnswerStatus.NO_ANSWER else ""
    return "".join(c if c.isprintable() else "?" for c in words) or "unreadable"
