"""Words for sessions."""

from __future__ import annotations

import re
from typing import Final

from django import template
from django.utils.translation import gettext as _

register = template.Library()

_BROWSERS: Final = (("Edg/", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"), ("Safari/", "Safari"))
_SYSTEMS: Final = (
    ("Windows", "Windows"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)


@register.filter
def agent_word(text: str) -> str:
    """`Firefox on Linux` of a browser's User-Agent; the first word of a program's; it is a claim, not a proof."""
    system = next((word for mark, word in _SYSTEMS if mark in text), "")
    browser = next((word for mark, word in _BROWSERS if mark in text), "")
    if browser and system:
        return _("%(browser)s on %(system)s") % {"browser": browser, "system": system}
    first = re.split(r"[\s;(]", text.strip(), maxsplit=1)[0][:64]
    return first or _("Unknown program")
