"""What every console template uses: icons, states as words and colours, sizes, times, addresses of built assets."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from functools import cache, lru_cache
from importlib.resources import files
from io import BytesIO
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree
from zipfile import ZipFile

from django import template
from django.templatetags.static import static
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from accounts.access import has
from audit.diff import Change, changes
from lormas import assets
from lormas.common import clock
from lormas.common.pages import TOAST_TAG, Toast
from lormas.common.sizes import size_word
from lormas.templatetags.entrywords import ALONE, ENTRY_WORDS

register = template.Library()


@register.filter
def breakable(value: Any) -> SafeString:
    """An image's or file's name that breaks behind its slashes and colons, not in the middle of a word."""
    return format_html_join("", "{}{}", ((part, mark_safe("<wbr>")) for part in re.findall(r"[^/:]*[/:]|[^/:]+", str(value))))


STATES: dict[str, dict[str, tuple[Any, str]]] = {
    "container": {
        "creating": (gettext_lazy("Creating"), "blue busy"),
        "installing": (gettext_lazy("Installing"), "blue busy"),
        "install_failed": (gettext_lazy("Install failed"), "red"),
        "starting": (gettext_lazy("Starting"), "blue busy"),
        "running": (gettext_lazy("Running"), "green"),
        "paused": (gettext_lazy("Paused"), "amber hollow"),
        "stopping": (gettext_lazy("Stopping"), "blue busy"),
        "migrating": (gettext_lazy("Moving"), "blue busy"),
        "stopped": (gettext_lazy("Stopped"), "hollow"),
        "restarting": (gettext_lazy("Restarting"), "blue busy"),
        "crashed": (gettext_lazy("Crashed"), "red"),
        "crash_loop": (gettext_lazy("Crash loop"), "red"),
        "failed": (gettext_lazy("Failed"), "red"),
        "missing": (gettext_lazy("Missing"), "red hollow"),
        "unknown": (gettext_lazy("Unknown"), "amber"),
        "deleting": (gettext_lazy("Deleting"), "blue busy"),
        "deleted": (gettext_lazy("Deleted"), "hollow"),
    },
    "node": {
        "PENDING": (gettext_lazy("Pending"), "blue hollow"),
        "ACTIVE": (gettext_lazy("Active"), "green"),
        "NOT_READY": (gettext_lazy("Not ready"), "amber"),
        "INACTIVE": (gettext_lazy("Inactive"), "red"),
        "MAINTENANCE": (gettext_lazy("Maintenance"), "hollow"),
    },
    "operation": {
        "queued": (gettext_lazy("Queued"), "blue hollow"),
        "running": (gettext_lazy("Running"), "blue busy"),
        "succeeded": (gettext_lazy("Succeeded"), "green"),
        "failed": (gettext_lazy("Failed"), "red"),
        "cancelled": (gettext_lazy("Cancelled"), "hollow"),
        "timed_out": (gettext_lazy("Timed out"), "red hollow"),
    },
    "backup": {
        "pending": (gettext_lazy("Waiting"), "blue hollow"),
        "running": (gettext_lazy("Being made"), "blue busy"),
        "good": (gettext_lazy("Good"), "green"),
        "damaged": (gettext_lazy("Damaged"), "red"),
        "failed": (gettext_lazy("Failed"), "red"),
        "deleting": (gettext_lazy("Being deleted"), "hollow"),
    },
    "run": {
        "running": (gettext_lazy("Running"), "blue busy"),
        "waiting": (gettext_lazy("Waiting"), "blue hollow"),
        "succeeded": (gettext_lazy("Done"), "green"),
        "failed": (gettext_lazy("Failed"), "red"),
        "skipped": (gettext_lazy("Skipped"), "hollow"),
    },
    "machine": {
        "available": (gettext_lazy("Available"), "green"),
        "reserved": (gettext_lazy("Reserved"), "hollow"),
        "quarantined": (gettext_lazy("Quarantined"), "red"),
        "broken": (gettext_lazy("Broken"), "red hollow"),
        "offline": (gettext_lazy("Offline"), "amber"),
    },
    "reservation": {
        "waiting": (gettext_lazy("Waiting"), "blue hollow"),
        "requested": (gettext_lazy("Booked"), "blue hollow"),
        "provisioning": (gettext_lazy("Making ready"), "blue busy"),
        "active": (gettext_lazy("Active"), "green"),
        "revoking": (gettext_lazy("Cleaning"), "blue busy"),
        "ended": (gettext_lazy("Ended"), "hollow"),
        "failed": (gettext_lazy("Failed"), "red"),
    },
    "hold": {
        "booked": (gettext_lazy("Booked"), "blue hollow"),
        "creating": (gettext_lazy("Making the account"), "blue busy"),
        "ready": (gettext_lazy("Ready"), "green"),
        "removing": (gettext_lazy("Cleaning"), "blue busy"),
        "dirty": (gettext_lazy("Not proved clean"), "red"),
        "clean": (gettext_lazy("Clean"), "hollow"),
        "given_up": (gettext_lazy("Given back unused"), "hollow"),
    },
}
ACTS: dict[str, tuple[Any, str]] = {
    "start": (gettext_lazy("Start"), "play"),
    "stop": (gettext_lazy("Stop"), "square"),
    "restart": (gettext_lazy("Restart"), "rotate-cw"),
    "kill": (gettext_lazy("Kill"), "skull"),
    "pause": (gettext_lazy("Pause"), "pause"),
    "unpause": (gettext_lazy("Resume"), "play"),
    "delete": (gettext_lazy("Delete"), "trash-2"),
    "restore": (gettext_lazy("Restore"), "undo-2"),
    "purge": (gettext_lazy("Delete for good"), "trash-2"),
}


SVG = "http://www.w3.org/2000/svg"


@cache
def _drawings() -> ZipFile:
    """The icons of the lucide package. Its own loader reads the archive's directory of 1,900 names anew for each
    icon, which was most of the time of a process' first page."""
    return ZipFile(BytesIO((files("lucide") / "lucide.zip").read_bytes()))


