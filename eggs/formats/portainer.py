"""Portainer app templates v1-v3 (EGGS.md section 12): container templates become eggs that start as their image does."""

from __future__ import annotations

import uuid
from typing import Any, Final

from eggs.definition import MAX_VARIABLES, EggDefinition, EggPort, Privilege, Variable
from eggs.formats import plain
from eggs.formats.collections import MAX_EGGS, Contents, Found, Skipped
from eggs.problems import EggRefused, Warnings

_NAMESPACE: Final = uuid.UUID("6f0f2f43-7f0e-4c61-9a5e-0d3b8f1c2a10")
_KNOWN: Final = frozenset(
    (
        "id", "type", "title", "namme", "name", "description", "image", "logo", "registry", "command", "env", "network", "volumes", "ports", "labels",
        "privileged", "interactive", "restart_policy", "hostname", "note", "platform", "categories", "category", "administrator_only",
        "administrator-only", "repository", "stackFile", "stackfile",
    )
)  # fmt: skip
USUAL_RESTART: Final = "unless-stopped"
"""What a container gets where nobody chooses."""
_STACKS: Final = {"2": "a Swarm stack", "3": "a Compose stack", "4": "an edge stack", "stack": "a stack"}


def contents(raw: Any) -> Contents:
    """All templates of a file."""
    templates = raw if isinstance(raw, list) else raw["templates"]
    version = "1" if isinstance(raw, list) else plain.text_of(raw.get("version"))[:8] or "2"
    found = Contents()
    for number, template in enumerate(templates[:MAX_EGGS], start=1):
        title = _title(template) or f"template {number}"
        try:
            warnings = Warnings()
            definition = egg_of(template, warnings)
        except EggRefused as refused:
            found.skipped.append(Skipped(title, refused.code, refused.detail))
        else:
            found.eggs.append(Found(definition, f"PORTAINER_v{version}", warnings.all()))
    if len(templates) > MAX_EGGS:
        found.skipped.append(Skipped("the rest", "E_SYNTAX", f"Only the first {MAX_EGGS} templates of a file are read."))
    return found


def _title(template: Any) -> str:
    if not isinstance(template, dict):
        return ""
    return next((value.strip()[:191] for key in ("title", "namme", "name") if isinstance(value := template.get(key), str) and value.strip()), "")


def egg_of(template: Any, warnings: Warnings) -> EggDefinition:
    """One template. Raises EggRefused."""
    if not isinstance(template, dict):
        raise EggRefused("E_NOT_MAPPING", "It is no object.")
    name = _title(template)
    if not name:
        raise EggRefused("E_NAME", "It has no title.")
    kind = plain.text_of(template.get("type"))
    if kind in _STACKS or ("repository" in template and not template.get("image")):
        what = _STACKS.get(kind, "a stack")
        raise EggRefused("E_NEEDS_GIT", f"It is {what}: its files lie in a git repository, which is not fetched. Import its Compose file instead.")
    if plain.text_of(template.get("platform")).lower() == "windows":
        raise EggRefused("E_PLATFORM", "It is for Windows.")
    image = plain.image_of(template.get("image"))
    registry = plain.text_of(template.get("registry")).strip().removeprefix("https://").removeprefix("http://").strip("/")
    if registry and not image.startswith(f"{registry}/"):
        image = plain.image_of(f"{registry}/{image}")
    folders = plain.Folders(warnings)
    _volumes(template.get("volumes"), folders, warnings)
    unknown = sorted(str(key)[:32] for key in set(template) - _KNOWN)
    if unknown:
        warnings.add("W_IGNORED", f"Not known and left out: {', '.join(unknown[:8])}.")
    if template.get("labels"):
        warnings.add("W_LABELS", "Labels are left out: give them to the container.")
    policy = plain.text_of(template.get("restart_policy")).strip()
    if policy not in ("", USUAL_RESTART):
        warnings.add("W_RESTART", f"Restart {policy[:40]!r} is left out: choose it with the container, else it is {USUAL_RESTART}.")
    tags = [text for item in _list(template.get("categories") or template.get("category")) if (text := plain.text_of(item).strip()[:64])]
    return EggDefinition(
        name=name,
        description=plain.plain_text(plain.text_of(template.get("description"))),
        notes=plain.plain_text(plain.text_of(template.get("note"))),
        uuid=str(uuid.uuid5(_NAMESPACE, f"{name.lower()}\n{image.partition('@')[0].rpartition(':')[0] or image}")),
        tags=tags[:32],
        category=tags[0] if tags else "",
        docker_images=[(image, image)],
        variables=_variables(template.get("env"), warnings),
        stop="",
        runs="image",
        command=plain.words_of(template.get("command")),
        tty=template.get("interactive") is True,
        data_target=folders.data_target,
        ports=_ports(template.get("ports"), warnings),
        privileges=[*folders.privileges, *_privileges(template, warnings)],
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value] if isinstance(value, str) and value else []


