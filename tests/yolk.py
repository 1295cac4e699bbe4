"""An image as those that eggs are made for, and one that installs: put together from this machine's busybox, no registry takes part.

What is real: the convention of such images (user `container`, /home/container, an entrypoint that turns `STARTUP` into a command), the shell and
the tools of busybox. What stands in: `java` runs the "jar", which is a small server written in shell, and `curl` and `jq` answer from a folder
of the image, as nothing may be fetched in a test.
"""

from __future__ import annotations

import io
import subprocess
import tarfile

from lormas.quickstart import engine

YOLK = "lormas-test/yolk:1"
INSTALLER = "lormas-test/installer:1"

ENTRYPOINT = r"""#!/bin/sh
cd /home/container || exit 1
export INTERNAL_IP="$(hostname -i 2>/dev/null)"
line="$(printf '%s' "$STARTUP" | sed -e 's/{{/${/g' -e 's/}}/}/g')"
parsed="$(eval echo "\"$line\"")"
printf '\033[1m\033[33mcontainer@yolk~ \033[0m%s\n' "$parsed"
eval "exec env $parsed"
"""

JAVA = r"""#!/bin/sh
# Stands in for Java: what `-jar` names is a script.
while [ $# -gt 0 ]; do
    case "$1" in -jar) jar="$2"; shift ;; -Xmx*) export STAND_IN_MEMORY="${1#-Xmx}" ;; esac
    shift
done
[ -r "$jar" ] || { echo "Error: Unable to access jarfile $jar"; exit 1; }
exec sh "$jar"
"""

SERVER = r"""# A server: says as whom it runs, serves its folder on the port of its configuration, obeys its console.
if [ -f velocity.toml ]; then
    port="$(sed -n 's/^bind = "0.0.0.0:\([0-9]*\)".*/\1/p' velocity.toml)"
else
    port="$(sed -n 's/^server-port=//p' server.properties)"
    if ! grep -q '^eula=true' eula.txt 2>/dev/null; then
        [ -f eula.txt ] || echo 'eula=false' > eula.txt
        echo 'You need to agree to the EULA in order to run the server. Go to eula.txt for more info.'
        exit 0
    fi
fi
touch /etc/marker 2>/dev/null && echo 'the root file system can be written'
echo "user $(id -u) group $(id -g) memory $STAND_IN_MEMORY port $port"
echo serving > index.html
httpd -f -p "$port" -h . &
printf '\033[32mDone (0.1s)! For help, type "help"\033[0m\n'
while read -r line; do
    case "$line" in end|stop) echo 'Closing'; exit 0 ;; *) echo "unknown command $line" ;; esac
done
"""

CURL = r"""#!/bin/sh
# Stands in for curl: nothing is fetched.
while [ $# -gt 0 ]; do
    case "$1" in -o) out="$2"; shift ;; http*) url="$1" ;; esac
    shift
done
case "$out" in
    *.jar) cp /opt/server.sh "$out" ;;
    *velocity.toml) printf '# of the proxy\nconfig-version = "2.5"\nbind = "0.0.0.0:1"\nmotd = "kept"\n' > "$out" ;;
    '') echo '{}' ;;
    *) : > "$out" ;;
esac
echo "stand-in for $url" >&2
"""

JQ = r"""#!/bin/sh
cat >/dev/null
case "$*" in *'|.url'*|*'.url') echo 'http://stand-in.invalid/file' ;; *contains*) echo true ;; *) echo 1.0 ;; esac
"""


def _tar() -> bytes:
    busybox = engine.static_busybox()
    assert busybox is not None, "no static busybox on this machine"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(engine.busybox_tar(busybox))) as base, tarfile.open(fileobj=buffer, mode="w") as archive:
        for member in base:
            if member.name != "etc/passwd":
                archive.addfile(member, base.extractfile(member) if member.isreg() else None)

        def add(name: str, text: str | None = None, *, mode: int = 0o755, owner: int = 0) -> None:
            info = tarfile.TarInfo(name)
            info.mode, info.uid, info.gid = mode, owner, owner
            if text is None:
                info.type = tarfile.DIRTYPE
                archive.addfile(info)
            else:
                data = text.encode()
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))

        for folder in ("usr/local", "usr/local/bin", "opt", "mnt"):
            add(folder)
        add("home/container", owner=1000)
        add("entrypoint.sh", ENTRYPOINT)
        add("opt/server.sh", SERVER, mode=0o644)
        for name, text in (("java", JAVA), ("curl", CURL), ("jq", JQ)):
            add(f"usr/local/bin/{name}", text)
        people = "root:x:0:0:root:/root:/bin/sh\ncontainer:x:1000:1000::/home/container:/bin/sh\n"
        add("etc/passwd", people, mode=0o644)
    return buffer.getvalue()


def _import(name: str, *changes: str) -> None:
    if engine.has_image(None, name):
        return
    words = [word for change in changes for word in ("--change", change)]
    subprocess.run(["docker", "import", *words, "-", name], input=_tar(), capture_output=True, timeout=120, check=True)


def images() -> None:
    """Make both, where they are not there."""
    path = "ENV PATH=/usr/local/bin:/bin:/usr/bin"
    _import(
        YOLK,
        path,
        "ENV USER=container HOME=/home/container",
        "USER container",
        "WORKDIR /home/container",
        'ENTRYPOINT ["/bin/sh", "/entrypoint.sh"]',
    )
    _import(INSTALLER, path, 'CMD ["sh"]')


def tag(image: str, name: str) -> None:
    """Under another name, as an egg spells it."""
    subprocess.run(["docker", "tag", image, name], capture_output=True, timeout=30, check=True)


def untag(name: str) -> None:
    subprocess.run(["docker", "rmi", "--no-prune", name], capture_output=True, timeout=30, check=False)
