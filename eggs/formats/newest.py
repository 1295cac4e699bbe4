"""The newest form, checked: what can't run is refused, what is only odd is warned of (EGGS.md section 11)."""

from __future__ import annotations

import re
import uuid
from typing import Any, Final

from eggs import pictures, rules
from eggs.definition import MAX_VARIABLES, ConfigFile, EggDefinition, InstallScript, Variable
from eggs.formats.extension import extension_of, is_image_egg
from eggs.problems import EggRefused, Warnings
from lormas.common import strictjson
from lormas.common.images import is_reference

Raw = dict[str, Any]
_ENV: Final = re.compile(r"[A-Za-z0-9_]{1,191}\Z")
EMAIL: Final = re.compile(r"[^@\s]+@[^@\s.]+(?:\.[^@\s.]+)+\Z")
_ICON_NAME: Final = re.compile(r"[a-z0-9-]{1,64}\Z")
RESERVED: Final = frozenset(
    (
        "SERVER_MEMORY", "SERVER_IP", "SERVER_PORT", "ENV", "HOME", "USER", "STARTUP", "SERVER_UUID", "UUID", "P_SERVER_UUID",
        "P_SERVER_ALLOCATION_LIMIT", "MODIFIED_STARTUP", "INTERNAL_IP", "HOSTNAME", "TERM", "LANG", "PWD", "TZ", "TIMEZONE",
    )
)  # fmt: skip


