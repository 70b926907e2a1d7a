"""The table of keys: section, key, kind, default and the reason that the operator reads beside it.

A section is a frozen dataclass and a key is a field of it, so that the table and the typed result cannot disagree.
`load` reads by this table, `template` renders it, and `restart_needed` tells what a reload cannot change.
"""

import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, get_type_hints

from roamd.config import values
from roamd.config.values import Address, Kind, UnixAddress, Wrong
from roamd.model.ids.party import parse_party
from roamd.model.roles import ROLES

_DOMAIN: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")

REQUIRED: Final = object()
"""The default of a key that has none."""


@dataclass(frozen=True, slots=True)
class Key:
    """What is known of one key. `reloadable`: `roamd reload` puts a new value to use without a restart."""

    kind: Kind
    default: Any
    reason: str
    example: Any = None
    reloadable: bool = False
    secret: bool = False


def _key(kind: Kind, default: Any, reason: str, **more: Any) -> Any:
    return field(metadata={"key": Key(kind, default, reason, **more)})


def _party(text: str) -> str:
    try:
        return parse_party(text).canonical
    except ValueError as error:
        raise Wrong(f"{values.shown(text)} is {error}") from None


def _role(text: str) -> str:
    return str(values.choice(*ROLES).take(text.lower()))


def _word(text: str) -> str:
    return str(values.text(100, required=True).take(text))


def _domain(text: str) -> str:
    name = text.lower().removesuffix(".")
    if not name.isascii() or not _DOMAIN.fullmatch(name) or len(name) > 240:
        raise Wrong(f"{values.shown(text)} is no domain; write a name such as roam.example, without _roamd._tcp")
    return name


def _endpoint_id(value: object) -> str:
    read = str(values.text(80).take(value)).replace("-", "").replace(" ", "").upper()
    if read and (len(read) != 56 or not read.isascii() or not read.isalnum()):
        raise Wrong("it is no endpoint id; write its 56 letters and digits, or leave it out")
    return read


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Who we are."""

    parties: tuple[str, ...] = _key(
        values.many(_party, at_least=1, example='["DE*ABC"]'),
        REQUIRED,
        "The parties of this company as its contracts and stations name them: country and three characters. "
        "Objects and records of any other party are refused.",
        example=["DE*ABC"],
    )
    roles: tuple[str, ...] = _key(
        values.many(_role, at_least=1, example='["cso"]'),
        REQUIRED,
        '"cso" runs stations, "csp" has contracts with drivers; a company may be both. "clearing-house" relays between '
        "partners of its own that cannot reach each other; it cannot read what it carries.",
        example=["cso"],
    )
    name: str = _key(
        values.text(100, required=True),
        REQUIRED,
        "How partners see the company in their lists.",
        example="ABC Charging",
    )
    identity_key: Path = _key(
        values.PATH,
        "identity.key",
        "The key that is this company to its partners. Whoever has it is the company; when it is lost, every partner "
        "must pair again. Keep a copy offline.",
    )
    identity_crt: Path = _key(values.PATH, "identity.crt", "The certificate of that key. It holds nothing secret.")
    identity_succession: Path = _key(
        values.PATH,
        "identity.succession",
        "How that key follows from the company's first one; `roamd identity rotate` makes it. It holds nothing secret, "
        "and without it partners take a later key for a stranger's.",
    )
    state: Path = _key(
        values.PATH, "state", "The directory of the database and what else the daemon writes; on a local disk."
    )


@dataclass(frozen=True, slots=True)
class LinkSection:
    """How partners' daemons reach us and we them."""

    listen: Address = _key(
        values.LISTEN, "0.0.0.0:63119", "Where links are accepted. 63119 is what partners' firewalls expect."
    )
    advertise: Address | None = _key(
        values.ADVERTISE,
        "",
        "The address that partners dial, as seen from outside. Empty: this endpoint only dials and is never dialled "
        "(behind NAT).",
        example="roamd.abc.example:63119",
    )
    heartbeat_s: float = _key(
        values.number(1, 3600, whole=False),
        30.0,
        "After so many seconds of silence the partner is asked for a sign of life; three missed end the link. "
        "Firewalls forget silent connections, often after 60 s.",
        reloadable=True,
    )
    handshakes: int = _key(
        values.number(1, 1024),
        16,
        "How many partners may be dialled at a time; each handshake costs the processor 2 ms.",
    )
    backoff_s: float = _key(
        values.number(1, 3600, whole=False),
        300.0,
        "The longest pause between two tries to reach a partner.",
        reloadable=True,
    )


