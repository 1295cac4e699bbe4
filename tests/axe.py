"""axe-core's findings on a page in a browser: only the serious ones, and cheaply."""

from __future__ import annotations

from typing import Any

CONTRAST = {"runOnly": {"type": "rule", "values": ["color-contrast"]}}
"""All that a theme changes."""
STILL = """(theme) => new Promise((done) => {
  const moving = () => document.getAnimations().filter((one) => one.effect?.getComputedTiming().iterations !== Infinity);
  const finish = () => { const found = moving(); found.forEach((one) => one.finish()); found.length ? requestAnimationFrame(finish) : done(); };
  const look = () => requestAnimationFrame(document.documentElement.dataset.bsTheme === theme ? finish : look);
  setTimeout(done, 10_000); look();
})"""
"""Resolves when the page has this theme and every transition (one begets others) was brought to its end: axe reads the colours of a moment."""
CALM = """{
  const calm = new CSSStyleSheet();
  calm.replaceSync("*, ::before, ::after { transition: none !important; animation: none !important }");
  document.adoptedStyleSheets = [calm];
}"""
"""A change of the theme is done at once: hundreds of transitions, each brought to its end, took as long as axe itself. No style of a page is another
for it, and the policy allows it, as it is no text in the document."""
RUN = """(options) => axe.run(document, {...options, resultTypes: ["violations"], preload: false})
  .then(({violations}) => violations.filter((one) => ["serious", "critical"].includes(one.impact))
    .map((one) => [one.id, one.nodes.slice(0, 3).map((node) => node.target)]))"""
"""Only what is wrong comes back: all that is right, with its markup, takes longer to carry over than to find."""


def bring(page: Any) -> None:
    """Each document that this page will open has axe in it, sent once and not for each, and no transitions."""
    from axe_playwright_python.base import AXE_SCRIPT

    page.add_init_script(AXE_SCRIPT)
    page.add_init_script(CALM)


def seriously_wrong(page: Any, theme: str, options: Any = None) -> list[Any]:
    """What axe finds, and finds again: a page that was just changing its theme, or a live part of it, is asked once more.

    Args:
        page: one that axe was brought to.
        theme: the one it is in, `light` or `dark`.
        options: axe's own.

    Returns:
        (rule, where) of each finding that is serious or critical.
    """
    bad: list[Any] = []
    for _ in range(3):
        bad = page.evaluate(RUN, options or {})
        if not bad:
            return []
        page.wait_for_timeout(300)
        page.evaluate(STILL, theme)
    return bad
