"""Bytes -> lines: pure, and the same for live output and for what an engine's log is compared with.

- A line ends at `\\n` (or where the runtime says so). A `\\r` before it is dropped; of a line that was overwritten with `\\r` (progress
  bars) the last writing stays, as a terminal would show it.
- Text is UTF-8; what is not becomes U+FFFD. Bytes are only decoded as whole lines, so characters cut by a chunk's end are whole again.
- A line longer than `PIECE_BYTES` becomes several, each but the last marked with `CONTINUED`; of a line longer than `LINE_BYTES` the
  rest is dropped and the last piece says how much (SECURITY.md F10).
"""

from __future__ import annotations

PIECE_BYTES = 16 * 1024
LINE_BYTES = 256 * 1024
CONTINUED = " \u2026"


def clean(raw: bytes) -> str:
    """One line's bytes (without its newline) as it is stored."""
    if b"\r" in raw:
        raw = raw.rstrip(b"\r")
        raw = raw[raw.rfind(b"\r") + 1 :]
    return raw.decode("utf-8", "replace")


def _cut(data: bytes) -> int:
    """Where to cut a piece so that no character is cut: before the last one if it is not whole."""
    end = min(len(data), PIECE_BYTES)
    for back in range(1, 4):
        if end - back <= 0:
            break
        byte = data[end - back]
        if byte & 0xC0 == 0x80:
            continue
        need = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
        return end - back if need > back else end
    return end


class LineCutter:
    """Finds the lines of one stream. Also counts raw bytes and newlines: that is the resume point.

    `taken_*` are those whose lines have been given out; what is held back as an unfinished line is not counted, because it would be
    lost with this process and must be read again.
    """

    __slots__ = ("_held", "_line_bytes", "taken_bytes", "taken_lines", "taken_open_bytes")

    def __init__(self, *, taken_bytes: int = 0, taken_lines: int = 0, taken_open_bytes: int = 0) -> None:
        self._held = b""
        self._line_bytes = taken_open_bytes
        self.taken_bytes = taken_bytes
        self.taken_lines = taken_lines
        self.taken_open_bytes = taken_open_bytes

    def feed(self, data: bytes) -> list[str]:
        """The lines that are whole now."""
        if self._held:
            data = self._held + data
        *whole, held = data.split(b"\n")
        self._held = held
        found: list[str] = []
        if whole:
            if self._line_bytes or (len(data) > PIECE_BYTES and max(map(len, whole)) > PIECE_BYTES):
                for raw in whole:
                    self._finish(raw, found)
            else:
                found = [clean(raw) for raw in whole] if b"\r" in data else _decode(data[: len(data) - len(held) - 1], len(whole))
            self.taken_bytes += len(data) - len(held)
            self.taken_lines += len(whole)
            self.taken_open_bytes = self._line_bytes = 0
        if len(self._held) > PIECE_BYTES:
            self._shorten(found)
        return found

    def end(self) -> list[str]:
        """The line is over without a newline: what is held is given out."""
        if not self._held and self._line_bytes <= LINE_BYTES:
            self._line_bytes = 0
            return []
        found: list[str] = []
        held, self._held = self._held, b""
        self._finish(held, found)
        self.taken_bytes += len(held)
        self.taken_open_bytes += len(held)
        self._line_bytes = 0
        return found

    @property
    def holds(self) -> int:
        """Bytes of an unfinished line."""
        return len(self._held)

    def _finish(self, raw: bytes, found: list[str]) -> None:
        """`raw` is the rest of a line of which `_line_bytes` have been given out or dropped before."""
        total = self._line_bytes + len(raw)
        while len(raw) > PIECE_BYTES and self._line_bytes < LINE_BYTES:
            at = _cut(raw)
            found.append(clean(raw[:at]) + CONTINUED)
            raw = raw[at:]
            self._line_bytes += at
        if total > LINE_BYTES and self._line_bytes >= LINE_BYTES:
            found.append(f"[{total - LINE_BYTES} bytes of this line were cut]")
        elif raw or not total:
            found.append(clean(raw))
        self._line_bytes = 0

    def _shorten(self, found: list[str]) -> None:
        """Give out pieces of an unfinished line that has become too long to hold."""
        while len(self._held) > PIECE_BYTES:
            at = _cut(self._held)
            if self._line_bytes < LINE_BYTES:
                piece = self._held[:at]
                # A progress bar that never ends its line: only its last state is worth keeping.
                if b"\r" not in piece:
                    found.append(clean(piece) + CONTINUED)
            else:
                at = len(self._held)
            self._held = self._held[at:]
            self._line_bytes += at
            self.taken_bytes += at
            self.taken_open_bytes += at


def _decode(block: bytes, count: int) -> list[str]:
    """Many lines at once: decoding a block is ten times faster than decoding its lines. Only `\\n` divides."""
    texts = block.decode("utf-8", "replace").split("\n")
    if len(texts) != count:  # can't happen: U+FFFD never swallows a newline
        return [clean(raw) for raw in block.split(b"\n")]
    return texts