def _ports(found: Any, warnings: Warnings) -> list[EggPort]:
    ports: list[EggPort] = []
    for item in _list(found)[: plain.MAX_ITEMS]:
        # `${VAR}:${VAR}/proto`: the number is a variable's; inside it is whatever the image listens on
        if "${" in plain.text_of(item):
            warnings.add("W_PORT", f"The port {plain.text_of(item)[:40]!r} is a variable's and left out.")
            continue
        ports += [port for port in plain.port_of(item, warnings) if port not in ports]
    return ports[: plain.MAX_PORTS]


def _volumes(found: Any, folders: plain.Folders, warnings: Warnings) -> None:
    for item in _list(found)[: plain.MAX_ITEMS]:
        if isinstance(item, str):
            first, colon, rest = item.partition(":")
            source, target, read_only = (first, rest.partition(":")[0], rest.endswith(":ro")) if colon else ("", first, False)
        elif isinstance(item, dict):
            target, source = plain.text_of(item.get("container")).strip(), plain.text_of(item.get("bind")).strip()
            read_only = item.get("readonly") is True
        else:
            warnings.add("W_VOLUME", "A volume is not understood and left out.")
            continue
        if source.startswith("/"):
            folders.of_machine(source, target, read_only=read_only)
        else:
            folders.own(target)


def _privileges(template: dict[str, Any], warnings: Warnings) -> list[Privilege]:
    found: list[Privilege] = []
    if template.get("privileged") is True:
        found += plain.privileged(warnings, "privileged", "", "privileged mode (all rights on the machine)")
    network = plain.text_of(template.get("network")).strip()
    if network == "host":
        found += plain.privileged(warnings, "host_network", "", "the machine's own network")
    elif network not in ("", "bridge", "default"):
        warnings.add("W_NETWORK", f"The network {network[:40]!r} is left out: containers get the panel's own.")
    if template.get("administrator_only") is True or template.get("administrator-only") is True:
        found += plain.privileged(warnings, "administrator_only", "", "an administrator")
    if plain.text_of(template.get("hostname")):
        warnings.add("W_HOSTNAME", "The host name is left out.")
    return found


def _variables(found: Any, warnings: Warnings) -> list[Variable]:
    made: list[Variable] = []
    if found and not isinstance(found, list):
        warnings.add("W_ENV", "env is no list and is left out.")
        return made
    if len(_list(found)) > MAX_VARIABLES:
        raise EggRefused("E_VARIABLES", f"An egg has {MAX_VARIABLES} variables at most.")
    for item in _list(found):
        name = plain.text_of(item.get("name")).strip() if isinstance(item, dict) else ""
        if not isinstance(item, dict) or not plain.ENV_NAME.match(name):
            warnings.add("W_ENV", f"The variable {name[:40] or 'without a name'!r} is not understood and left out.")
            continue
        made.append(_variable(name, item, warnings))
    names = {variable.env_variable for variable in made}
    if len(names) != len(made):
        warnings.add("W_DUP_ENV", "A variable appears twice; the last one counts.")
    return made


def _variable(name: str, item: dict[str, Any], warnings: Warnings) -> Variable:
    label, description = plain.text_of(item.get("label")), plain.plain_text(plain.text_of(item.get("description")), most=2048)
    if "set" in item:  # the oldest files: a value that is not asked for
        return plain.variable(name, default=plain.text_of(item["set"]), label=label, description=description, shown=False)
    options = [option for option in _list(item.get("select")) if isinstance(option, dict) and "value" in option]
    if options:
        values = [plain.text_of(option["value"]) for option in options]
        chosen = next((plain.text_of(o["value"]) for o in options if o.get("default") is True), plain.text_of(item.get("default")) or values[0])
        listed = ",".join('"' + value.replace('"', '""') + '"' for value in values)
        choices = "; ".join(f"{plain.text_of(o['value'])}: {plain.text_of(o.get('text'))}" for o in options if o.get("text"))
        help_text = "\n".join(part for part in (description, choices) if part)
        return plain.variable(name, default=chosen, label=label, description=help_text[:2048], rules=["nullable", f"in:{listed}"])
    default = item.get("default")
    if default is not None and not isinstance(default, str):
        warnings.add("W_NONSTRING_DEFAULT", "A default value is no text.")
    return plain.variable(name, default=plain.text_of(default), label=label, description=description, shown=item.get("preset") is not True)