@lru_cache(maxsize=512)
def _icon(name: str, classes: str) -> str:
    try:
        svg = ElementTree.fromstring(_drawings().read(f"{name}.svg"))  # noqa: S314 - a file of the package
    except KeyError:
        return _icon("box", classes)
    for node in svg.iter():
        node.tag = node.tag.removeprefix(f"{{{SVG}}}")
    svg.attrib |= {"class": f"i {classes}".strip(), "aria-hidden": "true"}
    return ElementTree.tostring(svg, encoding="unicode")


@register.simple_tag
def icon(name: str, classes: str = "") -> SafeString:
    """A lucide icon, inline; an unknown name gives a box."""
    return mark_safe(_icon(str(name), str(classes)))  # noqa: S308 - from the lucide package, name is a key into it


@register.simple_tag
def asset(name: str) -> str:
    """Address of a built asset, with the stamp of its build."""
    return f"{static(f'dist/{name}')}?v={_stamp()}"


def _stamp() -> str:
    try:
        return assets.STAMP.read_text().strip()
    except OSError:
        return "0"


@register.simple_tag
def state(kind: str, value: str, classes: str = "") -> SafeString:
    """A state as a dot and its word."""
    word, tone = STATES[kind].get(value, (value, ""))
    return format_html('<span class="state {} {}">{}</span>', tone, classes, word)


@register.simple_tag
def state_word(kind: str, value: str) -> str:
    """Only the word."""
    return str(STATES[kind].get(value, (value, ""))[0])


@register.filter
def act_word(action: str) -> str:
    return str(ACTS.get(action, (action, ""))[0])


@register.filter
def act_icon(action: str) -> str:
    return ACTS.get(action, ("", "circle"))[1]


@register.filter
def bytes_word(value: Any) -> str:
    """`1.50 GiB`; the same rule as frontend/src/format.js."""
    try:
        return size_word(value, gap="\u202f")
    except (TypeError, ValueError):
        return "–"


@register.filter
def percent_word(value: Any) -> str:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return "–"
    return f"{number:.0f}\u202f%" if number >= 9.95 else f"{number:.1f}\u202f%"


