"""The form of a grant. It checks shapes; `accounts.granting` decides."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from accounts.capabilities import CAPABILITIES
from accounts.models import Role
from accounts.people_forms import TakesProblems
from lormas.common import clock

ENDS = (
    ("", _("Not by itself")),
    ("1h", _("In an hour")),
    ("8h", _("In 8 hours")),
    ("1d", _("In a day")),
    ("7d", _("In a week")),
    ("30d", _("In 30 days")),
)
_SPANS = {"h": 3600, "d": 86400}
_WORDS = {capability.code: capability for capability in CAPABILITIES}


def choices(codes: Iterable[str]) -> list[tuple[str, str]]:
    return [(code, _WORDS[code].said.capitalize() if code in _WORDS else code) for code in codes]


class GrantForm(TakesProblems):
    """To whom, what, until when, why."""

    user = forms.CharField(label=_("Person"), max_length=254, required=False, help_text=_("Username or e-mail."))
    role = forms.ModelChoiceField(label=_("Or everybody with the role"), queryset=Role.objects.all(), required=False, empty_label=_("No role"))
    permissions = forms.MultipleChoiceField(label=_("May"), widget=forms.CheckboxSelectMultiple)
    ends = forms.ChoiceField(label=_("Ends"), choices=ENDS, required=False)
    expires_at = forms.DateTimeField(
        label=_("Or at this time"),
        required=False,
        help_text=_("UTC, such as 2030-01-31 18:00."),
        input_formats=["%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d"],
    )
    reason = forms.CharField(label=_("Reason"), max_length=255, required=False, help_text=_("Shown beside the grant and in the journal."))

    def __init__(self, *args: Any, codes: Iterable[str], fixed_holder: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["permissions"]
        assert isinstance(field, forms.MultipleChoiceField)
        field.choices = choices(codes)
        if fixed_holder:
            del self.fields["user"]
            del self.fields["role"]

    def end(self) -> Any:
        """When it ends; None: not by itself."""
        if self.cleaned_data.get("expires_at"):
            return self.cleaned_data["expires_at"]
        span = self.cleaned_data.get("ends", "")
        return clock.now() + timedelta(seconds=int(span[:-1]) * _SPANS[span[-1]]) if span else None
