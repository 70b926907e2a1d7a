"""Renders roamd.toml from the table of keys: every key with its reason; unset keys show their default, commented out.

What is not set stays a comment, so that a later version's better default reaches those who never chose.
"""

import sys
import textwrap
from collections.abc import Iterator, Mapping

from roamd.config.schema import REQUIRED, SECTIONS, TABLES, Key, keys_of
from roamd.config.values import to_toml

_WIDTH = 110

HEADER = """\
# Configuration of roamd. Each key shows its default as a comment; remove the # to change it.
# Later wins: this file, conf.d/*.toml by name, the environment (ROAMD__LINK__LISTEN), flags.
# Relative paths start at this file's directory. `roamd check` checks it; `roamd reload` puts the keys marked (reload)
# to use, all others wait for the next start.
"""

EXAMPLE: Mapping[str, object] = {
    "endpoint.parties": ["DE*ABC"],
    "endpoint.roles": ["cso"],
    "endpoint.name": "ABC Charging",
    "link.advertise": "roamd.abc.example:63119",
    "backend.url": "http://127.0.0.1:9000/roamd",
}
"""What config/roamd.toml shows."""


def render(values: Mapping[str, object]) -> str:
    """The file's text with `values` (by dotted key) set and everything else as a comment."""
    return HEADER + "".join(_section(name, kind, values) for name, kind in SECTIONS.items())


def _section(name: str, kind: type, values: Mapping[str, object]) -> str:
    title = f"\n\n# --- {(kind.__doc__ or name).rstrip('.')} ---\n"
    header = f"# [[{name}]]\n" if name in TABLES else f"[{name}]\n"
    keys = (_key_lines(f"{name}.{key}", key, one, values) for key, one in keys_of(kind).items())
    return title + header + "".join(line for lines in keys for line in lines)


def _key_lines(dotted: str, name: str, key: Key, values: Mapping[str, object]) -> Iterator[str]:
    yield "\n"
    reason = f"{key.reason} (reload)" if key.reloadable else key.reason
    for line in textwrap.wrap(reason, _WIDTH):
        yield f"# {line}\n"
    if dotted in values:
        yield f"{name} = {to_toml(values[dotted])}\n"
        return
    required = key.default is REQUIRED
    if key.example is not None and not required:
        yield f"# For example: {to_toml(key.example)}\n"
    yield f"# {name} = {to_toml(key.example if required else key.default)}\n"


if __name__ == "__main__":
    sys.stdout.write(render(EXAMPLE))
