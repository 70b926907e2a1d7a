"""The command line's words. Each command names the function that runs it as text, so that nothing is imported here."""

import argparse
from typing import Final, TypeAlias

from roamd import __version__

_Parsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - it has no public name

EPILOG: Final = """\
The configuration is named by -c or ROAMD_CONFIG.
exit codes: 0 ok, 1 failed, 2 usage, 69 daemon not reachable, 75 try again, 78 configuration"""


def build_parser() -> argparse.ArgumentParser:
    """The whole command line; `options.run` is "module:function" below roamd.cli."""
    parser = argparse.ArgumentParser(
        prog="roamd",
        description="A roaming endpoint for electric-car charging.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"roamd {__version__}")
    _common(parser)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _setting_up(commands)
    _partners(commands)
    _agreements(commands)
    _records(commands)
    _subjects(commands)
    _operating(commands)
    return parser


def _common(parser: argparse.ArgumentParser) -> None:
    # SUPPRESS, so that a subcommand's default does not undo what stood before it.
    parser.add_argument(
        "-c", "--config", metavar="FILE", default=argparse.SUPPRESS, help="roamd.toml, or its directory"
    )
    parser.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")


def _command(commands: _Parsers, name: str, run: str, text: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(run=run)
    _common(parser)
    return parser


def _words(parser: argparse.ArgumentParser, *, required: bool = False) -> _Parsers:
    return parser.add_subparsers(metavar="ACTION", required=required)


# --- setting up -------------------------------------------------------------------------------------------------


def _setting_up(commands: _Parsers) -> None:
    _init(commands)
    run = _command(commands, "run", "local:run", "run the daemon in the foreground")
    check = _command(commands, "check", "check:check", "check the configuration and the files that it names")
    for parser in (run, check):
        parser.add_argument(
            "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="set a key for this time only"
        )
    demo = commands.add_parser("demo", help="two companies roam before your eyes", add_help=False, prefix_chars="\0")
    demo.add_argument("arguments", nargs="*")
    demo.set_defaults(run="local:demo")


def _init(commands: _Parsers) -> None:
    init = commands.add_parser("init", help="make a directory that runs: configuration, identity, keys, state")
    init.set_defaults(run="init:init")
    init.add_argument("directory", metavar="DIR", help="a directory that is empty or not there yet")
    init.add_argument(
        "--party", action="append", required=True, metavar='"DE*ABC"', help="an own party; may be repeated"
    )
    init.add_argument(
        "--role", action="append", required=True, metavar="cso|csp|clearing-house", help="may be repeated"
    )
    init.add_argument("--name", required=True, help="how partners see the company")
    init.add_argument("--listen", metavar="HOST:PORT", help="where links are accepted (0.0.0.0:63119)")
    init.add_argument("--advertise", metavar="HOST:PORT", help="where partners reach it from outside")
    init.add_argument("--pairing", metavar="HOST:PORT", help="where pairing is accepted (host of --listen, port 63120)")
    init.add_argument("--advertise-pairing", metavar="HOST:PORT", help="what invitations carry (host of --advertise)")
    init.add_argument("--api", metavar="HOST:PORT|unix:PATH", help="where the local API is served (127.0.0.1:8119)")
    init.add_argument("--backend", metavar="URL", help="the company's own system, which is asked about its drivers")
    init.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")


# --- partners ---------------------------------------------------------------------------------------------------


def _partners(commands: _Parsers) -> None:
    peers = _command(commands, "peers", "peers:listing", "the paired partners")
    actions = _words(peers)
    for name, run, text in (
        ("show", "peers:show_one", "everything known of a partner"),
        ("confirm", "peers:act", "confirm a pairing after comparing the words"),
        ("suspend", "peers:act", "close the link and keep it closed"),
        ("resume", "peers:act", "end a suspension"),
        ("remove", "peers:act", "end the relation"),
        ("retry", "peers:act", "dial now"),
    ):
        action = _command(actions, name, run, text)
        action.set_defaults(action=name, park=False)
        action.add_argument("peer")
        if name == "remove":
            action.add_argument("--park", action="store_true", help="set records aside that are still queued")
    added = _command(actions, "add-ocpi", "peers:add_ocpi", "register at a partner without roamd, by plain OCPI")
    added.add_argument("url", metavar="URL", help="its versions address")
    added.add_argument("token", metavar="TOKEN", help="the token that it gave; - reads it from stdin")
    added.add_argument("--our-url", required=True, metavar="URL", help="our OCPI face as it reaches it: .../ocpi")
    added.add_argument("--label", help="how it is called here; made of its name otherwise")
    added.add_argument("--private", action="store_true", help="allow private addresses, and such without TLS")
    fields = _command(actions, "fields", "peers:fields", "say which fields of what is published a partner is not sent")
    fields.add_argument("peer")
    fields.add_argument("feed", help="locations, tariffs, sessions or user-credentials")
    fields.add_argument("field", nargs="*", help="optional fields, in place of those named before; none: send all")
    routes = _command(actions, "routes", "peers:routes", "show or say by which ways a partner is reached")
    routes.add_argument("peer")
    for function, what in (("calls", "authorizations, commands"), ("ledger", "records"), ("feeds", "what we follow")):
        routes.add_argument(
            f"--{function}",
            metavar="ROUTES",
            help=f"{what}: direct, or clearing houses, the best first: direct,hub",
        )
    keyed = _command(
        actions, "keyed", "peers:keyed", "send a partner hashes in place of the numbers of our credentials"
    )
    keyed.add_argument("peer")
    keyed.add_argument("keyed", choices=("on", "off"))
    pseudonyms = _command(
        actions,
        "pseudonyms",
        "peers:pseudonyms",
        "tell a partner our contracts by names that only it knows; default off",
    )
    pseudonyms.add_argument("peer")
    pseudonyms.add_argument("pseudonyms", choices=("on", "off"))
    introduce = _command(
        actions, "introduce", "peers:introduce", "let a partner and others with this know of each other; default off"
    )
    introduce.add_argument("peer")
    introduce.add_argument("introduce", choices=("on", "off"))
    _command(commands, "candidates", "peers:candidates", "endpoints that are seen, none of them trusted")
    invite = _command(commands, "invite", "peers:invite", "print an invitation: one line for one partner")
    invite.add_argument("--auto", action="store_true", help="who has the line needs no confirmation")
    invite.add_argument("--via", metavar="PEER", help="a clearing house that the partner is linked with, too")
    invite.add_argument("--hours", type=float, default=24.0, metavar="N", help="how long it is good (24)")
    pair = _command(commands, "pair", "peers:pair", "take up a partner's invitation")
    pair.add_argument("line", metavar="LINE", help="the line, or - to read it from stdin")
    pair.add_argument("--label", help="the partner's name in lists and logs, [a-z0-9-]")


# --- agreements -------------------------------------------------------------------------------------------------


def _agreements(commands: _Parsers) -> None:
    agreement = commands.add_parser("agreement", help="what a partner and we have signed: propose, compare, accept")
    actions = _words(agreement, required=True)
    for name, run, text in (
        ("show", "agreement:show_one", "what rules today, clause by clause, and what is proposed"),
        ("history", "agreement:history", "every document that either side proposed"),
        ("propose", "agreement:propose", "propose what rules today, with changes"),
        ("accept", "agreement:answer", "sign what the partner proposes"),
        ("decline", "agreement:answer", "decline what the partner proposes"),
    ):
        action = _command(actions, name, run, text)
        action.set_defaults(action=name)
        action.add_argument("peer")
        if name in ("accept", "decline"):
            action.add_argument("number", type=int, metavar="NUMBER")
        if name == "show":
            action.add_argument("number", type=int, nargs="?", metavar="NUMBER", help="one document, and its proof")
        if name == "decline":
            action.add_argument("--reason", default="", help="a sentence for the partner")
        if name == "propose":
            _proposal(action)


def _proposal(propose: argparse.ArgumentParser) -> None:
    propose.add_argument(
        "--set", dest="clause", action="append", default=[], metavar="CLAUSE=VALUE",
        help="such as dispute_days=45; may be repeated",
    )  # fmt: skip
    propose.add_argument(
        "--add", action="append", default=[], metavar="CLAUSE=NAMES", help="such as us.parties=DE*XYZ; may be repeated"
    )
    propose.add_argument(
        "--remove", action="append", default=[], metavar="CLAUSE=NAMES", help="such as them.services=reserve"
    )
    propose.add_argument("--file", metavar="FILE", help="clauses as `agreement show --json` prints them, - for stdin")
    propose.add_argument(
        "--base", choices=("preset", "agreement"),
        help="what it begins with: all that the roles are for (until something is signed), or what is in force",
    )  # fmt: skip
    propose.add_argument("--check", action="store_true", help="only say what it would change, or what is wrong")


# --- records ----------------------------------------------------------------------------------------------------


def _records(commands: _Parsers) -> None:
    records = _command(commands, "records", "records:listing", "service records, handed in and received")
    records.add_argument("--state", help="QUEUED, DELIVERED, ACCEPTED, DISPUTED, CREDITED, FINAL or PARKED")
    records.add_argument("--peer", help="only with this partner")
    records.add_argument("--after", help="the cursor that the page before ended with")
    records.add_argument("--limit", type=int, default=100, help="at most so many (100)")
    actions = _words(records)
    for name, run, text in (
        ("show", "records:show_one", "one record with its evidence's outline"),
        ("retry", "records:act", "try a parked record again"),
        ("reroute", "records:act", "try a parked record with another partner"),
        ("drop", "records:act", "give a parked record up"),
    ):
        action = _command(actions, name, run, text)
        action.set_defaults(action=name, to=None)
        action.add_argument("record")
        if name == "reroute":
            action.add_argument("to", metavar="PEER")
    _lifecycle(actions)
    _ledger(commands)
    _clerk(commands)
    queue = _command(commands, "queue", "records:queue", "what waits, by partner")
    _command(_words(queue), "shape", "records:shape", "ages and kinds of what waits")


def _clerk(commands: _Parsers) -> None:
    reconcile = _command(
        commands, "reconcile", "statement:reconcile", "compare records with a partner; what either lost comes back"
    )
    reconcile.add_argument("peer")
    statement = _command(commands, "statement", "statement:statement", "what two companies owe each other for a month")
    statement.add_argument("peer")
    statement.add_argument("month", nargs="?", metavar="MONTH", help="as in 2026-10; without one: the months there are")
    statement.add_argument("--sign", action="store_true", help="sign it as it is shown")
    statement.add_argument("--csv", metavar="FILE", help="write the list of records to a new file")
    statement.add_argument("--pdf", metavar="FILE", help="write the statement and the list to a new file")


def _lifecycle(actions: _Parsers) -> None:
    for name, text in (
        ("accept", "accept a received record; it cannot be disputed afterwards"),
        ("dispute", "dispute a received record"),
        ("final", "close a received record before its time"),
    ):
        action = _command(actions, name, "records:act", text)
        action.set_defaults(action=name, to=None)
        action.add_argument("record")
        if name == "dispute":
            action.add_argument("reason", help="a short word: price, energy, duration, double, unknown-session, ...")
            action.add_argument("--evidence", action="append", default=[], metavar="LINE", help="may be repeated")
        action.add_argument("--detail", default="", help="a sentence for the partner")
    credit = _command(actions, "credit", "records:credit", "credit an own record, alone or with a replacement")
    credit.add_argument("record")
    credit.add_argument("file", metavar="CREDIT.json", help="the credit CDR, or - to read it from stdin")
    credit.add_argument("--replacement", metavar="FILE", help="the record that takes its place")
    credit.add_argument(
        "--ocpi-version", default="2.3.0", metavar="2.2.1|2.3.0", help="in which they are written (2.3.0)"
    )


def _ledger(commands: _Parsers) -> None:
    ledger = commands.add_parser("ledger", help="the signed chains of records")
    actions = _words(ledger, required=True)
    verify = _command(actions, "verify", "records:verify", "check every hash, commitment and signature")
    verify.add_argument("--peer", help="only with this partner")
    export = _command(actions, "export", "records:export", "write what proves a record, to be checked offline")
    export.add_argument("record")
    export.add_argument(
        "directory",
        metavar="DIR|FILE.json",
        help="a new or empty directory for openssl; or one new file, with what became of the record since",
    )


# --- drivers ----------------------------------------------------------------------------------------------------


def _subjects(commands: _Parsers) -> None:
    subject = commands.add_parser("subject", help="drivers who ask what is held of them, or to be forgotten")
    actions = _words(subject, required=True)
    export = _command(actions, "export", "subject:export", "write everything that is held of a driver to a JSON file")
    _driver(export)
    export.add_argument("file", metavar="FILE", help="a new file, or - for stdout")
    erase = _command(actions, "erase", "subject:erase", "forget a driver, and ask partners to do the same")
    _driver(erase)
    erase.add_argument("--keep-records", action="store_true", help="all but service records")
    erase.add_argument("--force", action="store_true", help="also what the law wants kept, and what is still under way")
    erasures = _command(actions, "erasures", "subject:erasures", "what partners answered who were asked to erase")
    erasures.add_argument("request", nargs="?", help="one request only")


def _driver(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--uid", help="the number of a card, app or other credential, in any spelling")
    parser.add_argument("--type", help="the credential's OCPI TokenType (RFID)")
    parser.add_argument("--contract", metavar="ID", help="a contract id, in any spelling")


# --- operating --------------------------------------------------------------------------------------------------


def _operating(commands: _Parsers) -> None:
    _command(commands, "status", "operate:status", "how the daemon is")
    events = _command(commands, "events", "operate:events", "what came in, in order")
    events.add_argument("--follow", action="store_true", help="go on as events come; ends with Ctrl-C")
    events.add_argument("--after", default="", metavar="CURSOR", help="from this cursor on")
    events.add_argument("--limit", type=int, default=100, help="at most so many (100)")
    decisions = _command(commands, "decisions", "operate:decisions", "who was let in or refused, and from what")
    decisions.add_argument("--peer", help="only with this partner")
    decisions.add_argument("--id", help="only this authorization")
    decisions.add_argument("--after", help="from this cursor on, instead of the newest")
    decisions.add_argument("--limit", type=int, default=100, help="at most so many (100)")
    backup = _command(commands, "backup", "operate:backup", "copy the database while the daemon works")
    backup.add_argument("file", metavar="FILE")
    restore = _command(commands, "restore", "local:restore", "put a backup in the database's place; daemon stopped")
    restore.add_argument("file", metavar="FILE")
    _ocpi(commands)
    _command(commands, "reload", "operate:reload", "check the configuration and put it to use; links stay up")
    _identity(commands)
    api_key = commands.add_parser("api-key", help="the key of the local API")
    rotate = _words(api_key, required=True)
    _command(rotate, "rotate", "operate:rotate", "make a new key; the old one ends at once")


def _identity(commands: _Parsers) -> None:
    actions = _words(_command(commands, "identity", "identity:status", "the company's keys; who knows the next one"))
    rotate = _command(actions, "rotate", "identity:rotate", "make the next key, and let the present one vouch for it")
    rotate.add_argument(
        "--overlap-days", type=int, default=30, metavar="DAYS", help="partners take the old key so long (30)"
    )
    switch = _command(actions, "switch", "identity:switch", "put the next key to use, once every partner knows it")
    switch.add_argument("--force", action="store_true", help="also while partners do not know it; they must pair anew")
    for parser in (rotate, switch):
        parser.add_argument("--key", metavar="FILE", help="where identity.key lies, if systemd hands it to the daemon")


def _ocpi(commands: _Parsers) -> None:
    actions = _words(_command(commands, "ocpi", "ocpi:listing", "the company's own systems that speak OCPI"))
    test = _command(actions, "test", "ocpi:test", "try every way to one of them; exit code 1 when something is wrong")
    test.add_argument("name", metavar="NAME", help="as [[ocpi]] calls it")
    removals = _command(
        actions, "removals", "ocpi:removals", "what one of them no longer lists and was too much to be removed unasked"
    )
    removals.add_argument("name", metavar="NAME", nargs="?", help="as [[ocpi]] calls it")
    removals.add_argument("module", metavar="MODULE", nargs="?", help="remove what is missing in this module")
    losses = _command(actions, "losses", "ocpi:losses", "what is lost between OCPI 2.2.1 and 2.3.0, by rule")
    quirks = _command(actions, "quirks", "ocpi:quirks", "in what each was met to differ from OCPI's text")
    for parser in (losses, quirks):
        parser.add_argument("name", metavar="NAME", nargs="?", help="what was counted or learned of one of them")