@dataclass(frozen=True, slots=True)
class PairingSection:
    """Where invitations are taken up; open only while there is one."""

    listen: Address = _key(
        values.LISTEN_OPTIONAL,
        "",
        "Where pairing is accepted. Empty: port 63120 on the host of link.listen. It has a port of its own, because it "
        "must let in whom nobody knows yet.",
        example="0.0.0.0:63120",
    )
    advertise: Address | None = _key(
        values.ADVERTISE,
        "",
        "What invitations carry. Empty: the host of link.advertise with the port of pairing.listen.",
        example="roamd.abc.example:63120",
    )


@dataclass(frozen=True, slots=True)
class ApiSection:
    """The local API: for the company's own systems and for the command line."""

    listen: Address | UnixAddress = _key(
        values.API,
        "127.0.0.1:8119",
        'Where it is served, without encryption: a local address, or a socket as "unix:/run/roamd/api.sock", which '
        "lets the system's groups decide who comes in.",
    )
    key_file: Path = _key(values.PATH, "api.key", "The file with the key that every request must carry.")
    hosts: tuple[str, ...] = _key(
        values.many(_word, example='["roamd.internal"]'),
        [],
        "Host names beside the listening address that requests may be for; all others are refused, so that a web page "
        "in somebody's browser cannot reach the API.",
        reloadable=True,
    )


@dataclass(frozen=True, slots=True)
class BackendSection:
    """The company's own system, which is asked about its drivers."""

    url: str = _key(
        values.URL,
        "",
        "Questions are posted below this address (/authorize, /command). Empty: nobody is asked, unless a backend "
        "connects to the stream.",
        example="http://127.0.0.1:9000/roamd",
        reloadable=True,
    )
    key: str = _key(
        values.text(1000),
        "",
        "Sent as bearer token with every question, so that the backend knows who asks.",
        example="a long random text",
        reloadable=True,
        secret=True,
    )
    timeout_ms: int = _key(
        values.number(50, 30_000),
        2000,
        "The longest that a question waits for its answer, if its own deadline is not shorter.",
        reloadable=True,
    )
    connections: int = _key(values.number(1, 1024), 32, "How many questions may be under way over HTTP at a time.")


@dataclass(frozen=True, slots=True)
class Webhook:
    """A place that events are pushed to, signed by the rules of Standard Webhooks (repeat the table for more)."""

    url: str = _key(values.REQUIRED_URL, REQUIRED, "Where events are posted.", example="https://erp.abc.example/roamd")
    secret: str = _key(
        values.text(200, required=True),
        REQUIRED,
        'The signing secret, "whsec_" and base64, which the receiver knows too.',
        example="whsec_(base64 of 24 to 64 random bytes)",
        secret=True,
    )
    events: tuple[str, ...] = _key(
        values.many(_word, example='["record.received"]'), [], "The types that are pushed. Empty: all."
    )
    name: str = _key(
        values.text(100), "", "What its position is stored under, so that the URL may change. Empty: the URL."
    )
    private: bool = _key(
        values.BOOLEAN, False, "Whether the URL may lead to a private or local address of this machine's network."
    )

    @property
    def label(self) -> str:
        """What its position is stored under."""
        return self.name or self.url


