"""How tests start Chromium."""

from __future__ import annotations

ARGS = ["--no-sandbox", "--disable-gpu", "--disable-software-rasterizer"]
"""No sandbox: a CI machine's one user is root. No graphics card is pretended either: Debian's wrapper asks for drawing on one, which, where there is
none, costs a fifth of a page's processor time and nearly half of its wait."""
