"""Exec: a line is for the container's shell, a list is run as it is."""

from __future__ import annotations

from typing import Any

import pytest

from containers.validation import check_command, check_exec


@pytest.mark.parametrize(
    ("given", "argv"),
    [
        ("ls | wc -l; echo $HOME", ["/bin/sh", "-c", "ls | wc -l; echo $HOME"]),
        ("it's not closed", ["/bin/sh", "-c", "it's not closed"]),
        (["ls", "|", "$HOME"], ["ls", "|", "$HOME"]),
        ("", []),
        ([], []),
    ],
)
def test_a_line_is_for_the_shell_and_a_list_is_not(given: Any, argv: list[str]) -> None:
    assert check_exec(given) == argv


@pytest.mark.parametrize("given", ["a\x00b", ["a\x00"], {"a": 1}, 5, [5]])
def test_what_is_no_command_is_refused(given: Any) -> None:
    for check in (check_exec, check_command):
        with pytest.raises(ValueError, match=r"\w"):
            check(given)


def test_a_created_containers_line_is_split_and_not_evaluated() -> None:
    assert check_command("sh -c 'echo $HOME'") == ["sh", "-c", "echo $HOME"]
