"""Makes the environment, then hands over to it. Runs before anything is installed: standard library only, Python 3.11 and newer.

python -m lormas.quickstart.bootstrap env [--dev] | run | stop | doctor | <any `lormas` command>
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lormas.quickstart import installers
from lormas.quickstart.say import Trouble, line, step, trouble

ROOT = Path(__file__).resolve().parents[2]
RARE = (
    r"/(moto|faker|ansible|ansible_test|botocore|cyclonedx|dns|graphql|mypy|mypyc|pip|playwright|schemathesis|setuptools|wcwidth|tests?)/"
    r"|/twisted/(conch|mail|names|news|pair|positioning|runner|scripts|spread|tap|trial|words)/|/pygments/lexers/[a-z]"
)
"""What is imported in small parts, or for tests and set-up only: compiled when it is first used, if ever."""
MAX_SHARES = 4
"""pip unpacks in one process, most of its time: so several install side by side."""
MADE = "lormas-made"
SCRIPTS = {"lormas": "lormas.cli", "lormas-agent": "agent.cli"}


def venv_folder() -> Path:
    return ROOT / os.environ.get("VENV", ".venv")


def venv_python(folder: Path) -> Path:
    return folder / "bin" / "python"


def lock_digest(folder: Path, lock: Path) -> str:
    """Of the lock and of the environment's own Python, which need not be the one that runs this: another may have come first on PATH meanwhile."""
    config = folder / "pyvenv.cfg"
    lines = config.read_text(encoding="utf-8").splitlines() if config.exists() else []
    version = next((line.partition("=")[2].strip() for line in lines if line.partition("=")[0].strip() in {"version", "version_info"}), "")
    interpreter = os.path.realpath(venv_python(folder))  # an upgrade of the system leads the same link to another one
    return hashlib.sha256(lock.read_bytes() + f"{version} {interpreter}".encode()).hexdigest()


def installed(folder: Path, lock: Path) -> bool:
    """Was exactly this lock installed into this environment, to the end?"""
    stamp = folder / f"lormas-{lock.stem}.sha256"
    return venv_python(folder).exists() and stamp.exists() and stamp.read_text(encoding="ascii") == lock_digest(folder, lock)


def _run(command: list[str], *, failure: str, env: dict[str, str] | None = None) -> None:
    """Run quietly; on failure show the last of what it said, then raise one sentence."""
    done = subprocess.run(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, env=env
    )
    if done.returncode:
        tail = "\n".join(done.stdout.strip().splitlines()[-12:])
        print(f"\n{tail}", file=sys.stderr)
        raise Trouble(failure)


def _whole(folder: Path) -> bool:
    """Was the environment made to its end? One that somebody else made elsewhere is taken as it is."""
    if not venv_python(folder).exists():
        return False
    return not folder.is_relative_to(ROOT) or any(folder.glob("lormas-*.sha256")) or (folder / MADE).exists()


def _make_venv(folder: Path, uv: str | None) -> None:
    shutil.rmtree(folder, ignore_errors=True)  # what an interrupted start left
    _fresh_venv(folder, uv)
    (folder / MADE).touch()


def _fresh_venv(folder: Path, uv: str | None) -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if uv:
        _run([uv, "venv", "-q", "--python", sys.executable, str(folder)], failure="uv could not make the environment: see the lines above.")
        return
    if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None:
        package = f"python{version}-venv"
        raise Trouble(f"this Python can't make environments: install its venv package (Debian, Ubuntu: apt-get install {package}) and start again.")
    # Without pip, which is half of the work, where uv will do its part; should it not, pip comes then.
    without = ["--without-pip"] if installers.bundled_pip() else []
    _run([sys.executable, "-m", "venv", *without, str(folder)], failure=f"the environment {folder.name} could not be made: see the lines above.")


def _shares(lock: Path, folder: Path, count: int) -> list[Path]:
    """The lock in so many parts, each a list by itself: every package is named with its hashes and needs no other one to be installed."""
    entries = re.split(r"(?m)^(?=[A-Za-z0-9])", lock.read_text(encoding="utf-8"))
    parts = [entries[index::count] for index in range(count)]
    found = []
    for index, part in enumerate(parts):
        found.append(folder / f"{index}.txt")
        found[-1].write_text("".join(part), encoding="utf-8")
    return found


