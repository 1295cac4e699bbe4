"""How a machine joins: the command that a person copies, and the wheel that it installs from this panel."""

from __future__ import annotations

import shlex
from pathlib import Path
from urllib.parse import quote

from django.conf import settings
from django.http import FileResponse, Http404, HttpRequest
from django.views.decorators.http import require_safe

FOLDER = "$HOME/.lormas-agent"


def wheel() -> Path | None:
    """The agent's wheel in the data folder (built at the panel's start), or None."""
    found = sorted((settings.DATA_DIR / "agent").glob("*.whl"), key=lambda file: file.stat().st_mtime)
    return found[-1] if found else None


def join_command(token: str) -> str:
    """One line for the machine's shell: an environment of its own, the agent from this panel, and the joining.

    The token goes by the environment: arguments show in the process list.
    """
    file = wheel()
    source = f"lormas[agent] @ {settings.PUBLIC_URL}/agent/{quote(file.name)}" if file else "lormas[agent]"
    return " && ".join(
        (
            f'python3 -m venv "{FOLDER}"',
            f'"{FOLDER}/bin/pip" install --upgrade {shlex.quote(source)}',
            f'LORMAS_NODE_TOKEN={shlex.quote(token)} "{FOLDER}/bin/lormas-agent" join --panel {shlex.quote(settings.PUBLIC_URL)}',
        )
    )


def key_command(key: str) -> str:
    """The same with an onboarding key, for any number of machines."""
    return join_command(key).replace("LORMAS_NODE_TOKEN=", "LORMAS_JOIN_KEY=")


@require_safe
def agent_wheel(request: HttpRequest, name: str) -> FileResponse:
    """The wheel, to anybody: it holds no secret, and machines that join have no account."""
    file = wheel()
    if file is None or file.name != name:
        raise Http404("There is no such file.")
    return FileResponse(file.open("rb"), as_attachment=True, filename=file.name, content_type="application/octet-stream")
