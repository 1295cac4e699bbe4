"""What Portainer templates and Compose services have in common on their way to an egg."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from html import unescape
from typing import Any, Final

from eggs.definition import EggPort, Privilege, Variable
from eggs.formats.extension import MAX_WORDS, is_path, privilege_of
from eggs.problems import EggRefused, Warnings
from lormas.common.images import is_reference

ENV_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,190}\Z")
MAX_PORTS: Final = 64
MAX_ITEMS: Final = 256
"""Ports, volumes, devices ... of one egg that are looked at."""
MAX_COMMAND_CHARS: Final = 65_536
SOCKETS: Final = ("/var/run/docker.sock", "/run/docker.sock")


def text_of(value: Any) -> str:
    """As text; numbers and booleans as they are written in YAML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None or isinstance(value, list | dict) else str(value)


def image_of(value: Any) -> str:
    """Raises EggRefused."""
    if not isinstance(value, str) or not value.strip():
        raise EggRefused("E_IMAGES", "It names no image.")
    image = value.strip()
    if not is_reference(image):
        raise EggRefused("E_IMAGE_REF", f"{image[:100]!r} is not an image reference.")
    return image


def words_of(value: Any) -> list[str]:
    """argv: a list as it is, a line split as a shell splits it. Raises EggRefused."""
    if isinstance(value, list):
        words = [text_of(word) for word in value[: MAX_WORDS + 1]]
    elif not isinstance(value, str) or not value.strip():
        return []
    elif len(value) > MAX_COMMAND_CHARS:
        raise EggRefused("E_STARTUP", f"Its command is longer than {MAX_COMMAND_CHARS} characters.")
    else:
        try:
            words = shlex.split(value)
        except ValueError as error:
            raise EggRefused("E_STARTUP", f"Its command can't be split: {error}.") from None
    if len(words) > MAX_WORDS:
        raise EggRefused("E_STARTUP", f"Its command has more than {MAX_WORDS} words.")
    return words


def port_of(value: Any, warnings: Warnings) -> list[EggPort]:
    """`H:C/proto`, `C/proto`, `ip:H:C`, ranges, or a map with `target`; the outer port is the panel's to choose."""
    if isinstance(value, dict):
        text, protocol = text_of(value.get("target")), text_of(value.get("protocol")) or "tcp"
        outer = text_of(value.get("published"))
    else:
        ports, _, protocol = text_of(value).partition("/")
        outer, _, text = ports.rpartition(":")
    if outer.strip(":"):
        warnings.add("W_HOST_PORT", "Outer ports are left out: the panel gives each container a free one.")
    protocol = (protocol or "tcp").lower()
    first, _, last = text.partition("-")
    if protocol not in ("tcp", "udp") or not first.isdigit() or (last and not last.isdigit()) or len(first + last) > 10:
        warnings.add("W_PORT", f"The port {text_of(value)[:40] or 'of a map'!r} is not understood and left out.")
        return []
    low, high = int(first), int(last or first)
    if not 1 <= low <= high <= 65535 or high - low >= MAX_PORTS:
        warnings.add("W_PORT", f"The port {text[:40]!r} is not understood and left out.")
        return []
    return [EggPort(container=number, protocol=protocol) for number in range(low, high + 1)]


def bind_of(source: str, target: str, *, read_only: bool) -> Privilege | None:
    """A folder or socket of the machine, as a privilege; None if it is not well-formed."""
    return privilege_of({"kind": "bind", "value": f"{source.rstrip('/') or '/'}:{target.rstrip('/')}{':ro' if read_only else ''}"})


class Folders:
    """Collects the volumes of one egg: the first is the container's own folder, of which there is one."""

    def __init__(self, warnings: Warnings) -> None:
        self._warnings = warnings
        self.data_target = ""
        self.privileges: list[Privilege] = []

    def own(self, target: str) -> None:
        target = target.rstrip("/")
        if not is_path(target):
            self._warnings.add("W_VOLUME", f"The volume {target[:60]!r} is not understood and left out.")
        elif self.data_target and self.data_target != target:
            self._warnings.add(
                "W_VOLUMES",
                f"A container has one folder of its own, here {self.data_target}: what is written to {target} is lost when it is made anew.",
            )
        else:
            self.data_target = target

    def of_machine(self, source: str, target: str, *, read_only: bool) -> None:
        wish = bind_of(source, target, read_only=read_only)
        if wish is None:
            self._warnings.add("W_VOLUME", f"The mount {source[:60]!r} is not understood and left out.")
            return
        self.privileges.append(wish)
        what = "the engine's own socket (all rights on the machine)" if source in SOCKETS else f"{source} of the machine"
        self._warnings.add("W_PRIVILEGED", f"It asks for {what}: an administrator must approve it.")


def privileged(warnings: Warnings, kind: str, value: str, what: str) -> list[Privilege]:
    """With its warning; empty (and another warning) if it is not well-formed."""
    wish = privilege_of({"kind": kind, "value": value})
    if wish is None:
        warnings.add("W_LEFT_OUT", f"{what} is not understood and left out.")
        return []
    warnings.add("W_PRIVILEGED", f"It asks for {what}: an administrator must approve it.")
    return [wish]


def variable(name: str, *, default: str = "", label: str = "", description: str = "", rules: list[str] | None = None, shown: bool = True) -> Variable:
    """One variable of an image egg."""
    return Variable(
        env_variable=name,
        name=(label.strip() or name)[:191],
        description=description,
        default_value=default,
        user_viewable=shown,
        user_editable=shown,
        rules=rules if rules is not None else ["nullable", "string"],
    )


_BREAKS: Final = frozenset({"br", "p", "div", "li", "tr", "h1", "h2", "h3", "h4", "ul", "ol"})
_DEAF: Final = frozenset({"script", "style", "iframe", "object", "template", "svg"})
_TAG_NAME: Final = re.compile(r"/?([A-Za-z][A-Za-z0-9]{0,15})")


def _words(markup: str) -> Iterator[str]:
    """Its texts, and a line end for what begins a line. One pass without going back: the standard library's parser takes minutes for `<a <a <a`."""
    lower, at = markup.lower(), 0
    while at < len(markup):
        start = markup.find("<", at)
        if start < 0:
            yield unescape(markup[at:])
            return
        yield unescape(markup[at:start])
        if markup.startswith("<!--", start):
            end, size = markup.find("-->", start), 3
        elif lower[start + 1 : start + 2].isalpha() or lower[start + 1 : start + 2] in ("/", "!", "?"):
            end, size = markup.find(">", start), 1
        else:  # a sign of its own
            yield "<"
            at = start + 1
            continue
        if end < 0:
            return
        at = end + size
        found = _TAG_NAME.match(lower, start + 1)
        name = found[1] if found else ""
        if name in _BREAKS:
            yield "\n"
        elif name in _DEAF and markup[start + 1] != "/":
            at = lower.find(f"</{name}", at)
            if at < 0:
                return


def plain_text(html: str, *, most: int = 8192) -> str:
    """The words of a piece of HTML, without any of its tags, scripts or styles. What stays is text and must be escaped like any other."""
    lines = [" ".join(line.split()) for line in "".join(_words(html[: most * 4])).splitlines()]
    return "\n".join(line for line in lines if line)[:most]
