"""The forms of the Settings tab, one a section. Each knows how to begin from a container and what it changes."""

from __future__ import annotations

import shlex
from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from containers.forms import SettingsForm
from containers.models import Container
from containers.services.create import PortWish
from containers.services.manners import settings_of
from containers.validation import check_command, check_env, check_image, check_labels, env_from_list
from containers.variables import as_told
from lormas.common.forms import ServiceForm

MIB, GIB = 1024**2, 1024**3
MAX_SCRIPT = 64 * 1024
PORT_ROWS = 32


def _unit(field: forms.Field, unit: Any) -> forms.Field:
    field.unit = unit  # type: ignore[attr-defined]  # read by console/_field.html
    return field


class Section(ServiceForm):
    """`names`: field of the form -> fields of a service's refusal that belong to it."""

    names: dict[str, tuple[str, ...]] = {}

    def changes(self) -> dict[str, Any]:
        """What `services.edit.change` takes."""
        return dict(self.cleaned_data)

    def place_of(self, field: str) -> str | None:
        place = next((mine for mine, theirs in self.names.items() if field.startswith(theirs)), None)
        return place or (field if field in self.fields else None)


class GeneralSection(SettingsForm):
    """Name, description, restart policy, labels."""

    labels = forms.CharField(
        label=gettext_lazy("Labels"),
        required=False,
        max_length=16384,
        widget=forms.Textarea(attrs={"rows": 2, "class": "mono", "spellcheck": "false"}),
        help_text=gettext_lazy("One name=value a line. Lists can be filtered by them, and placement can keep containers with the same ones apart."),
    )

    def clean_labels(self) -> dict[str, str]:
        lines = [line.strip() for line in self.cleaned_data["labels"].split("\n") if line.strip()]
        pairs = [line.partition("=") for line in lines]
        return _checked(check_labels, {name.strip(): value.strip() for name, _sign, value in pairs})  # type: ignore[no-any-return]

    def changes(self) -> dict[str, Any]:
        """Labels only where the form had them: a page of before knows none and must not take them away."""
        return {name: value for name, value in self.cleaned_data.items() if name != "labels" or name in self.data}


class MadeSection(Section):
    """Of what a container without an egg is made."""

    image = forms.CharField(label=gettext_lazy("Image"), max_length=255)
    command = forms.CharField(
        label=gettext_lazy("Command"), max_length=8192, required=False, help_text=gettext_lazy("As a shell splits it. Empty: the image's own.")
    )
    env = forms.CharField(
        label=gettext_lazy("Environment"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 6, "class": "mono", "spellcheck": "false"}),
        help_text=gettext_lazy("One NAME=value a line."),
    )

    def clean_image(self) -> str:
        return _checked(check_image, self.cleaned_data["image"])  # type: ignore[no-any-return]

    def clean_command(self) -> list[str]:
        return _checked(check_command, self.cleaned_data["command"])  # type: ignore[no-any-return]

    def clean_env(self) -> dict[str, str]:
        lines = [line.rstrip("\r") for line in self.cleaned_data["env"].split("\n") if line.strip()]
        return _checked(check_env, _checked(env_from_list, lines))  # type: ignore[no-any-return]


class LimitsSection(Section):
    """CPU, memory and the rest."""

    names = {name: (f"limits.{name}",) for name in ("cpus", "memory_bytes", "disk_bytes")}
    cpus = _unit(forms.FloatField(label=gettext_lazy("CPU"), min_value=0.01, max_value=1024), gettext_lazy("cores"))
    memory_bytes = _unit(forms.IntegerField(label=gettext_lazy("Memory"), min_value=6, max_value=2**30), "MiB")
    swap_bytes = _unit(forms.IntegerField(label=gettext_lazy("Swap"), min_value=0, max_value=2**30), "MiB")
    disk_bytes = _unit(forms.FloatField(label=gettext_lazy("Disk"), min_value=0, max_value=2**20, help_text=gettext_lazy("0: not limited.")), "GiB")
    pids = forms.IntegerField(label=gettext_lazy("Processes"), min_value=1, max_value=65536)
    io_weight = forms.IntegerField(
        label=gettext_lazy("I/O weight"), min_value=0, max_value=1000, help_text=gettext_lazy("10 to 1000; 0: the default.")
    )

    def clean_io_weight(self) -> int:
        value: int = self.cleaned_data["io_weight"]
        if 0 < value < 10:
            raise forms.ValidationError(_("From 10 to 1000, or 0 for the default."))
        return value

    def changes(self) -> dict[str, Any]:
        found = dict(self.cleaned_data)
        for name, size in (("memory_bytes", MIB), ("swap_bytes", MIB), ("disk_bytes", GIB)):
            found[name] = int(found[name] * size)
        return found


class ScriptSection(Section):
    """The startup script."""

    startup_script = forms.CharField(
        label=gettext_lazy("Startup script"),
        max_length=MAX_SCRIPT,
        required=False,
        strip=False,
        widget=forms.Textarea(attrs={"rows": 8, "class": "mono", "spellcheck": "false"}),
        help_text=gettext_lazy("Run by /bin/sh inside of the container after each start. Its output is in the log, stream startup."),
    )

    def clean_startup_script(self) -> str:
        return str(self.cleaned_data["startup_script"]).replace("\r\n", "\n")


