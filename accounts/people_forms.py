"""Forms of the pages of people and roles. They check shapes; `accounts.people`, `inviting` and `roles` decide."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import forms
from django.core.validators import RegexValidator
from django.utils.translation import gettext_lazy as _

from accounts.capabilities import CAPABILITIES
from accounts.forms import NewPasswordForm
from accounts.models import Role
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
    return [(role.slug, role.name) for role in by_slug]


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


class RoleForm(TakesProblems):
    """A role of one's making."""

    name = forms.CharField(label=_("Name"), max_length=64)
    slug = forms.SlugField(label=_("Short name"), max_length=64, required=False, help_text=_("For the API; made of the name if you leave it empty."))
    description = forms.CharField(label=_("What it is for"), max_length=255, required=False)
    capabilities = forms.MultipleChoiceField(label=_("May"), required=False, widget=forms.CheckboxSelectMultiple())

    def __init__(self, *args: Any, held: frozenset[str], known: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["capabilities"]
        assert isinstance(field, forms.MultipleChoiceField)
        field.choices = [(one.code, one.may.capitalize()) for one in CAPABILITIES if one.code in held]
        if known:
            del self.fields["slug"]
