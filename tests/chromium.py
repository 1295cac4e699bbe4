"""How tests start Chromium."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from typing import Any

NAMES = ("chromium-headless-shell", "chromium")

ARGS = ["--no-sandbox", "--disable-gpu", "--disable-software-rasterizer"]
"""No sandbox: a CI machine's one user is root. No graphics card is pretended either: Debian's wrapper asks for drawing on one, which, where there is
none, costs a fifth of a page's processor time and nearly half of its wait."""


def path() -> str | None:
    """CHROMIUM, or what the system has: where there is a choice, the build without windows, which needs a third of the processor time for a new page
    and draws the same."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


def options() -> dict[str, Any]:
    """For playwright's `chromium.launch`."""
    return {"executable_path": path(), "args": ARGS}


@contextlib.contextmanager
def launched() -> Iterator[Any]:
    """A browser by playwright's synchronous API. Its loop runs in this thread: DJANGO_ALLOW_ASYNC_UNSAFE has to be set."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**options())
        yield browser
        browser.close()


NETWORK_CHANGED = "ERR_NETWORK_CHANGED"
"""An engine beside a test makes a network, the machine has an address more, and Chromium drops all that is under way, to this machine itself, too.
Nothing of the panel's: the page is opened once more."""

STILL_SECONDS = 60


def complaint(message: Any) -> bool:
    """Whether this message of a page's console is one that its author has to answer for."""
    return message.type in ("error", "warning") and NETWORK_CHANGED not in message.text


class _Attempt:
    """One try to open a page. Around it (`with`), errors of networks that came or went are no errors, and make it `disturbed`."""

    disturbed = False

    def __init__(self, *, again: bool) -> None:
        self._again = again

    def hears(self, message: Any) -> None:
        self.disturbed = self.disturbed or NETWORK_CHANGED in message.text

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: Any, error: BaseException | None, _trace: Any) -> bool:
        # Once networks changed, Chromium opens its own page about it, and by itself this one again.
        text = str(error or "")
        broken = NETWORK_CHANGED in text or ("interrupted by another navigation" in text and (self._again or "chrome-error:" in text))
        self.disturbed = self.disturbed or broken
        return broken


def _attempts(page: Any, address: str) -> Iterator[_Attempt]:
    """Until one is not disturbed."""
    end = time.monotonic() + STILL_SECONDS
    attempt = _Attempt(again=False)
    while time.monotonic() < end:
        page.on("console", attempt.hears)
        try:
            yield attempt
        finally:
            page.remove_listener("console", attempt.hears)
        if not attempt.disturbed:
            return
        attempt = _Attempt(again=True)
    raise AssertionError(f"{address}: for {STILL_SECONDS} s the machine's networks changed whenever it was opened")


def opened(page: Any, address: str) -> Any:
    """The answer to `address`, with all that belongs to the page loaded."""
    answer = None
    for attempt in _attempts(page, address):
        with attempt:
            answer = page.goto(address, wait_until="load")
        if attempt.disturbed:
            page.wait_for_timeout(50)
    return answer


async def opened_soon(page: Any, address: str) -> Any:
    """As `opened`, for playwright's asynchronous API."""
    answer = None
    for attempt in _attempts(page, address):
        with attempt:
            answer = await page.goto(address, wait_until="load")
        if attempt.disturbed:
            await page.wait_for_timeout(50)
    return answer
