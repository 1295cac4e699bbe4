"""The root file system of a demo machine: OpenSSH's server and the account tools of this computer, and busybox for the rest. Needs no registry."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Final

IMAGE: Final = "lormas-demo/machine:2"
PROGRAMS: Final = (
    "sshd",
    "ssh-keygen",
    "useradd",
    "userdel",
    "usermod",
    "groupadd",
    "groupdel",
    "chpasswd",
    "chage",
    "getent",
    "bash",
    "sudo",
    "ipcmk",
    "ipcrm",
)
NEEDED: Final = ("sshd", "ssh-keygen", "useradd", "userdel", "usermod", "chpasswd", "getent")
PATH: Final = "/usr/sbin:/usr/bin:/sbin:/bin"

START: Final = """#!/bin/sh
# A demo machine: its own host key, one authorised key for root, and sshd in the foreground.
set -eu
mkdir -p /run/sshd /root/.ssh /etc/ssh
[ -f /etc/ssh/host_key ] || ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/host_key
[ -z "${AUTHORIZED_KEY:-}" ] || printf '%s\\n' "$AUTHORIZED_KEY" >/root/.ssh/authorized_keys
chmod 700 /root /root/.ssh
exec /usr/sbin/sshd -D -e -f /etc/ssh/machine.conf -p "${SSH_PORT:-22}" -o "ListenAddress=${SSH_LISTEN:-0.0.0.0}"
"""
SSHD: Final = """HostKey /etc/ssh/host_key
UsePAM no
UseDNS no
PermitRootLogin yes
PasswordAuthentication yes
KbdInteractiveAuthentication no
AuthorizedKeysFile .ssh/authorized_keys
PrintMotd no
LoginGraceTime 10
MaxStartups 100:30:200
PidFile none
"""
_PAM: Final = "auth required pam_permit.so\naccount required pam_permit.so\npassword required pam_unix.so sha512\nsession required pam_permit.so\n"
FILES: Final = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nsshd:x:100:65534::/run/sshd:/bin/false\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\nusers:x:100:\n",
    "etc/shadow": "root:*:19000:0:99999:7:::\nsshd:*:19000:0:99999:7:::\nnobody:*:19000:0:99999:7:::\n",
    "etc/gshadow": "",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n",
    "etc/login.defs": "UID_MIN 1000\nUID_MAX 60000\nGID_MIN 1000\nGID_MAX 60000\nUSERGROUPS_ENAB yes\nENCRYPT_METHOD SHA512\nUMASK 022\n",
    "etc/shells": "/bin/sh\n/bin/bash\n",
    "etc/sudoers": "root ALL=(ALL:ALL) ALL\n@includedir /etc/sudoers.d\n",
    "etc/pam.d/chpasswd": _PAM,
    "etc/pam.d/sudo": _PAM,
    "etc/pam.d/other": _PAM,
    "etc/ssh/machine.conf": SSHD,
    "start": START,
}
MODES: Final = {"etc/shadow": 0o640, "etc/gshadow": 0o640, "etc/sudoers": 0o440, "start": 0o755}
FOLDERS: Final = (
    "bin", "dev", "etc/sudoers.d", "etc/default", "home", "lib", "lib64", "proc", "root", "run/lock", "sys", "usr/bin", "usr/sbin", "usr/lib",
    "var/lib", "var/lock", "var/mail", "var/spool/cron/crontabs", "etc/ssh",
)  # fmt: skip


class NoImage(RuntimeError):
    """It can't be made here; the text says what to install."""


def missing() -> list[str]:
    """What this computer lacks to make the image of its own files."""
    lacking = [name for name in NEEDED if shutil.which(name, path=PATH) is None]
    return lacking + ([] if _busybox() else ["busybox (static)"])


def _busybox() -> Path | None:
    from lormas.quickstart.engine import static_busybox

    return static_busybox()


