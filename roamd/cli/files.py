"""What commands write: whole or not at all, for its owner alone where it is private, and never over another file."""

import os
from pathlib import Path

from roamd.errors import OperatorError


def write_private(path: Path, data: bytes) -> None:
    """A new file that only its owner may read. Raises OperatorError, also when there is one already."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
    except FileExistsError:
        raise exists_already(path) from None
    except OSError as error:
        raise OperatorError(f"{path} cannot be written: {error.strerror or error}.") from error


def exists_already(path: Path) -> OperatorError:
    """The refusal to write over a file, for those who look before a long piece of work."""
    return OperatorError(f"{path} exists already; nothing was written. Name a new file.")


def sync_directory(directory: Path) -> None:
    """Names that were made or changed in it are on the disk after this."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
