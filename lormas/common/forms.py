"""Forms that stand before a service: they check shapes, the service holds the rules, and its refusal is shown where it belongs."""

from __future__ import annotations

from django import forms

from lormas.common.errors import Problem


class ServiceForm(forms.Form):
    """A form that takes the problem which a service raised."""

    def place_of(self, field: str) -> str | None:
        """The field of the form to which a field of the service's refusal belongs (`limits.cpus`: the first word); None: above the form."""
        name = field.split(".", maxsplit=1)[0]
        return name if name in self.fields else None

    def take(self, problem: Problem) -> None:
        """Show it: each error at its field, or above the form; a refusal that names no field above the form."""
        for error in problem.errors:
            self.add_error(self.place_of(error.field), error.message)
        if not problem.errors:
            self.add_error(None, problem.detail)
