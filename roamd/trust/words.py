"""Six words for two people to compare on the phone.

They are made of both identity keys and the invitation's secret, and of nothing that changes between two tries, so a
repeat shows the same six. Who stands in the middle with a changed line has another key or another secret on each side.
Sixty bits that he could match by trying keys on both sides would be 2**30 work; scrypt makes each trial cost a tenth
of a second and 32 MiB, so that a day, which is how long an invitation lives, is not enough for a data centre.
"""

import hashlib
from functools import cache
from importlib import resources
from typing import Final

WORD_COUNT: Final = 6
WORDLIST_SIZE: Final = 1024
_BITS: Final = 10

_SCRYPT_N: Final = 1 << 15
_SCRYPT_MEMORY: Final = 64 * 1024 * 1024


@cache
def wordlist() -> tuple[str, ...]:
    """The 1,024 words; no two begin with the same four letters."""
    return tuple(resources.files("roamd.trust").joinpath("words.txt").read_text("ascii").split())


def six_words(secret: bytes, invitation_id: bytes, inviter_id: str, joiner_id: str) -> tuple[str, ...]:
    """The words of this pairing; takes about 0.1 s of CPU, so an event loop runs it in a thread."""
    salt = b"roamd words 1\n" + invitation_id + inviter_id.encode() + joiner_id.encode()
    digest = hashlib.scrypt(secret, salt=salt, n=_SCRYPT_N, r=8, p=1, maxmem=_SCRYPT_MEMORY, dklen=8)
    number = int.from_bytes(digest, "big")
    return tuple(wordlist()[number >> shift & WORDLIST_SIZE - 1] for shift in range(0, WORD_COUNT * _BITS, _BITS))
