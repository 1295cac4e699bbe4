"""Forms of the fleet's pages: labels and taints, drains, windows, clusters, onboarding keys, registries, where something would go."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from lormas.common import clock
from lormas.common.forms import ServiceForm
from nodes.forms import pairs, taints
from nodes.models import Cluster, Node
from nodes.placement import Affinity, Demand, Toleration
from nodes.services import TAINT_EFFECTS

MOST_ROWS = 64
GIB = 1024**3


def label_rows(posted: Any) -> dict[str, str]:
    """Rows of `label_key` and `label_value`; one without a key is left out. Raises ValueError with a sentence for a key that is there twice."""
    found: dict[str, str] = {}
    for key, value in zip(posted.getlist("label_key")[:MOST_ROWS], posted.getlist("label_value")[:MOST_ROWS], strict=False):
        if not key.strip():
            continue
        if key.strip() in found:
            raise ValueError(str(_("The label %(key)s is there twice.") % {"key": key.strip()}))
        found[key.strip()] = value.strip()
    return found


def taint_rows(posted: Any) -> list[dict[str, str]]:
    """Rows of `taint_key`, `taint_value`, `taint_effect`; one without a key is left out."""
    rows = zip(
        posted.getlist("taint_key")[:MOST_ROWS],
        posted.getlist("taint_value")[:MOST_ROWS],
        posted.getlist("taint_effect")[:MOST_ROWS],
        strict=False,
    )
    return [{"key": key.strip(), "value": value.strip(), "effect": effect} for key, value, effect in rows if key.strip()]


class DrainForm(ServiceForm):
    """How a drain goes."""

    minutes = forms.IntegerField(label=_("Time limit"), min_value=1, max_value=7 * 1440, initial=60, help_text=_("For all of it together."))
    force = forms.BooleanField(
        label=_("Kill what still runs at the limit"), required=False, help_text=_("Without this the drain fails then, and leaves it running.")
    )
    message = forms.CharField(label=_("Why"), max_length=200, required=False, help_text=_("For the journal and the node's timeline."))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["minutes"].unit = _("minutes")  # type: ignore[attr-defined]

    def given(self) -> dict[str, Any]:
        data = self.cleaned_data
        return {"deadline_seconds": 60.0 * data["minutes"], "force": data["force"], "message": data["message"]}


class WindowForm(ServiceForm):
    """A maintenance window; times are UTC, as the page says."""

    starts_at = forms.DateTimeField(label=_("From (UTC)"), widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"))
    ends_at = forms.DateTimeField(label=_("To (UTC)"), widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"))
    reason = forms.CharField(label=_("Why"), max_length=200, required=False)
    drain = forms.BooleanField(label=_("Drain at its start"), required=False, help_text=_("What was stopped is started again at its end."))

    def _utc(self, name: str) -> datetime:
        moment: datetime = self.cleaned_data[name]
        return moment.replace(tzinfo=UTC)

    def clean_starts_at(self) -> datetime:
        return self._utc("starts_at")

    def clean_ends_at(self) -> datetime:
        return self._utc("ends_at")


class _Labels(ServiceForm):
    labels = forms.CharField(label=_("Labels"), required=False, max_length=4000, help_text=_("key=value, by commas."))

    def clean_labels(self) -> dict[str, str]:
        try:
            return pairs(self.cleaned_data["labels"])
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None


class ClusterForm(_Labels):
    """A cluster."""

    name = forms.CharField(label=_("Name"), max_length=64)
    description = forms.CharField(label=_("Description"), max_length=255, required=False)
    strategy = forms.ChoiceField(
        label=_("Where new containers go"),
        choices=[("spread", _("Spread: to the emptiest node")), ("binpack", _("Binpack: to the fullest node that fits"))],
    )
    overcommit_cpu = forms.FloatField(label=_("CPU"), min_value=0.1, max_value=100, initial=1, help_text=_("2 promises each core twice."))
    overcommit_memory = forms.FloatField(label=_("Memory"), min_value=0.1, max_value=100, initial=1)
    overcommit_storage = forms.FloatField(label=_("Storage"), min_value=0.1, max_value=100, initial=1)
    failover = forms.ChoiceField(
        label=_("When a node is lost"),
        choices=[
            ("never", _("Wait for it")),
            ("restart_empty", _("Restart elsewhere, empty")),
            ("restore_backup", _("Restore the last backup elsewhere")),
        ],
        help_text=_("When it was not heard of for ten minutes and has stopped its containers itself by then."),
    )
    backend = forms.ChoiceField(
        label=_("Stands on"),
        choices=[("engines", _("Single engines")), ("swarm", _("Docker Swarm"))],
        required=False,  # what is not said stays
        help_text=_("With a swarm this page also shows its nodes and runs services on it."),
    )
    manager = forms.ModelChoiceField(
        label=_("Swarm manager"),
        queryset=Node.objects.none(),
        required=False,
        empty_label=_("None"),
        help_text=_("A node of this cluster whose engine manages the swarm. Others that do are asked when it is away."),
    )
    field_order = ("name", "description", "strategy", "overcommit_cpu", "overcommit_memory", "overcommit_storage", "failover", "labels")

    def __init__(self, *args: Any, cluster: Cluster | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if cluster is None:
            # A new one has no node yet that could manage a swarm.
            del self.fields["backend"], self.fields["manager"]
            return
        self._backend = cluster.backend
        field = self.fields["manager"]
        assert isinstance(field, forms.ModelChoiceField)
        field.queryset = Node.objects.filter(cluster=cluster, runtime_kind="docker")

    def clean_backend(self) -> str:
        return self.cleaned_data["backend"] or self._backend

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("backend") == "engines":
            data["manager"] = None
        return data


def cluster_initial(cluster: Cluster) -> dict[str, Any]:
    """A cluster as its form shows it."""
    names = ("name", "description", "strategy", "overcommit_cpu", "overcommit_memory", "overcommit_storage", "failover", "backend", "manager")
    return {**{name: getattr(cluster, name) for name in names}, "labels": ", ".join(f"{k}={v}" for k, v in sorted(cluster.labels.items()))}


class KeyForm(_Labels):
    """An onboarding key."""

    name = forms.CharField(label=_("Name"), max_length=64, help_text=_("What it is for: rack 4, spring fleet."))
    hours = forms.IntegerField(label=_("Good for"), min_value=1, max_value=90 * 24, initial=24)
    max_uses = forms.IntegerField(label=_("Machines"), min_value=1, max_value=10_000, initial=10, help_text=_("No more than these can join with it."))
    cluster = forms.ModelChoiceField(label=_("Cluster"), queryset=Cluster.objects.none(), required=False, empty_label=_("None"))
    taints = forms.CharField(label=_("Taints"), required=False, max_length=4000, help_text=_("key=value:NoSchedule, by commas."))
    name_prefix = forms.CharField(label=_("Name begins with"), required=False, max_length=32, help_text=_("Then the machine's own host name."))
    field_order = ("name", "hours", "max_uses", "cluster", "name_prefix", "labels", "taints")

    def __init__(self, *args: Any, clusters: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["hours"].unit = _("hours")  # type: ignore[attr-defined]
        field = self.fields["cluster"]
        assert isinstance(field, forms.ModelChoiceField)
        field.queryset = clusters

    def clean_taints(self) -> list[dict[str, str]]:
        try:
            return taints(self.cleaned_data["taints"])
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None

    def given(self) -> dict[str, Any]:
        """What goes to the service."""
        data = dict(self.cleaned_data)
        ends = clock.now() + timedelta(hours=data.pop("hours"))
        return {**data, "expires_at": ends}


class RegistryForm(ServiceForm):
    """A registry; an empty password keeps the one that is stored."""

    name = forms.CharField(label=_("Name"), max_length=64)
    server = forms.CharField(label=_("Server"), max_length=255, help_text=_("As it stands in image names: registry.example.org:5000."))
    username = forms.CharField(label=_("User name"), max_length=255, required=False)
    password = forms.CharField(
        label=_("Password or token"), max_length=4096, required=False, strip=False, widget=forms.PasswordInput(attrs={"autocomplete": "off"})
    )
    is_shared = forms.BooleanField(
        label=_("For everybody's containers"), required=False, help_text=_("Without this only those who run the fleet pull with it.")
    )


class DemandForm(ServiceForm):
    """What something would need; by GET, so that the address can be shared."""

    cpus = forms.FloatField(label=_("CPU"), min_value=0, max_value=1024, required=False)
    memory_gib = forms.FloatField(label=_("Memory"), min_value=0, max_value=1e6, required=False)
    disk_gib = forms.FloatField(label=_("Storage"), min_value=0, max_value=1e6, required=False)
    port = forms.IntegerField(label=_("Host port"), min_value=1, max_value=65535, required=False)
    cluster = forms.ModelChoiceField(label=_("Cluster"), queryset=Cluster.objects.none(), required=False, empty_label=_("Any"))
    labels = forms.CharField(label=_("Node labels"), required=False, max_length=2000, help_text=_("key=value, by commas; all must be there."))
    tolerates = forms.CharField(label=_("Tolerates"), required=False, max_length=2000, help_text=_("Keys of taints, by commas."))
    near = forms.CharField(label=_("Near containers"), required=False, max_length=200, help_text=_("key=value"))
    apart = forms.CharField(label=_("Apart from containers"), required=False, max_length=200, help_text=_("key=value"))

    def __init__(self, *args: Any, clusters: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, unit in (("cpus", _("cores")), ("memory_gib", "GiB"), ("disk_gib", "GiB")):
            self.fields[name].unit = unit  # type: ignore[attr-defined]
        field = self.fields["cluster"]
        assert isinstance(field, forms.ModelChoiceField)
        field.queryset = clusters

    def _pairs(self, name: str) -> dict[str, str]:
        try:
            return pairs(self.cleaned_data[name])
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None

    def clean_labels(self) -> dict[str, str]:
        return self._pairs("labels")

    def clean_near(self) -> dict[str, str]:
        return self._pairs("near")

    def clean_apart(self) -> dict[str, str]:
        return self._pairs("apart")

    def demand(self) -> Demand:
        """As placement takes it."""
        data: Mapping[str, Any] = self.cleaned_data
        return Demand(
            cpus=data["cpus"] or 0,
            memory_bytes=int((data["memory_gib"] or 0) * GIB),
            disk_bytes=int((data["disk_gib"] or 0) * GIB),
            ports=(("tcp", data["port"]),) if data["port"] else (),
            cluster_id=data["cluster"].pk if data["cluster"] else None,
            labels=data["labels"],
            tolerations=tuple(Toleration(key=key.strip()) for key in data["tolerates"].split(",") if key.strip()),
            affinity=tuple(
                Affinity(key, value, apart=apart, containers=True)
                for name, apart in (("near", False), ("apart", True))
                for key, value in data[name].items()
            ),
        )


EFFECTS = TAINT_EFFECTS
