"""Pairing documents over a TLS stream: what both ends of the pairing port share."""

import trio

from roamd.peering.tls import TlsStream
from roamd.trust.pairing import Unframer, framed


class DocumentStream:
    """One document out, one document in. It owns the TLS stream."""

    def __init__(self, tls: TlsStream) -> None:
        self.tls = tls
        self._unframer = Unframer()

    async def send(self, document: bytes) -> None:
        await self.tls.send_all(framed(document))

    async def receive(self) -> bytes:
        """The next document; raises NotTrusted when it is too large, trio.BrokenResourceError when there is none."""
        while (document := self._unframer.next_document()) is None:
            data = await self.tls.receive_some()
            if not data:
                raise trio.BrokenResourceError("the other side hung up in the middle of pairing")
            self._unframer.feed(data)
        return document
