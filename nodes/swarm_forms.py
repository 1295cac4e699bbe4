"""Forms of services on a swarm. Shapes are checked by what the API takes, too, so that both doors let the same in."""

from __future__ import annotations

import re
import shlex
from typing import Any, ClassVar

from django import forms
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from lormas.common.forms import ServiceForm
from nodes.api.swarm_shapes import MOST_REPLICAS, ServiceChangeSerializer, ServiceWishSerializer

MIB = 1024**2
PORT = re.compile(r"^(\d{1,5}):(\d{1,5})(?:/(tcp|udp))?$")


PORT_MODES = [("host", _("Where it runs, one replica a node")), ("ingress", _("On every node of the swarm"))]


def _ports(text: str) -> list[dict[str, Any]]:
    found = []
    for line in text.split():
        match = PORT.match(line)
        if match is None:
            raise forms.ValidationError(gettext("A port is published:inside, as 8080:80; this is not: %(line)s") % {"line": line[:40]})
        found.append({"published_port": int(match[1]), "container_port": int(match[2]), "protocol": match[3] or "tcp"})
    return found


def _sentence(wrong: Any) -> str:
    while isinstance(wrong, list | dict):
        wrong = next((one for one in (wrong.values() if isinstance(wrong, dict) else wrong) if one), "")
    return str(wrong)


class _Checked(ServiceForm):
    """What both forms have: ports as lines, and the API's serializer as the judge of the whole."""

    judge: ClassVar[type[serializers.Serializer]]  # type: ignore[type-arg]

    def clean_ports(self) -> list[dict[str, Any]]:
        return _ports(self.cleaned_data["ports"])

    def body(self, data: dict[str, Any]) -> dict[str, Any]:
        """What the API would be sent for these fields."""
        raise NotImplementedError

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if self.errors:
            return data
        checked = self.judge(data=self.body(data))
        if not checked.is_valid():
            for field, wrong in checked.errors.items():
                self.add_error(self.place_of(str(field)), _sentence(wrong))
            return data
        self.given = dict(checked.validated_data)
        return data


class SwarmServiceForm(_Checked):
    """A new service."""

    judge = ServiceWishSerializer

    name = forms.CharField(label=_("Name"), max_length=63)
    image = forms.CharField(label=_("Image"), max_length=512, help_text=_("Each node pulls it by itself; stored registry passwords are sent along."))
    mode = forms.ChoiceField(
        label=_("How often it runs"),
        choices=[("replicated", _("As often as you say")), ("global", _("Once on each node that takes tasks"))],
        initial="replicated",
    )
    replicas = forms.IntegerField(
        label=_("Replicas"), min_value=0, max_value=MOST_REPLICAS, initial=1, help_text=_("Of one that runs as often as you say.")
    )
    command = forms.CharField(label=_("Command"), max_length=4096, required=False, help_text=_("Empty: what the image runs."))
    env = forms.CharField(
        label=_("Environment"), max_length=200_000, required=False, widget=forms.Textarea(attrs={"rows": 4, "spellcheck": "false"}),
        help_text=_("NAME=value, one a line. Values are not shown again."),
    )  # fmt: skip
    cpus = forms.FloatField(label=_("CPU limit"), min_value=0, max_value=1024, required=False, help_text=_("Of each replica; empty for none."))
    memory_mib = forms.IntegerField(label=_("Memory limit"), min_value=0, max_value=2**30, required=False, help_text=_("Of each replica."))
    ports = forms.CharField(
        label=_("Ports"), max_length=2000, required=False, widget=forms.Textarea(attrs={"rows": 2, "spellcheck": "false"}),
        help_text=_("published:inside, one a line, as 8080:80 or 5353:53/udp."),
    )  # fmt: skip
    port_mode = forms.ChoiceField(label=_("Where ports answer"), choices=PORT_MODES, initial="host")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, unit in (("cpus", _("cores")), ("memory_mib", _("MiB"))):
            self.fields[name].unit = unit  # type: ignore[attr-defined]

    def place_of(self, field: str) -> str | None:
        return super().place_of({"memory_bytes": "memory_mib"}.get(field, field))

    def clean_command(self) -> list[str]:
        try:
            return shlex.split(self.cleaned_data["command"])
        except ValueError:
            raise forms.ValidationError(gettext("A quote is not closed.")) from None

    def clean_env(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for line in self.cleaned_data["env"].splitlines():
            if not line.strip():
                continue
            name, mark, value = line.partition("=")
            if not mark or not name.strip():
                raise forms.ValidationError(gettext("Each line is NAME=value; this one is not: %(line)s") % {"line": line[:80]})
            found[name.strip()] = value
        return found

    def body(self, data: dict[str, Any]) -> dict[str, Any]:
        return {
            **{name: data[name] for name in ("name", "image", "command", "env", "mode", "replicas")},
            "cpus": data.get("cpus") or 0,
            "memory_bytes": (data.get("memory_mib") or 0) * MIB,
            "ports": [{**port, "mode": data["port_mode"]} for port in data["ports"]],
        }


class SwarmChangeForm(_Checked):
    """Changes of `service`. What a person leaves as it is, is not sent: ports of several modes stay so."""

    judge = ServiceChangeSerializer

    replicas = forms.IntegerField(label=_("Replicas"), min_value=0, max_value=MOST_REPLICAS)
    image = forms.RegexField(r"^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,511}$", label=_("Image"), max_length=512)
    env = forms.CharField(
        label=_("Environment"), max_length=200_000, required=False, widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false"}),
        help_text=_("NAME=value sets one, -NAME takes one off, one a line. What you don't name stays."),
    )  # fmt: skip
    ports = forms.CharField(
        label=_("Ports"), max_length=2000, required=False, widget=forms.Textarea(attrs={"rows": 2, "spellcheck": "false"}),
        help_text=_("published:inside, one a line, as 8080:80 or 5353:53/udp."),
    )  # fmt: skip
    port_mode = forms.ChoiceField(label=_("Where ports answer"), choices=PORT_MODES)

    def __init__(self, data: Any = None, *, service: dict[str, Any]) -> None:
        lines = "\n".join(
            f"{port['published_port']}:{port['container_port']}{'' if port['protocol'] == 'tcp' else '/' + port['protocol']}"
            for port in service["ports"]
        )
        mode = service["ports"][0]["mode"] if service["ports"] else "host"
        initial = {"replicas": service["wanted"], "image": service["image"], "ports": lines, "port_mode": mode}
        super().__init__(data, initial=initial)
        if service["mode"] != "replicated":
            del self.fields["replicas"]

    def clean_env(self) -> dict[str, str | None]:
        found: dict[str, str | None] = {}
        for line in filter(str.strip, self.cleaned_data["env"].splitlines()):
            name, mark, value = line.partition("=")
            if not mark and name.strip().startswith("-") and name.strip() != "-":
                found[name.strip()[1:]] = None
            elif mark and name.strip():
                found[name.strip()] = value
            else:
                raise forms.ValidationError(gettext("Each line is NAME=value or -NAME; this one is neither: %(line)s") % {"line": line[:80]})
        return found

    def body(self, data: dict[str, Any]) -> dict[str, Any]:
        wished: dict[str, Any] = {"image": data["image"]}
        if data.get("replicas") is not None:
            wished["replicas"] = data["replicas"]
        if data["env"]:
            wished["env"] = data["env"]
        # Not by the text: browsers send other ends of lines than they were given.
        if "ports" in self.data and ("port_mode" in self.changed_data or _ports(self.initial["ports"]) != data["ports"]):
            wished["ports"] = [{**port, "mode": data["port_mode"]} for port in data["ports"]]
        return wished
