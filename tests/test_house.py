"""Rules of the whole code base, as tests."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("lormas", "audit", "accounts", "nodes", "eggs", "containers", "reservations", "agent")
MODULES = sorted(file for room in ROOMS for file in (ROOT / room).rglob("*.py") if "migrations" not in file.parts)
MOST_LINES = 440
ONE_FILE = {"agent/runtimes/process/shim.py"}  # started by its path, without the package: it must not depend on which agent started it
# asyncio.wait_for may swallow a cancellation up to Python 3.11: who was told to end goes on. asyncio.timeout does not.
FORBIDDEN = {"asyncio.wait_for", "os.system", "os.popen", "eval", "exec", "mark_safe", "pickle.loads", "yaml.load", "subprocess.getoutput"}
ALLOWED = {("lormas/templatetags/console.py", "mark_safe")}  # icons of the lucide package, looked up by name


SECRET_NAME = re.compile(r"(^|_)(token|secret|digest|password|signature|mac|hmac)$")
COMPARED = {  # neither side comes from a caller who could try one character after the other
    ("accounts/mailbox.py", "locked.password != user.password"),
    ("audit/idempotency.py", "known.body_digest != summed"),
    ("eggs/services/importing.py", "egg.current.digest == digest"),
}


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


@pytest.mark.parametrize("file", MODULES, ids=lambda f: str(f.relative_to(ROOT)))
def test_a_module_uses_no_shell_and_evaluates_nothing(file: Path) -> None:
    """C01, C02, B07: one gate for all rooms."""
    for name, call in calls(ast.parse(file.read_text(encoding="utf-8"))):
        where = f"{file.name}:{call.lineno}"
        assert name not in FORBIDDEN or (str(file.relative_to(ROOT)), name) in ALLOWED, where
        assert not name.endswith(".extractall"), where
        shell = next((k.value for k in call.keywords if k.arg == "shell"), None)
        assert not (isinstance(shell, ast.Constant) and shell.value), where


def test_no_module_is_longer_than_a_person_reads_at_once() -> None:
    long = {str(f.relative_to(ROOT)): n for f in MODULES if (n := len(f.read_text(encoding="utf-8").splitlines())) > MOST_LINES}
    assert set(long) <= ONE_FILE, long


def test_templates_trust_nothing() -> None:
    """H01: autoescape stays on."""
    for file in (ROOT / "templates").rglob("*.html"):
        text = file.read_text(encoding="utf-8")
        assert "|safe" not in text and "autoescape off" not in text, file


def test_sockets_end_with_codes_that_the_server_sends() -> None:
    """Daphne sends 1000 and 3000-4999; with another one the close is lost and the socket hangs."""
    for file in MODULES:
        for found in re.finditer(r"""(?:websocket\.close["'], ["']code["']: |Close\(|\.fail\()(\d{4})\b""", file.read_text(encoding="utf-8")):
            code = int(found[1])
            assert code == 1000 or 3000 <= code <= 4999, f"{file.relative_to(ROOT)}: {found[0]}"


@pytest.mark.parametrize("file", MODULES, ids=lambda f: str(f.relative_to(ROOT)))
def test_secrets_are_compared_in_constant_time(file: Path) -> None:
    """I09: by constant_time_compare, never by ==."""
    where = str(file.relative_to(ROOT))
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not (isinstance(node, ast.Compare) and any(isinstance(op, ast.Eq | ast.NotEq) for op in node.ops)):
            continue
        named = [ast.unparse(side) for side in (node.left, *node.comparators) if isinstance(side, ast.Name | ast.Attribute)]
        if any(SECRET_NAME.search(name.rpartition(".")[2].lower()) for name in named):
            assert (where, ast.unparse(node)) in COMPARED, f"{where}:{node.lineno}: {ast.unparse(node)}"


ONE_WAY = {  # a repetition in a repetition, but a text fits each of them in one way only: what ends a round can't begin or be in another
    r"[^@\s]+@[^@\s.]+(?:\.[^@\s.]+)+\Z",
    r"[A-Za-z_/][A-Za-z0-9_./@-]*(?: [A-Za-z0-9_./@-]+)*\Z",
    r"/[\w.@+-]+(?:/[\w.@+-]+)*/?\Z",
    r"^[A-Za-z0-9](?:[-_]*[A-Za-z0-9])*$",
    r"^_?[a-z][a-z0-9]*(?:_[a-z0-9]+)+$",
    r"^( *)[^\s#-][^\n]*:[ ]*\r?\n(?:[ ]*#[^\n]*\n)*( *)- ",
    r"^( *)[^\s#-][^\n]*:[ ]*\r?\n(?:[ ]*#[^\n]*\n)*( +)[^\s#-]",
    r"((?:[ \t]*(?:#[^\n]*)?\n)*)---(?:\s|\Z)",
    r"(?:[ \t]*(?:#[^\n]*)?(?:\n|\Z))*",
    r"(?:\xef\xbb\xbf)?(?:\s|<\?(?:[^?]|\?(?!>))*\?>|<!--(?:[^-]|-(?!->))*-->|<!DOCTYPE[^\[>]*>)*(?=<[A-Za-z_])",
}


def _repeats_what_repeats(pattern: str) -> bool:
    from re import _parser  # type: ignore[attr-defined]

    def looks(part: Any, inside: bool) -> bool:
        if isinstance(part, tuple) and len(part) == 2 and str(part[0]) in ("MAX_REPEAT", "MIN_REPEAT"):
            _least, most, repeated = part[1]
            return (most > 20 and (inside or looks(repeated, True))) or looks(repeated, inside)
        return not isinstance(part, str | int) and part is not None and any(looks(one, inside) for one in part)

    try:
        return looks(list(_parser.parse(pattern)), False)
    except re.error:  # of the regex module, whose patterns come with a time limit
        return False


def test_no_pattern_needs_for_ever_for_a_text_that_nearly_fits() -> None:
    """C10: `(a+/?)+` tries every way to divide a text. Each pattern that repeats what repeats was looked at; a new one must be, too."""
    found: dict[str, str] = {}
    for file in MODULES:
        source = file.read_text(encoding="utf-8")
        for name, call in calls(ast.parse(source)) if "import re\n" in source else ():
            pattern = call.args[0].value if name.startswith("re.") and call.args and isinstance(call.args[0], ast.Constant) else None
            text = pattern.decode("latin-1") if isinstance(pattern, bytes) else pattern
            if isinstance(text, str) and _repeats_what_repeats(text):
                found[text] = f"{file.relative_to(ROOT)}:{call.lineno}"
    assert not set(found) - ONE_WAY, {text: where for text, where in found.items() if text not in ONE_WAY}
    assert _repeats_what_repeats(r"/(?:[\w.@+-]+/?)+\Z")


def test_the_floor_plan_names_what_is_there() -> None:
    """docs/architecture: each room and each module of a room that it names exists, and each room that exists is named."""
    said = (ROOT / "docs" / "architecture" / "README.md").read_text()
    plan = said.split("```")[1]
    for room in (*ROOMS, "billing", "notifications", "templates", "static", "frontend", "tests", "bench", "docs"):
        assert (ROOT / room).is_dir(), room
        assert f"{room}/" in plan, room
    lormas = re.findall(r"^   (\S.*)$", plan, re.MULTILINE)[0]
    for name in (*lormas.split(), *(f"agent/{each}/" for each in ("protocol", "logs", "files", "backups", "tunnels"))):
        assert any((ROOT / base / name).exists() for base in ("lormas", "")), name
    for kind in ("base", "docker", "process", "fake"):
        folder = ROOT / "agent" / "runtimes"
        assert (folder / kind).is_dir() or (folder / f"{kind}.py").is_file(), kind
    for module in ("session", "dispatcher", "reconcile"):
        assert (ROOT / "agent" / f"{module}.py").is_file(), module
    for dotted in re.findall(r"`((?:lormas|audit|accounts|nodes|eggs|containers|reservations|agent)(?:\.\w+)+)`", said):
        parts = dotted.split(".")
        assert any(
            (ROOT / "/".join(parts[:end])).is_dir() or (ROOT / f"{'/'.join(parts[:end])}.py").is_file() for end in (len(parts), len(parts) - 1)
        ), dotted
