"""How tests start Chromium."""

from __future__ import annotations

import contextlib
import os
import shutil
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