def libraries(program: Path) -> set[Path]:
    """What the loader needs for a program, the loader among it; nothing for a static one."""
    listed = subprocess.run(["ldd", str(program)], capture_output=True, text=True, timeout=20, check=False).stdout
    words = (word for line in listed.splitlines() for word in line.split())
    return {Path(word) for word in words if word.startswith("/")}


def root_tar() -> bytes:
    """The whole as a tar. Raises NoImage."""
    lacking = missing()
    if lacking:
        raise NoImage(
            f"To make demo machines of this computer's own programs, install: {', '.join(lacking)} (openssh-server, passwd, busybox-static)."
        )
    busybox = _busybox()
    assert busybox is not None
    wanted: dict[str, Path] = {}
    for name in PROGRAMS:
        found = shutil.which(name, path=PATH)
        if found:
            wanted[found] = Path(found)
    for module in _pam_modules():
        wanted[str(module)] = module
    sudo_parts = Path("/usr/libexec/sudo")
    wanted.update({str(file): file for file in sudo_parts.rglob("*.so*") if file.is_file()} if sudo_parts.is_dir() else {})
    for file in list(wanted.values()):
        wanted.update({str(library): library for library in libraries(file)})
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        _fill(archive, wanted, busybox)
    return buffer.getvalue()


def _pam_modules() -> list[Path]:
    return [
        file for folder in Path("/").glob("*lib*/*/security") for file in folder.glob("pam_*.so") if file.name in ("pam_unix.so", "pam_permit.so")
    ] + [file for folder in Path("/usr/lib").glob("*/security") for file in folder.glob("pam_*.so") if file.name in ("pam_unix.so", "pam_permit.so")]


def _fill(archive: tarfile.TarFile, wanted: dict[str, Path], busybox: Path) -> None:
    placed: set[str] = set()

    def add(name: str, *, content: bytes | None = None, link: str = "", mode: int = 0o755) -> None:
        if name in placed:
            return
        placed.add(name)
        info = tarfile.TarInfo(name)
        info.mode = mode
        if link:
            info.type, info.linkname = tarfile.SYMTYPE, link
        elif content is None:
            info.type = tarfile.DIRTYPE
        else:
            info.size = len(content)
        archive.addfile(info, io.BytesIO(content) if content is not None else None)

    for folder in FOLDERS:
        parts = folder.split("/")
        for depth in range(1, len(parts) + 1):
            add("/".join(parts[:depth]))
    for folder in ("tmp", "var/tmp"):
        add(folder, mode=0o1777)
    for place, file in sorted(wanted.items()):
        name = place.lstrip("/")
        for parent in reversed(Path(name).parents):
            if str(parent) != ".":
                add(str(parent))
        setuid = 0o4755 if Path(place).name == "sudo" else 0o755
        add(name, content=file.read_bytes(), mode=setuid)
    add("bin/busybox", content=busybox.read_bytes())
    listed = subprocess.run([str(busybox), "--list"], capture_output=True, text=True, timeout=10, check=True).stdout.split()
    for command in listed:
        if command not in ("busybox", "[[") and not {f"{folder}/{command}" for folder in ("bin", "sbin", "usr/bin", "usr/sbin")} & placed:
            add(f"bin/{command}", link="busybox")
    for name, text in FILES.items():
        for parent in reversed(Path(name).parents):
            if str(parent) != ".":
                add(str(parent))
        add(name, content=text.encode(), mode=MODES.get(name, 0o644))


def ensure(docker_host: str | None, *, name: str = IMAGE) -> None:
    """Make the image unless the engine has it. Raises NoImage."""
    from lormas.quickstart import engine

    if engine.has_image(docker_host, name):
        return
    repository, _, tag = name.partition(":")
    data = root_tar()
    with engine.client(docker_host, seconds=120) as client:
        changes = [f"ENV PATH={PATH}", 'CMD ["/start"]', "EXPOSE 22"]
        client.api.import_image_from_data(data, repository=repository, tag=tag or "latest", changes=changes)
