"""`roamd check`: everything that can be known to be wrong before the daemon starts, all at once."""

import argparse
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from roamd.cli.client import load_config
from roamd.cli.output import note, show
from roamd.config import Address, Config, UnixAddress
from roamd.errors import ConfigError

MIN_KEY_CHARACTERS = 16


def check(options: argparse.Namespace) -> int:
    """Check the configuration, then the files and addresses that it names. Raises ConfigError with every fault."""
    config = load_config(options)
    faults = [*_identity_faults(config), *_api_key_faults(config), *_state_faults(config), *_address_faults(config)]
    if faults:
        raise ConfigError(faults)
    show(options, {"ok": True, "config": str(config.path)}, lambda _: print(f"{config.path}: ok"))
    for remark in _remarks(config):
        note(remark)
    return 0


def _identity_faults(config: Config) -> Iterator[str]:
    from roamd.trust.succession import load_identity, next_certificate_of  # here: heavy

    is_cut_off = next_certificate_of(config.endpoint.identity_crt).exists()
    remedy = "`roamd identity switch`, which was cut off" if is_cut_off else "`roamd init` for a new identity"
    yield from _secret_faults(config.endpoint.identity_key, f"a copy of it, or {remedy}")
    if os.access(config.endpoint.identity_key, os.R_OK):
        try:
            endpoint = config.endpoint
            load_identity(endpoint.identity_key, endpoint.identity_crt, endpoint.identity_succession)
        except ConfigError as error:
            yield from error.lines


def _api_key_faults(config: Config) -> Iterator[str]:
    path = config.api.key_file
    yield from _secret_faults(path, "`roamd api-key rotate`, which makes one")
    if os.access(path, os.R_OK) and len(path.read_bytes().strip()) < MIN_KEY_CHARACTERS:
        yield f"{path}: the key is too short; `roamd api-key rotate` makes a good one"


def _secret_faults(path: Path, remedy: str) -> Iterator[str]:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        yield f"{path}: there is no such file; put it back from {remedy}"
        return
    except OSError as error:
        yield f"{path}: it cannot be looked at ({(error.strerror or '').lower()}); run this as the daemon's user"
        return
    if stat.S_IMODE(mode) & 0o077:
        yield f"{path}: others can read it (mode {stat.S_IMODE(mode):04o}); chmod 600 {path}"
    if not os.access(path, os.R_OK):
        yield f"{path}: this user cannot read it; run this as the daemon's user, or chown it"


def _state_faults(config: Config) -> Iterator[str]:
    state = config.endpoint.state
    if state.is_dir():
        if not os.access(state, os.W_OK | os.X_OK):
            yield f"{state}: this user cannot write there; run this as the daemon's user, or chown it"
    elif state.exists():
        yield f"{state}: it is not a directory; endpoint.state names one"


def _address_faults(config: Config) -> Iterator[str]:
    for name, listen in (("link", config.link.listen), ("pairing", config.pairing.listen), ("api", config.api.listen)):
        fault = _unix_fault(listen.path) if isinstance(listen, UnixAddress) else _listen_fault(listen)
        if fault:
            yield f"{config.path}: {name}.listen: {listen}: {fault}"


def _unix_fault(path: Path) -> str | None:
    if len(os.fsencode(path)) > 107:
        return "the path is too long for a socket; at most 107 bytes are taken"
    return None if path.parent.is_dir() else f"there is no directory {path.parent}; make it"


def _listen_fault(address: Address) -> str | None:
    """Why the daemon could not listen there. A port in use is none: most likely the daemon itself uses it."""
    try:
        family, kind, _, _, place = socket.getaddrinfo(address.host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.bind(place)
    except socket.gaierror:
        return "the name is not known; write an address of this machine"
    except OSError as error:
        return f"it cannot be listened on ({(error.strerror or '').lower()}); write an address of this machine"
    if 0 < address.port < 1024 and os.geteuid() != 0:
        return "ports below 1024 are for root; choose another"
    return None


def _remarks(config: Config) -> Iterator[str]:
    if config.link.advertise is None:
        yield "link.advertise is empty: this endpoint dials its partners and is never dialled."
    listen = config.api.listen
    if isinstance(listen, Address) and listen.host not in ("127.0.0.1", "::1", "localhost"):
        yield f"The API is served without encryption on {listen}, which other machines may reach."
