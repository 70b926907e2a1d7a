"""TLS over any byte stream: OpenSSL between two memory buffers, and our own loop around it.

Why not `trio.SSLStream`: it hands out one 16 KiB record per call, each with a pass of the scheduler, and sends each
message by itself. Here one receive takes up to 128 KiB off the transport and gives all that is in there, and one send
encrypts everything that is handed in and sends once. Measured, that makes a link several times faster. `send_nowait`
hands over to the kernel without a pass of the scheduler; one costs as much as all else that a small message does.

What may be relied on:
- One task may read while another writes. Reading may have to send as well (an alert; the answer to a key update leaves
  with the next write). What OpenSSL wants sent is always taken out and sent under one lock, so records leave in the
  order in which they were made.
- A refused handshake tells the other side why: the alert is sent, the sending side shut, and what the other side still
  sends is read for a moment, because closing over unread data resets the connection and takes the alert with it.
- TLS errors come as NotTrusted (who the other side is, or which protocol it speaks) or PeerError (it broke TLS), with
  stable words; a connection that merely ends, also one that ends without close_notify, as trio.BrokenResourceError.
- A client's handshake ends before the server has judged the client: a refusal shows at the first `receive_some`.
- A cancelled or failed send leaves half a record on the wire, so nothing can be sent afterwards.
- Whose certificate it is must be asked by the caller, right after the handshake, with `judge_leaf`.
"""

import contextlib
import hashlib
import os
import socket
import ssl
from typing import Final, Self

import trio

from roamd.errors import NotTrusted, PeerError
from roamd.trust.contexts import LINK_ALPN, PAIRING_ALPN, Contexts, pairing_client_context

READ_SIZE: Final = 128 * 1024
"""As much as the kernel's buffer holds, see `tune_socket`."""

_RECORD: Final = 16 * 1024
"""The most that one TLS record carries; OpenSSL never returns more per call."""

_REFUSAL_LINGER_S: Final = 0.5
"""How long the refused side may take to read its alert; it holds one of the few handshake slots meanwhile."""

_CLOSE_S: Final = 1.0
"""close_notify is a courtesy; a peer that does not read is not waited for longer."""

_BUFFER: Final = 128 * 1024
_NOTSENT_LOWAT: Final = 16 * 1024

_VERIFY_REASONS: Final = {
    7: "bad-signature",
    9: "not-yet-valid",
    10: "expired",
    18: "unknown-identity",
    19: "unknown-identity",
    20: "unknown-identity",
    21: "unknown-identity",
    22: "not-direct",
    24: "not-direct",
    25: "not-direct",
    26: "wrong-purpose",
}
"""OpenSSL's X509_V_ERR_* codes in our words."""

_OWN_REFUSALS: Final = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "no-certificate",
    "UNSUPPORTED_PROTOCOL": "tls-version",
    "NO_PROTOCOLS_AVAILABLE": "tls-version",
}

_ALERTS: Final = {
    "BAD_CERTIFICATE": "refused-bad-certificate",
    "UNSUPPORTED_CERTIFICATE": "refused-wrong-purpose",
    "CERTIFICATE_REVOKED": "refused-revoked",
    "CERTIFICATE_EXPIRED": "refused-expired",
    "CERTIFICATE_UNKNOWN": "refused-unknown-certificate",
    "UNKNOWN_CA": "refused-unknown-identity",
    "ACCESS_DENIED": "refused-access",
    "CERTIFICATE_REQUIRED": "refused-no-certificate",
    "PROTOCOL_VERSION": "tls-version",
    "NO_APPLICATION_PROTOCOL": "alpn",
}
"""What the other side's alert says about us, by the end of OpenSSL's name for it."""


