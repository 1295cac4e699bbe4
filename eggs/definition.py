"""What an egg says, in one shape for all file formats: plain frozen data, kept as JSON on `EggVersion.definition`.

Ordered maps are lists of pairs: PostgreSQL's JSONB does not keep the order of keys, and the first image is the default.
Facts about the formats: EGGS sections 1-7 of the design.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec


class Struct(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=False):
    """Base."""


MAX_VARIABLES: Final = 2000
"""Of one egg; the largest known has 54."""


def _plain(value: Any) -> Any:
    """The same value always gives the same JSON. `to_json` leaves a default out only where it is the very same object."""
    if isinstance(value, msgspec.Struct):
        plain = {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
        kept = {name: child for name, child in plain.items() if child not in ("", [], {}, None)}
        return {name: float(child) if type(child) is int else child for name, child in kept.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _with_finds(data: dict[str, Any], changed: Callable[[Any], Any]) -> dict[str, Any]:
    """A definition's JSON with the values of its finds changed; the argument stays as it is."""
    files = data.get("config_files")
    if not files:
        return data
    return {**data, "config_files": [{**file, "find": [[key, changed(value)] for key, value in file.get("find", ())]} for file in files]}


def _in_order(find: Any) -> Any:
    """Several conditions as a list of pairs: JSONB does not keep the order of keys, and here it counts."""
    return {"in_order": [list(pair) for pair in find.items()]} if isinstance(find, dict) and len(find) > 1 else find


def _as_map(find: Any) -> Any:
    pairs = find.get("in_order") if isinstance(find, dict) and len(find) == 1 else None
    if not isinstance(pairs, list) or not all(isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str) for pair in pairs):
        return find
    return dict(pairs)


class Variable(Struct, frozen=True):
    """One setting of an egg."""

    env_variable: str
    name: str = ""
    description: str = ""
    default_value: str = ""
    user_viewable: bool = True
    user_editable: bool = True
    rules: list[str] = []
    sort: int | None = None


class ConfigFile(Struct, frozen=True):
    """One file rewritten before each start (applied by the eggs issue); kept as it was."""

    path: str
    parser: str
    find: list[tuple[str, Any]] = []
    """(key, value) in order; a value is text, a number, a boolean, or a map of old -> new."""
    create_file: bool = True


class InstallScript(Struct, frozen=True):
    """Run once in a container of its own; line ends are LF."""

    script: str = ""
    container: str = ""
    entrypoint: str = "bash"


class EggPort(Struct, frozen=True):
    """A port that the egg's server uses. `container` 0: it listens on the port it is told (SERVER_PORT)."""

    container: int = 0
    protocol: str = "tcp"


class Privilege(Struct, frozen=True):
    """Something of the machine itself that an egg asks for: an administrator must approve it (A07)."""

    kind: Literal["bind", "device", "capability", "privileged", "host_network", "administrator_only"]
    value: str = ""
    """bind: `/host/path:/target[:ro]`; device: a path; capability: a name; else empty."""


class Health(Struct, frozen=True):
    """How to ask whether it is well."""

    test: list[str]
    """As engines take it: `CMD`, `CMD-SHELL` or `NONE` first."""
    interval_seconds: float = 30
    timeout_seconds: float = 30
    retries: int = 3
    start_seconds: float = 0


class DefaultLimits(Struct, frozen=True):
    """What a new container gets where nobody says otherwise; 0 = the panel's default."""

    cpus: float = 0
    memory_bytes: int = 0
    pids: int = 0


class EggDefinition(Struct, frozen=True):
    """An egg's content."""

    name: str
    author: str = ""
    description: str = ""
    uuid: str = ""
    update_url: str = ""
    tags: list[str] = []
    features: list[str] = []
    docker_images: list[tuple[str, str]] = []
    """(label, image reference); a leading `~` (local only) is kept."""
    startup_commands: list[tuple[str, str]] = []
    variables: list[Variable] = []
    config_files: list[ConfigFile] = []
    startup_done: list[str] = []
    strip_ansi: bool = False
    stop: str = ""
    file_denylist: list[str] = []
    install: InstallScript = InstallScript()
    # what Lormas adds (object `lormas` of a file)
    icon: str = ""
    category: str = ""
    process_command: list[str] = []
    """argv under the process runtime; empty = the startup line by `sh -c`."""
    ports: list[EggPort] = []
    data_target: str = "/home/container"
    """Where its own folder is mounted; empty (image eggs only): it keeps nothing."""
    grace_seconds: float = 10
    startup_mode: Literal["", "shell", "entrypoint"] = ""
    """Who evaluates the startup line: a shell of ours, the image's own entrypoint (STARTUP raw), or whatever the image looks like."""
    runs: Literal["startup", "image"] = "startup"
    """`image`: from a Portainer template or a Compose service; it starts as its image does, with `entrypoint` and `command` in place of the
    image's own where they are given, and its variables are its environment as they are spelt."""
    entrypoint: list[str] = []
    command: list[str] = []
    working_dir: str = ""
    user: str = ""
    tty: bool = False
    tmpfs: list[str] = []
    health: Health | None = None
    limits: DefaultLimits = DefaultLimits()
    privileges: list[Privilege] = []
    notes: str = ""
    """For people, plain text."""

    @property
    def default_image(self) -> str:
        return self.docker_images[0][1] if self.docker_images else ""

    @property
    def default_startup(self) -> str:
        return self.startup_commands[0][1] if self.startup_commands else ""

    @property
    def hidden_names(self) -> frozenset[str]:
        """Upper-case names of the variables that only those who manage eggs may see."""
        return frozenset(v.env_variable.upper() for v in self.effective_variables() if not v.user_viewable)

    def variable(self, env_variable: str) -> Variable | None:
        """By its name in any case; of several with one name the last counts."""
        wanted = env_variable.upper()
        return next((variable for variable in reversed(self.variables) if variable.env_variable.upper() == wanted), None)

    def effective_variables(self) -> list[Variable]:
        """In the order of the form; one for each name (the last of those that share it)."""
        last = {variable.env_variable.upper(): variable for variable in self.variables}
        kept = [variable for variable in self.variables if last[variable.env_variable.upper()] is variable]
        return sorted(kept, key=lambda variable: (variable.sort is None, variable.sort or 0))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return _with_finds(msgspec.to_builtins(self), _in_order)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> EggDefinition:
        """Back from `to_json`."""
        return msgspec.convert(_with_finds(data, _as_map), cls)

    def digest(self) -> str:
        """SHA-256 of the content: equal for equal eggs, whatever file they came from."""
        return hashlib.sha256(json.dumps(_plain(self), sort_keys=True, ensure_ascii=False).encode()).hexdigest()
