"""Hands by Ansible: the playbooks of `provision/playbooks` through ansible-runner, on real machines over real SSH."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from django.core.checks import run_checks

from reservations import hands
from reservations.hands import ansible
from reservations.hands.base import Account, Job, Outcome
from tests.reservations.machines import Box, boxes, has_python, key_pair, login

pytestmark = [pytest.mark.ssh, pytest.mark.docker]
PASSWORD = "{{ 6*7 }} p4ss 'quoted' \"ü\" $(id)"
"""For Ansible a template, for a shell a command: it must arrive as it is."""
WAY_IN = "way-in-of-the-panel"


@pytest.fixture
def by_ansible(settings: Any) -> None:
    settings.RESERVATION_HANDS = "ansible"


@pytest.fixture
def machines_with_python() -> Iterator[list[Box]]:
    if not ansible.installed():
        pytest.skip("NOT TESTED: the playbooks: Ansible is not installed here (pip install 'lormas[ansible]', and OpenSSH's client)")
    if not has_python():
        pytest.skip("NOT TESTED: the playbooks: no /usr/bin/python3 of the distribution's to lend to the test machines")
    with boxes(3, python=True) as made:
        if not made[0].sh("command -v sudo"):
            pytest.skip("NOT TESTED: the playbooks: this computer has no sudo to put on test machines (Debian: apt-get install sudo)")
        yield made


def do(jobs: list[Job]) -> dict[uuid.UUID, Outcome]:
    found = {outcome.job.id: outcome for outcome in hands.work(jobs)}
    assert set(found) == {job.id for job in jobs}, "each is answered, once"
    return found


@pytest.mark.slow
@pytest.mark.timeout(700)
def test_playbooks_make_and_remove_accounts_and_tell_no_secret(
    machines_with_python: list[Box], by_ansible: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C04, D14, I02, R34: by root's password, by a user with sudo, and not over somebody else's account."""
    first, second, third = machines_with_python
    private, public = key_pair()
    first.sh(f"echo root:{WAY_IN} | chpasswd")
    second.sh(
        "useradd -m -s /bin/sh ops && usermod -p '*' ops && mkdir -p /home/ops/.ssh && cp /root/.ssh/authorized_keys /home/ops/.ssh/ && "
        "chown -R ops /home/ops/.ssh && echo 'ops ALL=(ALL) NOPASSWD:ALL' >/etc/sudoers.d/ops && chmod 440 /etc/sudoers.d/ops"
    )
    third.sh("useradd -m -s /bin/sh -c somebody lr-ann-1")
    places, told, turns = [], [], itertools.count()

    def remove(folder: Path) -> None:
        places.append(folder)
        files = [file for file in folder.rglob("*") if file.is_file() and file.relative_to(folder) != Path("inventory/hosts.yml")]
        told.extend(file.read_text(errors="replace") for file in files if file.suffix != ".key")
        original(folder)

    def heard(line: str, left: Any) -> Any:
        told.append(line)
        for process in Path("/proc").glob("[0-9]*") if next(turns) % 4 == 0 else ():  # it costs more than the play
            try:
                told.append((process / "cmdline").read_text(errors="replace") + (process / "environ").read_text(errors="replace"))
            except OSError:
                continue
        return listen(line, left)

    original, listen = ansible.remove, ansible._heard
    monkeypatch.setattr(ansible, "PLAY_SECONDS", 300)  # only reached in failure, however busy this computer is
    monkeypatch.setattr(ansible, "remove", remove)
    monkeypatch.setattr(ansible, "_heard", heard)
    monkeypatch.setenv("SECRET_OF_THE_PANEL", "kept-from-children")
    marker = f"lormas-{uuid.uuid4()}"

    def jobs(act: Any, uids: dict[int, int | None]) -> list[Job]:
        by_word = Account("lr-ann-1", marker, password=PASSWORD, seconds_left=900, sudo=True, uid=uids.get(0))
        by_key = Account("lr-ann-1", marker, public_key=public, seconds_left=900, uid=uids.get(1))
        ways = ((first, {"private_key": "", "password": WAY_IN}, by_word), (second, {"user": "ops"}, by_key), (third, {}, by_word))
        return [Job(uuid.uuid4(), act, box.endpoint(**way), account) for box, way, account in ways]

    making = jobs("create", {})
    done = do(making)
    assert [done[job.id].ok for job in making] == [True, True, False], done
    assert done[making[2].id].code == "name_taken" and done[making[0].id].host_key and done[making[0].id].latency_ms
    assert login(first.port, "lr-ann-1", PASSWORD, "id -un; sudo -n id -un") == "lr-ann-1\nroot"
    assert login(second.port, "lr-ann-1", key=private, command="id -un; sudo -n id -un 2>/dev/null || echo refused") == "lr-ann-1\nrefused"
    for box in (first, second):
        assert box.sh("cat /var/lib/lormas/lr-ann-1.until") and box.sh("grep -l lormas-watch /proc/[0-9]*/cmdline"), "the third hand is there"
    assert second.sh("head -c 13 /home/lr-ann-1/.ssh/authorized_keys") == 'expiry-time="'
    leavings = "(sleep 600 >/dev/null 2>&1 </dev/null &) ; echo x >/tmp/mine; mkdir /dev/shm/d; echo y >/dev/shm/d/f"
    login(first.port, "lr-ann-1", PASSWORD, leavings)
    first.sh('echo "* * * * * date" >/var/spool/cron/crontabs/lr-ann-1')

    removing = jobs("remove", {0: done[making[0].id].uid, 1: done[making[1].id].uid})
    done = do(removing)
    assert [done[job.id].ok for job in removing] == [True, True, False], done
    assert done[removing[2].id].code == "name_taken"
    with pytest.raises(asyncssh.PermissionDenied):
        login(first.port, "lr-ann-1", PASSWORD)
    with pytest.raises(asyncssh.PermissionDenied):
        login(second.port, "lr-ann-1", key=private)
    for box in (first, second):
        assert "lr-ann-1" not in box.sh("cat /etc/passwd /etc/group /etc/shadow; ls /home /etc/sudoers.d /var/lib/lormas /var/spool/cron/crontabs")
    assert "mine" not in first.sh("ls /tmp") and first.sh("ls /dev/shm") == "" and "sleep 600" not in first.sh("ps")
    assert "lr-ann-1" in third.sh("cat /etc/passwd; ls /home"), "somebody else's account stays"

    assert len(places) == 2 and not any(folder.exists() for folder in places), "each play's folder is gone"
    text = "\n".join(told)
    assert '"runner_on_ok"' in text and "ansible-playbook" in text
    for secret in (PASSWORD, PASSWORD.replace('"', '\\"'), "6*7", WAY_IN, "PRIVATE KEY"):
        assert secret not in text, f"{secret} was told"
    children = [one for one in told if "ansible-playbook" in one]
    assert children and not any("kept-from-children" in one for one in children), "the panel's environment is not theirs"


