"""An object's text taken into its members, changed, and joined again: what is not touched keeps every byte."""

import msgspec

from roamd.model.jsontext import child_path, spans
from roamd.model.ocpi.convert_rules import RULES, Loss


class Members:
    """The members of one compact object, in order. Raises ValueError like `spans`."""

    __slots__ = ("_keys", "_texts", "_touched", "_whole")

    def __init__(self, body: bytes) -> None:
        found = spans(body)
        self._whole = body
        self._keys = {name: body[key:start] for name, key, start, _ in found}
        self._texts = {name: body[start:end] for name, _, start, end in found}
        self._touched = False

    def names(self) -> list[str]:
        """The names, in order."""
        return list(self._texts)

    def text(self, name: str) -> bytes | None:
        """A member's text, None when there is none."""
        return self._texts.get(name)

    def drop(self, name: str) -> None:
        """Take a member away, if it is there."""
        self._touched |= self._texts.pop(name, None) is not None

    def put(self, name: str, text: bytes, *, before: str | None = None) -> None:
        """Set a member; a new one stands before that one, or at the end."""
        if self._texts.get(name) == text:
            return
        self._touched = True
        if name not in self._texts:
            self._keys[name] = msgspec.json.encode(name) + b":"
        later = self._from(before) if name not in self._texts and before is not None else {}
        self._texts[name] = text
        self._texts |= later

    def _from(self, name: str) -> dict[str, bytes]:
        """Take away the member of this name and all behind it."""
        names = list(self._texts)
        return {late: self._texts.pop(late) for late in names[names.index(name) :]} if name in names else {}

    def rename(self, old: str, new: str) -> None:
        """Call a member otherwise; it stays in its place."""
        self._touched = True
        self._keys[new] = msgspec.json.encode(new) + b":"
        self._texts = {(new if name == old else name): text for name, text in self._texts.items()}

    def join(self) -> bytes:
        """The object's text."""
        if not self._touched:
            return self._whole
        return b"{" + b",".join(self._keys[name] + text for name, text in self._texts.items()) + b"}"


def loss(at: str, name: str, code: str) -> Loss:
    """A loss at a member."""
    return Loss(child_path(at, name), RULES[code])
