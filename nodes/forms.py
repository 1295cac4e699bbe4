"""Forms of the node pages."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from lormas.common.forms import ServiceForm
from nodes.models import Cluster


def pairs(text: str) -> dict[str, str]:
    """`zone=eu, disk=ssd` as a map. Raises ValueError with a sentence."""
    found: dict[str, str] = {}
    for part in text.replace("\n", ",").split(","):
        if not part.strip():
            continue
        key, equals, value = part.strip().partition("=")
        if not equals or not key.strip():
            raise ValueError(f"{part.strip()!r} is not of the form key=value.")
        found[key.strip()] = value.strip()
    return found


def taints(text: str) -> list[dict[str, str]]:
    """`gpu=only:NoSchedule` a line, as the API has them. Raises ValueError with a sentence."""
    found = []
    for line in text.replace(",", "\n").split("\n"):
        if not line.strip():
            continue
        head, colon, effect = line.strip().rpartition(":")
        if not colon:
            raise ValueError(f"{line.strip()!r} is not of the form key=value:effect.")
        key, _equals, value = head.partition("=")
        found.append({"key": key.strip(), "value": value.strip(), "effect": effect.strip()})
    return found


class NodeForm(ServiceForm):
    """What people say of a node; the agent reports the rest."""

    name = forms.CharField(label=_("Name"), max_length=64, help_text=_("Letters, digits, dots and dashes; how people will know it."))
    description = forms.CharField(label=_("Description"), max_length=255, required=False)
    address = forms.CharField(
        label=_("Public address"),
        max_length=255,
        required=False,
        help_text=_("Where people reach the ports of its containers; empty: as the agent reports."),
    )
    cluster = forms.ModelChoiceField(label=_("Cluster"), queryset=Cluster.objects.none(), required=False, empty_label=_("None"))
    labels = forms.CharField(label=_("Labels"), required=False, max_length=4000, help_text=_("key=value, by commas."))
    taints = forms.CharField(
        label=_("Taints"),
        required=False,
        max_length=4000,
        help_text=_("key=value:NoSchedule, by commas; keep containers away that don't tolerate them."),
    )
    max_pods = forms.IntegerField(label=_("Most containers"), min_value=0, max_value=100_000, required=False)
    port_first = forms.IntegerField(label=_("Ports from"), min_value=1, max_value=65535, required=False)
    port_last = forms.IntegerField(label=_("Ports to"), min_value=1, max_value=65535, required=False)

    def __init__(self, *args: Any, clusters: Any = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["cluster"]
        assert isinstance(field, forms.ModelChoiceField)
        if clusters is not None and clusters.exists():
            field.queryset = clusters
        else:
            del self.fields["cluster"]

    def clean_labels(self) -> dict[str, str]:
        try:
            return pairs(self.cleaned_data["labels"])
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None

    def clean_taints(self) -> list[dict[str, str]]:
        try:
            return taints(self.cleaned_data["taints"])
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None

    def given(self) -> dict[str, Any]:
        """What goes to the service; numbers left empty stay as they are."""
        return {key: value for key, value in self.cleaned_data.items() if not (value is None and key != "cluster")}


def initial_of(node: Any) -> dict[str, Any]:
    """A node as its form shows it."""
    return {
        "name": node.name,
        "description": node.description,
        "address": node.address,
        "cluster": node.cluster_id,
        "labels": ", ".join(f"{key}={value}" for key, value in sorted(node.labels.items())),
        "taints": ", ".join(f"{t['key']}={t.get('value', '')}:{t['effect']}" for t in node.taints),
        "max_pods": node.max_pods,
        "port_first": node.port_first,
        "port_last": node.port_last,
    }
