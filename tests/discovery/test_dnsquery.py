"""What is looked at in a name server's message before it is read: that it is short, and cheap to read."""

import dns.flags
import dns.message
import dns.rrset
import pytest

from roamd.discovery.dnsquery import MAX_LABELS, LookupFailedError, read_answer

NAME = "_roamd._tcp.roam.example."
QUERY = dns.message.make_query(NAME, "SRV", id=1, use_edns=0)


def answer(*answers: dns.rrset.RRset, beside: tuple[dns.rrset.RRset, ...] = ()) -> bytes:
    message = dns.message.make_response(QUERY)
    message.answer.extend(answers)
    message.authority.extend(beside)
    message.use_edns(0)
    return message.to_wire()


def rrset(name: str, kind: str, data: str) -> dns.rrset.RRset:
    return dns.rrset.from_text(name, 60, "IN", kind, data)


SRV = rrset(NAME, "SRV", "0 0 1 h.example.")


def test_what_stands_beside_an_answer_in_any_honest_server_is_read() -> None:
    beside = (rrset("example.", "NS", "ns.example."), rrset("example.", "SOA", "ns.example. me.example. 1 2 3 4 77"))
    assert len(read_answer(QUERY, answer(SRV, beside=beside)).records) == 1
    assert read_answer(QUERY, answer(beside=beside[1:])).ttl_s <= 77
    alias = (rrset(NAME, "CNAME", "other.example."), rrset("other.example.", "SRV", "0 0 1 h.example."))
    assert len(read_answer(QUERY, answer(*alias)).records) == 1


@pytest.mark.parametrize(("name", "kind", "data"), [
    ("a." * MAX_LABELS, "A", "192.0.2.1"),
    (NAME, "SRV", "0 0 1 " + "a." * MAX_LABELS),
    (NAME, "PTR", "a." * MAX_LABELS),
    (NAME, "CNAME", "a." * MAX_LABELS),
    (NAME, "SOA", "ns.example. " + "a." * MAX_LABELS + " 1 2 3 4 5"),
])  # fmt: skip
def test_a_name_that_takes_long_to_read_is_not_read_wherever_it_stands(name: str, kind: str, data: str) -> None:
    with pytest.raises(LookupFailedError, match="labels"):
        read_answer(QUERY, answer(rrset(name, kind, data)))
    with pytest.raises(LookupFailedError, match="labels"):
        read_answer(QUERY, answer(SRV, beside=(rrset(name, kind, data),)))


def test_a_record_of_a_type_that_was_not_asked_for_is_not_read_as_names_could_hide_in_it() -> None:
    with pytest.raises(LookupFailedError, match="type 15"):
        read_answer(QUERY, answer(rrset(NAME, "MX", "1 " + "a." * 100)))


def test_a_name_that_leads_in_a_circle_ends() -> None:
    circle = answer()[:12] + b"\xc0\x0c\0\x21\0\1" + answer()[12:]
    with pytest.raises(LookupFailedError, match="labels"):
        read_answer(QUERY, circle)


def test_a_message_that_is_cut_off_anywhere_is_refused() -> None:
    whole = answer(SRV)
    for size in range(len(whole)):
        with pytest.raises(LookupFailedError):
            read_answer(QUERY, whole[:size])
