"""From an egg and values to what a container gets. Pure: no database, no clock, no environment of ours (C05).

Our own tiny renderer: a name in double braces is replaced only if it is on the list of this container's own values; everything else stays
as it is written. Nothing is evaluated here; a startup line is the shell's to evaluate, inside the container.
"""

from __future__ import annotations

import re
import shlex
import zoneinfo
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from agent.protocol.messages import StopSpec
from eggs import rules
from eggs.definition import ConfigFile, EggDefinition, Privilege
from lormas.common.errors import FieldError
from lormas.common.images import is_reference

YOLK_TARGET: Final = "/home/container"
"""Where images made for eggs expect their data."""
MEBIBYTE: Final = 1024 * 1024
MAX_VALUE_BYTES: Final = 32 * 1024
HIDDEN: Final = "[hidden]"
SIGNALS: Final = {"C": "SIGINT", "SIGINT": "SIGINT", "SIGTERM": "SIGTERM", "SIGABRT": "SIGABRT"}
COMMAND_GRACE_SECONDS: Final = 600.0
"""A server that saves its world may take its time, as in the panels eggs come from; who can't wait kills it."""
_PLACEHOLDER: Final = re.compile(r"\{\{ ?([A-Za-z0-9_.-]{1,256}) ?\}\}")
_SHELL_NAME: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_FAMILIES: Final = frozenset({"pelican", "pelican-eggs", "parkervcp", "ptero-eggs"})
_SIMPLE: Final = re.compile(r"[A-Za-z0-9_./-]+(?: |\Z)")
_WORDS_OF_THE_SHELL: Final = frozenset(
    (
        "if", "for", "while", "until", "case", "select", "function", "time", "exec", "eval", "export", "source", "set", "cd", "trap", "ulimit",
        "umask", "unset", "alias", "read", "test", ".",
    )
)  # fmt: skip
_BASHISM: Final = re.compile(r"\[\[\s|<<<|<\(|&>|\bpipefail\b|(?:^|[;&|]\s*)(?:source|declare|shopt)\s|\$\'|=~|\$\{[A-Za-z_]\w*(?:,,|\^\^|//?|:\d)")
"""Half of the eggs are written for bash: `[[ ]]`, here-strings, `source`, substitutions of patterns."""
_DEFAULT_ADDRESS = {"server.build.default", "server.allocations.default"}


@dataclass(frozen=True, slots=True)
class Rendered:
    """What a container gets. `startup` is for people to read: values filled in, hidden ones masked."""

    image: str
    env: dict[str, str]
    startup: str
    command: list[str]
    entrypoint: list[str] | None
    stop: StopSpec
    data_target: str
    working_dir: str
    user: str
    tty: bool
    process_command: list[str]
    config_files: list[ConfigFile]
    startup_mode: Literal["auto", "shell", "entrypoint"] = "auto"
    """`auto`: the node looks at the image; `command` and `entrypoint` here are what its name makes likely."""
    shell_argv: list[str] = field(default_factory=list)
    """All of what evaluates the startup line where the image does not; empty for image eggs."""
    tmpfs: list[str] = field(default_factory=list)
    privileges: list[Privilege] = field(default_factory=list)
    errors: list[FieldError] = field(default_factory=list)


def evaluates_startup(image: str) -> bool:
    """Does the image's own entrypoint evaluate `STARTUP`? That is a convention of the images made for eggs, told by their names."""
    parts = [part.partition("@")[0].partition(":")[0] for part in image.lower().split("/")]
    return any(part in _FAMILIES or "yolks" in part or "pterodactyl" in part for part in parts)


def needs_image(definition: EggDefinition) -> bool:
    """Can it only run where there are images? One that starts as its image does, unless it says what to run instead."""
    return definition.runs == "image" and not definition.process_command


