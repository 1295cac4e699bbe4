"""The path above a container's files: its root is a slash where the whole container is shown, and then no slash follows it."""

from __future__ import annotations

import uuid
from types import SimpleNamespace

import pytest
from django.template.loader import render_to_string

from lormas import assets

ROOT = 'class="fm-root"'


def page(**shown: object) -> str:
    return render_to_string("containers/_files_list.html", {"container": SimpleNamespace(pk=uuid.uuid4()), "path": "conf", "total": 0, **shown})


@pytest.mark.parametrize(
    ("shown", "slash"),
    [
        ({"view": "folder", "prefix": "/", "crumbs": [("conf", "conf")]}, True),
        ({"view": "found", "prefix": "/", "crumbs": [], "search": "x"}, True),
        ({"view": "problem", "crumbs": [("conf", "conf")], "problem": {"code": "not_found", "status": 404}}, True),  # its prefix is not known
        ({"view": "folder", "prefix": "/home/container", "crumbs": [("conf", "conf")]}, False),
        ({"view": "trash", "crumbs": []}, False),
    ],
)
def test_a_root_that_is_a_slash_is_followed_by_none(shown: dict[str, object], slash: bool) -> None:
    assert (ROOT in page(**shown)) is slash
    rules = (assets.FRONTEND / "src" / "css" / "files.css").read_text(encoding="utf-8")
    assert ".fm-crumbs .fm-root + li::before { content: none; }" in rules
