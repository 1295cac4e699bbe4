"""Parser `file`: a line that begins with a find's key becomes the find's value. Nothing is ever added.

Keys are looked for in the line as it was; where several begin it, each writes and the last one stays.
"""

from __future__ import annotations

from typing import Any

from agent.configfiles.values import UNCHANGED, decode, encode, text_of, wanted


def apply(data: bytes, finds: list[tuple[str, Any]]) -> bytes:
    text, encoding, mark = decode(data)
    lines, beginnings = text.split("\n"), tuple(key for key, _ in finds if key)
    for number, line in enumerate(lines):
        if not line.startswith(beginnings):
            continue
        ending = "\r" if line.endswith("\r") else ""
        content = line.removesuffix("\r")
        for key, find in finds:
            if key and content.startswith(key):
                new = wanted(find, content)
                if new is not UNCHANGED:
                    lines[number] = text_of(new).replace("\r\n", "\n").replace("\n", ending + "\n") + ending
    return encode("\n".join(lines), encoding, mark)