@register.filter
def cores(value: Any) -> str:
    """`0.5`, `2`."""
    try:
        return f"{float(value):g}"
    except (TypeError, ValueError):
        return "–"


@register.filter
def cores_word(value: Any) -> str:
    """`0.5 cores`, `1 core`."""
    count = cores(value)
    return ngettext("%(count)s core", "%(count)s cores", 1 if count == "1" else 2) % {"count": count}


@register.filter
def share(part: Any, whole: Any) -> int:
    """Whole percent, 0 to 100."""
    try:
        return max(0, min(100, round(100 * float(part) / float(whole))))
    except (TypeError, ValueError, ZeroDivisionError):
        return 0


def ago_word(moment: datetime) -> str:
    """`now`, `12s ago`, `3m ago`, and `2024-11-03` for what is older than a year; frontend/src/format.js lets it tick."""
    seconds = max(0.0, (clock.now() - moment).total_seconds())
    for limit, size, unit in ((60, 1, "s"), (3600, 60, "m"), (86400, 3600, "h")):
        if seconds < limit:
            return _("now") if seconds < 5 else _("%(count)d%(unit)s ago") % {"count": seconds // size, "unit": unit}
    if seconds >= 366 * 86400:
        return moment.astimezone(UTC).date().isoformat()
    return _("%(count)dd ago") % {"count": seconds // 86400}


def span_word(seconds: float) -> str:
    """`45s`, `3m 45s`, `2h 5m`, `3d 1h`."""
    whole = max(0, int(seconds))
    days, hours, minutes = whole // 86400, whole % 86400 // 3600, whole % 3600 // 60
    if days:
        return f"{days}d {hours}h"
    if hours:
        return f"{hours}h {minutes}m"
    return f"{minutes}m {whole % 60}s" if minutes else f"{whole}s"


@register.filter
def span(seconds: float) -> str:
    """A length that was chosen: `50m` and `2h`, not `50m 0s` and `2h 0m`."""
    first, _, rest = span_word(seconds).partition(" ")
    return first if rest[:-1] == "0" else f"{first} {rest}".strip()


def _moment(value: Any) -> datetime | None:
    return clock.parse_rfc3339(value) if isinstance(value, str) else value


@register.simple_tag
def ago(value: Any, how: str = "ago") -> SafeString | str:
    """A time that ticks; `how` is `ago`, `span` (3h 2m since then) or `left` (3h 2m until then)."""
    moment = _moment(value)
    if not moment:
        return "–"
    if how == "ago":
        word = ago_word(moment)
    else:
        seconds = (clock.now() - moment).total_seconds()
        word = span_word(-seconds if how == "left" else seconds)
    return format_html('<time datetime="{}" data-ago="{}">{}</time>', clock.rfc3339(moment), how, word)


@register.simple_tag
def ago_unix(seconds: float) -> SafeString | str:
    """As `ago`, from Unix seconds; 0 is unknown."""
    return ago(datetime.fromtimestamp(seconds, UTC)) if seconds else "–"


@register.simple_tag
def took(start: datetime | None, end: datetime | None) -> str:
    """How long it took: `0.4 s`, `2m 3s`."""
    if not start or not end:
        return "–"
    seconds = (end - start).total_seconds()
    return f"{seconds:.1f}\u202fs" if seconds < 10 else span_word(seconds)


@register.simple_tag(takes_context=True)
def query(context: dict[str, Any], **changes: Any) -> str:
    """The page's own query with some keys changed; an empty value drops a key."""
    kept = {key: value for key, value in context["request"].GET.items() if key not in changes}
    kept.update({key: value for key, value in changes.items() if value not in (None, "")})
    return "?" + urlencode(kept)


@register.filter
def get(mapping: Any, key: Any) -> Any:
    """`mapping[key]`, or empty."""
    try:
        return mapping.get(key, "")
    except AttributeError:
        return ""


@register.filter
def short_id(value: Any) -> str:
    """Last eight of an id: ours begin with the time."""
    return str(value)[-8:]


@register.filter
def log_points(values: Any) -> str:
    """Numbers as the `points` of a sparkline."""
    return ",".join(f"{value:.4g}" for value in values or ())


@register.filter
def words(text: str) -> list[str]:
    """Split at spaces, to loop over a literal."""
    return str(text).split()


@register.filter
def unlocal(value: Any) -> str:
    """A number for an HTML attribute: a dot, at most two digits."""
    return f"{float(value):.2f}"


@register.simple_tag
def entry_say(entry: Any) -> SafeString:
    """What a row of the journal says was done, and to what; an action without words is told as it is."""
    said: Any = ENTRY_WORDS.get(entry.action, entry.action.replace(".", " ").replace("_", " "))
    if entry.target_label and (entry.action not in ALONE or entry.target_label != entry.actor_label):
        said = format_html("{} <b>{}</b>", said, entry.target_label)
    if entry.outcome == "ok":
        return format_html("{}", said)
    whole = _("%(what)s: refused") if entry.outcome == "refused" else _("%(what)s: failed")
    return format_html('<span class="state red">{}</span>', format_html(whole.replace("%(what)s", "{}"), said))


@register.simple_tag
def entry_changes(entry: Any) -> list[Change]:
    """What a row of the journal changed."""
    return changes(entry.before, entry.after)


@register.simple_tag(takes_context=True)
def entry_address(context: dict[str, Any], entry: Any) -> str:
    """Where it came from: to readers of the journal, and one's own (I06)."""
    reader = context.get("user")
    known = reader is not None and entry.address and (has(reader, "audit.view") or entry.actor_id == str(reader.pk))
    return str(entry.address) if known else ""


@register.simple_tag
def until(value: datetime) -> SafeString:
    """A time to come: `in 3h 2m`, the exact one on hover."""
    word = _("in %(span)s") % {"span": span_word((value - clock.now()).total_seconds())}
    return format_html('<time datetime="{}" title="{}">{}</time>', clock.rfc3339(value), clock.rfc3339(value), word)


@register.filter
def as_toast(message: Any) -> Toast:
    """A message of Django's framework as a toast; `answer` puts whole ones into messages."""
    if TOAST_TAG in str(message.extra_tags or "").split():
        return Toast(**json.loads(str(message.message)))
    title, _newline, text = str(message.message).partition("\n")
    return Toast(title, text, tone="red" if message.level_tag == "error" else "amber" if message.level_tag == "warning" else "green")


@register.filter
def percent_of(value: Any) -> str:
    """`37 %` of a whole percent."""
    return f"{value}\u202f%"


FIELD_WORDS = {
    "image": gettext_lazy("Image"),
    "command": gettext_lazy("Command"),
    "env": gettext_lazy("Environment"),
    "variables": gettext_lazy("Variable"),
    "startup": gettext_lazy("Startup line"),
    "labels": gettext_lazy("Label"),
    "cpus": gettext_lazy("CPU"),
    "memory_bytes": gettext_lazy("Memory"),
    "swap_bytes": gettext_lazy("Swap"),
    "disk_bytes": gettext_lazy("Disk"),
    "pids": gettext_lazy("Processes"),
    "io_weight": gettext_lazy("I/O weight"),
    "startup_script": gettext_lazy("Startup script"),
    "readiness": gettext_lazy("Ready when"),
    "egg_version": gettext_lazy("Version of the egg"),
    "ports": gettext_lazy("Ports"),
}


@register.filter
def field_word(field: str) -> SafeString:
    """The name of what a revision or drift is about: `memory_bytes` as the form calls it, `env.NAME` as `Environment NAME`."""
    name, _dot, key = field.partition(".")
    word = FIELD_WORDS.get(name, name)
    return format_html('{} <span class="mono">{}</span>', word, key) if key else format_html("{}", word)


@register.filter
def revision_word(value: Any, field: str) -> str:
    """A value of a revision's diff as people read it: sizes in units, ports as `outside -> inside`, long texts cut."""
    if field.endswith("_bytes") and isinstance(value, int | float):
        return str(bytes_word(value)) if value else "0"
    if field == "ports" and isinstance(value, list):
        return ", ".join(f"{p['host']} → {p['container']}/{p['protocol']}" if isinstance(p, dict) else str(p) for p in value) or "–"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 400 else text[:399] + "…"