def test_trouble_is_told_as_by_the_other_hands(boxes: list[Box], by_ansible: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever does not answer, refuses the login or shows another host key is known before a playbook begins."""
    monkeypatch.setattr(ansible, "installed", lambda: True)
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip()
    account = Account("lr-ann-1", f"lormas-{uuid.uuid4()}", password="correct horse", seconds_left=60)
    ways = ({"port": 1}, {"private_key": "", "password": "wrong"}, {"host_key": " ".join(other.split()[:2])})
    jobs = [Job(uuid.uuid4(), "create", boxes[0].endpoint(**way), account) for way in ways]
    done = do(jobs)
    assert [(done[job.id].code, done[job.id].job.act) for job in jobs] == [
        (code, "create") for code in ("unreachable", "login_refused", "host_key_changed")
    ]
    assert "lr-ann-1" not in boxes[0].sh("cat /etc/passwd")


def test_hands_that_are_not_installed_are_said_at_start_and_make_nothing(by_ansible: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not [found for found in run_checks() if found.id == "reservations.E001"] or not ansible.installed()
    monkeypatch.setattr(ansible, "installed", lambda: False)
    assert [found.id for found in run_checks() if (found.id or "").startswith("reservations")] == ["reservations.E001"]
    job = Job(uuid.uuid4(), "create", Box(None, 1, "").endpoint(), Account("lr-ann-1", f"lormas-{uuid.uuid4()}"))
    assert (do([job])[job.id].code, do([job])[job.id].detail) == ("failed", ansible.NOT_INSTALLED)