@dataclass(frozen=True, slots=True)
class OcpiBackend:
    """A system of the company's own that speaks OCPI; roamd serves it under /ocpi/versions (repeat for more)."""

    name: str = _key(values.text(40, required=True), REQUIRED, "How logs call it.", example="csms")
    token: str = _key(
        values.text(64, required=True),
        REQUIRED,
        "The first token, which its operator enters there together with the address of /ocpi/versions. A new one lets "
        "a backend register anew whose tokens are lost.",
        example="a long random text",
        secret=True,
    )
    url: str = _key(
        values.URL,
        "",
        "The face's own address as this backend reaches it, without /versions. Empty: as its requests name the host.",
        example="https://roamd.abc.example/ocpi",
    )
    base_url: str = _key(
        values.URL,
        "",
        "Put in the place of scheme and host of every address that the backend names, where those are wrong.",
    )
    handshake: bool = _key(
        values.BOOLEAN, True, "Whether it registers. false: the first token opens everything, for one that only pushes."
    )
    private: bool = _key(
        values.BOOLEAN, True, "Whether its addresses may be private or local ones of this machine's network."
    )
    strict: bool = _key(
        values.BOOLEAN,
        False,
        "Refuse objects that are not as OCPI's text has them. false: what is plainly meant is put right where it comes "
        "in (times, numbers and booleans as texts, enumerations in lower case, a few fields that are often missing).",
    )
    nulls: str = _key(
        values.choice("keep", "add", "drop"),
        "keep",
        'Optional fields without a value, as they are sent to this backend: "keep" as their owner wrote them, "add" '
        'null for each that is absent, "drop" each that is null.',
    )
    uid_byte_order: str = _key(
        values.choice("as-is", "reversed"),
        "as-is",
        '"reversed" where its readers read the UIDs of RFID cards from the other end: they are turned round on their '
        "way in and out. This is never guessed, because a UID that is turned round can be another customer's card.",
    )


@dataclass(frozen=True, slots=True)
class DiscoverySection:
    """Who else is out there; being found is never being trusted."""

    mdns: bool = _key(values.BOOLEAN, True, "Look for endpoints in the local network, and be found there.")
    domains: tuple[str, ...] = _key(
        values.many(_domain, example='["roam.example"]'),
        [],
        "Domains in whose DNS zone endpoints are looked for, below _roamd._tcp. A partner that moves its endpoint "
        "changes its zone, and is found again.",
        example=["roam.example"],
    )
    introduce: bool = _key(
        values.BOOLEAN,
        False,
        "Let partners pass our signed description on to their other partners, who then know that we are theirs. false: "
        "with whom a company works together is its own business.",
    )


@dataclass(frozen=True, slots=True)
class RelaySection:
    """What a clearing house (endpoint.roles) relays for each of its partners."""

    envelopes_per_s: int = _key(
        values.number(1, 100_000),
        500,
        "Envelopes that one partner may send in a second before it is slowed down. A busy link takes some hundreds.",
    )
    kib_per_s: int = _key(
        values.number(16, 1_000_000), 4096, "KiB that one partner may send in a second before it is slowed down."
    )


@dataclass(frozen=True, slots=True)
class StaticCandidate:
    """An endpoint whose address is known (repeat the table for more)."""

    address: str = _key(
        values.text(260, required=True), REQUIRED, "Where it accepts links.", example="roamd.xyz.example:63119"
    )
    endpoint_id: str = _key(Kind(_endpoint_id), "", "Its endpoint id, where known.")


@dataclass(frozen=True, slots=True)
class AuthorizationSection:
    """Whether a driver may charge."""

    deadline_ms: int = _key(
        values.number(100, 30_000),
        3000,
        "How long a request may take that names no deadline; drivers give up after a few seconds.",
        reloadable=True,
    )
    without_answer: str = _key(
        values.choice("whitelist", "deny"),
        "whitelist",
        'What decides when nobody answers in time: "whitelist" lets in whom the partner has listed or granted '
        'it for that case, "deny" nobody.',
        reloadable=True,
    )
    patience_ms: int = _key(
        values.number(50, 30_000),
        1000,
        "How long a partner may take before its list or grant may let the driver in instead; at most half of the "
        "request's deadline. As long as the deadline or longer: the driver always waits that half.",
        reloadable=True,
    )
    stagger_ms: int = _key(
        values.number(10, 30_000),
        100,
        "How long the likeliest partners have before the others are asked, too, where nobody knows whose card it is.",
        reloadable=True,
    )
    unknown_cards_per_minute: int = _key(
        values.number(0, 100_000),
        60,
        "How many cards that are on no list a partner may ask about in a minute, if its agreement says nothing else; "
        "it keeps partners from trying numbers.",
        reloadable=True,
    )
    card_filter: bool = _key(
        values.BOOLEAN,
        False,
        "For those with drivers: tell partners by a filter which cards may be yours, so that they show you those only. "
        "Switch it on when every card is published as user credential: about others you are no longer asked.",
    )
    when_no_filter_matches: str = _key(
        values.choice("ask-unfiltered", "ask-everyone"),
        "ask-unfiltered",
        'Who is asked about a card that no partner\'s filter knows: "ask-unfiltered" those without a filter, '
        '"ask-everyone" after them also those whose filter says that it is not theirs.',
    )