class CareSection(Section):
    """How it is kept."""

    names = {"done": ("readiness",), "idle_minutes": ("idle_timeout_seconds",)}
    auto_start = forms.BooleanField(
        label=gettext_lazy("Start again with its node"),
        required=False,
        help_text=gettext_lazy("When its node or engine comes back, what ran is started."),
    )
    auto_heal = forms.BooleanField(
        label=gettext_lazy("Restart when unhealthy"),
        required=False,
        help_text=gettext_lazy("When its health check fails; at most 5 times in 30 minutes."),
    )
    done = forms.CharField(
        label=gettext_lazy("Ready when its console says"),
        required=False,
        max_length=8192,
        widget=forms.Textarea(attrs={"rows": 2, "class": "mono", "spellcheck": "false"}),
        help_text=gettext_lazy("One text a line, any of them counts; regex: begins a pattern. Empty: as its egg or its health check says."),
    )
    idle_minutes = _unit(
        forms.FloatField(
            label=gettext_lazy("Stop when nobody uses it for"),
            min_value=0,
            max_value=525_600,
            required=False,
            help_text=gettext_lazy(
                "Console, terminal, files, commands and network traffic are use. You are warned first. 0: it is never stopped for that."
            ),
        ),
        gettext_lazy("minutes"),
    )
    timeout_seconds = _unit(
        forms.IntegerField(label=gettext_lazy("Wait at most"), min_value=5, max_value=3600, required=False), gettext_lazy("seconds")
    )

    def clean_done(self) -> list[str]:
        texts = [line.strip("\r") for line in self.cleaned_data["done"].split("\n") if line.strip()]
        if len(texts) > 16 or any(len(text) > 512 for text in texts):
            raise forms.ValidationError(_("At most 16 texts of 512 characters."))
        return texts

    def changes(self) -> dict[str, Any]:
        found = self.cleaned_data
        ready = {"done": found["done"], "timeout_seconds": found["timeout_seconds"] or 900} if found["done"] else {}
        return {"auto_start": found["auto_start"], "auto_heal": found["auto_heal"], "readiness": ready, **self._idle()}

    def _idle(self) -> dict[str, int]:
        """Only where the form had it: a page of before knows none and must not take it away."""
        return {"idle_timeout_seconds": round(self.cleaned_data["idle_minutes"] * 60)} if "idle_minutes" in self.data else {}

    def clean_idle_minutes(self) -> float:
        minutes: float = self.cleaned_data["idle_minutes"] or 0
        if 0 < minutes < 1:
            raise forms.ValidationError(_("One minute at least, or 0 for never."))
        return minutes


SECTIONS: dict[str, type[Section] | type[GeneralSection]] = {
    "general": GeneralSection,
    "made": MadeSection,
    "limits": LimitsSection,
    "script": ScriptSection,
    "care": CareSection,
}


def initial(container: Container, section: str, *, to_editor: bool) -> dict[str, Any]:
    """What a section's form begins with. `to_editor`: see `as_told`."""
    if section == "general":
        labels = "\n".join(f"{name}={value}" for name, value in container.labels.items())
        return {"labels": labels, **{name: getattr(container, name) for name in ("name", "description", "restart_policy")}}
    if section == "made":
        told = as_told({"env": container.env, "command": container.command}, to_editor=to_editor)
        lines = "\n".join(f"{name}={value}" for name, value in told["env"].items())
        return {"image": container.image, "command": shlex.join(told["command"]), "env": lines}
    if section == "limits":
        sizes = {"memory_bytes": container.memory_bytes // MIB, "swap_bytes": container.swap_bytes // MIB, "disk_bytes": container.disk_bytes / GIB}
        return {**sizes, **{name: getattr(container, name) for name in ("cpus", "pids", "io_weight")}}
    own = settings_of(container)
    if section == "script":
        return as_told({"startup_script": own.startup_script}, to_editor=to_editor)
    ready = own.readiness
    return {
        "auto_start": own.auto_start,
        "auto_heal": own.auto_heal,
        "done": "\n".join(ready.get("done", [])),
        "timeout_seconds": ready.get("timeout_seconds", 900),
        "idle_minutes": f"{own.idle_timeout_seconds / 60:g}",
    }


def posted_ports(post: Any) -> tuple[list[PortWish], str]:
    """(the ports of a form with `port-inside`, `port-outside`, `port-protocol` a row, what is wrong). Rows without any number are left out;
    `primary` names the row that comes first."""
    insides, outsides, protocols = (post.getlist(f"port-{name}")[:PORT_ROWS] for name in ("inside", "outside", "protocol"))
    rows: list[tuple[str, PortWish]] = []
    for index, (inside, outside, protocol) in enumerate(zip(insides, outsides, protocols, strict=False)):
        if not inside.strip() and not outside.strip():
            continue
        try:
            wish = PortWish(container=int(inside or 0), host=int(outside or 0), protocol=protocol)
        except ValueError:
            return [], _("A port is a number from 1 to 65535.")
        if protocol not in ("tcp", "udp") or not 0 <= wish.container <= 65535 or not 0 <= wish.host <= 65535:
            return [], _("A port is a number from 1 to 65535.")
        rows.append((str(index), wish))
    first = post.get("primary", "")
    rows.sort(key=lambda row: row[0] != first)
    return [wish for _index, wish in rows], ""


def _checked(check: Any, value: Any) -> Any:
    try:
        return check(value)
    except ValueError as error:
        raise forms.ValidationError(str(error)) from None
