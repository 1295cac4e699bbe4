"""The Backups tab of a container, and the page of destinations."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django import forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.access import has, require
from containers.access import get_container, rights
from containers.api.backups import download, get_backup, may_restore, may_stop_first, policy_body, rows_of
from containers.api.destinations import get_destination
from containers.models import Backup, BackupDestination, BackupPolicy, BackupWork, Container
from containers.services import backups, destinations
from containers.views import frame
from lormas.common.errors import Invalid, NotFound, Problem
from lormas.common.forms import ServiceForm
from lormas.common.pages import Toast, answer, page_of, person, signed_in
from nodes import operations
from nodes.operation_views import started_toast

SHOWN = 25


class PolicyForm(ServiceForm):
    """How many are kept, what stays out, where they go."""

    keep = forms.IntegerField(label=gettext_lazy("Keep"), min_value=1, max_value=1000, required=False)
    ignore = forms.CharField(
        label=gettext_lazy("Leave out"),
        required=False,
        max_length=20_000,
        widget=forms.Textarea(attrs={"rows": 4, "class": "mono", "spellcheck": "false"}),
        help_text=gettext_lazy("A pattern a line, as in a .gitignore: *.log, cache/."),
    )
    destination = forms.ModelChoiceField(
        label=gettext_lazy("Destination"),
        queryset=BackupDestination.objects.filter(is_enabled=True),
        required=False,
        empty_label=gettext_lazy("The default one"),
    )


def _policy_form(container: Container, data: Any = None) -> PolicyForm:
    policy = BackupPolicy.objects.filter(pk=container.pk).first() or BackupPolicy(container=container)
    initial = {"keep": policy.keep, "ignore": "\n".join(policy.ignore), "destination": policy.destination_id}
    form = PolicyForm(data, initial=initial)
    form.fields["keep"].unit = _("good ones")  # type: ignore[attr-defined]
    form.fields["keep"].widget.attrs["placeholder"] = str(backups.rules_of(container).keep)
    return form


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def backups_page(request: HttpRequest, container_id: UUID) -> HttpResponse:
    """The list; POST makes one, or, with `section` = policy, changes how they are kept."""
    user = person(request)
    container = get_container(user, container_id, "containers.backups")
    if request.method != "POST":
        return _page(request, container)
    if request.POST.get("section") == "policy":
        return _save_policy(request, container)
    stop_first = request.POST.get("stop_first") == "1"
    if stop_first:
        may_stop_first(user, container)
    name = request.POST.get("name", "").strip()
    _made, operation = backups.create_backup(container, user=user, actor=user.as_actor(), name=name, stop_first=stop_first)
    return answer(request, started_toast(operation), to=_here(container))


def _save_policy(request: HttpRequest, container: Container) -> HttpResponse:
    form = _policy_form(container, request.POST)
    if form.is_valid():
        given = form.cleaned_data
        try:
            backups.set_policy(
                container,
                actor=person(request).as_actor(),
                keep=given["keep"],
                ignore=given["ignore"].splitlines(),
                destination=given["destination"],
            )
        except Problem as problem:
            form.take(problem)
        else:
            return answer(request, Toast(_("Saved"), _("It counts from the next backup.")), to=_here(container))
    return _page(request, container, form=form)


def _page(request: HttpRequest, container: Container, *, form: PolicyForm | None = None) -> HttpResponse:
    user = person(request)
    works = BackupWork.objects.filter(container=container, is_open=True).select_related("operation", "backup")
    held = rights(user, container)
    context = {
        **frame(user, container, "backups"),
        "page": page_of(request, rows_of(container).exclude(state=Backup.State.DELETING), size=SHOWN),
        "work": works.first(),
        "latest": backups.latest_good_backup(container),
        "may_restore": "containers.restore" in held,
        "may_stop": {"containers.stop", "containers.start"} <= held,
        "may_start": "containers.start" in held,
        "runs": container.observed in ("running", "paused", "restarting"),
    }
    if request.headers.get("X-Live"):
        return render(request, "containers/_backups_list.html", context)
    rest = {"policy": policy_body(container), "form": form or _policy_form(container), "settings_manage": has(user, "settings.manage")}
    return render(request, "containers/backups.html", {**context, **rest}, status=400 if form else 200)


def _here(container: Container) -> str:
    return reverse("containers:backups", args=[container.pk])


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def restore_page(request: HttpRequest, container_id: UUID, backup_id: UUID) -> HttpResponse:
    """What is lost, and the name to be typed."""
    user = person(request)
    container, backup = get_backup(user, container_id, backup_id, "containers.restore")
    wrong = ""
    if request.method == "POST":
        if request.POST.get("name", "").strip() == container.name:
            start = request.POST.get("start") == "1"
            may_restore(user, container, start=start)
            operation = backups.restore_into(container, backup, user=user, actor=user.as_actor(), start=start)
            return answer(request, started_toast(operation), to=_here(container))
        wrong = _("This is not its name.")
    context = {
        **frame(user, container, "backups"),
        "backup": backup,
        "wrong": wrong,
        "runs": container.observed in ("running", "paused", "restarting"),
        "newer": rows_of(container).filter(state=Backup.State.GOOD, created_at__gt=backup.created_at).count(),
    }
    return render(request, "containers/backup_restore.html", context, status=400 if wrong else 200)


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def delete_page(request: HttpRequest, container_id: UUID, backup_id: UUID) -> HttpResponse:
    user = person(request)
    container, backup = get_backup(user, container_id, backup_id, "containers.backups")
    if request.method == "POST":
        backups.delete_backup(backup, actor=user.as_actor())
        return answer(request, Toast(_("Backup deleted")), to=_here(container))
    good = rows_of(container).filter(state=Backup.State.GOOD, is_damaged=False)
    context = {**frame(user, container, "backups"), "backup": backup, "is_last": backup.is_usable and good.count() == 1}
    return render(request, "containers/backup_delete.html", context)


@require_GET
@signed_in
def download_page(request: HttpRequest, container_id: UUID, backup_id: UUID) -> Any:
    user = person(request)
    container, backup = get_backup(user, container_id, backup_id, "containers.backups")
    get_container(user, container_id, "containers.files")
    return download(request, container, backup)


@require_POST
@signed_in
def act(request: HttpRequest, container_id: UUID, backup_id: UUID, what: str) -> HttpResponse:
    """lock, unlock, rename, verify, prove, cancel."""
    user = person(request)
    container, backup = get_backup(user, container_id, backup_id, "containers.backups")
    actor = user.as_actor()
    toast: Toast
    if what in ("lock", "unlock"):
        backups.change_backup(backup, actor=actor, is_locked=what == "lock")
        toast = Toast(_("Locked"), _("It stays until you unlock it.")) if what == "lock" else Toast(_("Unlocked"))
    elif what == "rename":
        backups.change_backup(backup, actor=actor, name=request.POST.get("name", "").strip())
        toast = Toast(_("Renamed"))
    elif what == "verify":
        toast = started_toast(backups.verify(backup, user=user, actor=actor))
    elif what == "prove":
        get_container(user, container_id, "containers.start")
        toast = started_toast(backups.prove(backup, user=user, actor=actor))
    elif what == "cancel":
        work = BackupWork.objects.filter(backup=backup, is_open=True).select_related("operation").first()
        if work is None:
            raise NotFound(_("Nothing runs on this backup any more."))
        operations.cancel(work.operation, actor=actor)
        toast = Toast(_("Cancelled"), _("What was written of it is removed."), tone="amber")
    else:
        raise NotFound(_("There is no such action."))
    return answer(request, toast, to=_here(container))


# ------------------------------------------------------------------------------------------------------------ destinations


class DestinationForm(ServiceForm):
    """A destination; empty keys keep the stored ones."""

    name = forms.CharField(label=gettext_lazy("Name"), max_length=64)
    kind = forms.ChoiceField(label=gettext_lazy("Kind"), choices=BackupDestination.Kind.choices)
    folder = forms.CharField(
        label=gettext_lazy("Folder"),
        max_length=1024,
        required=False,
        help_text=gettext_lazy("Of the panel's machine; all its workers must reach it. Empty: beside its data."),
    )
    bucket = forms.CharField(
        label=gettext_lazy("Bucket"), max_length=128, required=False, help_text=gettext_lazy("Of S3-compatible storage, as are the next ones.")
    )
    key_prefix = forms.CharField(label=gettext_lazy("Prefix"), max_length=256, required=False)
    endpoint = forms.CharField(
        label=gettext_lazy("Endpoint"), max_length=512, required=False, help_text=gettext_lazy("https://s3.example.org; empty for AWS.")
    )
    region = forms.CharField(label=gettext_lazy("Region"), max_length=64, required=False)
    access_key = forms.CharField(
        label=gettext_lazy("Access key"), max_length=256, required=False, widget=forms.TextInput(attrs={"autocomplete": "off"})
    )
    secret_key = forms.CharField(
        label=gettext_lazy("Secret key"), max_length=512, required=False, strip=False, widget=forms.PasswordInput(attrs={"autocomplete": "off"})
    )
    is_default = forms.BooleanField(label=gettext_lazy("The default one"), required=False)


PLACES = ("folder", "bucket", "endpoint", "region", "access_key", "secret_key")


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def destinations_page(request: HttpRequest) -> HttpResponse:
    """All of them; POST adds one."""
    user = person(request)
    require(user, "settings.manage")
    form = DestinationForm(request.POST or None)
    status = 200
    if request.method == "POST":
        status = 400
        if form.is_valid():
            given = form.cleaned_data
            try:
                made = destinations.add(
                    name=given["name"],
                    kind=given["kind"],
                    given={**{name: given[name] for name in PLACES}, "prefix": given["key_prefix"]},
                    is_default=given["is_default"],
                    actor=user.as_actor(),
                )
            except Problem as problem:
                form.take(problem)
            else:
                return _tested(request, destinations.test(made, actor=user.as_actor()))
    rows = [{"one": one, "count": one.backups.count(), "bytes": backups.bytes_of(one.backups)} for one in BackupDestination.objects.all()]
    context = {"rows": rows, "form": form, "standard": destinations.standard_folder()}
    return render(request, "containers/backup_destinations.html", context, status=status)


def _tested(request: HttpRequest, one: BackupDestination) -> HttpResponse:
    toast = (
        Toast(_("%(name)s does not work") % {"name": one.name}, one.problem, tone="red")
        if one.problem
        else Toast(_("%(name)s works") % {"name": one.name}, _("Something small was written there, read and removed."))
    )
    return answer(request, toast, to=reverse("containers:destinations"))


@require_POST
@signed_in
def destination_act(request: HttpRequest, destination_id: UUID, what: str) -> HttpResponse:
    """test, default, on, off, remove."""
    user = person(request)
    one, actor = get_destination(user, destination_id), user.as_actor()
    if what == "test":
        return _tested(request, destinations.test(one, actor=actor))
    if what == "remove":
        destinations.remove(one, actor=actor)
        toast = Toast(_("Destination removed"))
    elif what == "default":
        destinations.change(one, actor=actor, is_default=True)
        toast = Toast(_("%(name)s is the default one") % {"name": one.name})
    elif what in ("on", "off"):
        destinations.change(one, actor=actor, is_enabled=what == "on")
        toast = Toast(_("Saved"))
    else:
        raise Invalid(_("There is no such action."))
    return answer(request, toast, to=reverse("containers:destinations"))