@dataclass(frozen=True, slots=True)
class LogSection:
    """Lines on stderr, for journald."""

    level: str = _key(
        values.choice("debug", "info", "warning", "error"),
        "info",
        "The least level that is written.",
        reloadable=True,
    )


@dataclass(frozen=True, slots=True)
class StorageSection:
    """The database in endpoint.state."""

    ballast_mib: int = _key(
        values.number(0, 4096),
        16,
        "Space held back for a full disk: it is given up so that receipts and deletions still pass while new records "
        "are refused.",
    )


@dataclass(frozen=True, slots=True)
class RetentionSection:
    """How long things are kept."""

    events_h: int = _key(
        values.number(1, 8760), 24, "Hours that an acknowledged event can still be read.", reloadable=True
    )
    idempotency_h: int = _key(
        values.number(1, 720), 48, "Hours that an Idempotency-Key gets its stored answer.", reloadable=True
    )
    tombstones_days: int = _key(
        values.number(1, 3650),
        90,
        "Days that a withdrawn object is remembered; partners that were away for longer get everything anew.",
        reloadable=True,
    )
    decisions_days: int = _key(
        values.number(1, 3650), 90, "Days that authorization decisions are kept.", reloadable=True
    )
    commands_days: int = _key(
        values.number(31, 3650),
        90,
        "Days that a command is kept after its last change; partners rely on a month.",
        reloadable=True,
    )
    records_years: int = _key(
        values.number(0, 100),
        10,
        "Years for which the law wants service records kept. Erasing one earlier must be forced; after them the text "
        "is erased by itself, and the ledger stands without it. 0: no law is known, nothing is erased by itself.",
        reloadable=True,
    )


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration, checked; all paths are absolute. `path` is the file that it was read from."""

    endpoint: Endpoint
    link: LinkSection
    pairing: PairingSection
    api: ApiSection
    backend: BackendSection
    webhooks: tuple[Webhook, ...]
    ocpi: tuple[OcpiBackend, ...]
    discovery: DiscoverySection
    relay: RelaySection
    candidates: tuple[StaticCandidate, ...]
    authorization: AuthorizationSection
    log: LogSection
    storage: StorageSection
    retention: RetentionSection
    path: Path

    @property
    def directory(self) -> Path:
        """Where relative paths start: the file's directory."""
        return self.path.parent

    @property
    def database(self) -> Path:
        """The store's file."""
        return self.endpoint.state / "roamd.db"


TABLES: Final = {"webhooks": Webhook, "ocpi": OcpiBackend, "candidates": StaticCandidate}
"""Sections that are lists of tables."""

SECTIONS: Final[dict[str, type]] = {
    name: TABLES.get(name, kind) for name, kind in get_type_hints(Config).items() if name != "path"
}
"""Every section by name, in the order in which the file shows them."""


def keys_of(section: type) -> dict[str, Key]:
    """The keys of a section's class."""
    return {one.name: one.metadata["key"] for one in fields(section)}


def restart_needed(old: Config, new: Config) -> tuple[str, ...]:
    """The keys that differ and only take effect after a restart, `section.key`; a list of tables by its name."""
    tables = tuple(name for name in TABLES if getattr(old, name) != getattr(new, name))
    return tables + tuple(
        f"{section}.{name}"
        for section, kind in SECTIONS.items()
        if section not in TABLES
        for name, key in keys_of(kind).items()
        if not key.reloadable and getattr(getattr(old, section), name) != getattr(getattr(new, section), name)
    )
