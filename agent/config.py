"""What the agent must remember of itself: where the panel is, its token, its identity. One file, 0600, written atomically (SECURITY R44)."""

from __future__ import annotations

import json
import os
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

FILE = "agent.json"
RUNTIMES = ("auto", "docker", "process", "fake")


class ConfigError(Exception):
    """Can't run like this; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Config:
    """`instance_id` names this installation; `panel_instance` is the value of the ownership label, known since the first welcome."""

    data_dir: Path
    panel_url: str
    token: str
    runtime: str = "auto"
    allow_process: bool = False
    insecure: bool = False
    docker_host: str = ""
    instance_id: str = ""
    panel_instance: str = ""
    node_id: str = ""

    @property
    def socket_url(self) -> str:
        """Where the agents' socket of the panel is."""
        parts = urlsplit(self.panel_url)
        scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
        return urlunsplit((scheme, parts.netloc, parts.path.rstrip("/") + "/api/ws/nodes", "", ""))


def default_data_dir() -> Path:
    """`LORMAS_AGENT_DATA`, else /var/lib/lormas-agent for root, else ~/.local/share/lormas-agent."""
    given = os.environ.get("LORMAS_AGENT_DATA")
    if given:
        return Path(given).expanduser().absolute()
    return Path("/var/lib/lormas-agent") if os.geteuid() == 0 else Path("~/.local/share/lormas-agent").expanduser()


def checked_url(text: str) -> str:
    """The panel's address; raises ConfigError."""
    parts = urlsplit(text.strip())
    if parts.scheme not in ("http", "https", "ws", "wss") or not parts.hostname:
        raise ConfigError(f"The panel's address must look like https://panel.example.org, not {text!r}.")
    if parts.username or parts.password:
        raise ConfigError("The panel's address must not contain a user name or password.")
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))


def token_from(environment: Mapping[str, str]) -> str:
    """`LORMAS_NODE_TOKEN`, or the content of `LORMAS_NODE_TOKEN_FILE`; "" if neither is set."""
    file = environment.get("LORMAS_NODE_TOKEN_FILE")
    if file:
        try:
            return Path(file).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ConfigError(f"LORMAS_NODE_TOKEN_FILE names {file}, which can't be read: {error.strerror}.") from None
    return environment.get("LORMAS_NODE_TOKEN", "").strip()


def save(config: Config) -> None:
    """Write to the data folder: all of it or nothing, readable by us only."""
    config.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = config.data_dir / FILE
    draft = file.with_name(f".{FILE}.{secrets.token_hex(4)}")
    values = {key: value for key, value in asdict(config).items() if key != "data_dir"}
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump(values, stream, indent=2)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(file)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def load(data_dir: Path, environment: Mapping[str, str] | None = None) -> Config:
    """What is in the data folder, overridden by the environment. Raises ConfigError where the panel or the token is missing."""
    environment = os.environ if environment is None else environment
    values: dict[str, Any] = {}
    file = data_dir / FILE
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        values = {key: value for key, value in found.items() if key in Config.__slots__ and key != "data_dir"}
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} can't be read ({error}): join again, or put the file back.") from None
    config = Config(data_dir=data_dir, **{"panel_url": "", "token": "", **values})
    panel = environment.get("LORMAS_PANEL_URL", "")
    token = token_from(environment)
    if panel:
        config = replace(config, panel_url=checked_url(panel))
    if token:
        config = replace(config, token=token)
    if environment.get("DOCKER_HOST"):
        config = replace(config, docker_host=environment["DOCKER_HOST"])
    if not config.panel_url or not config.token:
        missing = "panel address (LORMAS_PANEL_URL)" if not config.panel_url else "token (LORMAS_NODE_TOKEN)"
        raise ConfigError(f"No {missing}: run the join command that the panel shows when a node is added.")
    if not config.instance_id:
        config = replace(config, instance_id=str(uuid.uuid4()))
    return config
