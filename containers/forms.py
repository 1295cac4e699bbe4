"""Forms of the container pages. The new-container form is in `containers.newform`."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from containers.validation import check_name
from lormas.common.errors import Problem
from lormas.common.forms import ServiceForm

POLICIES = (
    ("unless-stopped", _("Unless stopped")),
    ("always", _("Always")),
    ("on-failure", _("On failure")),
    ("no", _("Never")),
)


class SettingsForm(ServiceForm):
    """What takes effect at once."""

    name = forms.CharField(label=_("Name"), max_length=64)
    description = forms.CharField(label=_("Description"), max_length=255, required=False)
    restart_policy = forms.ChoiceField(
        label=_("Restart"), choices=POLICIES, help_text=_("When its process ends by itself. After a crash with a growing pause, up to a minute.")
    )

    def clean_name(self) -> str:
        try:
            return check_name(self.cleaned_data["name"])
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None

    def take(self, problem: Problem) -> None:
        if problem.code == "name_taken" and not problem.errors:
            self.add_error("name", problem.detail)
        else:
            super().take(problem)


def as_options(choices: Any) -> list[tuple[str, str]]:
    """Lazy choices as plain pairs."""
    return [(str(value), str(word)) for value, word in choices]
