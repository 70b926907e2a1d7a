"""The dearest inputs of a size that we could think of, for each target: little to send, much to hold or to do.

What a fuzzer finds is small; these are made by hand from the structure of each format. `test_cost.py` measures what
they cost in memory and how the work grows with their size, `scripts/fuzz --cost` how long they take.
"""

import json
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from itertools import count

from roamd.backend.objects import FEEDS
from roamd.protocol.frames import RULES, FrameType, pack_frame
from roamd.protocol.messages import encode
from roamd.trust.documents import MAX_DOCUMENT
from roamd.trust.pairing import framed
from tests.fuzz.samples import feed_items_of, objects
from tests.fuzz.targets import TARGETS
from tests.fuzz.wire_side import CALL_BODIES, TYPES
from tests.model.bodies import cdr, evse, sdr, text

MEGABYTE = 1 << 20
MOST = 10 * MEGABYTE
"""What an input of a megabyte may hold at once."""

BOUNDED = " h"
"""How the names of inputs end whose work grows faster, up to a bound that is counted (`pricing.cuts.Work`)."""

OFFLINE = frozenset({"evidence"})
"""Targets that are no part of the daemon: an auditor runs a script over one file, and it may take its time."""

Maker = Callable[[int], bytes]
ID = bytes(16)


# --- shapes -----------------------------------------------------------------------------------------------------