class TlsStream:
    """A TLS connection over `transport`, which it owns: `aclose` closes it.

    `own_leaf_sha256` is of the leaf that `context` shows, empty where it shows none. Handshake first.
    """

    __slots__ = (
        "_alpn",
        "_closed",
        "_cut_off",
        "_ended",
        "_fault",
        "_incoming",
        "_outgoing",
        "_send_broken",
        "_sending",
        "_ssl",
        "own_leaf_sha256",
        "peer_leaf_der",
        "transport",
    )

    def __init__(
        self,
        transport: trio.abc.Stream,
        context: ssl.SSLContext,
        *,
        server_side: bool,
        own_leaf_sha256: bytes,
        alpn: str,
    ) -> None:
        self.transport = transport
        self.own_leaf_sha256 = own_leaf_sha256
        self.peer_leaf_der = b""
        self._alpn = alpn
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._ssl = context.wrap_bio(self._incoming, self._outgoing, server_side=server_side)
        self._sending = trio.Lock()
        self._cut_off = b""
        self._fault: Exception | None = None
        self._ended = False
        self._send_broken = False
        self._closed = False

    @classmethod
    def dial(cls, transport: trio.abc.Stream, contexts: Contexts) -> Self:
        """The dialling end of a link."""
        now = contexts.current
        return cls(transport, now.client, server_side=False, own_leaf_sha256=now.leaf.sha256, alpn=LINK_ALPN)

    @classmethod
    def accept(cls, transport: trio.abc.Stream, contexts: Contexts) -> Self:
        """The listening end of a link."""
        now = contexts.current
        return cls(transport, now.server, server_side=True, own_leaf_sha256=now.leaf.sha256, alpn=LINK_ALPN)

    @classmethod
    def dial_pairing(cls, transport: trio.abc.Stream) -> Self:
        """The joiner's end on the pairing port."""
        return cls(transport, pairing_client_context(), server_side=False, own_leaf_sha256=b"", alpn=PAIRING_ALPN)

    @classmethod
    def accept_pairing(cls, transport: trio.abc.Stream, contexts: Contexts) -> Self:
        """The inviter's end on the pairing port."""
        now = contexts.current
        return cls(transport, now.pairing_server, server_side=True, own_leaf_sha256=now.leaf.sha256, alpn=PAIRING_ALPN)

    @property
    def peer_leaf_sha256(self) -> bytes:
        """The hash of the certificate that the other side showed, as Proofs name it."""
        return hashlib.sha256(self.peer_leaf_der).digest()

    async def handshake(self) -> None:
        """Shake hands and check ALPN. Raises NotTrusted, PeerError or trio.BrokenResourceError; the caller closes."""
        while True:
            try:
                self._ssl.do_handshake()
                break
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fetch()
            except ssl.SSLError as error:
                await self._tell_refusal()
                raise _translated(error) from error
        await self._flush()
        self.peer_leaf_der = self._ssl.getpeercert(binary_form=True) or b""
        chosen = self._ssl.selected_alpn_protocol()
        if chosen != self._alpn:  # OpenSSL goes on without a common protocol, so this is ours to check
            raise NotTrusted(
                "alpn", f"The other side does not speak {self._alpn} but {chosen or 'nothing that we know'}."
            )

    async def receive_some(self) -> bytes:
        """All that has arrived, at least one byte; b"" once the other side has closed properly."""
        while True:
            data = self._decrypt()
            if self._outgoing.pending and not self._sending.locked():
                await self._flush_for_reader()
            if data or self._ended:
                return data
            if self._fault:
                raise self._fault
            await self._fetch()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt all of it and send it in one go. Raises PeerError and trio's Broken- and ClosedResourceError."""
        self._encrypt(data)
        await self._flush()

    def send_nowait(self, data: bytes) -> bool:
        """Encrypt all of it, and send what the kernel takes at once; False when `flush` has to send the rest.

        Raises as `send_all` does.
        """
        self._encrypt(data)
        if self._sending.locked():
            return False
        if self._send_broken:
            raise trio.BrokenResourceError("an earlier send was cut off")
        ready = self._take_ready()
        self._cut_off = ready[_write_some(self.transport, ready) :]
        return not self._cut_off

    async def flush(self) -> None:
        """Send what `send_nowait` left over. Raises as `send_all` does."""
        await self._flush()

    def _encrypt(self, data: bytes | bytearray | memoryview) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this TLS stream is closed")
        left = memoryview(data)
        try:
            while left:
                left = left[self._ssl.write(left) :]
        except ssl.SSLError as error:
            raise _translated(error) from error

    def _take_ready(self) -> bytes:
        """What is to be sent next: the rest of what the kernel took a part of, and what was encrypted since."""
        rest, self._cut_off = self._cut_off, b""
        return rest + self._outgoing.read()

    async def send_eof(self) -> None:
        """Say that nothing more will be sent (close_notify); what the other side still sends can be read."""
        await self._send_close_notify()

    async def aclose(self) -> None:
        """Send close_notify if that is quickly done, then close the transport; safe to repeat and to cancel."""
        if self._closed:
            return
        self._closed = True
        try:
            with trio.move_on_after(_CLOSE_S):
                await self._send_close_notify()
        finally:
            await self.transport.aclose()

    async def _send_close_notify(self) -> None:
        if self._send_broken or self._sending.locked():
            return  # what would go out now would land inside another record
        with contextlib.suppress(ssl.SSLError, ValueError):
            self._ssl.unwrap()  # raises, for it also wants the other side's close_notify
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self._flush()

    async def _fetch(self) -> None:
        data = await self.transport.receive_some(READ_SIZE)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def _decrypt(self) -> bytes:
        """Everything that can be read now. A fault behind good data is kept until that data has been given out."""
        records: list[bytes] = []
        while not (self._fault or self._ended):
            try:
                record = self._ssl.read(_RECORD)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                record = b""
            except ssl.SSLError as error:
                self._fault = _translated(error)
                break
            if record:
                records.append(record)
            else:
                self._ended = True
        return b"".join(records)

    async def _flush(self) -> None:
        """Send what OpenSSL has ready, including what it makes ready meanwhile."""
        try:
            self._sending.acquire_nowait()  # `acquire` would cost a pass of the scheduler each time
        except trio.WouldBlock:
            await self._sending.acquire()
        try:
            while self._cut_off or self._outgoing.pending:
                await self._send_ready()
        finally:
            self._sending.release()

    async def _flush_for_reader(self) -> None:
        """What reading made OpenSSL want to say, mostly an alert. A writer at work would take it along by itself."""
        with contextlib.suppress(
            trio.BrokenResourceError, trio.ClosedResourceError
        ):  # the reader still has data to give
            await self._flush()

    async def _send_ready(self) -> None:
        if self._send_broken:
            raise trio.BrokenResourceError("an earlier send was cut off")
        self._send_broken = True
        await self.transport.send_all(self._take_ready())
        self._send_broken = False

    async def _tell_refusal(self) -> None:
        gone = contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError)
        with trio.move_on_after(_REFUSAL_LINGER_S), gone:
            await self._flush()
            if isinstance(self.transport, trio.abc.HalfCloseableStream):
                await self.transport.send_eof()
            while await self.transport.receive_some(READ_SIZE):
                pass