def definition_of(raw: Raw, *, warnings: Warnings) -> EggDefinition:
    """The egg. Raises EggRefused."""
    name = raw.get("name")
    if not isinstance(name, str) or not name.strip():
        raise EggRefused("E_NAME", "The egg has no name.")
    author = _text(raw.get("author"))
    if not EMAIL.match(author):
        warnings.add("W_AUTHOR_NOT_EMAIL", "author is no e-mail address.")
    config = raw.get("config")
    config = config if isinstance(config, dict) else {}
    images = _images(raw["docker_images"], warnings)
    startups = [] if is_image_egg(raw.get("lormas")) else _startups(raw.get("startup_commands"))
    variables = _variables(raw, warnings)
    files, startup = _objects(config, "files"), _objects(config, "startup")
    if config.get("files", 0) is None or config.get("startup", 0) is None:
        warnings.add("W_CONFIG_NULL", "config.files or config.startup is null.")
    stop = config.get("stop")
    if not isinstance(stop, str) or not stop.strip():
        warnings.add("W_STOP_MISSING", "config.stop is missing; the server is stopped by SIGTERM.")
        stop = ""
    meta = raw["meta"] if isinstance(raw.get("meta"), dict) else {}
    return EggDefinition(
        name=name.strip()[:191],
        author=author[:255],
        description=_text(raw.get("description"))[:65_536],
        uuid=_uuid(raw.get("uuid")),
        update_url=_url(meta.get("update_url")),
        tags=_words(raw.get("tags"), "tags", warnings),
        features=_words(raw.get("features"), "features", warnings),
        file_denylist=_words(raw.get("file_denylist"), "file_denylist", warnings),
        icon=_icon(raw),
        docker_images=images,
        startup_commands=startups,
        variables=variables,
        config_files=_config_files(files, warnings),
        startup_done=_done(startup, warnings),
        strip_ansi=bool(startup.get("strip_ansi")),
        stop=stop,
        install=_install(raw),
        **extension_of(raw.get("lormas"), warnings),
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _uuid(value: Any) -> str:
    try:
        return str(uuid.UUID(value)) if isinstance(value, str) else ""
    except ValueError:
        return ""


def _url(value: Any) -> str:
    return value[:2048] if isinstance(value, str) and value.startswith(("https://", "http://")) else ""


def _words(value: Any, name: str, warnings: Warnings) -> list[str]:
    """A list of text; YAML's empty map and the text "{}" are empty."""
    if isinstance(value, str) and value:
        if name == "tags":
            warnings.add("W_TAGS_STRING", "tags is a text, not a list.")
        return [] if value.strip() in ("", "{}", "[]") else [value.strip()]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [item.strip() for item in items if isinstance(item, str) and item.strip()][:256]


def _icon(raw: Raw) -> str:
    """A picture, or in our own eggs the name of one of the console's icons."""
    ours = raw.get("lormas")
    name = _text(ours.get("icon")) if isinstance(ours, dict) else ""
    if _ICON_NAME.match(name):
        return name
    for candidate in (raw.get("icon"), raw.get("image")):
        if isinstance(candidate, str) and candidate.startswith("data:") and (picture := pictures.sanitised(candidate)):
            return picture
    return ""


def _images(found: dict[str, Any], warnings: Warnings) -> list[tuple[str, str]]:
    if not found:
        raise EggRefused("E_IMAGES", "The egg names no image.")
    choices: dict[str, str] = {}
    for label, value in found.items():
        if not isinstance(value, str):
            raise EggRefused("E_IMAGE_REF", f"The image of {label[:64]!r} is no text.")
        image = value.strip()
        if image != value:
            warnings.add("W_IMAGE_TRIMMED", "An image has blanks around it.")
        if not is_reference(image.removeprefix("~")):
            raise EggRefused("E_IMAGE_REF", f"{image[:100]!r} is not an image reference.")
        choices.setdefault(label[:191] if label.strip() else image, image)  # one without a label is called as its image: the same choice twice is one
    return list(choices.items())


def _startups(found: Any) -> list[tuple[str, str]]:
    commands = found if isinstance(found, dict) else {}
    choices = [(str(name)[:191], value) for name, value in commands.items() if isinstance(value, str) and value.strip()]
    if not choices:
        raise EggRefused("E_STARTUP", "The egg has no startup command.")
    return choices


def _variables(raw: Raw, warnings: Warnings) -> list[Variable]:
    found = raw.get("variables")
    if "variables" not in raw:
        warnings.add("W_VARIABLES_MISSING", "variables is missing.")
    if found in (None, {}):
        found = []
    if not isinstance(found, list):
        raise EggRefused("E_VARIABLES", "variables is no list.")
    if len(found) > MAX_VARIABLES:
        raise EggRefused("E_VARIABLES", f"An egg has {MAX_VARIABLES} variables at most.")
    made = [_variable(entry, warnings) for entry in found]
    names, envs = [variable.name for variable in made], [variable.env_variable for variable in made]
    if len(set(envs)) != len(envs):
        warnings.add("W_DUP_ENV", "A variable appears twice; the last one counts.")
    if len(set(names)) != len(names):
        warnings.add("W_DUP_VARNAME", "Two variables have the same name.")
    if any(env.upper() in RESERVED for env in envs):
        warnings.add("W_RESERVED_ENV", "A variable has a reserved name; where the panel sets that name itself, the panel's value counts.")
    return made


def _variable(entry: Any, warnings: Warnings) -> Variable:
    env = entry.get("env_variable") if isinstance(entry, dict) else None
    if not isinstance(env, str) or not _ENV.match(env):
        raise EggRefused("E_VARIABLE", f"A variable's env_variable is {str(env)[:64]!r}: letters, digits and underscores are needed.")
    default = entry.get("default_value")
    if not isinstance(default, str):
        if default is not None:
            warnings.add("W_NONSTRING_DEFAULT", "A default value is no text.")
        default = "" if default is None else str(default).lower() if isinstance(default, bool) else str(default)
    sort = entry.get("sort")
    return Variable(
        env_variable=env,
        name=_text(entry.get("name")).strip()[:191] or env,
        description=_text(entry.get("description")),
        default_value=default,
        user_viewable=_truth(entry.get("user_viewable", True)),
        user_editable=_truth(entry.get("user_editable", True)),
        rules=_rules(entry.get("rules"), warnings),
        sort=sort if isinstance(sort, int) and not isinstance(sort, bool) else None,
    )


def _truth(value: Any) -> bool:
    return value.strip().lower() in ("1", "true", "yes", "on") if isinstance(value, str) else bool(value)


def _rules(found: Any, warnings: Warnings) -> list[str]:
    if isinstance(found, dict):
        warnings.add("W_RULES_MAP", "A variable's rules are a map, not a list.")
        found = list(found.values())
    items = (
        rules.split(found) if isinstance(found, str) else [item for item in found or [] if isinstance(item, str)] if isinstance(found, list) else []
    )
    made = [item for item in items if item.strip()][: rules.MAX_RULES]
    for rule in map(rules.parse, made):
        if rule.kind == "unknown":
            warnings.add("W_UNKNOWN_RULE", f"The rule {rule.name[:32]!r} is not known and counts for nothing.")
        elif rule.kind == "bad_regex":
            warnings.add("W_BAD_REGEX_RULE", "A regular expression can't be read and counts for nothing.")
    return made


def _objects(config: Raw, part: str) -> Raw:
    """config.files and config.startup: an object, or JSON text of one."""
    value = config.get(part)
    if value in (None, "", [], {}):
        return {}
    if isinstance(value, str):
        if not value.strip():
            return {}
        try:
            value = strictjson.loads(value.encode(), max_bytes=1_000_000, duplicates=[], wide=True)
        except (strictjson.NotJson, UnicodeEncodeError) as error:
            raise EggRefused("E_CONFIG", f"config.{part} is not JSON: {error}.") from error
        if value in (None, [], ""):
            return {}
    if not isinstance(value, dict):
        raise EggRefused("E_CONFIG", f"config.{part} is no object.")
    return value


def _config_files(files: Raw, warnings: Warnings) -> list[ConfigFile]:
    made = []
    for path, found in files.items():
        entry = found if isinstance(found, dict) else {}
        find = entry.get("find")
        if not isinstance(find, dict):
            warnings.add("W_ENTRY_WITHOUT_FIND", "An entry of config.files has no find and does nothing.")
            continue
        parser = _text(entry.get("parser")).lower()
        made.append(ConfigFile(path=path, parser=parser, find=list(find.items()), create_file=entry.get("create_file") is not False))
    return made


def _done(startup: Raw, warnings: Warnings) -> list[str]:
    done = startup.get("done")
    items = [item for item in (done if isinstance(done, list) else [done]) if isinstance(item, str)]
    if not items:
        warnings.add("W_DONE_MISSING", "config.startup.done is missing; the server counts as running once it is started.")
        return []
    if "" in items:
        warnings.add("W_DONE_EMPTY", "config.startup.done is empty; the first line means ready.")
    return items


def _install(raw: Raw) -> InstallScript:
    scripts = raw.get("scripts")
    found = scripts.get("installation") if isinstance(scripts, dict) else None
    script = found.get("script") if isinstance(found, dict) else None
    if not isinstance(found, dict) or not isinstance(script, str) or not script.strip():
        return InstallScript()
    container = _text(found.get("container")).strip()
    entrypoint = _text(found.get("entrypoint")).strip() or "bash"
    return InstallScript(script=script.replace("\r\n", "\n").replace("\r", "\n"), container=container, entrypoint=entrypoint)