def filled(unit: bytes, begin: bytes = b"", end: bytes = b"") -> Maker:
    """`begin`, as many units as fit, `end`. A unit that ends in a comma loses its last one."""

    def make(size: int) -> bytes:
        middle = unit * max(1, (size - len(begin) - len(end)) // len(unit))
        return begin + (middle[:-1] if unit.endswith(b",") else middle) + end

    return make


def distinct(form: str, begin: bytes = b"", end: bytes = b"") -> Maker:
    """As `filled`, each unit with another number in it."""

    def make(size: int) -> bytes:
        return begin + b"".join(_numbered(form, size - len(begin) - len(end))).rstrip(b",") + end

    return make


def _numbered(form: str, size: int) -> Iterator[bytes]:
    for number in count():
        unit = form.replace("#", str(number)).encode()
        size -= len(unit)
        if size < 0:
            return
        yield unit


def nested(begin: bytes, middle: bytes, end: bytes) -> Maker:
    """`begin` and `end` around `middle`, as deep as the size allows."""

    def make(size: int) -> bytes:
        depth = max(1, (size - len(middle)) // (len(begin) + len(end)))
        return begin * depth + middle + end * depth

    return make


def swollen(body: Mapping[str, object], field: str, unit: bytes) -> Maker:
    """A whole object, one list of which fills the size."""
    begin, end = text({**body, field: "HERE"}).split(b'"HERE"')
    return filled(unit + b",", begin + b"[", b"]" + end)


def behind(first: bytes, makers: Mapping[str, Maker]) -> dict[str, Maker]:
    """The same behind a first byte that chooses what it is taken for."""
    return {name: lambda size, maker=maker: first + maker(size - len(first)) for name, maker in makers.items()}  # type: ignore[misc]  # the default binds each maker


def arrays(element: bytes) -> Maker:
    """msgpack: an array whose count is right, of elements of a size."""

    def make(size: int) -> bytes:
        number = max(1, (size - 5) // len(element))
        return b"\xdd" + number.to_bytes(4, "big") + element * number

    return make


# --- by format --------------------------------------------------------------------------------------------------

NOISE: dict[str, Maker] = {
    "zeros": filled(b"\0"),
    "ones": filled(b"\xff"),
    "white space": filled(b" "),
    "lines": filled(b"\n"),
    "letters": filled(b"A"),
    "words": filled(b"Aa "),
}

JSON: dict[str, Maker] = {
    **NOISE,
    "open arrays": filled(b"["),
    "nested arrays": nested(b"[", b"", b"]"),
    "nested objects": nested(b'{"a":', b"1", b"}"),
    "empty arrays": filled(b"[],", b"[", b"]"),
    "empty objects": filled(b"{},", b"[", b"]"),
    "as many arrays as are taken": filled(b"[1,2,3],", b"[", b"]"),
    "as many objects as are taken": filled(b'{"a":1},', b'{"x":[', b"]}"),
    "small numbers": filled(b"1,", b"[", b"]"),
    "fractions": filled(b"0.1,", b"[", b"]"),
    "numbers out of range": filled(b"1e99,", b"[", b"]"),
    "one long number": filled(b"9"),
    "long numbers": filled(b"9" * 4000 + b",", b"[", b"]"),
    "one long string": filled(b"x", b'"', b'"'),
    "escapes": filled(b"\\u0041", b'"', b'"'),
    "half characters": filled(b"\\ud800", b'"', b'"'),
    "backslashes": filled(b"\\\\", b'"', b'"'),
    "brackets in strings": filled(b'"[{",', b"[", b"]"),
    "keys": distinct('"#":0,', b"{", b"}"),
    "the same key": filled(b'"a":0,', b"{", b"}"),
    "objects with the same key": filled(b'{"a":0,"a":0},', b"[", b"]"),
    "a field of empty objects": filled(b"{},", b'{"evses":[', b"]}"),
    "a field of empty arrays": filled(b"[],", b'{"a":[', b"]}"),
}

MSGPACK: dict[str, Maker] = {
    **NOISE,
    "nested arrays": filled(b"\x91"),
    "a huge count": filled(b"\x80", b"\xdd\xff\xff\xff\xff"),
    "empty maps": arrays(b"\x80"),
    "empty arrays": arrays(b"\x90"),
    "empty arrays of four": arrays(b"\x94\xa0\xa0\xa0\xa0"),
    "small numbers": arrays(b"\1"),
}

MINIMAL_EVSE = text({"uid": "1", "status": "AVAILABLE", "connectors": [], "last_updated": "2026-11-22T10:00:00Z"})

OF_OBJECTS: dict[str, tuple[str, Maker]] = {
    "whole EVSEs": ("locations", swollen(objects()["locations"], "evses", text(evse()))),
    "minimal EVSEs": ("locations", swollen(objects()["locations"], "evses", MINIMAL_EVSE)),
    "EVSEs of nothing": ("locations", swollen(objects()["locations"], "evses", b"{}")),
    "EVSEs that are numbers": ("locations", swollen(objects()["locations"], "evses", b"1")),
    "unknown fields": ("locations", swollen(objects()["locations"], "x", b"0.1")),
    "unknown objects": ("locations", swollen(objects()["locations"], "x", b"{}")),
    "strange facilities": ("locations", swollen(objects()["locations"], "facilities", b'"X"')),
    "tariff elements": (
        "tariffs",
        swollen(objects()["tariffs"], "elements", text(objects()["tariffs"]["elements"][0])),
    ),
    "tariff elements of nothing": ("tariffs", swollen(objects()["tariffs"], "elements", b"{}")),
    "charging periods of nothing": ("sessions", swollen(objects()["sessions"], "charging_periods", b"{}")),
}

PERIOD = text(cdr()["charging_periods"][0])
SMALL_PERIOD = b'{"start_date_time":"2026-01-05T09:00:00Z","dimensions":[]}'
ITEM = text(sdr()["items"][0])
OF_RECORDS: dict[str, Maker] = {
    "periods": swollen(cdr(), "charging_periods", PERIOD),
    "small periods": swollen(cdr(), "charging_periods", SMALL_PERIOD),
    "dimensions": swollen({**cdr(), "x": 0}, "charging_periods", PERIOD.replace(b"ENERGY", b"RESERVATION_TIME")),
    "items": swollen(sdr(), "items", ITEM),
    "items of nothing": swollen(sdr(), "items", b"{}"),
    "many records": filled(text(sdr()) + b",", b"[", b"]"),
    "large records": lambda size: b"[" + b",".join([swollen(sdr(), "items", ITEM)(size // 5)] * 4) + b"]",
    "large records of faults": lambda size: b"[" + b",".join([swollen(sdr(), "items", b"{}")(size // 5)] * 4) + b"]",
}


# --- by target ----------------------------------------------------------------------------------------------------


def frames(type_: int, payload: bytes, first: int) -> Maker:
    """The same frame over and over, correctly numbered."""
    rule = RULES.get(type_)

    def make(size: int) -> bytes:
        number = max(1, size // (10 + len(payload)))
        lane = rule.lane if rule else 0
        return b"".join(pack_frame(type_, payload, at, lane=lane) for at in range(first, first + number))

    return make


def _established() -> dict[str, Maker]:
    ones = {FrameType.PING: [[0, 0]], FrameType.CALL: [[ID, 0, 0, b""]] * 512, FrameType.CREDIT: [[0, 0]]}
    made = {f"frames {type_.name}": frames(type_, encode(payload), 2) for type_, payload in ones.items()}
    bulk = {f"bulk of {size}": frames(FrameType.FEED_CHUNK, b"x" * size, 2) for size in (1, 48_000)}
    return {**NOISE, **made, **bulk, "unknown frames": frames(200, b"x" * 100, 2)}


def _bulk() -> dict[str, Maker]:
    """Payloads that inflate to as much as they may."""
    from tests.fuzz.wire_side import _squeezed

    def inflating(items: Maker, size: int) -> bytes:
        raw = items(min(size, MEGABYTE))
        return b"\0" + encode([1, 0, b"", len(raw), _squeezed(raw)])

    return {name: lambda size, items=items: inflating(items, size) for name, items in MSGPACK.items()}  # type: ignore[misc]  # the default binds each


def _feed_items() -> dict[str, Maker]:
    """Items of each feed that fill a chunk: many small ones, and few large ones."""
    of_feed = dict(feed_items_of())
    made: dict[str, Maker] = {}
    for number, item in of_feed.items():
        made[f"feed {number}, many"] = behind(bytes([number]), {"": arrays(encode(item))})[""]
    small = encode(["DEABC", "L", "E", "2.3.0", b'{"status":"X"}'])
    made["statuses of nothing"] = behind(b"\2", {"": arrays(small)})[""]
    for name, (feed, maker) in OF_OBJECTS.items():
        if feed == "locations":
            large = encode(["DEABC", "LOC1", "", "2.3.0", maker(250 * 1024)])
            made[f"large: {name}"] = behind(b"\1", {"": arrays(large)})[""]
    return {**behind(b"\1", MSGPACK), **made}


def _ledger_items() -> dict[str, Maker]:
    made: dict[str, Maker] = {}
    for name in ("periods", "small periods", "items", "items of nothing"):
        item = encode([1, "Cdr-1", ID, OF_RECORDS[name](250 * 1024), None, "2.3.0"])
        made[f"large: {name}"] = arrays(item)
    made["small"] = arrays(encode([1, "R", ID, b"{}"]))
    made["erased"] = arrays(encode([1, "R", None, None, bytes(32)]))
    return {**MSGPACK, **made}


def _dns() -> dict[str, Maker]:
    """As many records as are read, of names as long as there are: each points into the one name that is written out."""
    return {
        **NOISE,
        "long names": _dns_records(126, 159),
        "the longest names": _dns_records(14, 159),
        "the longest names, wide": _dns_records(7, 159, b"\x23" + b"a" * 0x23),
        "too many": _dns_records(126, 255),
        "texts": _dns_record(b"\2", 16, b"\0"),
        "options": _dns_record(b"\0", 41, b"\0\3\0\0"),
    }


def _dns_records(labels: int, records: int, label: bytes = b"\1a") -> Maker:
    def make(size: int) -> bytes:
        name = label * labels + b"\0\0\x0c\0\1"
        record = b"\xc0\x0c\0\x0c\0\1\0\0\0\x3c\0\2\xc0" + bytes([12 + len(label)])
        number = min(records, (size - 13 - len(name)) // len(record))
        return b"\0" + _dns_head(number) + name + record * number

    return make


def _dns_record(question: bytes, kind: int, unit: bytes) -> Maker:
    """One record that fills the size."""

    def make(size: int) -> bytes:
        length = min(size, 8 * 1024 + 1) - 40
        data = (unit * length)[: length // len(unit) * len(unit)]
        fields = kind.to_bytes(2, "big") + b"\0\1\0\0\0\0" + len(data).to_bytes(2, "big")
        return question + _dns_head(0)[:-2] + b"\0\1" + b"\1a\0\0\x0c\0\1" + b"\0" + fields + data

    return make


def _dns_head(answers: int) -> bytes:
    return b"\0\1\x81\x80\0\1" + answers.to_bytes(2, "big") + bytes(4)


def _toml() -> dict[str, Maker]:
    return {
        **NOISE,
        "comments": filled(b"#\n"),
        "keys": distinct("k# = 1\n"),
        "sections": distinct("[s#]\n"),
        "tables": filled(b"[[candidates]]\n"),
        "dotted": filled(b"a.", b"", b"a = 1\n"),
        "dotted keys": distinct("a.b.c.d.k# = 1\n"),
        "nested arrays": filled(b"[", b"a = "),
        "numbers": filled(b"1,", b"a = [", b"]\n"),
        "one string": filled(b"x", b'a = "', b'"\n'),
        "one text": filled(b"x\n", b'a = """', b'"""\n'),
        "parties": filled(b'"DE*ABC",', b"[endpoint]\nparties = [", b"]\n"),
    }


def _stream() -> dict[str, Maker]:
    messages = {
        "messages": b'{"op":""},',
        "authorizations": text({"op": "authorize", "body": json.loads(TARGETS["authorization"].seeds()[0])}) + b",",
        "puts of nothing": b'{"op":"put","feed":"tariffs","body":{}},',
        "authorizations of nothing": b'{"op":"authorize","body":{}},',
        "numbers": b"1,",
    }
    return {**JSON, **{name: filled(unit, b"[", b"]") for name, unit in messages.items()}}


def _batch() -> dict[str, Maker]:
    lines = {
        "objects": b"{}",
        "numbers": b"1",
        "locations": text(objects()["locations"]),
        "noise": b"\xff",
        "zeros": b"\0",
    }
    return {**JSON, **{f"lines of {name}": filled(line + b"\n") for name, line in lines.items()}}


def _authorizations() -> dict[str, Maker]:
    one = TARGETS["authorization"].seeds()[0]
    units = {"many": one, "many of nothing": b"{}", "many numbers": b"1", "many unknown": b'{"a":0}'}
    made = {name: filled(unit + b",", b"[", b"]") for name, unit in units.items()}
    made["one with much"] = filled(b"{},", one[:-1] + b',"x":[', b"]}")
    made["one with fractions"] = filled(b"0.1,", one[:-1] + b',"service":[', b"]}")
    made["a long uid"] = filled(b"x", b'{"credential":{"type":"RFID","uid":"', b'"}}')
    return {**JSON, **made}


def _pairing() -> dict[str, Maker]:
    full = framed(b"\x92\2" + bytes(MAX_DOCUMENT - 2))
    return {
        **behind(b"\0", {**NOISE, "documents": filled(full)}),
        **{f"joiner: {n}": m for n, m in behind(b"\1", NOISE).items()},
    }


def _objects() -> dict[str, Maker]:
    made: dict[str, Maker] = {}
    for name, (feed, maker) in OF_OBJECTS.items():
        made |= behind(bytes([FEEDS.index(feed)]), {name: maker})
    return {**behind(b"\0", JSON), **made}


def _ocpi_bodies() -> dict[str, Maker]:
    """A location with all that may be mended in it, and a CDR of many nulls."""
    return {
        "wrong times": filled(b'"2026-11-22 10:00:00",', b'\0{"opening_times":{"exceptional_openings":[', b"]}}"),
        **behind(b"\0", {"EVSEs": swollen(objects()["locations"], "evses", text(evse()))}),
        "nulls": distinct('"k#":null,', b"\4{", b"}"),
        "a wrong time and numbers": filled(b"1e99,", b'\0{"last_updated":"2026-11-22 10:00:00","x":[', b"]}"),
    }


def _ocpi_headers() -> dict[str, Maker]:
    return {"header": filled(b"YQ==", b"\3Token "), "path": filled(b"/%41", b"\3")}


def _call_bodies() -> dict[str, Maker]:
    made: dict[str, Maker] = {}
    for number, kind in enumerate(CALL_BODIES):
        made |= {f"{kind.__name__}: {name}": maker for name, maker in behind(bytes([number]), MSGPACK).items()}
    return made


def _lines() -> dict[str, Maker]:
    return {f"{name} behind": filled(unit, b"roamd-invite-1.") for name, unit in (("letters", b"A"), ("words", b"Aa "))}


def _card_filters() -> dict[str, Maker]:
    """A segment as large as it may be, with all cards in the first bucket or the last, and texts that are none."""
    head = b'{"country_code":"DE","party_id":"ABC","id":"0-0","key":"' + b"0" * 32 + b'",'
    return {
        **JSON,
        "crowded first": lambda size: head + _crowded(min(65_535, size * 3 // 5), first=True),
        "crowded last": lambda size: head + _crowded(min(65_535, size * 3 // 5), first=False),
        "long text": filled(b"AAAA", head + b'"cards":65535,"filter":"', b'"}'),
    }


def _crowded(cards: int, *, first: bool) -> bytes:
    ones, zeros = "1" * cards, "0" * cards
    bits = ones + zeros if first else zeros[1:] + ones + "0"
    bits += "0" * (-len(bits) % 8)
    packed = int(bits, 2).to_bytes(len(bits) // 8, "big") + bytes(cards)
    return b'"cards":%d,"filter":"%s"}' % (cards, b64encode(packed))


def _patches() -> dict[str, Maker]:
    changes = {"changes": distinct('"k#":0,', b"{", b"}"), "removals": distinct('"k#":null,', b"{", b"}")}
    of_evse = {f"EVSE: {name}": maker for name, maker in behind(b"\1", JSON | changes).items()}
    return {**behind(b"\0", JSON | changes), **of_evse}


def _ledger_entries() -> dict[str, Maker]:
    """Words, a statement with much in it, and proposals; the kinds by their place in `ledger_side.KINDS`."""
    statement = {"format": "", "month": "2026-10", "between": [], "records": 0, "root": "0" * 64, "sections": []}
    section = {"author": "", "parties": [], "currency": "", "kinds": [], "before_taxes": "", "after_taxes": ""}
    sections, between = swollen(statement, "sections", text(section)), swollen(statement, "between", b'"A"')
    made = behind(b"\x0d", {"a statement of sections": sections, "a statement between many": between})
    made["evidence without end"] = filled(b'"x",', b'\1{"party":"DEABC","evidence":[', b"]}")
    made["a long document"] = filled(b"\\\\", b'\x0b{"document":"', b'","algorithm":"","signature":""}')
    return {**behind(b"\1", JSON), **made}


def _agreements() -> dict[str, Maker]:
    document = json.loads(TARGETS["agreement-document"].seeds()[0])
    sides = document.pop("sides")
    made = {"currencies": swollen({**document, "sides": sides}, "currencies", b'"EUR"')}
    for name in ("parties", "evse_prefixes", "feeds"):
        begin, end = text({**document, "sides": [{**sides[0], name: "HERE"}, sides[1]]}).split(b'"HERE"')
        made[name] = distinct('"DE*#",', begin + b"[", b"]" + end)
    return {**JSON, **made}


def _reconcile() -> dict[str, Maker]:
    line = encode(["DEABC", "C", ID, 1, bytes(32), "DELIVERED"])
    group = encode([True, "CDR", "2026-10-01", 1, bytes(32)])
    shapes = {f"{kind}: {name}": m for kind in range(3) for name, m in behind(bytes([kind]), MSGPACK).items()}
    return {
        **shapes,
        "lines": lambda size: b"\2\x92\xdc\0\xc8" + line * 200 + b"\xc2",
        "groups": lambda size: b"\1\x93\x90\xdc\3\x20" + group * 800 + b"\xc2",
    }


def _grants() -> dict[str, Maker]:
    places = swollen(objects()["grants"], "places", b'{"country_code":"DE","party_id":"ABC"}')
    return {**JSON, "places": places, "seals": filled(b',"algorithm":"a","signature":"', text(objects()["grants"]))}


def _accounts() -> dict[str, Maker]:
    """Records, and tariffs with as many changes of price as there is room for."""
    component = [{"type": "ENERGY", "price": 0.1, "step_size": 1}]
    made = {}
    for name, limits in {
        "hours": '{"start_time":"@:#","end_time":"@:#"}',
        "energy": '{"min_kwh":0.#}',
        "time": '{"min_duration":#}',
        "days": '{"day_of_week":["MONDAY"],"start_time":"@:#"}',
    }.items():
        for hours in (30, 40 * 24):
            made[f"{name}, {hours} h"] = _tariff(limits, component, hours)
    whole = {name: maker for name, maker in OF_RECORDS.items() if "records" not in name}
    return {**JSON, **whole, **made}


def _tariff(limits: str, component: list[dict[str, object]], hours: int) -> Maker:
    from tests.fuzz.peer_side import cdr_with

    def make(size: int) -> bytes:
        whole = text(cdr_with([], hours))
        begin, end = whole.split(b'"elements":[]')
        elements, room = [], size - len(whole) - 20
        for number in count():
            restrictions = limits.replace("@", f"{number // 60 % 24:02}").replace("#", f"{number % 60:02}")
            if not limits.startswith('{"start') and not limits.startswith('{"day'):
                restrictions = limits.replace("#", str(number + 1))
            elements.append(text({"price_components": component, "restrictions": json.loads(restrictions)}))
            room -= len(elements[-1]) + 1
            if room < 0:
                break
        return begin + b'"elements":[' + b",".join(elements[:-1]) + b"]" + end

    return make


WORST: dict[str, dict[str, Maker]] = {
    "connection": {**NOISE, "frames": frames(FrameType.GOODBYE, b"", 0), "unknown frames": frames(200, b"", 0)},
    "established": _established(),
    "message": {
        f"{FrameType(type_).name} {n}": m
        for type_ in TYPES
        for n, m in behind(bytes([TYPES.index(type_)]), MSGPACK).items()
    },
    "call-body": {
        f"{kind} {n}": m for kind in range(len(CALL_BODIES)) for n, m in behind(bytes([kind]), MSGPACK).items()
    },
    "bulk-payload": {**behind(b"\0", MSGPACK), **_bulk()},
    "feed-items": _feed_items(),
    "ledger-items": _ledger_items(),
    "ledger-entry": _ledger_entries(),
    "agreement-document": _agreements(),
    "reconcile": _reconcile(),
    "grant": _grants(),
    "keyed-card": {**JSON, "keys": filled(b'"keyed":"', b"{")},
    "account": _accounts(),
    "envelope": {
        **behind(b"\0", NOISE),
        **{f"letter: {n}": m for n, m in behind(b"\1", NOISE).items()},
        **{f"pairs: {n}": m for n, m in behind(b"\2", MSGPACK).items()},
    },
    "feed-cursor": NOISE,
    "card-filter": _card_filters(),
    "ocpi-mending": {**behind(b"\0", JSON), **_ocpi_bodies()},
    "ocpi-request": {**behind(b"\0", JSON), **behind(b"\1", JSON), **behind(b"\2", JSON), **_ocpi_headers()},
    "ocpi-answer": behind(b"\0", JSON),
    "descriptor": MSGPACK,
    "signed-descriptor": MSGPACK,
    "succession": MSGPACK,
    "signed-statement": {**NOISE, "numbers": filled(b"9", b"roamd successor 1 ")},
    "invitation": {
        **NOISE,
        "letters behind": filled(b"A", b"roamd-invite-1."),
        "words behind": filled(b"Aa ", b"roamd-invite-1."),
    },
    "pairing": _pairing(),
    "certificate": {**NOISE, "DER": filled(b"\x30\x80")},
    "object": _objects(),
    "patch": _patches(),
    "record": {**JSON, **OF_RECORDS},
    "authorization": _authorizations(),
    "small-request": behind(b"\0", JSON),
    "batch": _batch(),
    "stream-frame": _stream(),
    "backend-answer": {**JSON, "much info": filled(b"{},", b'{"decision":"ALLOWED","info":[', b"]}")},
    "cursor": NOISE | {"digits": filled(b"9"), "slashes": filled(b"/"), "percents": filled(b"%41")},
    "configuration": _toml(),
    "mdns": {**NOISE, "pairs": filled(b"\3a=b"), "names": filled(b"\1a"), "empty": filled(b"\0")},
    "dns-answer": _dns(),
}

LIMITS: dict[str, int] = {
    "message": 64 * 1024,
    "call-body": 56 * 1024,
    "bulk-payload": 384 * 1024,
    "ledger-entry": 256 * 1024,
    "agreement-document": 16 * 1024,
    "reconcile": 56 * 1024,
    "grant": 256 * 1024,
    "keyed-card": 256 * 1024,
    "account": 256 * 1024,
    "envelope": 56 * 1024,
    "feed-cursor": 64,
    "descriptor": 12 * 1024,
    "succession": 8 * 1024,
    "signed-statement": 1024,
    "signed-descriptor": 12 * 1024 - 120,
    "invitation": 600,
    "certificate": 4096,
    "dns-answer": 8 * 1024 + 1,
    "mdns": 8966,
    "object": 256 * 1024,
    "patch": 128 * 1024,
    "record": 256 * 1024,
    "ocpi-mending": 256 * 1024,
    "ocpi-request": 8000,
    "small-request": 16 * 1024,
    "backend-answer": 64 * 1024,
    "configuration": 64 * 1024,
}
"""Where a size is refused as such: the dearest input may be one that is just below. All are tried at a megabyte too."""

CUT_BEFORE = ("message", "call-body", "ledger-entry", "reconcile", "envelope", "feed-cursor", "mdns")
"""The frame's header was judged before: these never see more than their limit."""


def worst(target: str) -> Iterator[tuple[str, Maker, int]]:
    """(name, maker, size) of every input for a target."""
    for name, maker in WORST[target].items():
        for size in sorted({LIMITS.get(target, MEGABYTE), LIMITS[target] if target in CUT_BEFORE else MEGABYTE}):
            yield f"{name}, {size // 1024} KiB", maker, size