def stop_spec(definition: EggDefinition) -> StopSpec:
    """`^C`, `^SIGTERM`: a signal (an unknown one kills); other text: a line on the console; none: SIGTERM."""
    text, grace = definition.stop, definition.grace_seconds
    if not text.strip():
        return StopSpec(signal="SIGTERM", grace_seconds=grace)
    if text.startswith("^"):
        return StopSpec(signal=SIGNALS.get(text[1:].strip().upper(), "SIGKILL"), grace_seconds=grace)
    return StopSpec(signal="SIGTERM", command=text, grace_seconds=max(grace, COMMAND_GRACE_SECONDS))


def check_values(definition: EggDefinition, values: Mapping[str, Any], *, privileged: bool) -> list[FieldError]:
    """What is wrong with the values somebody gives: unknown names, rules, and (unless `privileged`) variables that are not theirs to set."""
    found: list[FieldError] = []
    for env, value in values.items():
        variable, path = definition.variable(env), f"variables.{env}"
        if variable is None:
            found.append(FieldError(path, "The egg has no such variable.", "unknown_variable"))
        elif not isinstance(value, str):
            found.append(FieldError(path, "It must be a text.", "invalid"))
        elif "\x00" in value or len(value.encode(errors="replace")) > MAX_VALUE_BYTES:
            found.append(FieldError(path, f"At most {MAX_VALUE_BYTES} bytes, without U+0000.", "invalid"))
        elif not privileged and not variable.user_viewable:
            found.append(FieldError(path, "Only administrators set this variable.", "not_editable"))  # whatever the value: no oracle for a hidden one
        elif not privileged and not variable.user_editable and value != variable.default_value:
            found.append(FieldError(path, "Only administrators set this variable.", "not_editable"))
    named = {error.field for error in found}
    given_names = {env.upper(): env for env in values}
    for variable in definition.effective_variables():
        env = given_names.get(variable.env_variable.upper(), variable.env_variable)
        path, given = f"variables.{env}", env in values
        if path in named or not (given or (variable.user_viewable and variable.user_editable)):
            continue  # a broken default that its owner can't mend must not keep the egg from running
        value = values[env] if given else variable.default_value
        found += [FieldError(path, broken.message, broken.rule) for broken in rules.broken(variable.rules, value)]
    return found


def effective_values(definition: EggDefinition, values: Mapping[str, Any]) -> dict[str, str]:
    """Value or default of each variable, under its name as the egg spells it; given ones are found in any case."""
    given = {env.upper(): value for env, value in values.items() if isinstance(value, str)}
    return {v.env_variable: given.get(v.env_variable.upper(), v.default_value).replace("\x00", "") for v in definition.effective_variables()}


