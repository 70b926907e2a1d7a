"""A port that is as ours must not be: it takes TLS 1.2, with ciphers of long ago. A scanner has to object to it."""

import contextlib
import ssl
import threading
from pathlib import Path
from socket import SHUT_RDWR, create_server, socket
from types import TracebackType

OLD_CIPHERS = "ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA"
PATIENCE_S = 2.0


class PlantedPort:
    """Open inside the block, on loopback. `pem` holds its certificate and key."""

    def __init__(self, pem: Path) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.maximum_version = ssl.TLSVersion.TLSv1_2
        self._context.set_ciphers(OLD_CIPHERS)
        self._context.load_cert_chain(pem)
        self._listener = create_server(("127.0.0.1", 0), backlog=128)
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> "PlantedPort":
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self._listener.shutdown(SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._greet, args=(connection,), daemon=True).start()

    def _greet(self, connection: socket) -> None:
        """One handshake, and whatever comes behind it until it ends."""
        connection.settimeout(PATIENCE_S)
        with contextlib.suppress(OSError), connection, self._context.wrap_socket(connection, server_side=True) as tls:
            while tls.recv(4096):
                pass
