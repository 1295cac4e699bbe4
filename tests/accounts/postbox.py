"""A real SMTP server on loopback that keeps what it is given."""

from __future__ import annotations

import re
import threading
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller

from tests.nodes.rig import free_port


class Postbox:
    """Mail that arrived, oldest first. `refuse` is what the server says instead of taking mail."""

    def __init__(self) -> None:
        self.letters: list[EmailMessage] = []
        self.refuse = ""
        self._lock = threading.Lock()
        self.port = free_port()
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port)

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if self.refuse:
            return self.refuse
        found = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(found, EmailMessage)
        with self._lock:
            self.letters.append(found)
        return "250 OK"

    def start(self) -> Postbox:
        self._controller.start()
        return self

    def stop(self) -> None:
        self._controller.stop()

    def to(self, address: str) -> list[EmailMessage]:
        return [letter for letter in self.letters if letter["To"] == address]


def text_of(letter: EmailMessage) -> str:
    body = letter.get_body(("plain",))
    assert body is not None
    return str(body.get_content()).replace("\r\n", "\n")


def link_in(letter: EmailMessage) -> str:
    """The path of the letter's link; it is the same in both of its forms."""
    found = re.search(r"^(https?://\S+)$", text_of(letter), re.MULTILINE)
    assert found is not None, text_of(letter)
    html = letter.get_body(("html",))
    assert html is not None and found[1] in html.get_content()
    from django.conf import settings

    assert found[1].startswith(settings.PUBLIC_URL + "/"), "E16: from the configured address"
    return found[1].removeprefix(settings.PUBLIC_URL)
