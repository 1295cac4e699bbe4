"""The name of a file on its way to a browser (SECURITY B12)."""

from __future__ import annotations

from email.message import Message
from types import SimpleNamespace
from typing import Any

import pytest
from django.test import RequestFactory

from containers.api.fileparts import file_response

NAMES = [
    "p.svg", 'a"b.txt', "a\r\nSet-Cookie: x=1", "<script>alert(1)</script>.html", "-rf", "a;b=c.txt", "ä ü 日本.txt", "a\\b", "%0d%0aX: y", "x" * 255,
    "a\tb",
    "\udcff\udcfe.bin", "\x00nul",
]  # fmt: skip


@pytest.mark.parametrize("attachment", [True, False])
def test_a_name_of_any_kind_is_a_name_in_the_header_and_nothing_else(attachment: bool) -> None:
    """B12: no header of its own, no page of its own; what can be kept of it is kept."""
    for name in NAMES:
        stream: Any = SimpleNamespace(head={"name": name, "size": 3, "etag": "e"}, close_soon=lambda: None)
        response = file_response(RequestFactory().head("/"), stream, attachment=attachment)  # type: ignore[arg-type]
        told = response.headers["Content-Disposition"]
        assert told.isascii() and not set(told) & set("\r\n\0"), name
        assert "Set-Cookie" not in response.headers and "X" not in response.headers
        parsed = Message()
        parsed["Content-Disposition"] = told
        assert parsed.get_content_disposition() == ("attachment" if attachment else "inline"), name
        kept = parsed.get_filename() or ""
        if name in ('a"b.txt', "a;b=c.txt", "ä ü 日本.txt", "-rf"):
            assert kept == name
        assert response.headers["Content-Type"].partition(";")[0] not in ("text/html", "application/xhtml+xml"), name
        assert response.headers["X-Content-Type-Options"] == "nosniff" and "sandbox" in response.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    "name", ["page.html", "page.HTM", "page.xhtml", "drawing.svg", "feed.xml", "old.mht", "run.js", "style.css", "doc.pdf", "no name"]
)
@pytest.mark.parametrize("attachment", [True, False])
def test_a_file_of_a_container_is_never_a_page_of_ours(name: str, attachment: bool) -> None:
    """H06: whatever it is called, read or downloaded: no type that a browser would run; if shown, in a box without scripts or our origin."""
    stream: Any = SimpleNamespace(head={"name": name, "size": 3, "etag": "e"}, close_soon=lambda: None)
    answer = file_response(RequestFactory().head("/"), stream, attachment=attachment)  # type: ignore[arg-type]
    kind = answer.headers["Content-Type"].partition(";")[0]
    assert kind.startswith("image/") or kind in ("application/octet-stream", "text/plain", "application/pdf"), kind
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    policy = [part.strip() for part in answer.headers["Content-Security-Policy"].split(";")]
    assert "sandbox" in policy and "default-src 'none'" in policy, policy
    assert not [part for part in policy if "allow-" in part or "script" in part], policy