def _write_some(transport: trio.abc.Stream, data: bytes) -> int:
    """How much the kernel took; nothing where there is none. A send of trio's own costs a pass of the scheduler."""
    if not data or not isinstance(transport, trio.SocketStream):
        return 0
    try:
        return os.write(transport.socket.fileno(), data)
    except BlockingIOError:
        return 0
    except OSError as error:
        raise trio.BrokenResourceError("the connection is gone") from error


def tune_socket(stream: trio.SocketStream) -> None:
    """Small kernel buffers, no delay: what waits in the kernel can no longer be overtaken by a more urgent message."""
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
    lowat = getattr(socket, "TCP_NOTSENT_LOWAT", None)  # not on every system
    if lowat is not None:
        stream.setsockopt(socket.IPPROTO_TCP, lowat, _NOTSENT_LOWAT)


def _translated(error: ssl.SSLError) -> Exception:
    """OpenSSL's error in our tree."""
    # Python before 3.11.3 has no SSLEOFError for OpenSSL 3's way to say it.
    if isinstance(error, ssl.SSLEOFError) or error.reason == "UNEXPECTED_EOF_WHILE_READING":
        return trio.BrokenResourceError("the connection ended without close_notify")
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = _VERIFY_REASONS.get(error.verify_code, "bad-certificate")
        return NotTrusted(reason, f"The other side's certificate is refused: {error.verify_message}.")
    name = error.reason or "UNKNOWN"
    if name in _OWN_REFUSALS:
        return NotTrusted(_OWN_REFUSALS[name], f"The other side's handshake is refused: {_in_words(name)}.")
    _, is_alert, alert = name.partition("_ALERT_")
    if is_alert and alert in _ALERTS:
        return NotTrusted(_ALERTS[alert], f"The other side refuses this endpoint: {_in_words(alert)}.")
    return PeerError(f"The other side broke TLS: {_in_words(name)}.")


def _in_words(name: str) -> str:
    return name.lower().replace("_", " ")
