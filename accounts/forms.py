"""Forms of the sign-in pages. They check shapes; `accounts.services` decides."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.core.validators import RegexValidator
from django.utils.translation import gettext_lazy as _

from accounts.services import MAX_PASSWORD_CHARS
from lormas.common import clock, zones


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


class _SaidTwice(forms.Form):
    """Has the fields `password` and `repeated`, which must be the same."""

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if cleaned.get("password") and cleaned.get("repeated") and cleaned["password"] != cleaned["repeated"]:
            self.add_error("repeated", _("The two passwords differ."))
        return cleaned


class PasswordForm(_SaidTwice):
    """A password change."""

    old_password = _password(_("Current password"), "current-password")
    password = _password(_("New password"), "new-password")
    repeated = _password(_("New password again"), "new-password")


class SignUpForm(forms.Form):
    """A new account."""

    email = forms.EmailField(label=_("E-mail"), max_length=254, widget=forms.EmailInput(attrs={"autocomplete": "email", "autofocus": True}))
    name = forms.CharField(label=_("Name"), max_length=128, required=False, widget=forms.TextInput(attrs={"autocomplete": "name"}))
    password = _password(_("Password"), "new-password")


class AddressForm(forms.Form):
    """An e-mail address."""

    email = forms.EmailField(label=_("E-mail"), max_length=254, widget=forms.EmailInput(attrs={"autocomplete": "email", "autofocus": True}))


class NewPasswordForm(_SaidTwice):
    """A password for somebody who forgot theirs."""

    password = _password(_("New password"), "new-password")
    repeated = _password(_("New password again"), "new-password")


class VerifyForm(forms.Form):
    """Taking a fresh account into use."""

    password = _password(_("The password you chose"), "current-password")


def _code(label: Any, **attrs: Any) -> forms.CharField:
    shown = {"autocomplete": "one-time-code", "inputmode": "numeric", "class": "mono", "spellcheck": "false", **attrs}
    return forms.CharField(label=label, max_length=64, widget=forms.TextInput(attrs=shown))


class CodeForm(forms.Form):
    """A second factor."""

    code = _code(_("Code"), autofocus=True)


class TotpForm(forms.Form):
    """The first code of a new authenticator app."""

    draft = forms.CharField(max_length=1024, widget=forms.HiddenInput())
    code = _code(_("The code that the app shows"), autofocus=True)


class ConfirmForm(forms.Form):
    """Who you are, once more: what the account has of password and code; either is enough."""

    password = _password(_("Password"), "current-password")
    code = _code(_("Or a code of your authenticator app"))

    def __init__(self, *args: Any, password: bool, code: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not password:
            del self.fields["password"]
        if not code:
            del self.fields["code"]
        for field in self.fields.values():
            field.required = len(self.fields) == 1

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if not self.errors and self.fields and not any(cleaned.values()):
            self.add_error(next(iter(self.fields)), _("Type one of them."))
        return cleaned


class KeyForm(forms.Form):
    """A new API key."""

    LIVES = (("30", _("30 days")), ("90", _("90 days")), ("365", _("1 year")), ("0", _("No end")))
    name = forms.CharField(label=_("Name"), max_length=64, widget=forms.TextInput(attrs={"placeholder": _("What is it for?")}))
    days = forms.ChoiceField(label=_("Ends after"), choices=LIVES, initial="90")
    allowed_ips = forms.CharField(
        label=_("Only from these addresses"), required=False, max_length=2000, help_text=_("IP addresses or networks, apart by spaces or commas.")
    )
    scopes = forms.MultipleChoiceField(label=_("May"), widget=forms.CheckboxSelectMultiple(), error_messages={"required": _("Choose at least one.")})

    def __init__(self, *args: Any, scopes: list[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.offered = scopes
        field = self.fields["scopes"]
        assert isinstance(field, forms.MultipleChoiceField)
        field.choices = scopes

    def wish(self) -> dict[str, Any]:
        """For `accounts.keys.create_key`."""
        days = int(self.cleaned_data["days"])
        return {
            "name": self.cleaned_data["name"],
            "scopes": self.cleaned_data["scopes"],
            "expires_at": clock.now() + timedelta(days=days) if days else None,
            "allowed_ips": self.cleaned_data["allowed_ips"].replace(",", " ").split(),
        }


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
        field.choices = [("", _("As the browser")), *((name, name) for name in sorted(zones.names()))]
