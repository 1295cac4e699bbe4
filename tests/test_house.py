"""Rules of the whole code base, as tests."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("lormas", "audit", "accounts", "nodes", "eggs", "containers", "reservations", "agent")
MODULES = sorted(file for room in ROOMS for file in (ROOT / room).rglob("*.py") if "migrations" not in file.parts)
MOST_LINES = 440
ONE_FILE = {"agent/runtimes/process/shim.py"}  # started by its path, without the package: it must not depend on which agent started it
FORBIDDEN = {"os.system", "os.popen", "eval", "exec", "mark_safe", "pickle.loads", "yaml.load", "subprocess.getoutput"}
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
