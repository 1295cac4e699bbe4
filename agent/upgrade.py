"""Upgrading the agent itself: fetch the panel's wheel, check it, try it, keep it or go back.

The wheel is unpacked into `<data>/versions/<hash>`, never over the installation that runs, and put before it on `PYTHONPATH`. Before anything
is given up the new code has to print its version in a process of its own. Then this process becomes a small guard (`agent.trial`) that starts the new
agent and waits: when the panel has welcomed it, it is good; if it ends or is not welcomed in time, the guard becomes the old agent again, which
tells why. `upgrade.json` says how far that is, so that a death at any point ends in one of the two. Containers are not touched.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import hashlib
import http.client
import json
import logging
import os
import re
import secrets
import shutil
import ssl
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from agent.config import Config
from agent.protocol.nodework import Upgrade
from agent.runtimes.base import RuntimeFailure

log = logging.getLogger(__name__)

FILE = "upgrade.json"
HOME = "LORMAS_AGENT_HOME"
"""Where the installation itself lies, told from version to version: one that was put in a folder does not know it."""
MOST_BYTES = 64 * 1024 * 1024
MOST_FILES = 5000
FETCH_SECONDS = 120.0
TRY_SECONDS = 60.0
TRIAL_SECONDS = 90.0
"""How long the new agent may take until the panel has welcomed it."""
KEEP_VERSIONS = 2
PATH = re.compile(r"^/agent/[A-Za-z0-9._%+-]+\.whl$")


@dataclass(frozen=True, slots=True)
class Trial:
    """What `upgrade.json` says. `state`: trial | good | failed."""

    command_id: str
    version: str
    folder: str
    state: str
    reason: str = ""
    begun_at: float = 0
    previous: str = ""
    """The folder that was in use before; "" = the installation itself."""


def read(data_dir: Path) -> Trial | None:
    """The last upgrade, or None."""
    try:
        found = json.loads((data_dir / FILE).read_text(encoding="utf-8"))
        text = {key: str(found.get(key, "")) for key in ("command_id", "version", "folder", "state", "reason", "previous")}
        return Trial(**text, begun_at=float(found.get("begun_at", 0)))
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def write(data_dir: Path, trial: Trial) -> None:
    """Store it, all or nothing."""
    draft = data_dir / f".{FILE}.{secrets.token_hex(4)}"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        json.dump(asdict(trial), stream)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(data_dir / FILE)


def mark(data_dir: Path, state: str, reason: str = "") -> Trial | None:
    """Move the trial that goes on to `good` or `failed`; None if there is none."""
    trial = read(data_dir)
    if trial is None or trial.state != "trial":
        return None
    moved = replace(trial, state=state, reason=reason[:500])
    write(data_dir, moved)
    return moved


def folder_in_use(data_dir: Path) -> str:
    """The version folder to run from; "" = the installation itself."""
    trial = read(data_dir)
    if trial is None:
        return ""
    chosen = trial.folder if trial.state == "good" else trial.previous
    return chosen if chosen and Path(chosen).is_dir() else ""


def environment(folder: str) -> dict[str, str]:
    """Ours, with this version first; after it the installation itself, wherever that was started from."""
    found = dict(os.environ)
    for name in ("LORMAS_NODE_TOKEN", "LORMAS_NODE_TOKEN_FILE", "LORMAS_AGENT_TRIAL"):
        found.pop(name, None)  # the token is in the data folder; one from the environment may have been rotated since
    here = str(Path(__file__).resolve().parents[1])
    if "/versions/" not in here:
        found[HOME] = here
    before = [part for part in found.get("PYTHONPATH", "").split(os.pathsep) if part and "/versions/" not in part]
    parts = [folder, found.get(HOME, ""), *before]
    found["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(part for part in parts if part))
    if not found["PYTHONPATH"]:
        del found["PYTHONPATH"]
    return found


def die_with_parent() -> None:
    """Linux: be ended when the guard dies, so that never two agents hold one data folder's containers."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(1, 15)  # PR_SET_PDEATHSIG, SIGTERM


def command_line(data_dir: Path) -> list[str]:
    """How an agent is started whatever it was started by: all that it needs is in its data folder."""
    return [sys.executable, "-P", "-m", "agent", "run", "--data", str(data_dir)]


# ------------------------------------------------------------------------------------------------------------ preparing


def _fetch(settings: Config, path: str, *, most: int) -> bytes:
    """The wheel from the panel this agent belongs to; no redirects, no other place. Blocking."""
    parts = urlsplit(settings.panel_url)
    host, secure = parts.hostname or "", parts.scheme in ("https", "wss")
    port = parts.port or (443 if secure else 80)
    if secure:
        context = ssl.create_default_context()
        if settings.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        client: http.client.HTTPConnection = http.client.HTTPSConnection(host, port, timeout=20, context=context)
    else:
        client = http.client.HTTPConnection(host, port, timeout=20)
    end = time.monotonic() + FETCH_SECONDS
    try:
        client.request("GET", parts.path.rstrip("/") + path, headers={"Accept-Encoding": "identity"})
        answer = client.getresponse()
        if answer.status != 200:
            raise RuntimeFailure("upgrade_failed", f"The panel answered HTTP {answer.status} for its package.", retryable=True)
        data = bytearray()
        while chunk := answer.read(256 * 1024):
            data += chunk
            if len(data) > most or time.monotonic() > end:
                raise RuntimeFailure("upgrade_failed", "The panel's package is too large, or came too slowly.")
        return bytes(data)
    except (OSError, http.client.HTTPException) as error:
        raise RuntimeFailure("upgrade_failed", f"The panel's package could not be fetched: {error}", retryable=True) from error
    finally:
        client.close()


