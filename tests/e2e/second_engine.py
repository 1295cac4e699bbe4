"""A Docker engine of the test's own, in a network namespace of its own, that may be ended, killed and frozen: nobody else's containers are in it."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.e2e.stack import IMAGE

PROGRAMS = ("dockerd", "docker", "ip", "nsenter", "iptables")


def cannot() -> str:
    """ "" if a second engine can run here, else why not."""
    if os.geteuid() != 0:
        return "a second Docker engine needs root"
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        return f"a second Docker engine needs {', '.join(missing)}"
    probe = f"lormas-probe-{os.getpid()}"
    made = _run("ip", "netns", "add", probe, check=False)
    if made.returncode:
        return f"no network namespace can be made: {made.stderr.strip()[:200]}"
    _run("ip", "netns", "del", probe, check=False)
    return ""


def _run(*words: str, check: bool = True, seconds: float = 60) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(words, capture_output=True, text=True, timeout=seconds, check=False)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")
    return done


class SecondEngine:
    """`dockerd` with its own data, socket and network. `address` is where its published ports answer."""

    def __init__(self, *, live_restore: bool = False) -> None:
        self._options = ["--live-restore"] if live_restore else []
        number = random.randrange(2, 16_000)
        self.name = f"lormas{number}"
        self.folder = Path(tempfile.mkdtemp(prefix="lme-"))  # short: paths of sockets end at 108 bytes
        self.socket = self.folder / "s.sock"
        self.host = f"unix://{self.socket}"
        base = number * 4
        self._near, self.address = (f"10.213.{base // 256}.{base % 256 + host}" for host in (1, 2))
        self.process: subprocess.Popen[bytes] | None = None
        self._rules = False

    # ------------------------------------------------------------------------------------------------------------ life

    def make(self) -> SecondEngine:
        """Namespace, veth pair, engine, image."""
        _run("ip", "netns", "add", self.name)
        _run("ip", "link", "add", self.name, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        _run("ip", "address", "add", f"{self._near}/30", "dev", self.name)
        _run("ip", "link", "set", self.name, "up")
        _run("ip", "-n", self.name, "address", "add", f"{self.address}/30", "dev", "eth0")
        for device in ("lo", "eth0"):
            _run("ip", "-n", self.name, "link", "set", device, "up")
        self.start()
        with subprocess.Popen(["docker", "save", IMAGE], stdout=subprocess.PIPE) as save:
            subprocess.run(["docker", "-H", self.host, "load"], stdin=save.stdout, check=True, capture_output=True, timeout=60)
        return self

    def route_by_host(self) -> None:
        """Let it reach other second engines, by way of the machine."""
        _run("ip", "-n", self.name, "route", "add", "default", "via", self._near)
        for device in (self.name, "all"):
            _run("sysctl", "-qw", f"net.ipv4.conf.{device}.forwarding=1")
        # The machine's own engine drops what is forwarded and not its own; this names our addresses alone.
        _run("iptables", "-I", "FORWARD", "-i", self.name, "-s", self.address, "-j", "ACCEPT")
        _run("iptables", "-I", "FORWARD", "-o", self.name, "-d", self.address, "-j", "ACCEPT")
        self._rules = True

    def start(self) -> None:
        """Returns when it answers. After a SIGKILL it may need a second try."""
        for left in (1, 0):
            if self._try_to_start():
                return
            if not left:
                raise RuntimeError(f"the second engine does not start: {self.log()[-2000:]}")

    def _try_to_start(self) -> bool:
        (self.folder / "p.pid").unlink(missing_ok=True)
        with (self.folder / "engine.log").open("ab") as out:
            self.process = subprocess.Popen(
                [
                    *("nsenter", f"--net=/var/run/netns/{self.name}", "dockerd", "--host", self.host, "--pidfile", str(self.folder / "p.pid")),
                    *("--data-root", str(self.folder / "root"), "--exec-root", str(self.folder / "exec")),
                    *self._options,
                    *("--containerd-namespace", self.name, "--containerd-plugins-namespace", f"{self.name}-plugins"),
                ],
                stdout=out,
                stderr=out,
            )
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if self.process.poll() is not None:
                return False
            if _run("docker", "-H", self.host, "version", check=False).returncode == 0:
                return True
            time.sleep(0.1)
        self.process.kill()
        self.process.wait(10)
        return False

    def terminate(self) -> None:
        """SIGTERM; returns when it is gone, and with it the containers."""
        self._signal(signal.SIGTERM)
        assert self.process is not None
        self.process.wait(40)

    def reload(self, *, live_restore: bool) -> None:
        """Start anew with or without `live_restore`: containers that can't run on are ended."""
        self.terminate()
        self._options = ["--live-restore"] if live_restore else []
        self.start()

    def kill(self) -> None:
        """SIGKILL; containers run on (until the engine is back, unless it has `live_restore`)."""
        self._signal(signal.SIGKILL)
        assert self.process is not None
        self.process.wait(10)
        # Its containerd dies with it; where nobody has reaped that yet the next start would wait 15 s for it.
        file = self.folder / "exec" / "containerd" / "containerd.pid"
        if file.exists():
            with contextlib.suppress(OSError, ValueError):
                os.kill(int(file.read_text()), signal.SIGKILL)
            file.unlink()

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def log(self) -> str:
        file = self.folder / "engine.log"
        return file.read_text(errors="replace") if file.exists() else ""

    # ------------------------------------------------------------------------------------------------------------- use

    def docker(self, *words: str) -> str:
        return _run("docker", "-H", self.host, *words).stdout.strip()

    def containers(self, container_id: str) -> list[str]:
        """Ids of its containers that carry this container's label."""
        return self.docker("ps", "-aq", "--no-trunc", "--filter", f"label=lormas.container={container_id}").split()

    def state(self, container_id: str) -> dict[str, Any]:
        """`State` of the only container with this label."""
        [engine_id] = self.containers(container_id)
        found: dict[str, Any] = json.loads(self.docker("inspect", "-f", "{{json .State}}", engine_id))
        return found

    # ------------------------------------------------------------------------------------------------------------- end

    def remove(self) -> None:
        """Leave nothing, whatever state it is in."""
        if self.process is not None:
            with contextlib.suppress(Exception):
                self.thaw()
            with contextlib.suppress(Exception):
                if self.process.poll() is not None:
                    self.start()
                everything = self.docker("ps", "-aq").split()
                if everything:
                    _run("docker", "-H", self.host, "rm", "-fv", *everything, check=False)
            with contextlib.suppress(Exception):
                self.terminate()
            if self.process.poll() is None:
                self.kill()
        for pid in self._leftovers():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        for mount in sorted(self._mounts(), key=len, reverse=True):
            _run("umount", "-l", mount, check=False)
        if self._rules:
            _run("iptables", "-D", "FORWARD", "-i", self.name, "-s", self.address, "-j", "ACCEPT", check=False)
            _run("iptables", "-D", "FORWARD", "-o", self.name, "-d", self.address, "-j", "ACCEPT", check=False)
        _run("ip", "link", "del", self.name, check=False)
        _run("ip", "netns", "del", self.name, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _leftovers(self) -> list[int]:
        """Processes that name this engine's folder: shims and containerd."""
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and int(entry.name) != os.getpid() and str(self.folder).encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
        return found

    def _mounts(self) -> list[str]:
        points = (line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines())
        return [point for point in points if point.startswith(str(self.folder))]


@contextlib.contextmanager
def second_engine(*, live_restore: bool = False) -> Iterator[SecondEngine]:
    """Made and removed, also where making it fails half-way."""
    engine = SecondEngine(live_restore=live_restore)
    try:
        yield engine.make()
    finally:
        engine.remove()
