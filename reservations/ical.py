"""RFC 5545 by hand: a calendar of events, and nothing else. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Event:
    """One entry."""

    uid: str
    start: datetime
    end: datetime
    summary: str
    description: str = ""
    status: str = "CONFIRMED"
    changed: datetime | None = None


def _text(value: str) -> str:
    cleaned = "".join(c for c in value.replace("\r\n", "\n").replace("\r", "\n") if c in "\n\t" or c.isprintable())
    return cleaned.replace("\\", "\\\\").replace(";", "\\;").replace(",", "\\,").replace("\n", "\\n")


def _moment(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def _fold(line: str) -> str:
    """Lines of at most 75 octets, never split inside a character."""
    parts: list[str] = []
    current = ""
    size = 0
    for char in line:
        width = len(char.encode())
        if size + width > 74:
            parts.append(current)
            current, size = " ", 1
        current += char
        size += width
    return "\r\n".join([*parts, current])


def calendar(events: Iterable[Event], *, name: str, now: datetime) -> str:
    """The whole file, with CRLF."""
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//Lormas//Reservations//EN", "CALSCALE:GREGORIAN", f"X-WR-CALNAME:{_text(name)}"]
    for event in events:
        lines += [
            "BEGIN:VEVENT",
            f"UID:{event.uid}",
            f"DTSTAMP:{_moment(event.changed or now)}",
            f"DTSTART:{_moment(event.start)}",
            f"DTEND:{_moment(event.end)}",
            f"SUMMARY:{_text(event.summary)}",
            *([f"DESCRIPTION:{_text(event.description)}"] if event.description else []),
            f"STATUS:{event.status}",
            "END:VEVENT",
        ]
    return "\r\n".join([*(_fold(line) for line in lines), "END:VCALENDAR", ""])