def render(
    definition: EggDefinition,
    *,
    values: Mapping[str, Any],
    image: str | None = None,
    startup: str | None = None,
    memory_bytes: int = 0,
    primary_port: int = 0,
    container_id: str = "",
    server_ip: str = "0.0.0.0",  # noqa: S104 - all addresses inside of the container
    timezone: str = "UTC",
    privileged: bool = True,
) -> Rendered:
    """Render.

    Args:
        values: what people gave, by `env` as the egg spells it; missing ones take their default.
        image: one of the egg's images or another reference; None: the egg's first.
        startup: the name of one of the egg's commands; None: the first.
        memory_bytes: 0 = no limit. primary_port: 0 = not known yet.

    Returns:
        Always something; `errors` (fields `variables.NAME`, `image`, `startup`) say why it must not be used.
    """
    errors = check_values(definition, values, privileged=privileged)
    chosen = (image or definition.default_image).strip().removeprefix("~")
    if not is_reference(chosen):
        errors.append(FieldError("image", "This is not an image reference.", "invalid"))
    commands = dict(definition.startup_commands)
    if startup is not None and definition.runs == "image":
        errors.append(FieldError("startup", "This egg starts as its image does: there is nothing to choose.", "invalid_choice"))
    elif startup is not None and startup not in commands:
        errors.append(FieldError("startup", f"The egg has: {', '.join(commands)}.", "invalid_choice"))
    line = commands.get(startup or "", definition.default_startup)

    known = effective_values(definition, values)
    env = {**known, **{name.upper(): value for name, value in known.items()}}
    env |= {
        "TZ": _zone(known.get("SERVER_TIMEZONE", ""), timezone),
        "STARTUP": line,
        "SERVER_MEMORY": str(memory_bytes // MEBIBYTE),
        "SERVER_IP": server_ip,
    }
    env |= {"P_SERVER_UUID": container_id, "P_SERVER_LOCATION": "", "P_SERVER_ALLOCATION_LIMIT": "0"}
    if primary_port:
        env["SERVER_PORT"] = str(primary_port)
    scope = env
    if definition.runs == "image":
        return _as_image(definition, values=values, image=chosen, known=known, errors=errors, timezone=timezone)

    raw = definition.startup_mode == "entrypoint" or (definition.startup_mode == "" and evaluates_startup(chosen))
    shell_line = to_shell(line, scope)
    argv = shell_argv(shell_line)
    target = YOLK_TARGET if raw else definition.data_target
    return Rendered(
        image=chosen,
        env=env,
        startup=preview_line(definition, line, scope),
        command=[] if raw else argv[2:],
        entrypoint=None if raw else argv[:2],
        stop=stop_spec(definition),
        data_target=target,
        working_dir=target,
        user="",
        tty=False,
        process_command=list(definition.process_command) or ["sh", *argv[1:]],
        config_files=[_config_file(file, scope) for file in definition.config_files],
        startup_mode=definition.startup_mode or "auto",
        shell_argv=argv,
        privileges=list(definition.privileges),
        errors=errors,
    )


def _as_image(
    definition: EggDefinition, *, values: Mapping[str, Any], image: str, known: Mapping[str, str], errors: list[FieldError], timezone: str
) -> Rendered:
    """An egg that starts as its image does. A variable that is empty and that nobody gave is left to the image."""
    given = {env.upper() for env in values}
    env = {name: value for name, value in known.items() if value or name.upper() in given}
    env.setdefault("TZ", timezone)
    argv = [*definition.entrypoint, *definition.command]
    return Rendered(
        image=image,
        env=env,
        startup=" ".join(shlex.quote(_masked(word, definition, known)) for word in argv),
        command=[_in_words(word, known) for word in definition.command],
        entrypoint=[_in_words(word, known) for word in definition.entrypoint] or None,
        stop=stop_spec(definition),
        data_target=definition.data_target,
        working_dir=definition.working_dir,
        user=definition.user,
        tty=definition.tty,
        process_command=list(definition.process_command) or [_in_words(word, known) for word in argv],
        config_files=[_config_file(file, known) for file in definition.config_files],
        startup_mode="entrypoint",
        tmpfs=list(definition.tmpfs),
        privileges=list(definition.privileges),
        errors=errors,
    )


def _in_words(word: str, known: Mapping[str, str]) -> str:
    """`{{NAME}}` in an argument: no shell takes part, the value is put in its place."""
    return _PLACEHOLDER.sub(lambda match: known.get(match[1], match[0]), word)


def _masked(word: str, definition: EggDefinition, known: Mapping[str, str]) -> str:
    hidden = definition.hidden_names
    return _PLACEHOLDER.sub(lambda match: HIDDEN if match[1].upper() in hidden else known.get(match[1], match[0]), word)


def shell_argv(line: str) -> list[str]:
    """argv that evaluates a line: by `sh`, or where the line is written for bash, by bash if the image has it."""
    if not _BASHISM.search(line):
        return ["/bin/sh", "-c", line]
    return ["/bin/sh", "-c", 'command -v bash >/dev/null 2>&1 && exec bash -c "$0"; exec sh -c "$0"', line]


def _zone(wanted: str, otherwise: str) -> str:
    """The time zone that the variable SERVER_TIMEZONE names, if there is such a one."""
    try:
        return zoneinfo.ZoneInfo(wanted).key if wanted else otherwise
    except (OSError, ValueError):
        return otherwise


def masked(definition: EggDefinition, rendered: Rendered) -> Rendered:
    """The same, for somebody who must not see hidden values: in the environment, in arguments and in files they are `[hidden]` (I01)."""
    hidden = definition.hidden_names
    if not hidden:
        return rendered
    secret = {value for name, value in rendered.env.items() if name.upper() in hidden and len(value) > 1}
    words = [HIDDEN if any(value in word for value in secret) else word for word in rendered.command]
    env = {name: HIDDEN if name.upper() in hidden else value for name, value in rendered.env.items()}
    return replace(rendered, env=env, command=words, config_files=[], process_command=[], entrypoint=None)


def _resolve(name: str, scope: Mapping[str, str]) -> str | None:
    """The name of the scope's value that a placeholder means, or None: the whole list of what can be read."""
    if name in scope:
        return name
    for prefix in ("server.build.env.", "server.environment.", "env."):
        if name.startswith(prefix):
            rest = name.removeprefix(prefix)
            return rest if rest in scope else None
    for prefix in _DEFAULT_ADDRESS:
        if name in (f"{prefix}.port", f"{prefix}.ip"):
            wanted = "SERVER_PORT" if name.endswith("port") else "SERVER_IP"
            return wanted if wanted in scope else None
    if name in ("server.build.memory", "server.build.memory_limit"):
        return "SERVER_MEMORY"
    if name in ("server.uuid", "server.id"):
        return "P_SERVER_UUID"
    return None


def to_shell(line: str, scope: Mapping[str, str]) -> str:
    """`{{X}}` -> `${X}` for known names: a value never becomes part of the shell's text."""

    def reference(match: re.Match[str]) -> str:
        name = _resolve(match[1], scope)
        return f"${{{name}}}" if name is not None and _IDENTIFIER.match(name) else match[0]

    return with_exec(_PLACEHOLDER.sub(reference, line.replace("\r\n", "\n")).strip())


def with_exec(line: str) -> str:
    """A simple command replaces the shell, so that signals reach it; anything compound stays as it is."""
    first = line.split(maxsplit=1)[0] if line else ""
    compound = any(c in _SHELL_NAME.sub("", line) for c in ";&|\n<>(){}`#")
    return line if compound or not _SIMPLE.match(line) or first in _WORDS_OF_THE_SHELL else f"exec {line}"


def preview_line(definition: EggDefinition, line: str, scope: Mapping[str, str]) -> str:
    """The line for people: values filled in, those of hidden variables masked."""
    hidden = {variable.env_variable for variable in definition.effective_variables() if not variable.user_viewable} | definition.hidden_names

    def value(match: re.Match[str]) -> str:
        name = _resolve(match[1], scope)
        if name is None:
            return match[0]
        return HIDDEN if name in hidden else scope[name]

    # One pass over both spellings: what a value says is text, never a placeholder again.
    return re.sub(rf"{_PLACEHOLDER.pattern}|{_SHELL_NAME.pattern}", lambda m: value(m) if m[1] else _shell_value(m, scope, hidden), line)


def _shell_value(match: re.Match[str], scope: Mapping[str, str], hidden: set[str]) -> str:
    name = match[2]
    if name not in scope:
        return match[0]
    return HIDDEN if name in hidden else scope[name]


def fill(text: str, scope: Mapping[str, str]) -> str:
    """Placeholders of configuration files: `server.*` and `env.*` that are not known become empty, as in the panels eggs come from; others,
    and `config.*` (the node's own), stay."""

    def value(match: re.Match[str]) -> str:
        name = _resolve(match[1], scope)
        if name is not None:
            return scope[name]
        return "" if match[1].startswith(("server.", "env.")) else match[0]

    return _PLACEHOLDER.sub(value, text)


def _config_file(file: ConfigFile, scope: Mapping[str, str]) -> ConfigFile:
    def filled(value: Any) -> Any:
        if isinstance(value, str):
            return fill(value, scope)
        return {key: filled(child) for key, child in value.items()} if isinstance(value, dict) else value

    finds = [(fill(key, scope), filled(value)) for key, value in file.find]
    return ConfigFile(path=fill(file.path, scope), parser=file.parser, find=finds, create_file=file.create_file)
