"""Pages of a node's containers that no Lormas made: the list, what one is, taking it over."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django import forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_GET, require_http_methods

from containers.api.adoption import node_for
from containers.services import adoption
from containers.validation import check_name
from lormas.common.errors import Problem
from lormas.common.forms import ServiceForm
from lormas.common.pages import answer, person, signed_in
from nodes.operation_views import started_toast
from nodes.views import frame_of


class AdoptForm(ServiceForm):
    """Its name here, and that what is lost was read."""

    name = forms.CharField(label=gettext_lazy("Name"), max_length=64)
    accept = forms.BooleanField(label=gettext_lazy("I have read what is lost"), required=False)

    def clean_name(self) -> str:
        try:
            return check_name(self.cleaned_data["name"])
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None

    def place_of(self, field: str) -> str | None:
        return field if field == "name" else None


@require_GET
@signed_in
def foreign(request: HttpRequest, node_id: UUID) -> HttpResponse:
    user = person(request)
    node = node_for(user, node_id)
    search = request.GET.get("search", "").strip()
    context: dict[str, Any] = {**frame_of(user, node), "tab": "foreign", "search": search}
    try:
        found = adoption.listing(node)
        context["rows"] = [one for one in found.containers if search.lower() in f"{one.name} {one.image}".lower()]
        context |= {"total": len(found.containers), "reason": found.reason}
    except Problem as problem:
        context["trouble"] = problem.detail
    return render(request, "containers/foreign.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def adopt(request: HttpRequest, node_id: UUID, ref: str) -> HttpResponse:
    """What would be taken over, what is lost, what stands in the way; then the act."""
    user = person(request)
    node = node_for(user, node_id)
    found = adoption.look(node, ref)
    form = AdoptForm(request.POST if request.method == "POST" else None, initial={"name": adoption.proposed_name(found, user=user)})
    if not found.lost:
        del form.fields["accept"]
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        try:
            made, operation = adoption.adopt(node, ref, name=given["name"], accept=given.get("accept", False), user=user, actor=user.as_actor())
        except Problem as problem:
            if problem.code == "must_accept":
                form.add_error("accept", _("Read what is lost, then tick this."))
            else:
                form.take(problem)
        else:
            return answer(request, started_toast(operation), to=reverse("containers:detail", args=[made.pk]))
    context = {
        **frame_of(user, node),
        "tab": "foreign",
        "found": found,
        "limits": adoption.limits_for(found),
        "form": form,
        "restart": found.restart.get("Name") or "no",
        "env_names": sorted(found.env),
    }
    return render(request, "containers/adopt.html", context, status=400 if form.errors else 200)
