"""Icons: each that a template names is one."""

from __future__ import annotations

import re
from pathlib import Path

from lormas.templatetags import console

TEMPLATES = Path(__file__).parents[2] / "templates"


def test_every_icon_that_a_template_names_is_there_and_another_is_a_box() -> None:
    named = {name for page in TEMPLATES.rglob("*.html") for name in re.findall(r'{% icon "([\w-]+)"', page.read_text(encoding="utf-8"))}
    there = {name.removesuffix(".svg") for name in console._drawings().namelist()}
    assert len(named) > 50
    assert named <= there
    assert console.icon("no-such-icon") == console.icon("box")
    assert str(console.icon("play", "s")).startswith("<svg xmlns=") is False
    assert 'class="i s"' in console.icon("play", "s")
