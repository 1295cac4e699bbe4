"""On the real engine: what a container's own people, or anybody on the machine, could read of the secrets of panel, node and people."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from accounts.services import sign_in
from containers.services import NewContainer, create_container
from tests.e2e.conftest import engine_containers, in_thread, running_stack
from tests.e2e.stack import IMAGE, WholeAgent
from tests.e2e.test_egg_features import becomes, docker
from tests.nodes.rig import Web

pytestmark = [pytest.mark.docker, pytest.mark.redis, pytest.mark.slow, pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]
OF_THE_PANEL = {
    "SUPERUSER_PASSWORD": "canary-of-the-first-administrator",
    "EMAIL_URL": "smtp://mailer:canary-of-the-mail@127.0.0.1:2525",
    "GITHUB_CLIENT_ID": "lormas",
    "GITHUB_CLIENT_SECRET": "canary-of-the-provider",
    "METRICS_TOKEN": "canary-of-the-metrics-of-32-characters",
}
OURS = {"lormas.", "org.opencontainers.", "maintainer"}


def command_lines() -> str:
    """Of every process of the machine, as everybody may read them."""
    found = []
    for one in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(one.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue  # it has ended meanwhile
    return "\n".join(found)


async def test_no_secret_of_ours_is_in_a_container_its_labels_or_any_command_line(transactional_db: None, tmp_path: Path, alice: Any) -> None:
    """I07: planted in the environments of panel and agent, and looked for where the engine and the kernel show things."""
    async with running_stack(
        tmp_path, panel_kind=Web, agent_kind=WholeAgent, panel_environment=OF_THE_PANEL, LORMAS_CANARY="canary-of-the-agents-environment"
    ) as stack:
        token = stack.agent.environment["LORMAS_NODE_TOKEN"]
        access = (await in_thread(sign_in, alice, address=None, user_agent="")).access
        wish = NewContainer(name="app", image=IMAGE, command=["sleep", "600"], env={"OWN": "canary-of-the-container"}, start=True)
        container, _ = await in_thread(create_container, user=alice, actor=alice.as_actor(), data=wish)
        await becomes(container, status="running")
        [ref] = await asyncio.to_thread(engine_containers, str(container.pk))
        told = await asyncio.to_thread(docker, "inspect", ref)
        seen = json.loads(told)[0]
        inside = await asyncio.to_thread(docker, "exec", ref, "sh", "-c", "env; cat /proc/1/environ; cat /proc/*/cmdline")
        ran = await asyncio.to_thread(
            subprocess.run, ["docker", "top", ref, "-eo", "pid,args"], capture_output=True, text=True, timeout=30, check=True
        )
        lines = await asyncio.to_thread(command_lines)
        logs = "".join(path.read_text(errors="replace") for path in tmp_path.glob("*.log"))
    assert "OWN=canary-of-the-container" in seen["Config"]["Env"] and "OWN=canary-of-the-container" in inside, "it is looked for where it would be"
    assert "sleep 600" in ran.stdout and "agent run" in lines and "lormas.quickstart.web" in lines
    secrets = [token, access, "canary-of-the-agents-environment", *(value for name, value in OF_THE_PANEL.items() if name != "GITHUB_CLIENT_ID")]
    secrets += ["canary-of-the-mail"]
    for name, text in {"inspect": told, "inside": inside, "its processes": ran.stdout, "the machine's processes": lines, "logs": logs}.items():
        assert not [secret for secret in secrets if secret in text], name
    labels = seen["Config"]["Labels"]
    assert labels and all(any(name.startswith(ours) for ours in OURS) for name in labels), labels
    assert "canary" not in json.dumps(labels), "a variable's value is no label"
    assert "canary-of-the-container" not in lines + logs, "nor stands it in an argument or a log of ours"
