"""`file_denylist`: gitignore-style, case-sensitive."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.files import Denylist


@pytest.mark.parametrize(
    ("patterns", "path", "is_folder", "denied"),
    [
        (["server.properties"], "server.properties", False, True),
        (["server.properties"], "Server.properties", False, False),
        (["server.properties"], "deep/down/server.properties", False, True),
        (["/server.properties"], "deep/server.properties", False, False),
        (["*.jar"], "plugins/a.jar", False, True),
        (["*.jar"], "a.jar.txt", False, False),
        (["plugins/*.jar"], "plugins/a.jar", False, True),
        (["plugins/*.jar"], "plugins/sub/a.jar", False, False),
        (["plugins/**/*.jar"], "plugins/sub/er/a.jar", False, True),
        (["plugins/**/*.jar"], "plugins/a.jar", False, True),
        (["**/secret"], "a/b/secret", False, True),
        (["**/secret"], "secret", False, True),
        (["logs/"], "logs", True, True),
        (["logs/"], "logs", False, False),
        (["logs/"], "logs/latest.log", False, True),
        (["logs/**"], "logs", True, False),
        (["logs/**"], "logs/a/b", False, True),
        (["*", "!keep.txt"], "keep.txt", False, False),
        (["*.txt", "!keep.txt"], "sub/keep.txt", False, False),
        (["sub", "!sub/keep.txt"], "sub/keep.txt", False, True),
        (["file?.[ch]"], "file1.c", False, True),
        (["file?.[!ch]"], "file1.c", False, False),
        (["[a-c]x"], "bx", False, True),
        (["\\*"], "*", False, True),
        (["\\*"], "a", False, False),
        (["\\!important"], "!important", False, True),
        (["# comment", "", "   "], "# comment", False, False),
        (["a/"], "b/a/c", False, True),
        ([], "anything", False, False),
    ],
)
def test_patterns(patterns: list[str], path: str, is_folder: bool, denied: bool) -> None:
    assert Denylist(patterns).denies(path, is_folder=is_folder) is denied


def test_hostile_patterns_cost_nothing() -> None:
    """SECURITY C10."""
    begun = time.process_time()
    deny = Denylist(["*a" * 200 + "b", "/".join(["**"] * 100) + "/x", "[" * 300, "a/" + "**/" * 100 + "b"] * 60)
    assert not deny.denies("/".join(["a" * 250] * 16))
    assert time.process_time() - begun < 5


@given(st.lists(st.text(max_size=20), max_size=5), st.text(max_size=30))
def test_any_pattern_and_any_path_get_an_answer(patterns: list[str], path: str) -> None:
    assert Denylist(patterns).denies(path) in (True, False)
