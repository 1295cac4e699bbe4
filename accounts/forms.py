"""Forms of the sign-in pages. They check shapes; `accounts.services` decides."""

from __future__ import annotations

import zoneinfo
from typing import Any

from django import forms
from django.core.validators import RegexValidator
from django.utils.translation import gettext_lazy as _

from accounts.services import MAX_PASSWORD_CHARS


def _password(label: Any, autocomplete: str) -> forms.CharField:
    widget = forms.PasswordInput(attrs={"autocomplete": autocomplete})
    return forms.CharField(label=label, max_length=MAX_PASSWORD_CHARS, strip=False, widget=widget)


class LoginForm(forms.Form):
    """E-mail address or username, and password."""

    login = forms.CharField(
        label=_("E-mail or username"),
        max_length=254,
        widget=forms.TextInput(attrs={"autocomplete": "username", "autofocus": True}),
    )
    password = _password(_("Password"), "current-password")
    remember = forms.BooleanField(label=_("Stay signed in"), required=False, initial=True)


class PasswordForm(forms.Form):
    """A password change."""

    old_password = _password(_("Current password"), "current-password")
    password = _password(_("New password"), "new-password")
    repeated = _password(_("New password again"), "new-password")

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if cleaned.get("password") and cleaned.get("repeated") and cleaned["password"] != cleaned["repeated"]:
            self.add_error("repeated", _("The two passwords differ."))
        return cleaned


class SignUpForm(forms.Form):
    """A new account."""

    email = forms.EmailField(label=_("E-mail"), max_length=254, widget=forms.EmailInput(attrs={"autocomplete": "email", "autofocus": True}))
    name = forms.CharField(label=_("Name"), max_length=128, required=False, widget=forms.TextInput(attrs={"autocomplete": "name"}))
    password = _password(_("Password"), "new-password")


class ProfileForm(forms.Form):
    """What you may change about yourself."""

    name = forms.CharField(label=_("Name"), max_length=128, required=False)
    username = forms.CharField(
        label=_("Username"),
        max_length=64,
        validators=[RegexValidator(r"^[\w.-]{1,64}\Z", _("Letters, digits, dots, dashes and underscores; at most 64."))],
    )
    time_zone = forms.ChoiceField(label=_("Time zone"), required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["time_zone"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [("", _("As the browser")), *((name, name) for name in sorted(zoneinfo.available_timezones()))]