def _install(folder: Path, lock: Path, uv: str | None) -> str:
    """Returns what did it."""
    python = str(venv_python(folder))
    failure = f"the packages of requirements/{lock.name} could not be installed: see the lines above, check network and disk, then start again."
    wanted = ["pip", "install", "-q", "--python", python, "--require-hashes", "--no-deps", "-r", str(lock)]
    by = "uv"
    if uv:
        _run([uv, *wanted], failure=failure)
    elif not _with_fetched_uv(folder, wanted):
        by = "pip"
        _with_pip(python, lock, failure)
    packages = next((folder / "lib").glob("python3.*/site-packages"))
    # Here and not by uv or pip: pip does it in one process, both also for what nobody imports. Without bytecode each start costs 4.5 s more.
    compiled = [python, "-m", "compileall", "-q", "-j", "0", "-x", RARE, str(packages)]
    subprocess.run(compiled, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return by


def _with_fetched_uv(folder: Path, wanted: list[str]) -> bool:
    pip = installers.bundled_pip()
    if pip is None:
        return False
    for left in folder.glob("fetched-*"):
        shutil.rmtree(left, ignore_errors=True)  # by a start that was killed
    with tempfile.TemporaryDirectory(prefix="fetched-", dir=folder) as scratch:  # there programs may run, which not every /tmp allows
        with ThreadPoolExecutor() as side_by_side:  # pip alone takes a second to begin
            asked = side_by_side.submit(installers.as_pip_is_told, pip)
            uv = installers.fetch_uv(pip, ROOT / "requirements" / "setup.lock", Path(scratch))
            told = asked.result()
        if uv is None:
            return False
        try:  # no time limit: a slow line takes as long as it takes, and who waits sees which step it is
            done = subprocess.run([uv, *wanted], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, check=False, env=told)
        except OSError:
            return False
    return done.returncode == 0


def _with_pip(python: str, lock: Path, failure: str) -> None:
    if subprocess.run([python, "-c", "import pip"], capture_output=True, check=False).returncode:
        _run([python, "-m", "ensurepip", "--default-pip"], failure=failure)
    pip = [python, "-m", "pip", "install", "-q", "--no-input", "--no-compile", "--require-hashes", "--no-deps", "-r"]
    with tempfile.TemporaryDirectory(prefix="lormas-") as shares, ThreadPoolExecutor() as side_by_side:
        lists = _shares(lock, Path(shares), min(MAX_SHARES, os.cpu_count() or 1))
        for done in [side_by_side.submit(_run, [*pip, str(share)], failure=failure) for share in lists]:
            done.result()


def _link(folder: Path) -> None:
    """Make this checkout importable in the environment, with its console scripts. (An editable install would need a build and the network.)"""
    packages = next((folder / "lib").glob("python3.*/site-packages"))
    (packages / "lormas.pth").write_text(f"{ROOT}\n", encoding="utf-8")
    for name, module in SCRIPTS.items():
        script = folder / "bin" / name
        script.write_text(f"#!{venv_python(folder)}\nimport sys\n\nfrom {module} import main\n\nsys.exit(main())\n", encoding="utf-8")
        script.chmod(0o755)


def ensure(*, dev: bool = False) -> Path:
    """The environment's Python, after whatever was missing was made. Prints a step only if there was something to do."""
    folder = venv_folder()
    locks = [ROOT / "requirements" / ("dev.lock" if dev else "panel.lock")]
    if not dev and installed(folder, ROOT / "requirements" / "dev.lock"):
        return venv_python(folder)  # holds the panel's, too
    uv = shutil.which("uv")
    try:
        for lock in locks:
            if installed(folder, lock):
                continue
            if not _whole(folder):
                with step(f"environment {folder.name}") as current:
                    _make_venv(folder, uv)
                    current.note = f"Python {sys.version.split()[0]}"
            with step("packages") as current:
                by = _install(folder, lock, uv)
                current.note = f"requirements/{lock.name} with {by}"
            _link(folder)
            (folder / f"lormas-{lock.stem}.sha256").write_text(lock_digest(folder, lock), encoding="ascii")
    except OSError as error:
        raise Trouble(f"{folder} could not be written ({error.strerror}): free some space or mend its owner, then start again.") from error
    return venv_python(folder)


def main(argv: list[str]) -> int:
    if sys.version_info < (3, 11):  # noqa: UP036 - this file also runs before anything checked the version
        trouble(f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}: name a newer one with PYTHON=/path/to/python.")
        return 1
    command = argv[0] if argv else "run"
    try:
        python = ensure(dev="--dev" in argv)
    except Trouble as error:
        trouble(error)
        return 1
    except KeyboardInterrupt:
        line("\nStopped before it was ready; start again and it goes on where it was.")
        return 130
    if command == "env":
        return 0
    os.chdir(ROOT)
    os.execv(python, [str(python), "-m", "lormas.cli", command, *argv[1:]])  # noqa: S606 - a program of ours


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
