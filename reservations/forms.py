"""Forms of the pool's pages. They give what the API's bodies give; services hold the rules."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django import forms
from django.utils.translation import gettext_lazy as _

from lormas.common.forms import ServiceForm
from nodes.forms import pairs
from reservations.models import Machine
from reservations.services.reserve import MAX_COUNT, Wish
from reservations.sources import SSH_PORT, chosen

HOURS_UNITS = {"minutes": 60, "hours": 3600, "days": 86400}
FIELD_OF = {
    "container": "source",
    "node": "source",
    "reservation_password": "password",
    "duration_minutes": "length",
    "repeat": "every",
    "minutes": "length",
}


class _Form(ServiceForm):
    def place_of(self, field: str) -> str | None:
        name = field.split(".", maxsplit=1)[0]
        return super().place_of(FIELD_OF.get(name, name))

    def _pairs(self, name: str) -> dict[str, str]:
        try:
            return pairs(self.cleaned_data[name])
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None


class MachineForm(_Form):
    """An SSH endpoint. Secrets are never shown again; left empty they stay."""

    name = forms.CharField(label=_("Name"), max_length=64, help_text=_("How people will know it."))
    source = forms.ChoiceField(
        label=_("Made of"), required=False, help_text=_("A node or a container of Lormas tells its address itself: leave host and port to it.")
    )
    host = forms.CharField(label=_("Host"), max_length=253, widget=forms.TextInput(attrs={"class": "mono", "placeholder": "10.0.0.9"}))
    port = forms.IntegerField(label=_("Port"), min_value=1, max_value=65535, initial=22)
    user = forms.CharField(label=_("User"), max_length=32, initial="root", help_text=_("root, or one who may use sudo without a password."))
    password = forms.CharField(
        label=_("Password"), max_length=128, required=False, strip=False, widget=forms.PasswordInput(attrs={"autocomplete": "new-password"})
    )
    private_key = forms.CharField(
        label=_("Private key"),
        max_length=16_384,
        required=False,
        strip=False,
        widget=forms.Textarea(attrs={"rows": 4, "class": "mono", "spellcheck": "false", "autocomplete": "off"}),
        help_text=_("OpenSSH form, without a passphrase. Kept encrypted, never shown again."),
    )
    labels = forms.CharField(label=_("Labels"), required=False, max_length=4000, help_text=_("key=value, by commas; people reserve by them."))
    description = forms.CharField(label=_("Description"), max_length=255, required=False)
    allow_sudo = forms.BooleanField(
        label=_("Let people become root"),
        required=False,
        help_text=_("A reservation may then ask for sudo. What root does there can't be undone by us."),
    )

    def __init__(self, *args: Any, machine: Machine | None = None, made_of: Sequence[tuple[str, str]] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.machine = machine
        if machine is not None:
            self.fields["password"].help_text = _("Leave empty to keep what is stored.")
        source = self.fields["source"]
        if made_of and isinstance(source, forms.ChoiceField):
            source.choices = [("", _("Another machine")), *made_of]
            self.fields["host"].required = self.fields["port"].required = False
            self.fields["host"].help_text = _("Needed for another machine.")
        else:
            del self.fields["source"]

    def clean_labels(self) -> dict[str, str]:
        return self._pairs("labels")

    def given(self) -> dict[str, Any]:
        """For the service; empty secrets mean "as it is" on a machine that exists. Where it is made of something, that tells what is empty here, and
        the port that the form begins with."""
        source = chosen(self.cleaned_data.get("source", ""))
        given = {name: value for name, value in self.cleaned_data.items() if name != "source"} | source
        left = {"password", "private_key"} | ({"host", "port"} if "source" in self.fields else set())
        if source and given.get("port") == SSH_PORT:
            given["port"] = None
        return {name: value for name, value in given.items() if name not in left or value}


def initial_of(machine: Machine) -> dict[str, Any]:
    """A machine as its form shows it: without its secrets."""
    found = {name: getattr(machine, name) for name in ("name", "host", "port", "user", "description", "allow_sudo")}
    return {**found, "labels": ", ".join(f"{key}={value}" for key, value in sorted(machine.labels.items()))}


class ImportForm(_Form):
    """A machine file."""

    file = forms.FileField(label=_("File"), required=False, widget=forms.ClearableFileInput(attrs={"class": "drop", "accept": ".yml,.yaml,.json"}))
    text = forms.CharField(
        label=_("Or its text"),
        required=False,
        max_length=1_000_000,
        strip=False,
        widget=forms.Textarea(attrs={"rows": 10, "class": "mono", "spellcheck": "false"}),
    )
    localhost_as = forms.CharField(
        label=_("Read localhost as"), required=False, max_length=253, help_text=_("Where the panel runs in a container: host.docker.internal.")
    )
    update = forms.BooleanField(label=_("Change machines of the same name"), required=False)

    def clean(self) -> dict[str, Any]:
        found = super().clean() or {}
        if not found.get("file") and not found.get("text", "").strip():
            self.add_error("file", _("Choose a file, or paste its text."))
        return found


class ReserveForm(_Form):
    """So many machines for so long, now or later."""

    count = forms.IntegerField(label=_("Machines"), min_value=1, max_value=MAX_COUNT, initial=1)
    length = forms.IntegerField(label=_("For"), min_value=1, max_value=527_040, initial=2)
    unit = forms.ChoiceField(label=_("Unit"), choices=[("minutes", _("minutes")), ("hours", _("hours")), ("days", _("days"))], initial="hours")
    starts_at = forms.CharField(
        label=_("From"),
        required=False,
        max_length=32,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}),
    )
    labels = forms.CharField(
        label=_("Only with labels"), required=False, max_length=2000, widget=forms.TextInput(attrs={"placeholder": "gpu=a100, zone=a"})
    )
    machines = forms.ModelMultipleChoiceField(label=_("Only these machines"), queryset=Machine.objects.none(), required=False)
    password = forms.CharField(
        label=_("Password for the accounts"),
        required=False,
        max_length=128,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}, render_value=False),
        help_text=_("You sign in on the machines with it. It is kept encrypted until the reservation ends, and never shown."),
    )
    public_key = forms.CharField(
        label=_("Or your public key"),
        required=False,
        max_length=8192,
        widget=forms.Textarea(attrs={"rows": 2, "class": "mono", "spellcheck": "false", "placeholder": "ssh-ed25519 AAAA…"}),
    )
    purpose = forms.CharField(label=_("Purpose"), required=False, max_length=255)
    queue = forms.BooleanField(label=_("Wait in the queue if not enough are free"), required=False)
    partial = forms.BooleanField(label=_("Keep those that become ready if others fail"), required=False)
    sudo = forms.BooleanField(label=_("Let me become root, where a machine allows it"), required=False)
    every = forms.ChoiceField(label=_("Repeat"), choices=[("", _("Once")), ("day", _("Every day")), ("week", _("Every week"))], required=False)
    times = forms.IntegerField(label=_("Times"), min_value=1, max_value=52, required=False)

    def __init__(self, *args: Any, machines: Any, zone: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.zone = zone
        field = self.fields["machines"]
        assert isinstance(field, forms.ModelMultipleChoiceField)
        field.queryset = machines
        self.fields["starts_at"].help_text = _("Empty: now. In %(zone)s.") % {"zone": zone}

    def clean_labels(self) -> dict[str, str]:
        return self._pairs("labels")

    def clean_starts_at(self) -> datetime | None:
        text = self.cleaned_data["starts_at"].strip()
        if not text:
            return None
        try:
            return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(self.zone))
        except ValueError:
            raise forms.ValidationError(_("A day and a time, such as 2026-11-26 14:00.")) from None

    def wish(self) -> Wish:
        """What the service wants; call when valid."""
        given = self.cleaned_data
        return Wish(
            count=max(given["count"], 1),
            seconds=given["length"] * HOURS_UNITS[given["unit"]],
            starts_at=given["starts_at"],
            labels=given["labels"],
            machines=tuple(given["machines"]),
            password=given["password"],
            public_key=given["public_key"],
            queue=given["queue"],
            partial=given["partial"],
            sudo=given["sudo"],
            purpose=given["purpose"],
            every=given["every"],
            times=(given["times"] or 1) if given["every"] else 1,
            zone=self.zone,
        )
