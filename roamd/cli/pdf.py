"""A PDF of plain text lines, in a fixed-width font: the few objects that a page of text needs, and nothing else.

The bytes depend on the text alone (no date, no identifier), so that two companies that print the same statement have
the same file. Courier is one of the fonts that every reader brings (PDF 1.4, section 5.5.1). Characters beyond
Windows-1252 are shown as a question mark.
"""

from collections.abc import Sequence
from typing import Final

WIDTH, HEIGHT, MARGIN = 842, 595, 36  # A4, on its side, in points
SIZE, LEADING = 8, 10
LINES: Final = (HEIGHT - 2 * MARGIN) // LEADING
"""Of one page."""

COLUMNS: Final = int((WIDTH - 2 * MARGIN) / (SIZE * 0.6))
"""Of one line; Courier's characters are 0.6 of its size wide."""


def text_pdf(lines: Sequence[str]) -> bytes:
    """The file. Lines that are too long go on in the next one."""
    wrapped = [part for line in lines for part in _wrapped(line)] or [""]
    pages = [wrapped[start : start + LINES] for start in range(0, len(wrapped), LINES)]
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Courier /Encoding /WinAnsiEncoding >>",
    ]
    for number, page in enumerate(pages):
        objects += [_page(5 + 2 * number), _content(page, f"{number + 1} / {len(pages)}")]
    return _file(objects)


def _wrapped(line: str) -> list[str]:
    return [line[start : start + COLUMNS] for start in range(0, len(line), COLUMNS)] or [""]


def _page(content: int) -> bytes:
    return (
        f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {WIDTH} {HEIGHT}]"
        f" /Resources << /Font << /F1 3 0 R >> >> /Contents {content} 0 R >>"
    ).encode()


def _content(lines: Sequence[str], foot: str) -> bytes:
    top = HEIGHT - MARGIN - SIZE
    shown = b"".join(b"(" + _escaped(line) + b") '\n" for line in lines)
    begin = f"BT /F1 {SIZE} Tf {LEADING} TL {MARGIN} {top + LEADING} Td\n".encode()
    end = f"ET BT /F1 {SIZE} Tf {WIDTH - MARGIN - 60} {MARGIN - 2 * SIZE} Td ({foot}) Tj ET".encode()
    stream = begin + shown + end
    return b"<< /Length " + str(len(stream)).encode() + b" >>\nstream\n" + stream + b"\nendstream"


def _escaped(line: str) -> bytes:
    printable = "".join(character if character.isprintable() else "?" for character in line)
    data = printable.encode("cp1252", "replace")
    return data.replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)")


def _file(objects: Sequence[bytes]) -> bytes:
    """Objects, the table of where each begins, and where that table begins."""
    data = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n"
    places = []
    for number, body in enumerate(objects, 1):
        places.append(len(data))
        data += f"{number} 0 obj\n".encode() + body + b"\nendobj\n"
    table = b"".join(f"{place:010} 00000 n \n".encode() for place in places)
    size = len(objects) + 1
    return (
        data
        + f"xref\n0 {size}\n0000000000 65535 f \n".encode()
        + table
        + f"trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{len(data)}\n%%EOF\n".encode()
    )
