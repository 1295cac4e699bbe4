"""Forms of the pages of people and roles. They check shapes; `accounts.people`, `inviting` and `roles` decide."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from django import forms
from django.core.validators import RegexValidator
from django.utils.translation import gettext_lazy as _

from accounts.capabilities import CAPABILITIES
from accounts.forms import NewPasswordForm
from accounts.models import Role
from accounts.quotas import Allowance
from lormas.common.errors import Problem

_USERNAME = RegexValidator(r"^[\w.-]{1,64}\Z", _("Letters, digits, dots, dashes and underscores; at most 64."))


class TakesProblems(forms.Form):
    """A form on which a problem of a service lands."""

    def take(self, problem: Problem) -> None:
        """On the fields it names, or on top."""
        named = [error for error in problem.errors if error.field in self.fields]
        for error in named:
            self.add_error(error.field, error.message)
        if not named:
            self.add_error(None, problem.detail)


def _roles(by_slug: Iterable[Role]) -> list[tuple[str, str]]:
    return [(role.slug, role.title) for role in by_slug]


class InviteForm(TakesProblems):
    """Whom to invite."""

    email = forms.EmailField(label=_("E-mail"), max_length=254, widget=forms.EmailInput(attrs={"autofocus": True}))
    name = forms.CharField(label=_("Name"), max_length=128, required=False)
    role = forms.ChoiceField(label=_("Role"))

    def __init__(self, *args: Any, roles: Iterable[Role], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["role"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = _roles(roles)


class NewPersonForm(InviteForm):
    """An account whose first password is told here once."""

    username = forms.CharField(label=_("Username"), max_length=64, required=False, validators=[_USERNAME])


class PersonForm(InviteForm):
    """What an administrator may change."""

    username = forms.CharField(label=_("Username"), max_length=64, validators=[_USERNAME])

    def __init__(self, *args: Any, roles: Iterable[Role], fixed_role: bool, **kwargs: Any) -> None:
        super().__init__(*args, roles=roles, **kwargs)
        self.fields["email"].widget.attrs.pop("autofocus")
        if fixed_role:
            del self.fields["role"]


class AcceptForm(NewPasswordForm, TakesProblems):
    """Taking an invitation."""

    name = forms.CharField(label=_("Name"), max_length=128, required=False)
    username = forms.CharField(label=_("Username"), max_length=64, validators=[_USERNAME])
    field_order = ["name", "username", "password", "repeated"]


GIB: Final = 1024**3


class QuotaForm(TakesProblems):
    """How much the people of a role, or one person, may have. Empty: no limit. Of a person, `own` not ticked: that of the role counts."""

    own = forms.BooleanField(label=_("A quota of their own"), required=False, help_text=_("In place of that of the role, as a whole."))
    containers = forms.IntegerField(label=_("Containers"), min_value=0, max_value=10**6, required=False)
    cpus = forms.FloatField(label=_("CPU"), min_value=0, max_value=10**6, required=False)
    memory = forms.FloatField(label=_("Memory"), min_value=0, max_value=2**30, required=False)
    disk = forms.FloatField(label=_("Disk"), min_value=0, max_value=2**30, required=False)

    def __init__(self, data: Any, *, known: Allowance | None, person: bool) -> None:
        at = known or Allowance()
        initial = {"own": known is not None, "containers": at.containers, "cpus": None if at.cpus is None else _plain(at.cpus)}
        initial |= {name: None if size is None else _plain(size / GIB) for name, size in (("memory", at.memory_bytes), ("disk", at.disk_bytes))}
        super().__init__(data, initial=initial, prefix="quota")
        for name, unit in (("cpus", _("cores")), ("memory", "GiB"), ("disk", "GiB")):
            self.fields[name].unit = unit  # type: ignore[attr-defined]  # read by console/_field.html
        for name in ("containers", "cpus", "memory", "disk"):
            self.fields[name].widget.attrs["placeholder"] = _("no limit")
        if not person:
            del self.fields["own"]

    def allowance(self) -> Allowance | None:
        """What was asked for; None: no quota."""
        given = self.cleaned_data
        sizes = {f"{name}_bytes": None if given[name] is None else round(given[name] * GIB) for name in ("memory", "disk")}
        asked = Allowance(containers=given["containers"], cpus=given["cpus"], **sizes)
        return asked if given.get("own", asked.is_limited) else None

    def is_given(self, give: Callable[[Allowance | None], object]) -> bool:
        """Was it valid, and did `give` take it? What it refuses about the numbers, or about whom they are for, is said here; the rest is raised."""
        if not self.is_valid():
            return False
        try:
            give(self.allowance())
        except Problem as problem:
            if problem.status != 409 and problem.code != "quota_not_held":
                raise
            self.take(problem)
            return False
        return True


def _plain(value: float) -> float | int:
    return int(value) if value == int(value) else round(value, 4)


class RoleForm(TakesProblems):
    """A role of one's making."""

    name = forms.CharField(label=_("Name"), max_length=64)
    slug = forms.SlugField(
        label=_("Short name"),
        max_length=64,
        required=False,
        help_text=_("For the API; made of the name if you leave it empty."),
        error_messages={"invalid": _("Letters, digits, dashes and underscores.")},
    )
    description = forms.CharField(label=_("What it is for"), max_length=255, required=False)
    capabilities = forms.MultipleChoiceField(label=_("May"), required=False, widget=forms.CheckboxSelectMultiple())

    def __init__(self, *args: Any, held: frozenset[str], known: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["capabilities"]
        assert isinstance(field, forms.MultipleChoiceField)
        field.choices = [(one.code, one.said.capitalize()) for one in CAPABILITIES if one.code in held]
        if known:
            del self.fields["slug"]
