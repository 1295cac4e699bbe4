"""Whose terminals are recorded: the page of recording policies, for administrators."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django import forms
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods, require_POST

from accounts.access import require
from accounts.models import Role
from containers.models import RecordingPolicy
from containers.services import execs
from eggs.models import Egg
from lormas.common.errors import NotFound, Problem
from lormas.common.forms import ServiceForm
from lormas.common.pages import Toast, answer, person, signed_in


class PolicyForm(ServiceForm):
    """One word for a role or an egg."""

    role = forms.ModelChoiceField(
        label=gettext_lazy("People in the role"), queryset=Role.objects.order_by("name"), required=False, empty_label="–", to_field_name="slug"
    )
    egg = forms.ModelChoiceField(
        label=gettext_lazy("or containers of the egg"),
        queryset=Egg.objects.order_by("name"),
        required=False,
        empty_label="–",
        help_text=gettext_lazy("What is said of an egg counts before what is said of a role."),
    )
    record = forms.TypedChoiceField(
        label=gettext_lazy("Terminals"),
        choices=[("yes", gettext_lazy("are recorded")), ("no", gettext_lazy("are not recorded"))],
        coerce=lambda word: word == "yes",
        help_text=gettext_lazy("Only what a terminal shows is kept, never what is typed: passwords that are not echoed are not in it."),
    )


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def policies(request: HttpRequest) -> HttpResponse:
    """All of them; POST says something of a role or an egg, and replaces what was said before."""
    user = person(request)
    require(user, "settings.manage")
    form = PolicyForm(request.POST if request.method == "POST" else None)
    status = 200
    if request.method == "POST":
        status = 422
        if form.is_valid():
            said: dict[str, Any] = form.cleaned_data
            try:
                execs.set_policy(actor=user.as_actor(), role=said["role"], egg=said["egg"], record_terminals=said["record"])
            except Problem as problem:
                form.take(problem)
            else:
                return answer(request, Toast(_("Saved: it counts for terminals opened from now on")), to=reverse("containers:recording-policies"))
    rows = RecordingPolicy.objects.select_related("role", "egg").order_by("egg__name", "role__name")
    return render(
        request, "containers/recording_policies.html", {"rows": rows, "form": form, "otherwise": settings.TERMINAL_RECORDING}, status=status
    )


@require_POST
@signed_in
def policy_remove(request: HttpRequest, policy_id: UUID) -> HttpResponse:
    """Nothing is said of it any more."""
    user = person(request)
    require(user, "settings.manage")
    found = RecordingPolicy.objects.select_related("role", "egg").filter(pk=policy_id).first()
    if found is None:
        raise NotFound(_("There is no such recording policy."))
    execs.remove_policy(found, actor=user.as_actor())
    return answer(request, Toast(_("Removed")), to=reverse("containers:recording-policies"))
