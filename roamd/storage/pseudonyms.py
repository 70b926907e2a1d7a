"""Which contract of ours bears which pseudonym towards which peer.

A row is written when the contract is first named to the peer, and stays when the peer leaves: what it was sent, and the
records that it wrote, bear the pseudonym for ever.
"""

from collections.abc import Iterable, Iterator

from roamd.storage.cx import Cx


def find(cx: Cx, peer: str, name: str) -> str | None:
    """The canonical pseudonym of a contract, by its name (`model.pseudonyms.contract_name`)."""
    row = cx.one("SELECT pseudonym FROM pseudonyms WHERE peer = ? AND name = ?", (peer, name))
    return row[0] if row else None


def contract_of(cx: Cx, peer: str, pseudonym: str) -> str | None:
    """The contract id behind a canonical pseudonym, as our backend wrote it first; None for what is none."""
    row = cx.one("SELECT contract_id FROM pseudonyms WHERE peer = ? AND pseudonym = ?", (peer, pseudonym))
    return row[0] if row else None


def assign_txn(cx: Cx, peer: str, name: str, contract_id: str, candidates: Iterator[str]) -> str:
    """The contract's pseudonym towards a peer; the first of `candidates` that names no other contract to it."""
    known = find(cx, peer, name)
    if known is not None:
        return known
    pseudonym = next(each for each in candidates if not _is_taken(cx, peer, each))
    cx.run(
        "INSERT INTO pseudonyms (peer, pseudonym, name, contract_id) VALUES (?, ?, ?, ?)",
        (peer, pseudonym, name, contract_id),
    )
    return pseudonym


def _is_taken(cx: Cx, peer: str, pseudonym: str) -> bool:
    """Whether it is another contract's pseudonym, or the real name of one that the peer is told of."""
    return contract_of(cx, peer, pseudonym) is not None or find(cx, peer, pseudonym) is not None


def peers(cx: Cx) -> frozenset[str]:
    """To whom contracts were named by pseudonyms."""
    return frozenset(row[0] for row in cx.run("SELECT DISTINCT peer FROM pseudonyms"))


def related(cx: Cx, names: Iterable[str]) -> frozenset[str]:
    """All ids of contracts: of a contract its pseudonyms, of a pseudonym its contract and that one's others.

    `names` are canonical contract ids; the name of one without a party in it has the party behind a space.
    """
    found: set[str] = set()
    for name in names:
        rows = cx.run(
            "SELECT pseudonym, contract_id FROM pseudonyms WHERE name IN"
            " (SELECT name FROM pseudonyms"
            " WHERE name = ?1 OR pseudonym = ?1 OR (name > ?1 || ' ' AND name < ?1 || '!'))",
            (name,),
        )
        found.update(each for row in rows for each in row)
    return frozenset(found)