def _unpack(wheel: Path, target: Path) -> None:
    """Only the agent's own files, each by name (SECURITY B07, B08): plain files below `agent/`, no links, with bounds."""
    total = 0
    with zipfile.ZipFile(wheel) as archive:
        members = archive.infolist()
        if len(members) > MOST_FILES:
            raise RuntimeFailure("upgrade_failed", "The package has too many files.")
        for member in members:
            path = PurePosixPath(member.filename)
            if path.parts[:1] != ("agent",) or member.is_dir():
                continue
            if path.is_absolute() or ".." in path.parts or "\\" in member.filename or (member.external_attr >> 16) & 0o170000 == 0o120000:
                raise RuntimeFailure("upgrade_failed", "The package has a file of a name that is not allowed.")
            total += member.file_size
            if total > MOST_BYTES:
                raise RuntimeFailure("upgrade_failed", "The package is too large.")
            file = target.joinpath(*path.parts)
            file.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, file.open("xb") as stream:
                shutil.copyfileobj(source, stream)


async def _answers(folder: Path, version: str) -> str:
    """ "" if the new code starts and says its version, else why not."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-c", "import agent.cli, agent.program, agent.engines, agent.trial; print(agent.__version__)",
        cwd=folder, env=environment(str(folder)), stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(TRY_SECONDS):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return f"it did not start within {TRY_SECONDS:g} s"
    if process.returncode != 0:
        return (err.decode("utf-8", "replace").strip().splitlines() or ["it ended without a word"])[-1][:300]
    said = out.decode("utf-8", "replace").strip()
    return "" if said == version else f"it says that it is {said[:40]}, not {version}"


async def prepare(settings: Config, payload: Upgrade, *, progress: Callable[[int, str], None]) -> Path:
    """Fetch, check, unpack and try; gives the folder of the new version. Raises RuntimeFailure `upgrade_failed`."""
    if not PATH.match(payload.path) or not re.fullmatch(r"[0-9a-f]{64}", payload.sha256):
        raise RuntimeFailure("bad_payload", "An upgrade names a wheel of the panel and its SHA-256.")
    progress(5, "Fetching the package")
    data = await asyncio.to_thread(_fetch, settings, payload.path, most=min(MOST_BYTES, payload.size_bytes or MOST_BYTES))
    if hashlib.sha256(data).hexdigest() != payload.sha256:
        raise RuntimeFailure("upgrade_failed", "The package is not what the panel said it is (its hash differs): nothing was installed.")
    progress(40, "Unpacking")
    root = settings.data_dir / "versions"
    folder = root / payload.sha256[:16]
    draft = root / f".{payload.sha256[:16]}.{secrets.token_hex(4)}"

    def unpack() -> None:
        draft.mkdir(parents=True, mode=0o700)
        wheel = draft / "package.whl"
        wheel.write_bytes(data)
        try:
            _unpack(wheel, draft)
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            raise RuntimeFailure("upgrade_failed", f"The package can't be unpacked: {error}") from error
        wheel.unlink()

    try:
        await asyncio.to_thread(unpack)
        progress(70, "Trying the new version")
        why = await _answers(draft, payload.version)
        if why:
            raise RuntimeFailure("upgrade_failed", f"The new version does not run on this machine: {why}. It was not installed.")
        if folder.exists():
            await asyncio.to_thread(shutil.rmtree, folder)
        draft.rename(folder)
    finally:
        with contextlib.suppress(OSError):
            await asyncio.to_thread(shutil.rmtree, draft, True)
    await asyncio.to_thread(_forget_old, settings.data_dir, folder)
    return folder


def _forget_old(data_dir: Path, keep: Path) -> None:
    """The newest few versions stay, and always the one in use."""
    used = folder_in_use(data_dir)
    found = sorted((data_dir / "versions").glob("[0-9a-f]*"), key=lambda f: f.stat().st_mtime, reverse=True)
    for folder in found[KEEP_VERSIONS:]:
        if folder != keep and str(folder) != used:
            shutil.rmtree(folder, ignore_errors=True)


class Upgrader:
    """Carries out `node.upgrade`: before the restart it prepares and asks for one, after it it tells how that went."""

    def __init__(self, settings: Callable[[], Config], *, restart: Callable[[], None]) -> None:
        self._settings = settings
        self._restart = restart

    async def run(self, command_id: str, payload: Upgrade, progress: Callable[[int, str], None]) -> dict[str, str]:
        """The result's data. Does not return where a restart is under way: the command stays open and is taken up again after it."""
        data_dir = self._settings().data_dir
        trial = read(data_dir)
        if trial is None or trial.command_id != command_id:
            folder = await prepare(self._settings(), payload, progress=progress)
            progress(90, "Starting anew")
            write(data_dir, Trial(command_id, payload.version, str(folder), "trial", begun_at=time.time(), previous=folder_in_use(data_dir)))
            log.warning("agent starts anew for an upgrade", extra={"version": payload.version})
            self._restart()
            await asyncio.Event().wait()
        end = time.monotonic() + TRIAL_SECONDS + 30
        while trial is not None and trial.state == "trial" and time.monotonic() < end:
            await asyncio.sleep(0.2)
            trial = read(data_dir)
        if trial is None or trial.state != "good":
            raise RuntimeFailure("upgrade_failed", f"Went back to the version before: {trial.reason if trial else 'the note of it is lost'}")
        return {"version": trial.version}
